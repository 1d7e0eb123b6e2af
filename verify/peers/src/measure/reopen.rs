//! How soon the next writer can begin after one was killed.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Result;
use chronicle_std::{Queue, RetentionPolicy, WriterConfig};
use serde::{Deserialize, Serialize};

use crate::job::Values;

const TYPE: u16 = 0x8000;
const SIZE: usize = 64;
const SEGMENT: u64 = 128 << 20;

#[derive(Serialize, Deserialize)]
pub struct Task {
    pub queue: PathBuf,
    /// Full segments before the one in which the writer dies, which is nearly full.
    pub segments: u64,
}

/// Fills segments, says so, and goes on until it is killed.
pub fn fill(task: &Task) -> Result<Values> {
    let mut config = WriterConfig::default();
    config.segment_size = SEGMENT;
    config.retention = RetentionPolicy::KEEP_ALL;
    let mut writer = Queue::create(&task.queue, config)?;
    let message = [7; SIZE];
    let is_there = |position: chronicle_std::Position| {
        u64::from(position.segment.get()) == task.segments && position.offset > SEGMENT / 8 * 7
    };
    while !is_there(writer.position()) {
        writer.append(TYPE, &message)?;
    }
    let mut output = io::stdout();
    output.write_all(b"full\n")?;
    output.flush()?;
    loop {
        std::thread::sleep(std::time::Duration::from_millis(1));
        writer.append(TYPE, &message)?;
    }
}
