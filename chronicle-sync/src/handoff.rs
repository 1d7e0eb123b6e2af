//! Handing one prepared thing from the thread that makes it to the thread that needs it, without
//! either ever waiting for the other. Model L8.
//!
//! Unsafe lives here because the thing changes hands through a cell that both threads can reach.
//! The state word says whose the cell is: the maker's, unless it is ready; then the taker's.
//!
//! A thing is made for a tag, the number of a segment. The taker may change its mind about the tag
//! at any time; what was made for another tag is given back to whoever has it, to be discarded.

use crate::mutation::{Mutant, seeded};
use crate::primitive::{AtomicU64, Ordering, UnsafeCell};

const IDLE: u64 = 0;
const WANTED: u64 = 1;
const READY: u64 = 2;
const KIND: u64 = 3;

fn state(kind: u64, tag: u32) -> u64 {
    u64::from(tag) << 2 | kind
}

/// The place where a thing changes hands. One maker and one taker.
pub struct Handoff<T> {
    state: AtomicU64,
    value: UnsafeCell<Option<T>>,
}

// SAFETY: the value is reached by one thread at a time, as the state word says, and moves between
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

    /// Taker: asks for the thing with this tag. Returns one that is ready and has another tag.
    pub fn want(&self, tag: u32) -> Option<T> {
        let stale = self.withdraw();
        // ORDER: Release, with the Acquire load in `wanted`: the maker reaches the cell behind
        // everything that the taker did with it.
        self.state.store(state(WANTED, tag), Ordering::Release);
        stale
    }

    /// Taker: wants nothing any more. Returns what is ready.
    pub fn withdraw(&self) -> Option<T> {
        let mut seen = self.state.load(Ordering::Relaxed);
        loop {
            if seen & KIND == READY {
                return self.empty();
            }
            // ORDER: Acquire on failure, with the Release in `put`: it has become ready.
            match self.state.compare_exchange(seen, IDLE, Ordering::Relaxed, Ordering::Acquire) {
                Ok(_) => return None,
                Err(now) => seen = now,
            }
        }
    }

    /// Taker: the thing with this tag, if it is ready. What was made for another tag stays.
    pub fn take(&self, tag: u32) -> Option<T> {
        let order =
            if seeded(Mutant::HandoffTakeRelaxed) { Ordering::Relaxed } else { Ordering::Acquire };
        // ORDER: Acquire, with the Release in `put`.
        let seen = self.state.load(order);
        let accepted =
            seen == state(READY, tag) || seeded(Mutant::HandoffStaleTaken) && seen & KIND == READY;
        if accepted { self.empty() } else { None }
    }

    /// Maker: the tag that is wanted and not made yet.
    #[must_use]
    pub fn wanted(&self) -> Option<u32> {
        // ORDER: Acquire, with the Release stores of the taker.
        let seen = self.state.load(Ordering::Acquire);
        (seen & KIND == WANTED).then_some((seen >> 2) as u32)
    }

    /// Maker: hands over the thing with this tag.
    ///
    /// # Errors
    /// Gives it back if it is not wanted any more.
    pub fn put(&self, tag: u32, value: T) -> Result<(), T> {
        if self.wanted() != Some(tag) {
            return Err(value);
        }
        self.value.with_mut(|cell| {
            // SAFETY: something is wanted, so nothing is ready and the cell is the maker's, of which
            // there is one. The taker reaches it only behind the exchange below.
            unsafe { *cell = Some(value) };
        });
        if seeded(Mutant::HandoffPutUnchecked) {
            self.state.store(state(READY, tag), Ordering::Release);
            return Ok(());
        }
        let wanted = state(WANTED, tag);
        // ORDER: Release, with the Acquire loads of the taker.
        let put = self.state.compare_exchange(
            wanted,
            state(READY, tag),
            Ordering::Release,
            Ordering::Relaxed,
        );
        match put {
            Ok(_) => Ok(()),
            Err(_) => {
                // SAFETY: the exchange failed, so the cell was not given away.
                let value = self.value.with_mut(|cell| unsafe { (*cell).take() });
                match value {
                    Some(value) => Err(value),
                    None => Ok(()),
                }
            }
        }
    }

    /// Taker: empties a cell that is ready, and with that gives it back to the maker.
    fn empty(&self) -> Option<T> {
        // SAFETY: the state is ready, so the cell is the taker's, of which there is one.
        let value = self.value.with_mut(|cell| unsafe { (*cell).take() });
        // ORDER: Release, with the Acquire load in `wanted`.
        self.state.store(IDLE, Ordering::Release);
        value
    }
}
