//! A sequence number below which something holds for good, as one process moves it and others read
//! it. Model L12.
//!
//! The number is stored twice, the second time as its complement. Where the two do not fit, it is
//! just being moved, or the file is damaged: nobody takes a number that nobody stored for a promise.

use crate::mutation::{Mutant, seeded};
use crate::primitive::{AtomicU64, Ordering, ReadU64};

/// The two words, for whoever moves the watermark.
#[derive(Clone, Copy, Debug)]
pub struct WatermarkWords<'a> {
    /// The sequence number.
    pub value: &'a AtomicU64,
    /// Its complement.
    pub complement: &'a AtomicU64,
}

impl WatermarkWords<'_> {
    /// Moves the watermark to `seq` once `sync` has made that true. If it fails the watermark stays,
    /// and whoever calls makes sure that it does for good: a second try that succeeds would say
    /// nothing about what the first one lost.
    ///
    /// # Errors
    /// Those of `sync`.
    pub fn advance<E>(self, seq: u64, sync: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        if seeded(Mutant::WatermarkBeforeSync) {
            self.store(seq);
        }
        let synced = sync();
        if synced.is_ok() || seeded(Mutant::WatermarkAfterFailedSync) {
            self.store(seq);
        }
        synced
    }

    /// Stores a watermark that is true already.
    pub fn store(self, seq: u64) {
        let order = if seeded(Mutant::WatermarkStoreRelaxed) {
            Ordering::Relaxed
        } else {
            Ordering::Release
        };
        // ORDER: Release both, with the Acquire loads in `read`: whoever sees the number sees what
        // was done to make it true.
        self.value.store(seq, order);
        self.complement.store(!seq, order);
    }
}

/// The watermark; `None` while it is being moved, or if the words are damaged.
#[inline]
#[must_use]
pub fn read(value: ReadU64<'_>, complement: ReadU64<'_>) -> Option<u64> {
    // ORDER: Acquire both, with the Release stores in `WatermarkWords::store`.
    let seq = value.load_acquire();
    let fits = complement.load_acquire() == !seq || seeded(Mutant::WatermarkUnchecked);
    fits.then_some(seq)
}

/// The watermark that a process left that was killed, perhaps while it moved it: each word says what
/// was true before or after, so the lower one is true.
#[must_use]
pub fn left_behind(value: ReadU64<'_>, complement: ReadU64<'_>) -> u64 {
    if seeded(Mutant::WatermarkLeftUnknown) {
        return read(value, complement).unwrap_or(0);
    }
    // ORDER: Relaxed: nobody moves the watermark, the lock that the dead held came after its stores.
    let (value, complement) = (value.load_relaxed(), !complement.load_relaxed());
    if seeded(Mutant::WatermarkLeftHigher) { value.max(complement) } else { value.min(complement) }
}
