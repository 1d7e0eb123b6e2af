//! What one run is asked to do: handed to the processes on their command line.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What was measured, by name; units are in the names.
pub type Values = BTreeMap<String, f64>;

/// How the two sides of a queue are driven.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Drive {
    /// As fast as it goes, the reader at a distance.
    Behind,
    /// As fast as it goes, the reader as close as it can be.
    CaughtUp,
    /// One message there and back, then the next.
    RoundTrip,
    /// So many messages a second, counted from when each was due.
    OneWay { rate: u64 },
    /// The same, so rarely that the reader sleeps between any two.
    Woken { rate: u64 },
}

/// Which part a process plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Side {
    Send,
    Receive,
    /// Both, in two threads.
    Both,
}

/// One run of one system.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    /// Name of the system.
    pub system: String,
    pub drive: Drive,
    /// Bytes of a message.
    pub size: usize,
    /// Messages that are not counted, sent first.
    pub warm_up: u64,
    /// Messages at the most.
    pub messages: u64,
    /// The sender stops after so long.
    pub limit_ms: u64,
    /// An empty directory for this run.
    pub directory: PathBuf,
    pub ticks_per_ns: f64,
    pub cpus: [usize; 2],
}

impl Job {
    pub fn nanoseconds(&self, ticks: u64) -> f64 {
        ticks as f64 / self.ticks_per_ns
    }

    pub fn ticks(&self, nanoseconds: f64) -> u64 {
        (nanoseconds * self.ticks_per_ns) as u64
    }
}
