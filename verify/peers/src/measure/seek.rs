//! Going to a message in a large log, by number and by time, with everything in memory and with nothing.

use std::fs::{self, File};
use std::io;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use chronicle_std::{Queue, QueueReader, ReaderConfig, RetentionPolicy, WriterConfig};
use hdrhistogram::Histogram;
use rustix::fs::{Advice, fadvise};
use serde::{Deserialize, Serialize};

use crate::clock::ticks;
use crate::job::Values;
use crate::process::pin;

const TYPE: u16 = 0x8000;
const SIZE: usize = 256;
/// Seeks in a cold log: each begins with everything dropped from memory.
const COLD: u64 = 40;

#[derive(Serialize, Deserialize)]
pub struct Task {
    /// Where the log is, or is to be made.
    pub directory: PathBuf,
    pub bytes: u64,
    pub seeks: u64,
    pub ticks_per_ns: f64,
    pub cpu: usize,
}

/// Makes the log.
pub fn fill(task: &Task) -> Result<Values> {
    let mut config = WriterConfig::default();
    config.retention = RetentionPolicy::KEEP_ALL;
    let mut writer = Queue::create(task.directory.join("queue"), config)?;
    let message = [7; SIZE];
    while u64::from(writer.position().segment.get()) << 27 < task.bytes {
        writer.append(TYPE, &message)?;
    }
    writer.flush()?;
    Ok(Values::from([("messages".to_owned(), writer.next_seq() as f64)]))
}

/// Seeks in it.
pub fn run(task: &Task) -> Result<Values> {
    pin(task.cpu)?;
    let queue = task.directory.join("queue");
    let mut found = Values::new();
    let mut reader = Queue::open_reader(&queue, ReaderConfig::default())?;
    let (first, last) = ends(&mut reader)?;
    let mut random = Random(task.ticks_per_ns.to_bits() | 1);
    for by_time in [false, true] {
        let name = if by_time { "time" } else { "seq" };
        let target = |random: &mut Random| {
            if by_time {
                random.between(first.timestamp_ns, last.timestamp_ns)
            } else {
                random.between(first.seq, last.seq)
            }
        };
        // The cold seeks of the round before have dropped it.
        bring_to_memory(&queue)?;
        let mut warm = Histogram::<u64>::new(3)?;
        // The first ones open the segments and their indexes.
        for seek in 0..task.seeks + 200 {
            let to = target(&mut random);
            let took = timed(task, &mut reader, by_time, to)?;
            if seek >= 200 {
                warm.record(took)?;
            }
        }
        let mut cold = Histogram::<u64>::new(3)?;
        for _ in 0..COLD {
            drop_from_memory(&queue)?;
            let mut reader = Queue::open_reader(&queue, ReaderConfig::default())?;
            let to = target(&mut random);
            cold.record(timed(task, &mut reader, by_time, to)?)?;
        }
        found.insert(format!("{name}_warm_p50"), warm.value_at_quantile(0.5) as f64);
        found.insert(format!("{name}_warm_p99"), warm.value_at_quantile(0.99) as f64);
        found.insert(format!("{name}_cold_p50"), cold.value_at_quantile(0.5) as f64);
        found.insert(format!("{name}_cold_p99"), cold.value_at_quantile(0.99) as f64);
    }
    Ok(found)
}

/// A message's number and time.
struct Message {
    seq: u64,
    timestamp_ns: u64,
}

fn read(reader: &mut QueueReader) -> Result<Message> {
    let message = reader.next()?.context("there is no message")?;
    Ok(Message { seq: message.seq, timestamp_ns: message.timestamp_ns })
}

/// The first message and the last one.
fn ends(reader: &mut QueueReader) -> Result<(Message, Message)> {
    reader.seek_to_start()?;
    let first = read(reader)?;
    reader.seek_to_end()?;
    reader.seek_back(1)?;
    Ok((first, read(reader)?))
}

/// Seeks and reads the message; how long that took in nanoseconds.
fn timed(task: &Task, reader: &mut QueueReader, by_time: bool, to: u64) -> Result<u64> {
    let begin = ticks();
    let sought = if by_time { reader.seek_timestamp(to)? } else { reader.seek_seq(to)? };
    let message = read(reader)?;
    let took = (ticks() - begin) as f64 / task.ticks_per_ns;
    let right = if by_time { message.timestamp_ns >= to } else { message.seq == to };
    if !sought.found || !right {
        bail!("sought {to} and found {}", message.seq);
    }
    Ok(took as u64)
}

/// Has the kernel read the files.
fn bring_to_memory(queue: &Path) -> Result<()> {
    for entry in fs::read_dir(queue)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            io::copy(&mut File::open(entry.path())?, &mut io::sink())?;
        }
    }
    Ok(())
}

/// Has the kernel forget the files' pages, which are on the medium (posix_fadvise(2)).
fn drop_from_memory(queue: &Path) -> Result<()> {
    for entry in fs::read_dir(queue)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            let file = File::open(entry.path())?;
            fadvise(&file, 0, None::<NonZeroU64>, Advice::DontNeed)?;
        }
    }
    Ok(())
}

/// Numbers that look random (xorshift; Marsaglia 2003), the same for every log of a run.
struct Random(u64);

impl Random {
    fn between(&mut self, from: u64, to: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        from + self.0 % (to - from + 1)
    }
}
