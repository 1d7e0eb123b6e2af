//! Logs whose appends survive a power loss, one file each, and the loop that measures them.
//!
//! A new one is a file here that implements [`Log`], and a line in [`LOGS`].

mod chronicle;
mod fjall;
mod okaywal;
mod raft_engine;
mod raw;
mod sqlite;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::clock::ticks;
use crate::job::Values;
use crate::measure::drive::percentiles;
use crate::message::Writer;
use crate::process::pin;

/// Bytes of every record.
pub const SIZE: usize = 256;
/// Syncs that are not counted.
const WARM_UP: u64 = 20;

/// Something that makes records durable.
pub trait Log {
    /// Appends all records, and returns when all of them would survive a power loss.
    fn append(&mut self, records: &[&[u8]]) -> Result<()>;

    /// Bytes behind the log's end whose pages are made ready, and so count as written before they are.
    fn ready(&self) -> Result<u64> {
        Ok(0)
    }
}

type Open = fn(&Path) -> Result<Box<dyn Log>>;

/// The logs by name.
pub const LOGS: &[(&str, Open)] = &[
    ("raw", raw::open_allocated),
    ("raw zeroed", raw::open_zeroed),
    ("chronicle flush", chronicle::open_flushed),
    ("chronicle group", chronicle::open_grouped),
    ("chronicle first", chronicle::open_first),
    ("raft-engine", raft_engine::open),
    ("okaywal", okaywal::open),
    ("fjall", fjall::open),
    ("sqlite", sqlite::open),
];

/// One run of one log.
#[derive(Serialize, Deserialize)]
pub struct Task {
    pub log: String,
    /// Records of one append.
    pub batch: usize,
    pub appends: u64,
    /// An empty directory on a disk.
    pub directory: PathBuf,
    pub ticks_per_ns: f64,
    pub cpu: usize,
}

/// Appends durably, again and again.
pub fn run(task: &Task) -> Result<Values> {
    let log = LOGS.iter().find(|(name, _)| *name == task.log);
    let (_, open) = log.with_context(|| format!("no log is called {}", task.log))?;
    let mut log = open(&task.directory)?;
    pin(task.cpu)?;
    let mut writer = Writer::new(SIZE)?;
    let mut seq = 0;
    let mut histogram = Histogram::<u64>::new(3)?;
    let mut begin = (ticks(), 0);
    for append in 0..WARM_UP + task.appends {
        if append == WARM_UP {
            begin = (ticks(), written_bytes()? - log.ready()?);
        }
        let records: Vec<Vec<u8>> =
            (0..task.batch as u64).map(|next| writer.timed(seq + next, 0).to_vec()).collect();
        let records: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
        let before = ticks();
        log.append(&records)?;
        let took = ticks() - before;
        seq += task.batch as u64;
        if append >= WARM_UP {
            histogram.record((took as f64 / task.ticks_per_ns) as u64)?;
        }
    }
    let seconds = (ticks() - begin.0) as f64 / task.ticks_per_ns / 1e9;
    let records = task.appends * task.batch as u64;
    let mut values = percentiles(&histogram);
    values.insert("per_second".to_owned(), records as f64 / seconds);
    let written = written_bytes()? - log.ready()? - begin.1;
    values.insert("bytes_per_append".to_owned(), written as f64 / task.appends as f64);
    Ok(values)
}

/// Bytes that this process has caused to be sent to storage (proc_pid_io(5), `write_bytes`): whole pages,
/// when they become dirty.
fn written_bytes() -> Result<u64> {
    let text = fs::read_to_string("/proc/self/io")?;
    let line = text.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    Ok(line.context("no write_bytes")?.trim().parse()?)
}
