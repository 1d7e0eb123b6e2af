//! The limits of every exchange between two processors: a number that goes from one to the other in a cache
//! line and back in another, always the same two, or each time in the lines behind the last, as in anything that keeps
//! what it was given. The lines lie side by side, as records do, so that a processor may fetch them ahead.
//!
//! Unsafe lives here because words of a mapped file are made references to atomics.
#![allow(clippy::disallowed_types, reason = "a measurement of bare memory")]

use std::fs::File;
use std::hint::spin_loop;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, bail};
use memmap2::{MmapOptions, MmapRaw};

use crate::clock::ticks;
use crate::control::Control;
use crate::job::{Job, Side, Values};
use crate::measure::drive::half_trips;
use crate::process::pin;

const LINE: usize = 64;

/// Lines that one side stores to and the other reads, one for each number or the same for all.
struct Lines {
    map: MmapRaw,
    each: bool,
}

impl Lines {
    fn open(path: &Path, each: bool, numbers: u64) -> Result<Self> {
        let file =
            File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        let lines = if each { numbers as usize + 1 } else { 1 };
        let bytes = (lines * LINE).next_multiple_of(4096);
        file.set_len(bytes as u64)?;
        Ok(Self { map: MmapOptions::new().len(bytes).populate().map_raw(&file)?, each })
    }

    /// The word of a number, at most as large as was said.
    #[inline(always)]
    fn word(&self, number: u64) -> &AtomicU64 {
        let at = if self.each { number as usize * LINE } else { 0 };
        debug_assert!(at < self.map.len());
        // SAFETY: the mapping has a line for each number up to that said to `open`, `run` counts no further, and its words are
        // accessed as atomics only.
        unsafe { AtomicU64::from_ptr(self.map.as_mut_ptr().wrapping_add(at).cast()) }
    }

    #[inline(always)]
    fn put(&self, number: u64) {
        // ORDER: Release, with the Acquire load in `await_number`.
        self.word(number).store(number, Ordering::Release);
    }

    #[inline(always)]
    fn await_number(&self, number: u64) {
        while self.word(number).load(Ordering::Acquire) != number {
            spin_loop();
        }
    }
}

/// Sends numbers there and back, in the same two lines.
pub fn same(side: Side, job: &Job) -> Result<Values> {
    run(side, job, false)
}

/// Sends numbers there and back, in other lines each time.
pub fn another(side: Side, job: &Job) -> Result<Values> {
    run(side, job, true)
}

fn run(side: Side, job: &Job, each: bool) -> Result<Values> {
    let control = Control::open(&job.directory.join("control"))?;
    let trips = job.warm_up + job.messages;
    let there = Lines::open(&job.directory.join("there/line"), each, trips)?;
    let back = Lines::open(&job.directory.join("back/line"), each, trips)?;
    let [first, second] = job.cpus;
    pin(if side == Side::Send { first } else { second })?;
    control.meet()?;
    match side {
        Side::Send => {
            let mut seen = Vec::with_capacity(job.messages as usize);
            for number in 1..=trips {
                let begin = ticks();
                there.put(number);
                back.await_number(number);
                if number > job.warm_up {
                    seen.push(ticks() - begin);
                }
            }
            Ok(half_trips(job, seen))
        }
        Side::Receive => {
            for number in 1..=trips {
                there.await_number(number);
                back.put(number);
            }
            Ok(Values::new())
        }
        Side::Both => bail!("each side is a process"),
    }
}
