//! The end of a segment: how a reader leaves it without losing a record. Models L4
//! and L5, and L11 for a writer that dies.
//!
//! The seal says where the last record ends, so a reader at that place has read everything and a
//! reader before it has not. A reader that finds its slot empty and the segment sealed may have
//! looked at the slot before the writer filled it: it looks once more.

use chronicle_format::{FormatError, Seal, SegmentSize};

use crate::mutation::{Mutant, seeded};
use crate::primitive::{AtomicU64, Ordering, ReadU64};

/// What an empty slot means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmptySlot {
    /// The segment is open: there is nothing yet.
    Nothing,
    /// The slot was filled in the meantime: read it.
    Filled,
    /// The segment ends here: go on in the next one.
    EndOfSegment,
    /// The segment is sealed behind this place, yet there is no record here.
    Missing {
        /// Where the segment says that its last record ends.
        sealed_at: u64,
    },
    /// The segment is sealed before this place.
    Beyond {
        /// Where the segment says that its last record ends.
        sealed_at: u64,
    },
}

/// Seals a segment behind its last record, which ends at `end`.
///
/// Call it after the last record was published and the next segment can be opened.
pub fn seal(word: &AtomicU64, end: u64) {
    let order =
        if seeded(Mutant::SealStoreRelaxed) { Ordering::Relaxed } else { Ordering::Release };
    // ORDER: Release, with the Acquire load in `classify`: whoever sees the seal sees every record
    // before it, and the next segment's start.
    word.store(Seal::At(end).bits(), order);
}

/// What a reader that waits at a slot looks for: a record there, or the end of the segment. A seal
/// counts, because the record it waits for may be in the next segment.
#[inline]
pub fn has_news(word: ReadU64<'_>, committed: impl FnOnce() -> bool) -> bool {
    committed() || word.load_acquire() != Seal::Open.bits() && !seeded(Mutant::WaitIgnoresRoll)
}

/// Whether a segment is open, which is nearly always all that a reader at an empty slot has to ask of the seal:
/// [`classify`] would say [`EmptySlot::Nothing`].
#[inline(always)]
#[must_use]
pub fn is_open(word: ReadU64<'_>) -> bool {
    // ORDER: Relaxed: nothing follows from an open segment but that there is nothing yet.
    word.load_relaxed() == Seal::Open.bits()
}

/// Finds out what the empty slot at `offset` means. `committed` looks at the slot again.
///
/// # Errors
/// [`FormatError::OutOfRange`] for a seal that no writer stores.
pub fn classify(
    word: ReadU64<'_>,
    offset: u64,
    segment_size: SegmentSize,
    committed: impl FnOnce() -> bool,
) -> Result<EmptySlot, FormatError> {
    // ORDER: Acquire, with the Release store in `seal`.
    let bits =
        if seeded(Mutant::SealLoadRelaxed) { word.load_relaxed() } else { word.load_acquire() };
    let Seal::At(sealed_at) = Seal::from_bits(bits, segment_size)? else {
        if seeded(Mutant::SealByReader) {
            word.as_atomic().store(Seal::At(offset).bits(), Ordering::Release);
        }
        return Ok(EmptySlot::Nothing);
    };
    if seeded(Mutant::SealNoSecondLook) {
        return Ok(EmptySlot::EndOfSegment);
    }
    Ok(if offset == sealed_at {
        EmptySlot::EndOfSegment
    } else if offset > sealed_at {
        EmptySlot::Beyond { sealed_at }
    } else if committed() {
        EmptySlot::Filled
    } else {
        EmptySlot::Missing { sealed_at }
    })
}
