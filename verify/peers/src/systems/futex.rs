//! The limit of waking somebody: messages in a ring of memory, and a futex that counts them. The sender always
//! makes the system call, the receiver sleeps whenever there is nothing.
//!
//! Unsafe lives here because the ring is mapped memory.
#![allow(clippy::disallowed_types, reason = "a measurement of bare memory")]

use std::fs::{self, File};
use std::num::NonZeroU32;
use std::slice;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow};
use chronicle_platform_linux::{LinuxClock, LinuxPark};
use chronicle_sync::{AtomicU32, Clock, Park};
use memmap2::{Advice, MmapRaw};

use crate::system::{Place, Processes, Receiver, Sender};

const PAGE: usize = 4096;
const SLICE: Duration = Duration::from_secs(1);

pub struct Futex;

/// One side of it. The first page holds the counter, each message has a place of its own behind it.
pub struct Side {
    map: MmapRaw,
    size: usize,
    count: u32,
    park: LinuxPark,
    clock: LinuxClock,
}

impl Processes for Futex {
    type Sender = Side;
    type Receiver = Side;

    fn sender(place: &Place) -> Result<Side> {
        let new = place.directory.join("new");
        let file = File::options().read(true).write(true).create_new(true).open(&new)?;
        file.set_len(PAGE as u64 + place.messages * place.size as u64)?;
        let side = Side::new(&file, place)?;
        fs::rename(new, place.directory.join("ring"))?;
        Ok(side)
    }

    fn receiver(place: &Place) -> Result<Side> {
        let path = place.directory.join("ring");
        while !path.exists() {
            thread::sleep(Duration::from_millis(1));
        }
        Side::new(&File::options().read(true).write(true).open(path)?, place)
    }
}

impl Side {
    fn new(file: &File, place: &Place) -> Result<Self> {
        let map = MmapRaw::map_raw(file)?;
        map.advise(Advice::PopulateWrite)?;
        let (park, clock) = (LinuxPark::new(), LinuxClock::new());
        Ok(Self { map, size: place.size, count: 0, park, clock })
    }

    fn counter(&self) -> &AtomicU32 {
        // SAFETY: the mapping has a page and more, and its first word is accessed as an atomic only.
        unsafe { AtomicU32::from_ptr(self.map.as_mut_ptr().cast()) }
    }

    /// Where the next message is; there are as many places as messages.
    fn place(&self) -> *mut u8 {
        let at = PAGE + self.count as usize * self.size;
        debug_assert!(at + self.size <= self.map.len());
        self.map.as_mut_ptr().wrapping_add(at)
    }
}

impl Sender for Side {
    fn send(&mut self, message: &[u8]) -> Result<()> {
        // SAFETY: each message has a place inside the mapping, which nobody reads before the counter says
        // that it is there.
        unsafe { self.place().copy_from_nonoverlapping(message.as_ptr(), self.size) };
        self.count += 1;
        // ORDER: Release, with the Acquire load in `poll`.
        self.counter().store(self.count, Ordering::Release);
        self.park.wake(self.counter(), NonZeroU32::MAX).map_err(|error| anyhow!("{error:?}"))?;
        Ok(())
    }
}

impl Receiver for Side {
    fn poll(&mut self, most: u64, mut each: impl FnMut(&[u8])) -> Result<u64> {
        let seen = self.counter().load(Ordering::Acquire);
        if seen == self.count {
            let until = self.clock.now().after(SLICE);
            let slept = self.park.wait(self.counter(), seen, until);
            slept.map_err(|error| anyhow!("{error:?}"))?;
            return Ok(0);
        }
        let mut count = 0;
        while count < most && self.count != seen {
            // SAFETY: the place lies inside the mapping, and the counter says that the message is there.
            each(unsafe { slice::from_raw_parts(self.place(), self.size) });
            self.count += 1;
            count += 1;
        }
        Ok(count)
    }
}
