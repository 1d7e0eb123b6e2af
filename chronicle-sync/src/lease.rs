//! The writer's epoch: which life of which writer a record belongs to.
//!
//! That there is one live writer is the kernel lock's work ([`crate::Storage::lock`]). The epoch is
//! the second line: a writer whose lock was taken from it by force finds out at its next append.

use crate::primitive::{AtomicU32, Ordering, ReadU32};

/// Begins a new epoch; only the holder of the writer's lock may call this.
///
/// Returns the new epoch, or `None` if there is none left (after 4,294,967,295 takeovers, or in a
/// damaged file).
pub fn begin(epoch: &AtomicU32, at_least: u32) -> Option<u32> {
    let new = epoch.load(Ordering::Relaxed).max(at_least).checked_add(1)?;
    // ORDER: Release, with `holds`: a fenced writer that sees the new epoch appends no more; nothing
    // else depends on the order, records carry their epoch in their checksum.
    epoch.store(new, Ordering::Release);
    Some(new)
}

/// Whether `mine` is still the epoch in force.
#[inline(always)]
#[must_use]
pub fn holds(epoch: ReadU32<'_>, mine: u32) -> bool {
    epoch.load_relaxed() == mine
}
