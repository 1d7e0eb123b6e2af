//! Words and bytes of a [`Region`], checked against its size.
//!
//! Unsafe lives here because a region is raw memory: every access below is first checked to lie
//! inside the region and to be aligned.

use crate::platform::{Region, RegionMut};
use crate::primitive::{AtomicU32, AtomicU64, Ordering, ReadU32, ReadU64};
use crate::seqlock::{self, TRIES, Torn};

/// Reading of shared words.
pub trait RegionExt: Region {
    /// The 32-bit word at a byte offset; `None` if it is misaligned or not inside.
    #[inline(always)]
    fn read_u32(&self, at: u64) -> Option<ReadU32<'_>> {
        let word = address(self, at, size_of::<u32>())?.cast::<AtomicU32>();
        // SAFETY: `address` checked that four aligned bytes lie inside the region, which stay mapped
        // for as long as `self` is borrowed. The bytes are only ever accessed as atomics while they
        // are shared. They may be read-only: `ReadU32` makes Relaxed loads only.
        Some(unsafe { word.as_ref() }.into())
    }

    /// The 64-bit word at a byte offset; `None` if it is misaligned or not inside.
    #[inline(always)]
    fn read_u64(&self, at: u64) -> Option<ReadU64<'_>> {
        let word = address(self, at, size_of::<u64>())?.cast::<AtomicU64>();
        // SAFETY: as in `read_u32`, with eight bytes.
        Some(unsafe { word.as_ref() }.into())
    }

    /// Loads the word at a byte offset for nothing: a store there that follows soon finds its line and the
    /// translation of its address at hand.
    fn touch(&self, at: u64) {
        core::hint::black_box(self.read_u64(at).map(ReadU64::load_relaxed));
    }

    /// Copies `N` 64-bit words out; each is whole, together they may be of different moments.
    fn copy_words<const N: usize>(&self, at: u64) -> Option<[u64; N]> {
        let mut words = [0; N];
        for (i, word) in words.iter_mut().enumerate() {
            *word = self.read_u64(at.checked_add(i as u64 * 8)?)?.load_relaxed();
        }
        Some(words)
    }

    /// Loads `N` 64-bit words from `at` on as one, by the seqlock whose generation is at `generation`;
    /// `None` if they are not inside.
    fn load_as_one<const N: usize>(
        &self,
        generation: u64,
        at: u64,
    ) -> Option<Result<[u64; N], Torn>> {
        let generation = self.read_u32(generation)?;
        let mut words = [self.read_u64(at)?; N];
        for (i, word) in words.iter_mut().enumerate() {
            *word = self.read_u64(at.checked_add(i as u64 * 8)?)?;
        }
        Some(seqlock::read(generation, words, TRIES))
    }

    /// Copies `N` bytes out, a multiple of 8, from an offset that is a multiple of 8.
    fn copy_bytes<const N: usize>(&self, at: u64) -> Option<[u8; N]> {
        const {
            assert!(N.is_multiple_of(8), "shared bytes are copied in whole words");
        };
        let mut bytes = [0; N];
        for (i, chunk) in bytes.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let at = at.checked_add(i as u64 * 8)?;
            *chunk = self.read_u64(at)?.load_relaxed().to_le_bytes();
        }
        Some(bytes)
    }
}

impl<R: Region + ?Sized> RegionExt for R {}

/// Storing to shared words.
pub trait RegionMutExt: RegionMut {
    /// The 32-bit word at a byte offset; `None` if it is misaligned or not inside.
    #[inline(always)]
    fn word_u32(&self, at: u64) -> Option<&AtomicU32> {
        let word = address(self, at, size_of::<u32>())?.cast::<AtomicU32>();
        // SAFETY: `address` checked that four aligned bytes lie inside the region, which stay mapped
        // and writable for as long as `self` is borrowed; while they are shared they are only
        // accessed as atomics.
        Some(unsafe { word.as_ref() })
    }

    /// The 64-bit word at a byte offset; `None` if it is misaligned or not inside.
    #[inline(always)]
    fn word_u64(&self, at: u64) -> Option<&AtomicU64> {
        let word = address(self, at, size_of::<u64>())?.cast::<AtomicU64>();
        // SAFETY: as in `word_u32`, with eight bytes.
        Some(unsafe { word.as_ref() })
    }

    /// Stores a 32-bit word with Release; `None`, and nothing stored, if it is not inside.
    fn publish_u32(&self, at: u64, value: u32) -> Option<()> {
        // ORDER: Release, with `ReadU32::load_acquire` of whoever looks at the word.
        self.word_u32(at).map(|word| word.store(value, Ordering::Release))
    }

    /// Stores a 64-bit word with Release; `None`, and nothing stored, if it is not inside.
    fn publish_u64(&self, at: u64, value: u64) -> Option<()> {
        // ORDER: Release, with `ReadU64::load_acquire` of whoever looks at the word.
        self.word_u64(at).map(|word| word.store(value, Ordering::Release))
    }

    /// Stores words one after the other; `None`, and nothing stored, if they are not all inside.
    fn store_words(&self, at: u64, words: &[u64]) -> Option<()> {
        let last = at.checked_add((words.len() as u64).checked_mul(8)?.checked_sub(8)?)?;
        self.word_u64(last)?;
        for (i, word) in words.iter().enumerate() {
            self.word_u64(at + i as u64 * 8)?.store(*word, Ordering::Relaxed);
        }
        Some(())
    }

    /// Stores `N` 64-bit words from `at` on as one, by the seqlock whose generation is at `generation`;
    /// `None`, and nothing stored, if they are not inside. Only one thread may.
    fn store_as_one<const N: usize>(
        &self,
        generation: u64,
        at: u64,
        values: [u64; N],
    ) -> Option<()> {
        let generation = self.word_u32(generation)?;
        let mut words = [self.word_u64(at)?; N];
        for (i, word) in words.iter_mut().enumerate() {
            *word = self.word_u64(at.checked_add(i as u64 * 8)?)?;
        }
        seqlock::write(generation, words, values);
        Some(())
    }

    /// Stores bytes, a multiple of 8, at an offset that is a multiple of 8.
    fn store_bytes<const N: usize>(&self, at: u64, bytes: &[u8; N]) -> Option<()> {
        const {
            assert!(N.is_multiple_of(8) && N > 0, "shared bytes are stored in whole words");
        };
        self.word_u64(at.checked_add(N as u64 - 8)?)?;
        for (i, chunk) in bytes.as_chunks::<8>().0.iter().enumerate() {
            self.word_u64(at + i as u64 * 8)?.store(u64::from_le_bytes(*chunk), Ordering::Relaxed);
        }
        Some(())
    }
}

impl<R: RegionMut + ?Sized> RegionMutExt for R {}

/// The address of `length` bytes (a power of two) at `at`, if they lie inside and are aligned to
/// their length.
#[inline(always)]
fn address<R: Region + ?Sized>(
    region: &R,
    at: u64,
    length: usize,
) -> Option<core::ptr::NonNull<u8>> {
    let at = usize::try_from(at).ok()?;
    let inside = region.size().checked_sub(length).is_some_and(|last| at <= last);
    if !inside || !at.is_multiple_of(length) {
        return None;
    }
    // SAFETY: `at + length <= size`, so the address lies inside the region's one mapping.
    Some(unsafe { region.base().add(at) })
}
