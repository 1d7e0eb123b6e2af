//! What readers cost the writer: how fast it appends while more and more of them spin on another processor.

use std::hint::black_box;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;
use chronicle_std::{Queue, ReaderConfig, WriterConfig};
use serde::{Deserialize, Serialize};

use crate::job::Values;
use crate::process::pin;

const TYPE: u16 = 0x8000;
const SIZE: usize = 64;
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Serialize, Deserialize)]
pub struct Task {
    pub queue: PathBuf,
    pub bytes: u64,
    pub cpus: [usize; 2],
}

/// Reads everything that comes, until it is killed.
pub fn follow(task: &Task) -> Result<Values> {
    Queue::wait_for(&task.queue, Some(PATIENCE))?;
    let mut reader = Queue::open_reader(&task.queue, ReaderConfig::default())?;
    pin(task.cpus[1])?;
    let mut output = io::stdout();
    output.write_all(b"ready\n")?;
    output.flush()?;
    loop {
        if let Some(message) = reader.next()? {
            black_box(message.payload.first());
        } else {
            std::hint::spin_loop();
        }
    }
}

/// Makes the queue, waits until it is told that all readers are there, and appends as fast as it goes.
pub fn write(task: &Task) -> Result<Values> {
    let mut config = WriterConfig::default();
    config.segment_size = (task.bytes + (4 << 20)).next_multiple_of(4096);
    config.allocation_step = config.segment_size;
    config.checksums = false;
    config.background = false;
    let mut writer = Queue::create(&task.queue, config)?;
    pin(task.cpus[0])?;
    let message = [7; SIZE];
    // Behind its first step the queue gets all of its space.
    while writer.position().offset < 2 << 20 {
        writer.append(TYPE, &message)?;
    }
    let mut output = io::stdout();
    output.write_all(b"ready\n")?;
    output.flush()?;
    let start = task.queue.with_file_name("start");
    while !start.exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let begin = Instant::now();
    let mut appended = 0u64;
    while writer.position().offset < task.bytes {
        writer.append(TYPE, &message)?;
        appended += 1;
    }
    let per_second = appended as f64 / begin.elapsed().as_secs_f64();
    Ok(Values::from([("per_second".to_owned(), per_second)]))
}
