#![allow(
    clippy::disallowed_types,
    reason = "the seam hands shared words over under chronicle-sync's name of the atomic"
)]

use core::num::NonZeroU32;

use chronicle_sync::notify::{Barrier, Ticket};
use chronicle_sync::notify_any::MOST_WORDS;
use chronicle_sync::{AtomicU32, Instant, Park, Wake};
use rustix::io::Errno;
use rustix::thread::futex::{Wait, WaitFlags, WaitPtr, WaitvFlags};
use rustix::thread::{MembarrierCommand, MembarrierQuery, futex, membarrier, membarrier_query};
use rustix::time::ClockId;

use crate::clock::timespec;
use crate::error::{Call, LinuxError};

/// Sleeps on futexes and orders with `membarrier(2)`.
///
/// The futexes are not private: `futex(2)` identifies a word in a shared mapping by its file and
/// its place in the file, so it meets whoever maps the same file, wherever. A wait only reads the
/// word, so it may be mapped read-only.
#[derive(Clone, Copy, Debug, Default)]
pub struct LinuxPark {
    _private: (),
}

impl LinuxPark {
    /// The means to sleep and wake.
    #[must_use]
    pub const fn new() -> Self {
        Self { _private: () }
    }
}

impl Park for LinuxPark {
    type Error = LinuxError;

    fn wait(&self, word: &AtomicU32, expected: u32, until: Instant) -> Result<Wake, LinuxError> {
        // FUTEX_WAIT_BITSET because its time-out is a point on CLOCK_MONOTONIC and not a duration
        // (futex(2)): a caller that looks again after a spurious return does not wait for longer.
        let timeout = timespec(until.as_nanos());
        let shared = futex::Flags::empty();
        match futex::wait_bitset(word, shared, expected, Some(&timeout), NonZeroU32::MAX) {
            Ok(()) | Err(Errno::AGAIN | Errno::INTR) => Ok(Wake::Woken),
            Err(Errno::TIMEDOUT) => Ok(Wake::TimedOut),
            Err(errno) => Err(Call::Futex.failed(errno)),
        }
    }

    fn wake(&self, word: &AtomicU32, at_most: NonZeroU32) -> Result<u32, LinuxError> {
        // The kernel reads the number as a signed one, of which a negative one wakes a single
        // sleeper.
        let at_most = at_most.get().min(i32::MAX.cast_unsigned());
        let woken = Call::Futex.make(|| futex::wake(word, futex::Flags::empty(), at_most))?;
        Ok(u32::try_from(woken).unwrap_or(u32::MAX))
    }

    /// As many as `futex_waitv(2)` takes where the kernel has it (since Linux 5.16) and no sandbox
    /// refuses it, else one. Found out by a call with no words, which is `EINVAL` where it is there.
    fn words_at_once(&self) -> usize {
        match futex::waitv(&[], WaitvFlags::empty(), None, ClockId::Monotonic) {
            Err(Errno::INVAL) => MOST_WORDS,
            _ => 1,
        }
    }

    /// `futex_waitv(2)`; where it is not there, `futex(2)` on the first word.
    fn wait_any(&self, tickets: &[Ticket<'_>], until: Instant) -> Result<Wake, LinuxError> {
        let [first, more @ ..] = tickets else { return Ok(Wake::TimedOut) };
        if more.is_empty() {
            return self.wait(first.word(), first.seen(), until);
        }
        let mut waits = [Wait::new(); MOST_WORDS];
        for (wait, ticket) in waits.iter_mut().zip(tickets) {
            wait.val = ticket.seen().into();
            wait.uaddr = WaitPtr::new(ticket.word().as_ptr().cast());
            // Not private, as above.
            wait.flags = WaitFlags::SIZE_U32;
        }
        let waits = waits.get(..tickets.len()).unwrap_or(&waits);
        let timeout = timespec(until.as_nanos());
        match futex::waitv(waits, WaitvFlags::empty(), Some(&timeout), ClockId::Monotonic) {
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Ok(Wake::Woken),
            Err(Errno::TIMEDOUT) => Ok(Wake::TimedOut),
            Err(Errno::NOSYS | Errno::PERM) if tickets.iter().any(Ticket::has_moved) => {
                Ok(Wake::Woken)
            }
            Err(Errno::NOSYS | Errno::PERM) => self.wait(first.word(), first.seen(), until),
            Err(errno) => Err(Call::FutexWaitv.failed(errno)),
        }
    }

    /// Registers the process for `MEMBARRIER_CMD_GLOBAL_EXPEDITED`, which reaches the running
    /// threads of all registered processes of the machine (`membarrier(2)`, since Linux 4.16). The
    /// registration lasts until the process ends or calls `exec`.
    fn enlist(&self) -> Barrier {
        let needed = MembarrierQuery::GLOBAL_EXPEDITED | MembarrierQuery::REGISTER_GLOBAL_EXPEDITED;
        if membarrier_query().contains(needed)
            && membarrier(MembarrierCommand::RegisterGlobalExpedited).is_ok()
        {
            Barrier::Asymmetric
        } else {
            Barrier::Full
        }
    }

    /// `MEMBARRIER_CMD_GLOBAL_EXPEDITED`; the caller need not be enlisted itself.
    fn heavy_barrier(&self) -> bool {
        membarrier(MembarrierCommand::GlobalExpedited).is_ok()
    }
}
