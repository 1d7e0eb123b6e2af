//! Two slots that are written in turn: whoever is killed while writing one leaves the other whole.
//! Model L9.

use chronicle_format::ReaderSlot;

#[cfg(not(chronicle_loom))]
use crate::checksum::Checksum;
use crate::mutation::{Mutant, seeded};
#[cfg(not(chronicle_loom))]
use crate::platform::{Region, RegionMut};
use crate::primitive::{AtomicU64, Ordering, ReadU64};
#[cfg(not(chronicle_loom))]
use crate::words::{RegionExt, RegionMutExt};

const WORDS: usize = ReaderSlot::WORDS;
const TRIES: u32 = 100;

/// Stores a position into the slot that does not hold the newest one. Only one thread may write.
pub fn store(slots: [[&AtomicU64; WORDS]; 2], slot: &ReaderSlot) {
    let [even, odd] = slots;
    put(if is_even(slot) { even } else { odd }, slot, ReaderSlot::crc);
}

/// Whether a position belongs into the first of the two slots.
fn is_even(slot: &ReaderSlot) -> bool {
    slot.generation.is_multiple_of(2) || seeded(Mutant::SlotsAlwaysFirst)
}

#[inline]
fn put(words: [&AtomicU64; WORDS], slot: &ReaderSlot, checksum: impl FnOnce(&[u64; WORDS]) -> u32) {
    let mut values = slot.words();
    let crc = checksum(&values);
    if let Some(tail) = values.last_mut() {
        *tail |= u64::from(crc) << 32;
    }
    for (word, value) in words.into_iter().zip(values) {
        // ORDER: Relaxed: a mixture of two states fails its checksum, whatever the order.
        word.store(value, Ordering::Relaxed);
    }
}

/// Loads the newest position that is whole; `None` if none was ever stored to its end.
///
/// # Errors
/// `Err(())` if slots are there but none is whole: damaged, or the writer is very busy.
#[allow(clippy::result_unit_err, reason = "there is nothing to say beyond that no slot is whole")]
pub fn load(slots: [[ReadU64<'_>; WORDS]; 2]) -> Result<Option<ReaderSlot>, ()> {
    let mut last = Err(());
    for _ in 0..TRIES {
        let decoded = slots.map(|slot| decode(&slot.map(ReadU64::load_relaxed)));
        last = match decoded {
            [Ok(a), Ok(b)] => return Ok(newer(a, b)),
            [Ok(Some(slot)), Err(())] | [Err(()), Ok(Some(slot))] => return Ok(Some(slot)),
            // A torn slot beside an empty one is the very first position, cut off unless a writer
            // is just in it. A reader that was killed there has none, and must not be refused.
            [Ok(None), Err(())] | [Err(()), Ok(None)] => Ok(None),
            [Err(()), Err(())] => Err(()),
        };
        if cfg!(chronicle_loom) {
            break;
        }
    }
    last
}

/// [`store`] into the slots at these offsets of a region; `None` if the one that is due does not lie inside.
#[cfg(not(chronicle_loom))]
pub fn store_in<R: RegionMut>(
    region: &R,
    at: [usize; 2],
    slot: &ReaderSlot,
    checksum: Checksum,
) -> Option<()> {
    let [even, odd] = at;
    let start = (if is_even(slot) { even } else { odd }) as u64;
    let mut words = [region.word_u64(start)?; WORDS];
    for (word, at) in words.iter_mut().zip((start..).step_by(size_of::<u64>())) {
        *word = region.word_u64(at)?;
    }
    put(words, slot, |words| checksum.reader_slot(words));
    Some(())
}

/// [`load`] from the slots at these offsets of a region.
///
/// # Errors
/// As [`load`], and if the slots do not lie inside.
#[cfg(not(chronicle_loom))]
#[allow(clippy::result_unit_err, reason = "there is nothing to say beyond that no slot is whole")]
pub fn load_from<R: Region>(region: &R, at: [usize; 2]) -> Result<Option<ReaderSlot>, ()> {
    let words = |start: usize| -> Option<[ReadU64<'_>; WORDS]> {
        let mut words = [region.read_u64(start as u64)?; WORDS];
        for (i, word) in words.iter_mut().enumerate() {
            *word = region.read_u64((start + i * 8) as u64)?;
        }
        Some(words)
    };
    let [first, second] = at;
    match (words(first), words(second)) {
        (Some(first), Some(second)) => load([first, second]),
        _ => Err(()),
    }
}

fn newer(a: Option<ReaderSlot>, b: Option<ReaderSlot>) -> Option<ReaderSlot> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if a.generation >= b.generation { a } else { b }),
        (a, b) => a.or(b),
    }
}

fn decode(words: &[u64; WORDS]) -> Result<Option<ReaderSlot>, ()> {
    if seeded(Mutant::SlotsUnchecked) {
        let mut repaired = *words;
        repaired[WORDS - 1] &= u64::from(u32::MAX);
        repaired[WORDS - 1] |= u64::from(ReaderSlot::crc(&repaired)) << 32;
        return ReaderSlot::decode(&repaired).map_err(drop);
    }
    ReaderSlot::decode(words).map_err(drop)
}
