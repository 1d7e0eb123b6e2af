//! Handing one prepared thing from the thread that makes it to the thread that needs it, without
//! either ever waiting for the other. Model L8.
//!
//! Unsafe lives here because the thing changes hands through a cell that all threads can reach. A bit of
//! the state word says that somebody is at the cell; nobody waits for it, who would bring or take something goes away.
//!
//! A thing is made for a tag, the number of a segment. The taker may change its mind about the tag
//! at any time, also while the maker is at the cell: the rest of the word is its own. What was made for
//! another tag is given back to whoever has it, to be discarded.

use crate::mutation::{Mutant, seeded};
use crate::primitive::{AtomicU64, Ordering, UnsafeCell};

const IDLE: u64 = 0;
const WANTED: u64 = 1;
const READY: u64 = 2;
const KIND: u64 = 3;
/// Somebody is at the cell: the only one, from the exchange that sets this to the one that clears it.
const BUSY: u64 = 4;

fn state(kind: u64, tag: u32) -> u64 {
    u64::from(tag) << 3 | kind
}

/// The place where a thing changes hands. Meant for one maker and one taker; where there are more, a thing still goes
/// to one of them, and what would be brought or taken while another thread is at the place is not.
pub struct Handoff<T> {
    state: AtomicU64,
    /// Holds a thing where the state is ready, and while somebody brings or takes one.
    value: UnsafeCell<Option<T>>,
}

// SAFETY: the value is reached by one thread at a time, the one that has set the busy bit, and moves between
// threads, for which it has to be `Send`.
unsafe impl<T: Send> Sync for Handoff<T> {}

impl<T> Default for Handoff<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Handoff<T> {
    /// A place where nothing is wanted.
    #[must_use]
    pub fn new() -> Self {
        Self { state: AtomicU64::new(IDLE), value: UnsafeCell::new(None) }
    }

    /// Taker: asks for the thing with this tag. Returns what is ready, whatever its tag.
    pub fn want(&self, tag: u32) -> Option<T> {
        self.change(state(WANTED, tag))
    }

    /// Taker: wants nothing any more. Returns what is ready.
    pub fn withdraw(&self) -> Option<T> {
        self.change(IDLE)
    }

    /// Taker: the thing with this tag, if it is ready. What was made for another tag stays.
    pub fn take(&self, tag: u32) -> Option<T> {
        let seen = self.state.load(Ordering::Relaxed);
        let accepted =
            seen == state(READY, tag) || seeded(Mutant::HandoffStaleTaken) && seen & KIND == READY;
        if accepted { self.empty(seen, IDLE) } else { None }
    }

    /// Maker: the tag that is wanted and not made yet.
    #[must_use]
    pub fn wanted(&self) -> Option<u32> {
        let seen = self.state.load(Ordering::Relaxed);
        (seen & (KIND | BUSY) == WANTED).then_some((seen >> 3) as u32)
    }

    /// Maker: hands over the thing with this tag.
    ///
    /// # Errors
    /// Gives it back if it is not wanted any more, or somebody else is at the place.
    pub fn put(&self, tag: u32, value: T) -> Result<(), T> {
        let wanted = state(WANTED, tag);
        if !self.enter(wanted, wanted) {
            return Err(value);
        }
        // SAFETY: this thread has just become the one at the cell.
        self.value.with_mut(|cell| unsafe { *cell = Some(value) });
        if seeded(Mutant::HandoffPutUnchecked) {
            self.state.store(state(READY, tag), Ordering::Release);
            return Ok(());
        }
        // ORDER: Release, with the Acquire in `enter` of the taker.
        let put = self.state.compare_exchange(
            wanted | BUSY,
            state(READY, tag),
            Ordering::Release,
            Ordering::Relaxed,
        );
        match put {
            Ok(_) => Ok(()),
            Err(_) => self.leave().map_or(Ok(()), Err),
        }
    }

    /// Says what is wanted from now on. Returns what is ready.
    fn change(&self, new: u64) -> Option<T> {
        loop {
            let seen = self.state.load(Ordering::Relaxed);
            if seen & KIND == READY {
                let taken = self.empty(seen, new);
                if taken.is_some() {
                    return taken;
                }
            } else if self.exchange(seen, new | seen & BUSY, Ordering::Relaxed) {
                // ORDER: Relaxed, because what was done at the cell was released by whoever left it, and every change
                // of the word behind that is an exchange, which carries it on.
                return None;
            }
        }
    }

    /// Takes what is ready in this state, unless somebody else was faster; `new` is the state then.
    fn empty(&self, ready: u64, new: u64) -> Option<T> {
        if self.enter(ready, new) { self.leave() } else { None }
    }

    /// Becomes the one at the cell if this is the state, in which nobody is; `new` is the state then.
    fn enter(&self, seen: u64, new: u64) -> bool {
        let order =
            if seeded(Mutant::HandoffTakeRelaxed) { Ordering::Relaxed } else { Ordering::Acquire };
        // ORDER: Acquire, with the Release in `put` and in `leave`: this thread is behind whoever was here before.
        self.exchange(seen, new | BUSY, order)
            || seeded(Mutant::HandoffCrowded) && self.state.load(order) == seen | BUSY
    }

    /// Empties the cell and goes away from it. Whoever is at the cell may.
    fn leave(&self) -> Option<T> {
        // SAFETY: whoever calls this has entered, so nobody else is at the cell.
        let value = self.value.with_mut(|cell| unsafe { (*cell).take() });
        // ORDER: Release, with the Acquire in `enter`.
        self.state.fetch_and(!BUSY, Ordering::Release);
        value
    }

    fn exchange(&self, seen: u64, new: u64, order: Ordering) -> bool {
        self.state.compare_exchange(seen, new, order, Ordering::Relaxed).is_ok()
    }
}
