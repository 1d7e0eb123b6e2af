//! Waking sleepers without a system call while nobody sleeps. Model L2.
//!
//! A sleeper raises a flag, looks again, and sleeps on a sequence word. A writer publishes, looks at
//! the flag, and only if it is raised takes it down, moves the sequence and wakes everybody. Each
//! side stores first and then loads what the other stores (Dekker's pattern), so both need a
//! barrier between store and load that orders across all processors. The writer does this for every
//! record and the sleeper rarely, so where the system has it the sleeper pays for both
//! ([`Barrier::Asymmetric`], `membarrier(2)`).
//!
//! A sleeper that is killed leaves the flag raised: that costs the writer one wake call, not one for
//! every record. A writer that is killed between its steps leaves sleepers to their time-out, so
//! nobody sleeps without one.

use core::num::NonZeroU32;

use crate::mutation::{Mutant, seeded};
use crate::platform::{Instant, Park, Wake};
#[cfg(not(chronicle_loom))]
use crate::primitive::compiler_fence;
use crate::primitive::{AtomicU32, Ordering, fence};

const EVERYBODY: NonZeroU32 = NonZeroU32::MAX;

/// How the writer's half of the store-then-load barrier is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Barrier {
    /// By a fence of its own for every record.
    Full,
    /// By the sleepers, who make every processor that runs the writer pass a barrier: the writer
    /// only keeps the compiler from reordering.
    Asymmetric,
}

impl Barrier {
    #[inline(always)]
    fn light(self) {
        #[cfg(not(chronicle_loom))]
        if self == Self::Asymmetric {
            // ORDER: pairs with `Park::heavy_barrier` in `Waiters::arm`, which stands in for the
            // fence that is left out here.
            compiler_fence(Ordering::SeqCst);
            return;
        }
        // ORDER: SeqCst, with the fence in `Waiters::arm`.
        fence(Ordering::SeqCst);
    }
}

/// The words of one wait queue in shared memory.
#[derive(Clone, Copy, Debug)]
pub struct Waiters<'a> {
    /// 1 while someone may sleep.
    pub waiting: &'a AtomicU32,
    /// Moves by one at each wake-up.
    pub notify_seq: &'a AtomicU32,
}

/// What a sleeper saw before it looked for the last time. Sleep while [`word`](Self::word) holds
/// [`seen`](Self::seen), by whatever means: [`Park::wait`], or an executor of one's own.
#[derive(Clone, Copy, Debug)]
pub struct Ticket<'a> {
    word: &'a AtomicU32,
    seen: u32,
}

impl<'a> Ticket<'a> {
    /// The word to sleep on.
    #[must_use]
    pub fn word(&self) -> &'a AtomicU32 {
        self.word
    }

    /// Sleep only while the word holds this.
    #[must_use]
    pub fn seen(&self) -> u32 {
        self.seen
    }
}

/// What became of one round of [`Waiters::park_unless`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parked<T> {
    /// There was something already; nobody slept.
    Ready(T),
    /// Slept and woke, perhaps for nothing: look again.
    Woken,
    /// The time was up.
    TimedOut,
}

impl<'a> Waiters<'a> {
    /// Writer, after publishing: whether [`wake_all`](Self::wake_all) must be called.
    #[inline(always)]
    #[must_use]
    pub fn someone_waits(self, barrier: Barrier) -> bool {
        if !seeded(Mutant::NotifyNoWriterBarrier) {
            barrier.light();
        }
        self.waiting.load(Ordering::Relaxed) != 0
    }

    /// Writer: takes the flag down, moves the sequence, wakes everybody.
    ///
    /// # Errors
    /// Those of [`Park::wake`]; sleepers then wake by their time-out.
    #[cold]
    pub fn wake_all<P: Park>(self, park: &P) -> Result<(), P::Error> {
        // ORDER: SeqCst, with the fence in `arm`, for the call that a writer makes when it opens: a
        // sleeper that still counts on the last writer's kind of barrier is woken here, or sees the
        // new writer's.
        fence(Ordering::SeqCst);
        if !seeded(Mutant::NotifyFlagClearedLate) {
            // Before the step: whoever samples the sequence behind the step raises its flag behind
            // this, so no flag that is taken down here belongs to a sleeper that the step does not
            // keep from sleeping. ORDER: the Release step below keeps it in front.
            self.waiting.swap(0, Ordering::AcqRel);
        }
        if !seeded(Mutant::NotifySeqNotMoved) {
            let order = if seeded(Mutant::NotifyStepRelaxed) {
                Ordering::Relaxed
            } else {
                Ordering::Release
            };
            // ORDER: Release, with the Acquire load in `arm`: a sample that sees the step was made
            // behind the swap.
            self.notify_seq.fetch_add(1, order);
        }
        let woken = park.wake(self.notify_seq, EVERYBODY);
        if seeded(Mutant::NotifyFlagClearedLate) {
            self.waiting.swap(0, Ordering::AcqRel);
        }
        woken.map(drop)
    }

    /// Sleeper: raises the flag. Look again after this and before sleeping; arm again before the
    /// next sleep.
    ///
    /// `heavy` is [`Park::heavy_barrier`] where the writer's barrier is [`Barrier::Asymmetric`].
    #[must_use]
    pub fn arm(self, heavy: impl FnOnce()) -> Ticket<'a> {
        let order =
            if seeded(Mutant::NotifySampleRelaxed) { Ordering::Relaxed } else { Ordering::Acquire };
        // ORDER: Acquire, with the Release step in `wake_all`; sampled before the caller looks
        // again, so a wake-up after that look moves the word away from what was seen.
        let seen = self.notify_seq.load(order);
        // ORDER: Release costs nothing beside the barrier that follows. What keeps the flag from
        // being taken down unseen is the Acquire sample above.
        self.waiting.store(1, Ordering::Release);
        if !seeded(Mutant::NotifyNoSleeperBarrier) {
            // ORDER: SeqCst, with `Barrier::light`: either the writer sees the flag, or the look
            // that follows sees the record.
            fence(Ordering::SeqCst);
            heavy();
        }
        Ticket { word: self.notify_seq, seen }
    }

    /// Sleeper: one round of raising the flag, looking once more, and sleeping until woken or
    /// `until`.
    ///
    /// # Errors
    /// Those of [`Park::wait`].
    pub fn park_unless<P: Park, T>(
        self,
        park: &P,
        until: Instant,
        heavy: impl FnOnce(),
        mut look: impl FnMut() -> Option<T>,
    ) -> Result<Parked<T>, P::Error> {
        let mut ticket = self.arm(heavy);
        if !seeded(Mutant::NotifyNoRecheck)
            && let Some(found) = look()
        {
            return Ok(Parked::Ready(found));
        }
        if seeded(Mutant::NotifySampledLate) {
            ticket.seen = self.notify_seq.load(Ordering::Acquire);
        }
        Ok(match park.wait(ticket.word, ticket.seen, until)? {
            Wake::Woken => Parked::Woken,
            Wake::TimedOut => Parked::TimedOut,
        })
    }
}
