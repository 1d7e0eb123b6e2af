//! The limit of every exchange between two processors: a number that goes from one to the other in a cache
//! line, and back in another.
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

/// A line that one side stores to and the other reads.
struct Line(MmapRaw);

impl Line {
    fn open(path: &Path) -> Result<Self> {
        let file =
            File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        file.set_len(4096)?;
        Ok(Self(MmapOptions::new().len(4096).populate().map_raw(&file)?))
    }

    #[inline(always)]
    fn word(&self) -> &AtomicU64 {
        // SAFETY: the mapping has a page, and its first word is accessed as an atomic only.
        unsafe { AtomicU64::from_ptr(self.0.as_mut_ptr().cast()) }
    }

    #[inline(always)]
    fn put(&self, number: u64) {
        // ORDER: Release, with the Acquire load in `await_number`.
        self.word().store(number, Ordering::Release);
    }

    #[inline(always)]
    fn await_number(&self, number: u64) {
        while self.word().load(Ordering::Acquire) != number {
            spin_loop();
        }
    }
}

/// Sends numbers there and back.
pub fn run(side: Side, job: &Job) -> Result<Values> {
    let control = Control::open(&job.directory.join("control"))?;
    let there = Line::open(&job.directory.join("there/line"))?;
    let back = Line::open(&job.directory.join("back/line"))?;
    let [first, second] = job.cpus;
    pin(if side == Side::Send { first } else { second })?;
    control.meet()?;
    let trips = job.warm_up + job.messages;
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
