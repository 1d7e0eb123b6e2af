//! What all tables share: how much is measured, of what, and where.

use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;
use tempfile::TempDir;

use crate::job::{Drive, Job, Values};
use crate::measure::drive::finished;
use crate::process::{self, Process};
use crate::systems::{self, Entry};

/// How much is measured.
#[derive(Clone, Copy)]
pub struct Scale {
    /// Times that everything is measured.
    pub runs: usize,
    /// Bytes of payload that one run of a stream sends at the most.
    pub stream_bytes: u64,
    /// A stream or a closed loop ends after so long.
    pub limit_ms: u64,
    /// Round trips of one run.
    pub round_trips: u64,
    /// How long messages are sent at a fixed rate.
    pub one_way_ms: u64,
    /// Sizes of messages in bytes.
    pub sizes: &'static [usize],
    /// Syncs of one durable run with large batches.
    pub syncs: u64,
    /// Bytes of the log in which is sought.
    pub seek_bytes: u64,
    /// Single operations where one by one is measured.
    pub operations: u64,
    /// How long messages are sent over rolls.
    pub rolls_ms: u64,
    /// Seeks of one run.
    pub seeks: u64,
}

pub const FULL: Scale = Scale {
    runs: 5,
    stream_bytes: 192 << 20,
    limit_ms: 250,
    round_trips: 100_000,
    one_way_ms: 400,
    sizes: &[64, 256, 1024, 16384],
    syncs: 300,
    seek_bytes: 1 << 30,
    operations: 1_000_000,
    rolls_ms: 8000,
    seeks: 2000,
};

pub const QUICK: Scale = Scale {
    runs: 1,
    stream_bytes: 24 << 20,
    limit_ms: 60,
    round_trips: 20_000,
    one_way_ms: 60,
    sizes: &[64, 256, 1024, 16384],
    syncs: 60,
    seek_bytes: 256 << 20,
    operations: 200_000,
    rolls_ms: 400,
    seeks: 500,
};

/// Round trips that are not counted: more than Chronicle's first step of space holds.
const ROUND_TRIP_WARM_UP: u64 = 12_000;

pub struct Bench {
    pub scale: Scale,
    /// Where queues are whose messages need not survive anything: files in memory.
    pub memory: PathBuf,
    /// Where queues are whose messages are to survive a power loss.
    pub disk: PathBuf,
    pub cpus: [usize; 2],
    pub ticks_per_ns: f64,
    /// Only these tables, and only systems with one of the other words in their name.
    pub only: Vec<String>,
}

impl Bench {
    /// Whether a table is wanted: by its name, or because no table is named.
    pub fn wants_table(&self, name: &str, tables: &[&str]) -> bool {
        let mut named = self.only.iter().filter(|only| tables.contains(&only.as_str())).peekable();
        named.peek().is_none() || named.any(|only| only == name)
    }

    /// The systems that are wanted out of some.
    pub fn wanted<'s>(
        &self,
        systems: impl IntoIterator<Item = &'s str>,
        tables: &[&str],
    ) -> Vec<&'s str> {
        let named = || self.only.iter().filter(|only| !tables.contains(&only.as_str()));
        let is_wanted = |system: &&str| {
            named().next().is_none() || named().any(|only| system.contains(only.as_str()))
        };
        systems.into_iter().filter(is_wanted).collect()
    }

    /// A directory in memory for one run.
    pub fn scratch(&self) -> Result<TempDir> {
        scratch_in(&self.memory)
    }

    /// A directory on a disk for one run.
    pub fn disk_scratch(&self) -> Result<TempDir> {
        fs::create_dir_all(&self.disk)?;
        scratch_in(&self.disk)
    }

    /// Drives a system once.
    pub fn drive(&self, entry: &Entry, drive: Drive, size: usize) -> Result<Values> {
        self.drive_for(entry, drive, size, self.scale.one_way_ms)
    }

    /// The same; at a fixed rate for so long.
    pub fn drive_for(
        &self,
        entry: &Entry,
        drive: Drive,
        size: usize,
        one_way_ms: u64,
    ) -> Result<Values> {
        let scratch = self.scratch()?;
        let scale = &self.scale;
        let warm_up = entry.warm_up_bytes / size as u64;
        let (messages, warm_up) = match drive {
            Drive::Behind | Drive::CaughtUp => (scale.stream_bytes / size as u64, warm_up),
            Drive::RoundTrip => (scale.round_trips, ROUND_TRIP_WARM_UP),
            Drive::OneWay { rate } => ((rate * one_way_ms / 1000).max(100), warm_up),
            // A few to begin with: what is slow here is not the first touch of a page.
            Drive::Woken { rate } => ((rate * one_way_ms / 1000).max(100), 100),
        };
        let job = Job {
            system: entry.name.to_owned(),
            drive,
            size,
            warm_up,
            messages,
            limit_ms: scale.limit_ms,
            directory: scratch.path().to_owned(),
            ticks_per_ns: self.ticks_per_ns,
            cpus: self.cpus,
        };
        systems::prepare(&job)?;
        let mut processes = Vec::new();
        for side in entry.sides {
            processes.push(Process::start("drive", &(side, &job))?);
        }
        Ok(finished(&job, process::finish(processes)?))
    }

    /// Runs one process in a role and gives what it finds out.
    pub fn single(&self, role: &str, task: &impl Serialize) -> Result<Values> {
        process::finish(vec![Process::start(role, task)?])
    }
}

fn scratch_in(directory: &Path) -> Result<TempDir> {
    let named = |error| format!("{}: {error}", directory.display());
    tempfile::Builder::new()
        .prefix("peers-")
        .tempdir_in(directory)
        .map_err(|error| anyhow::anyhow!(named(error)))
        .context("scratch directory")
}

/// Says what is being done.
pub fn say(what: impl Display) {
    eprintln!("peers: {what}");
}
