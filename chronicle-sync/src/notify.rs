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
use crate::primitive::{AtomicU32, Ordering, ReadU32, fence};

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
    pub(crate) fn light(self) {
        #[cfg(not(chronicle_loom))]
        if self == Self::Asymmetric {
            // ORDER: pairs with `Park::heavy_barrier` in `sleeper_barrier` and in `lease::take_over`,
            // which stands in for the fence that is left out here.
            compiler_fence(Ordering::SeqCst);
            return;
        }
        // ORDER: SeqCst, with the fences in `sleeper_barrier` and in `lease::take_over`.
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
    /// Samples a word of which only the moves count: nobody is asked for a wake-up. Look again after
    /// this and before sleeping.
    #[must_use]
    pub fn watching(word: ReadU32<'a>) -> Self {
        // ORDER: Acquire, with the Release step in `wake_all`, as the sample in `raise`.
        Self::of(word.as_atomic(), word.load_acquire())
    }

    pub(crate) fn of(word: &'a AtomicU32, seen: u32) -> Self {
        Self { word, seen }
    }

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

    /// Whether the word has moved since it was sampled, so that nobody would sleep on it.
    #[must_use]
    pub fn has_moved(&self) -> bool {
        // ORDER: Relaxed: whoever finds that it has moved samples it again before the next sleep.
        self.word.load(Ordering::Relaxed) != self.seen
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

/// Sleeper: the barrier between raising flags and looking again. Once for any number of flags.
///
/// `heavy` is [`Park::heavy_barrier`] where the barrier of one of the writers is
/// [`Barrier::Asymmetric`].
pub fn sleeper_barrier(heavy: impl FnOnce()) {
    if !seeded(Mutant::NotifyNoSleeperBarrier) {
        // ORDER: SeqCst, with `Barrier::light`: either the writer sees the flag, or the look that
        // follows sees the record.
        fence(Ordering::SeqCst);
        heavy();
    }
}

impl<'a> Waiters<'a> {
    /// Writer, after publishing: whether [`wake_all`](Self::wake_all) must be called.
    #[inline(always)]
    #[must_use]
    pub fn someone_waits(self, barrier: Barrier) -> bool {
        if !seeded(Mutant::NotifyNoWriterBarrier) {
            barrier.light();
        }
        self.someone_waits_behind_barrier()
    }

    /// The same where the writer's barrier lies behind the publication already: that of
    /// [`lease::still_holds`](crate::lease::still_holds).
    #[inline(always)]
    #[must_use]
    pub fn someone_waits_behind_barrier(self) -> bool {
        // ORDER: Relaxed, behind the barrier that pairs with the fence in `sleeper_barrier`.
        self.waiting.load(Ordering::Relaxed) != 0
    }

    /// Writer: takes the flag down, moves the sequence, wakes everybody.
    ///
    /// # Errors
    /// Those of [`Park::wake`]; sleepers then wake by their time-out.
    pub fn wake_all<P: Park>(self, park: &P) -> Result<(), P::Error> {
        self.wake_all_by(|word| park.wake(word, EVERYBODY).map(drop))
    }

    /// As [`wake_all`](Self::wake_all), for sleepers that something else than [`Park`] wakes:
    /// `wake` gets the word on which they would sleep.
    ///
    /// # Errors
    /// Those of `wake`.
    #[cold]
    pub fn wake_all_by<E>(
        self,
        wake: impl FnOnce(&'a AtomicU32) -> Result<(), E>,
    ) -> Result<(), E> {
        // ORDER: SeqCst, with the fence in `sleeper_barrier`, for the call that a writer makes when it opens: a
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
            // ORDER: Release, with the Acquire load in `raise`: a sample that sees the step was made
            // behind the swap.
            self.notify_seq.fetch_add(1, order);
        }
        let woken = wake(self.notify_seq);
        if seeded(Mutant::NotifyFlagClearedLate) {
            self.waiting.swap(0, Ordering::AcqRel);
        }
        woken
    }

    /// Sleeper: raises the flag. Look again after this and before sleeping; arm again before the
    /// next sleep.
    ///
    /// `heavy` is [`Park::heavy_barrier`] where the writer's barrier is [`Barrier::Asymmetric`].
    #[must_use]
    pub fn arm(self, heavy: impl FnOnce()) -> Ticket<'a> {
        let ticket = self.raise();
        sleeper_barrier(heavy);
        ticket
    }

    /// Sleeper: samples the sequence and raises the flag. [`sleeper_barrier`] comes next, once for
    /// all flags that were raised before it.
    #[must_use]
    pub fn raise(self) -> Ticket<'a> {
        let order =
            if seeded(Mutant::NotifySampleRelaxed) { Ordering::Relaxed } else { Ordering::Acquire };
        // ORDER: Acquire, with the Release step in `wake_all`; sampled before the caller looks
        // again, so a wake-up after that look moves the word away from what was seen.
        let seen = self.notify_seq.load(order);
        // ORDER: Release costs nothing beside the barrier that follows. What keeps the flag from
        // being taken down unseen is the Acquire sample above.
        self.waiting.store(1, Ordering::Release);
        Ticket::of(self.notify_seq, seen)
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
