//! Removing segments while readers may be joining. Model L6.
//!
//! A reader that joins publishes its position and then looks how far segments are being removed. A
//! remover publishes how far it means to go and then looks at the positions. Each stores first and
//! loads then, with a barrier in between on both sides: at least one of them sees the other.

use crate::mutation::{Mutant, seeded};
use crate::primitive::{AtomicU64, Ordering, ReadU64, fence};

/// Remover: announces that everything below `wanted` is to go, and finds out how far it may.
///
/// `oldest` is the lowest segment that is still there: what was removed stays announced, or a reader
/// could join where nothing is. `positions` looks at the positions of all readers and returns the
/// lowest one that must stay. Everything below the result may be removed; joining readers know that.
pub fn announce(
    floor: &AtomicU64,
    wanted: u64,
    oldest: u64,
    positions: impl FnOnce() -> u64,
) -> u64 {
    let oldest = if seeded(Mutant::RetentionFloorLowered) { 0 } else { oldest };
    let wanted = wanted.max(oldest);
    floor.store(wanted, Ordering::Relaxed);
    if !seeded(Mutant::RetentionNoRemoverBarrier) {
        // ORDER: SeqCst, with the fence in `join`.
        fence(Ordering::SeqCst);
    }
    let held = if seeded(Mutant::RetentionNoRescan) { wanted } else { positions() };
    let allowed = wanted.min(held).max(oldest);
    if allowed < wanted {
        // Nothing of what a reader holds was removed, so the word may go back.
        floor.store(allowed, Ordering::Release);
    }
    allowed
}

/// Joining reader: publishes its position, and returns how far segments are being removed. A
/// position below that is not held: the reader begins again further up.
pub fn join(floor: ReadU64<'_>, publish: impl FnOnce()) -> u64 {
    publish();
    if !seeded(Mutant::RetentionNoJoinerBarrier) {
        // ORDER: SeqCst, with the fence in `announce`.
        fence(Ordering::SeqCst);
    }
    floor.load_acquire()
}
