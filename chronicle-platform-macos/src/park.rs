#![allow(
    clippy::disallowed_types,
    reason = "the seam hands shared words over under chronicle-sync's name of the atomic"
)]

use core::num::NonZeroU32;

use chronicle_sync::{AtomicU32, Instant, Park, ReadU32, Wake};
use rustix::io::Errno;

use crate::clock::{monotonic, rest};
use crate::darwin::Sleep;
use crate::error::{Call, MacosError};

/// How often a page is brought back that left memory between two looks at it.
const FAULTS: u32 = 16;

/// Sleeps on shared words: with `os_sync_wait_on_address(3)` where the system has it (macOS 14.4), else
/// with the call of the kernel that this is made of.
///
/// In its shared form a word is known by its memory object and its place in it (`ulk_object` and
/// `ulk_offset`, bsd/kern/sys_ulock.c of XNU), so a sleep meets whoever maps the same file, wherever.
/// A wait only reads the word, so it may be mapped read-only.
///
/// Of many words only one can be slept on, and there is no barrier that reaches other processes:
/// writers make their own.
#[derive(Clone, Copy, Debug)]
pub struct MacosPark {
    sleep: Sleep,
}

impl MacosPark {
    /// The means to sleep and wake that this system has, looked up in its libraries.
    #[must_use]
    pub fn new() -> Self {
        Self { sleep: Sleep::find() }
    }
}

impl Default for MacosPark {
    fn default() -> Self {
        Self::new()
    }
}

impl Park for MacosPark {
    type Error = MacosError;

    fn wait(&self, word: &AtomicU32, expected: u32, until: Instant) -> Result<Wake, MacosError> {
        let has_moved = || ReadU32::from(word).load_relaxed() != expected;
        for _ in 0..FAULTS {
            let rest = rest(until);
            if rest == 0 {
                return Ok(if has_moved() { Wake::Woken } else { Wake::TimedOut });
            }
            match self.sleep.wait(word, expected, rest) {
                Ok(()) | Err(Errno::INTR) => return Ok(Wake::Woken),
                // The time-out is a duration, and the kernel may count it by another clock.
                Err(Errno::TIMEDOUT) if monotonic() >= until.as_nanos() => {
                    return Ok(Wake::TimedOut);
                }
                Err(Errno::TIMEDOUT) => return Ok(Wake::Woken),
                // The kernel compares without bringing the page into memory ("let the user level
                // code fault it in", sys_ulock_wait2): the look does that.
                Err(Errno::FAULT) if has_moved() => return Ok(Wake::Woken),
                Err(Errno::FAULT) => {}
                Err(errno) => return Err(Call::Wait.failed(errno)),
            }
        }
        Ok(Wake::Woken)
    }

    /// The system says whether there were sleepers, and not how many: all of them count as one. One
    /// that was woken and has not run since may count again.
    fn wake(&self, word: &AtomicU32, at_most: NonZeroU32) -> Result<u32, MacosError> {
        if at_most == NonZeroU32::MAX {
            return self.wake_by(|| self.sleep.wake_all(word)).map(u32::from);
        }
        let mut woken = 0;
        while woken < at_most.get() && self.wake_by(|| self.sleep.wake_one(word))? {
            woken += 1;
        }
        Ok(woken)
    }
}

impl MacosPark {
    /// Whether there was anybody to wake.
    fn wake_by(&self, wake: impl FnMut() -> rustix::io::Result<()>) -> Result<bool, MacosError> {
        match Call::Wake.make(wake) {
            Ok(()) => Ok(true),
            Err(error) if error.is(Errno::NOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
