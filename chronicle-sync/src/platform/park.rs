use core::num::NonZeroU32;

use super::{Error, Instant};
use crate::notify::{Barrier, Ticket};
use crate::primitive::AtomicU32;

/// Why [`Park::wait`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// Woken, or the word did not hold the expected value, or for no reason at all.
    Woken,
    /// The time was up.
    TimedOut,
}

/// Sleeping on a shared word.
///
/// Waits and wakes must meet across processes and across different mappings of the same word.
/// Spurious returns are legal: only liveness rests on this trait.
pub trait Park {
    /// What can go wrong.
    type Error: Error;

    /// Sleeps while `word` holds `expected`, at most until `until`.
    ///
    /// The comparison and the falling asleep are one step with regard to [`wake`](Self::wake). The
    /// word may lie on a page mapped read-only.
    ///
    /// # Errors
    /// The backend's; an interruption by a signal is [`Wake::Woken`].
    fn wait(&self, word: &AtomicU32, expected: u32, until: Instant) -> Result<Wake, Self::Error>;

    /// Wakes at most so many sleepers on `word` and returns how many there were. A system that says
    /// only whether there were any counts all that one of its calls wakes as one, and may count a
    /// sleeper that was woken and has not run since again.
    ///
    /// # Errors
    /// The backend's.
    fn wake(&self, word: &AtomicU32, at_most: NonZeroU32) -> Result<u32, Self::Error>;

    /// The most words that one [`wait_any`](Self::wait_any) sleeps on, at most
    /// [`MOST_WORDS`](crate::notify_any::MOST_WORDS). May cost a system call: ask once.
    ///
    /// Whoever waits for more words than this sleeps in short slices, or has others sleep on the
    /// rest.
    fn words_at_once(&self) -> usize {
        1
    }

    /// Sleeps while every word holds what its ticket says, at most until `until`.
    ///
    /// As [`wait`](Self::wait), for many words. What is provided is for backends that can sleep on
    /// one word only: it looks at all words and then sleeps on the first one, so of the others no
    /// move is noticed before `until`. Without any ticket nobody sleeps and the time is up.
    ///
    /// # Errors
    /// The backend's.
    fn wait_any(&self, tickets: &[Ticket<'_>], until: Instant) -> Result<Wake, Self::Error> {
        let Some(first) = tickets.first() else { return Ok(Wake::TimedOut) };
        if tickets.iter().any(Ticket::has_moved) {
            return Ok(Wake::Woken);
        }
        self.wait(first.word(), first.seen(), until)
    }

    /// Called by a writer when it opens: whether sleepers can make this process pass a barrier
    /// ([`heavy_barrier`](Self::heavy_barrier)), so that it may leave out its own.
    fn enlist(&self) -> Barrier {
        Barrier::Full
    }

    /// Makes every thread of every enlisted process pass a full memory barrier.
    ///
    /// Returns whether that was done. Where it was not, the caller cannot rely on being woken and
    /// sleeps in short slices.
    #[must_use]
    fn heavy_barrier(&self) -> bool {
        false
    }
}
