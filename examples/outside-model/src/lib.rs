//! Settings in shared memory: one process sets them, others read all of them as one, and sleep until
//! they change. An algorithm of somebody else's, on top of those that `chronicle-sync` has.
//!
//! Its own part is the order of two calls, and what a sleeper looks at. Both are easily wrong, and a
//! test with threads would hardly ever notice. `tests/model.rs` explores every execution:
//!
//! ```console
//! $ RUSTFLAGS="--cfg chronicle_loom" cargo test --manifest-path examples/outside-model/Cargo.toml
//! ```
//!
//! The words come from `chronicle_sync` and not from `core`: they are loom's in a model.
#![no_std]
#![allow(clippy::disallowed_types, reason = "words under chronicle-sync's names")]

use chronicle_sync::notify::{Barrier, Parked, Waiters};
use chronicle_sync::seqlock;
use chronicle_sync::{AtomicU32, AtomicU64, Instant, Park, ReadU32, ReadU64};

/// How often a reader tries to read between two changes. A model counts every try as an execution of
/// its own, so that it is content with few.
const TRIES: u32 = if cfg!(chronicle_loom) { 2 } else { seqlock::TRIES };

/// The words. In shared memory they are references into a region; here they belong to the value.
pub struct Settings {
    generation: AtomicU32,
    values: [AtomicU64; 2],
    waiting: AtomicU32,
    notify_seq: AtomicU32,
}

impl Settings {
    /// Settings with these values.
    #[must_use]
    pub fn new(values: [u64; 2]) -> Self {
        Self {
            generation: AtomicU32::new(0),
            values: values.map(AtomicU64::new),
            waiting: AtomicU32::new(0),
            notify_seq: AtomicU32::new(0),
        }
    }

    fn waiters(&self) -> Waiters<'_> {
        Waiters { waiting: &self.waiting, notify_seq: &self.notify_seq }
    }

    /// Sets all values and wakes whoever sleeps. One thread sets.
    ///
    /// # Errors
    /// The system's: the values are set, and sleepers notice when their time is up.
    pub fn set<P: Park>(&self, park: &P, values: [u64; 2]) -> Result<(), P::Error> {
        let wake = || -> Result<(), P::Error> {
            if self.waiters().someone_waits(Barrier::Full) {
                self.waiters().wake_all(park)?;
            }
            Ok(())
        };
        if cfg!(feature = "seeded-fault") {
            // Whoever is woken here looks, finds the old values, and sleeps for good.
            wake()?;
            seqlock::write(&self.generation, self.values.each_ref(), values);
            return Ok(());
        }
        seqlock::write(&self.generation, self.values.each_ref(), values);
        wake()
    }

    /// The values; `None` while they are being set.
    #[must_use]
    pub fn get(&self) -> Option<[u64; 2]> {
        let values = self.values.each_ref().map(ReadU64::from);
        seqlock::read(ReadU32::from(&self.generation), values, TRIES).ok()
    }

    /// Sleeps until the values are others than `known`, and returns them; `None` when the time is up.
    ///
    /// # Errors
    /// The system's.
    pub fn changed<P: Park>(
        &self,
        park: &P,
        known: [u64; 2],
        until: Instant,
    ) -> Result<Option<[u64; 2]>, P::Error> {
        // While they are being set there is nothing to see, and a wake-up to come.
        let look = || self.get().filter(|values| *values != known);
        loop {
            match self.waiters().park_unless(park, until, || {}, look)? {
                Parked::Ready(values) => return Ok(Some(values)),
                Parked::Woken => {}
                Parked::TimedOut => return Ok(look()),
            }
        }
    }
}
