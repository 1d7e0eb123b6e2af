//! A sequence lock over a few words: one writer, any number of readers, no reader ever blocks it.
//!
//! After H.-J. Boehm, "Can seqlocks get along with programming language memory models?", MSPC 2012,
//! with the fences of its figure 6. Models L3, and L11 for a writer that dies.

use crate::mutation::{Mutant, seeded};
use crate::primitive::{AtomicU32, AtomicU64, Ordering, ReadU32, ReadU64, fence, spin_loop};

/// The generation stayed odd or kept moving: the writer died inside an update, or is just in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Torn {
    /// The generation last seen.
    pub generation: u32,
}

/// Tries of [`read`] that are enough for every writer that is running.
pub const TRIES: u32 = 1000;

/// Stores all words as one. Only one thread may write.
///
/// An odd generation that a dead writer left behind is taken over: it stays odd until the words are
/// whole again.
pub fn write<const N: usize>(generation: &AtomicU32, words: [&AtomicU64; N], values: [u64; N]) {
    let odd = write_begin(generation);
    for (word, value) in words.into_iter().zip(values) {
        word.store(value, Ordering::Relaxed);
    }
    write_end(generation, odd);
}

/// Makes the generation odd, and returns it: the words may be stored now, Relaxed. The first step of
/// [`write`](write()).
pub fn write_begin(generation: &AtomicU32) -> u32 {
    let odd = generation.load(Ordering::Relaxed) | 1;
    generation.store(odd, Ordering::Relaxed);
    if !seeded(Mutant::SeqlockNoReleaseFence) {
        // ORDER: Release, with the Acquire fence in `read`: whoever sees one of the words that are
        // stored behind this sees the odd generation when it looks again.
        fence(Ordering::Release);
    }
    odd
}

/// Makes the generation even again, once the words are whole. The last step of [`write`](write()).
pub fn write_end(generation: &AtomicU32, odd: u32) {
    let order =
        if seeded(Mutant::SeqlockRelaxedEnd) { Ordering::Relaxed } else { Ordering::Release };
    // ORDER: Release, with the first load in `read`: whoever sees this generation sees the words.
    generation.store(odd.wrapping_add(1), order);
}

/// Loads all words as one, in at most `tries` tries.
///
/// # Errors
/// [`Torn`] if no try succeeded.
pub fn read<const N: usize>(
    generation: ReadU32<'_>,
    words: [ReadU64<'_>; N],
    tries: u32,
) -> Result<[u64; N], Torn> {
    let tries = if seeded(Mutant::SeqlockReadUnbounded) { u32::MAX } else { tries };
    let mut seen = 0;
    let tries = if seeded(Mutant::SeqlockSpinsOn) { u32::MAX } else { tries };
    for _ in 0..tries {
        // ORDER: Acquire, with the Release store at the end of `write`.
        seen = if seeded(Mutant::SeqlockRelaxedBegin) {
            generation.load_relaxed()
        } else {
            generation.load_acquire()
        };
        if seen & 1 == 0 || seeded(Mutant::SeqlockOddAccepted) {
            let values = words.map(ReadU64::load_relaxed);
            if !seeded(Mutant::SeqlockNoAcquireFence) {
                // ORDER: Acquire, with the Release fence in `write`.
                fence(Ordering::Acquire);
            }
            if generation.load_relaxed() == seen {
                return Ok(values);
            }
        }
        spin_loop();
    }
    if seeded(Mutant::SeqlockReaderMends) {
        generation.as_atomic().store(seen.wrapping_add(1), Ordering::Release);
    }
    Err(Torn { generation: seen })
}
