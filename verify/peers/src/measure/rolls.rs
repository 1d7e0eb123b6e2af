//! What an append costs that goes on in a new segment, beside one that does not.

use std::hint::spin_loop;
use std::path::PathBuf;

use anyhow::{Result, bail};
use chronicle_std::{Queue, WriterConfig};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::clock::ticks;
use crate::job::Values;
use crate::process::pin;

const TYPE: u16 = 0x8000;
/// Small, so that there are many rolls in a short time.
const SEGMENT: u64 = 256 << 10;
const SIZE: usize = 64;

#[derive(Serialize, Deserialize)]
pub struct Task {
    /// Messages a second.
    pub rate: u64,
    pub messages: u64,
    pub directory: PathBuf,
    pub ticks_per_ns: f64,
    pub cpu: usize,
}

pub fn run(task: &Task) -> Result<Values> {
    let mut config = WriterConfig::default();
    config.segment_size = SEGMENT;
    config.checksums = false;
    let mut writer = Queue::create(task.directory.join("queue"), config)?;
    pin(task.cpu)?;
    let message = [7; SIZE];
    let mut rolling = Histogram::<u64>::new(3)?;
    let mut others = Histogram::<u64>::new(3)?;
    let gap = task.ticks_per_ns * 1e9 / task.rate as f64;
    let start = ticks();
    for seq in 0..task.messages {
        let due = start + (seq as f64 * gap) as u64;
        while ticks() < due {
            spin_loop();
        }
        let segment = writer.position().segment;
        let before = ticks();
        writer.append(TYPE, &message)?;
        let took = ((ticks() - before) as f64 / task.ticks_per_ns) as u64;
        // The first segment has space that it grows into; the others were prepared.
        if writer.position().segment != segment {
            rolling.record(took)?;
        } else if segment.get() > 0 {
            others.record(took)?;
        }
    }
    if rolling.is_empty() {
        bail!("there was no roll");
    }
    let mut found = Values::new();
    for (name, histogram) in [("roll", &rolling), ("append", &others)] {
        for (quantile, at) in [("p50", 0.5), ("p99", 0.99)] {
            let value = histogram.value_at_quantile(at) as f64;
            found.insert(format!("{name}_{quantile}"), value);
        }
        found.insert(format!("{name}_max"), histogram.max() as f64);
    }
    found.insert("rolls".to_owned(), rolling.len() as f64);
    Ok(found)
}
