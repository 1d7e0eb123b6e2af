//! The writer's epoch: which life of which writer a record belongs to. Model L7.
//!
//! That there is one live writer is the kernel lock's work ([`crate::Storage::lock`]). The epoch is
//! the second line: a writer whose lock was taken from it by force finds out at its next append, and
//! what it was told is appended is part of the log on which its successor goes on.
//!
//! The old writer stores a record and then looks at the epoch; the new one stores the epoch and then
//! looks for records (Dekker's pattern). With a barrier between store and load on both sides at least
//! one of them sees the other: the old writer learns that its record may be lost, or the new one finds
//! it. The old writer looks for every record and the new one once, so where the system has it the new
//! one pays for both ([`Barrier::Asymmetric`]).

use crate::mutation::{Mutant, seeded};
use crate::notify::Barrier;
use crate::primitive::{AtomicU32, Ordering, ReadU32, fence};

/// Begins a new epoch. No two calls begin the same one, whoever makes them.
///
/// Returns the new epoch, which is higher than `at_least`, or `None` if there is none left (after
/// 4,294,967,295 takeovers, or in a damaged file).
pub fn begin(epoch: &AtomicU32, at_least: u32) -> Option<u32> {
    let after = |now: u32| {
        let highest = now.max(at_least);
        if seeded(Mutant::LeaseEpochReused) { Some(highest) } else { highest.checked_add(1) }
    };
    if seeded(Mutant::LeasePlainBegin) {
        let new = after(epoch.load(Ordering::Relaxed))?;
        epoch.store(new, Ordering::Release);
        return Some(new);
    }
    // As a rule the log's last epoch is the one in force. A guess in place of a load, because loom takes
    // account of the last access before an exchange only, and that must be the other thread's.
    let mut guess = at_least;
    // Ends: the epoch rises each time that the exchange fails for the second time.
    loop {
        let new = after(guess)?;
        // ORDER: Release, with the Acquire fence in `holds`: who finds its epoch ended sees why.
        match epoch.compare_exchange(guess, new, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => return Some(new),
            Err(now) => guess = now,
        }
    }
}

/// Takes a log over: finds its end, begins a new epoch, and looks whether the end is still there.
///
/// `find_end` finds the end and changes nothing that an old writer needs; `last_epoch` is the highest
/// epoch that it met, and `has_moved` says whether something was appended there since. What an old
/// writer appended and was told is appended lies before the end that is returned, with the new epoch.
/// Only now clear what lies behind. `None` if there is no epoch left.
///
/// `heavy` is [`Park::heavy_barrier`](crate::Park::heavy_barrier) where the barrier of the old writer is
/// [`Barrier::Asymmetric`].
///
/// # Errors
/// Those of `find_end`: nothing was changed, or an epoch was begun that names nothing.
pub fn take_over<T, E>(
    epoch: &AtomicU32,
    heavy: impl FnOnce(),
    mut find_end: impl FnMut() -> Result<T, E>,
    last_epoch: impl FnOnce(&T) -> u32,
    has_moved: impl FnOnce(&T) -> bool,
) -> Result<Option<(u32, T)>, E> {
    let end = find_end()?;
    let Some(new) = begin(epoch, last_epoch(&end)) else { return Ok(None) };
    if !seeded(Mutant::LeaseNoTakerBarrier) {
        // ORDER: SeqCst, with the barrier in `still_holds`: either the old writer sees the new epoch, or
        // its record is seen below.
        fence(Ordering::SeqCst);
        heavy();
    }
    // Once is enough: whoever publishes from here on sees the new epoch.
    let moved = has_moved(&end) && !seeded(Mutant::LeaseNoRescan);
    Ok(Some((new, if moved { find_end()? } else { end })))
}

/// Whether `mine` is the epoch in force, before anything is stored: a writer that lost the log long ago
/// must not store over what its successor has appended.
#[inline(always)]
#[must_use]
pub fn holds(epoch: ReadU32<'_>, mine: u32) -> bool {
    if epoch.load_relaxed() == mine || seeded(Mutant::LeaseUnchecked) {
        return true;
    }
    if !seeded(Mutant::LeaseReasonUnordered) {
        // ORDER: Acquire, with the Release in `begin`.
        fence(Ordering::Acquire);
    }
    false
}

/// Whether `mine` is still the epoch in force, behind a record that was published: if not, the record
/// may or may not be part of the log.
///
/// `barrier` is this writer's, as the sleepers of its queue know it.
#[inline(always)]
#[must_use]
pub fn still_holds(epoch: ReadU32<'_>, mine: u32, barrier: Barrier) -> bool {
    if seeded(Mutant::LeaseNotRechecked) {
        return true;
    }
    if !seeded(Mutant::LeaseNoHolderBarrier) && !seeded(Mutant::NotifyNoSharedBarrier) {
        // ORDER: pairs with the fence and the heavy barrier in `take_over`, and with those in
        // `notify::sleeper_barrier` for a writer that looks for sleepers next.
        barrier.light();
    }
    holds(epoch, mine)
}

/// The epoch in force behind a record of epoch `found`, where `in_force` is the one before it; `None` if
/// the record is not part of the log.
///
/// Only a record that begins an epoch changes it, and only upwards: a record of an earlier life, or of
/// a writer that lost the log, is never taken for one of the writer that goes on.
#[inline(always)]
#[must_use]
pub fn behind(in_force: u32, found: u32, begins: bool) -> Option<u32> {
    let follows = if begins { found > in_force } else { found == in_force };
    (follows || seeded(Mutant::LeaseEpochUnheeded)).then_some(found)
}
