//! CRC-32C by the instruction of SSE4.2, in lanes.
//!
//! The instruction takes a word each cycle, or two, but gives its result three cycles later, and the next word of
//! the same checksum needs that. So words are taken in lanes, which wait for nothing: each is a checksum that begins
//! at zero. What came before, the header first of all, is moved over a lane's words by carry-less multiplication and
//! added: V. Gopal et al., "Fast CRC Computation for iSCSI Polynomial Using CRC32 Instruction", Intel, 2011.
//!
//! A lane's words lie behind each other, and the next lane's behind them: the processor keeps several lanes under way
//! by itself, and fetches memory ahead for whoever goes through it in order. Lanes that are far apart are as fast in
//! the cache, and three times slower than this where 4 KiB come from memory (Zen 5).
//!
//! Short records go one word after another, as a part of the caller's code.
//!
//! Unsafe lives here for the instruction as assembly, which becomes a part of code that is compiled for processors
//! without it, and which loads a short payload by itself.

use core::arch::asm;
use core::arch::x86_64::{
    __m128i, _mm_clmulepi64_si128, _mm_crc32_u64, _mm_cvtsi64_si128, _mm_cvtsi128_si64,
    _mm_xor_si128,
};

use crate::primitive::AtomicU64;

/// The polynomial, its lowest bit that of the highest power.
const POLYNOMIAL: u32 = 0x82f6_3b78;
/// Words of a lane: what a multiplication and what belongs to it takes is no more than the instruction needs for so
/// many.
const LANE: usize = 16;
/// Words of a lane where there are fewer: below, one after the other is as fast.
const SHORT_LANE: usize = 8;
/// From so many bytes on a reader's checksum is worth a call; a writer's takes none up to so many.
pub(super) const INLINE: u32 = 128;
/// Lanes that are put together at once.
const LANES: usize = 4;

/// A word of what is checksummed.
pub(super) trait Word {
    /// The word, in the order of the medium.
    fn get(&self) -> u64;
}

impl Word for [u8; 8] {
    #[inline(always)]
    fn get(&self) -> u64 {
        u64::from_le_bytes(*self)
    }
}

impl Word for u64 {
    #[inline(always)]
    fn get(&self) -> u64 {
        *self
    }
}

impl Word for AtomicU64 {
    #[inline(always)]
    fn get(&self) -> u64 {
        super::load(self)
    }
}

/// The register behind some bytes.
#[target_feature(enable = "sse4.2,pclmulqdq")]
pub(super) fn update(register: u32, bytes: &[u8]) -> u32 {
    let (words, rest) = bytes.as_chunks::<8>();
    lanes(register.into(), words, last_word(bytes, rest), rest.len())
}

/// The register behind a few words and a half, as a part of the caller's code.
///
/// # Safety
/// The processor has SSE4.2.
#[inline(always)]
pub(super) unsafe fn words_and_half(register: u32, words: &[u64], last: u32) -> u32 {
    // SAFETY: as the caller says.
    let crc = words.iter().fold(register.into(), |crc, word| unsafe { word_behind(crc, *word) });
    let mut crc = crc as u32;
    // SAFETY: as the caller says; the instruction touches nothing but its operands.
    unsafe {
        asm!(
            "crc32 {crc:e}, {last:e}",
            crc = inout(reg) crc,
            last = in(reg) last,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    crc
}

/// The register behind a record: its header's words, one by one because all of them travel in registers, and its
/// payload.
#[target_feature(enable = "sse4.2,pclmulqdq")]
pub(super) fn plain(register: u32, first: u64, second: u64, third: u64, payload: &[u8]) -> u32 {
    let length = super::length_word(payload.len() as u64);
    let crc = one_by_one(register.into(), &[length, first, second, third]);
    let (words, rest) = payload.as_chunks::<8>();
    lanes(crc, words, last_word(payload, rest), rest.len())
}

/// The same as a part of the caller's code, which pays for payloads of at most [`INLINE`] bytes.
///
/// # Safety
/// The processor has SSE4.2.
#[inline(always)]
pub(super) unsafe fn short(register: u32, header: [u64; 3], payload: &[u8]) -> u32 {
    // SAFETY: as the caller says.
    let crc = unsafe { header_behind(register, payload.len() as u64, header) };
    // Of a longer one, which has no business here, fewer bytes are read than there are.
    let length = payload.len() as u32;
    // SAFETY: as the caller says, and the bytes are those of a slice.
    let crc = unsafe { words_behind(crc, payload.as_ptr(), length) };
    let (_, rest) = payload.as_chunks::<8>();
    if rest.is_empty() {
        return crc as u32;
    }
    // SAFETY: as the caller says.
    unsafe { rest_behind(crc, last_word(payload, rest), rest.len()) }
}

/// The same of a payload in words that others may store to. A short one's becomes a part of the caller's code.
///
/// # Safety
/// The processor has SSE4.2 and PCLMULQDQ.
#[inline(always)]
pub(super) unsafe fn shared(
    register: u32,
    header: [u64; 3],
    payload: &[AtomicU64],
    length: u32,
) -> u32 {
    // SAFETY: as the caller says.
    let crc = unsafe { header_behind(register, length.into(), header) };
    if length >= INLINE {
        // SAFETY: as the caller says.
        return unsafe { shared_long(crc, payload, length) };
    }
    // A payload that is shorter than the record says has no right checksum, so it does not matter which this is.
    let length = u64::from(length).min(size_of_val(payload) as u64) as u32;
    // SAFETY: as the caller says, and there are as many bytes. Others may store to these words, but they are aligned, and
    // such loads are whole on this architecture.
    let crc = unsafe { words_behind(crc, payload.as_ptr().cast(), length) };
    if length.is_multiple_of(8) {
        return crc as u32;
    }
    let (_, last, count) = super::split(payload, length);
    // SAFETY: as the caller says.
    unsafe { rest_behind(crc, last, count) }
}

#[target_feature(enable = "sse4.2,pclmulqdq")]
#[cold]
#[inline(never)]
fn shared_long(crc: u64, payload: &[AtomicU64], length: u32) -> u32 {
    let (words, last, count) = super::split(payload, length);
    lanes(crc, words, last, count)
}

/// The register behind one word. The intrinsic would be a call from code that is compiled for all processors.
///
/// # Safety
/// The processor has SSE4.2.
#[inline(always)]
unsafe fn word_behind(mut crc: u64, word: u64) -> u64 {
    // SAFETY: as the caller says; the instruction touches nothing but its operands.
    unsafe {
        asm!(
            "crc32 {crc}, {word}",
            crc = inout(reg) crc,
            word = in(reg) word,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    crc
}

/// The same behind what comes before a payload of so many bytes.
///
/// # Safety
/// The processor has SSE4.2.
#[inline(always)]
unsafe fn header_behind(register: u32, length: u64, header: [u64; 3]) -> u64 {
    // SAFETY: as the caller says.
    let next = |crc, word| unsafe { word_behind(crc, word) };
    header.into_iter().fold(next(register.into(), super::length_word(length)), next)
}

/// The same behind the whole words of so many bytes, each of which is loaded once, by the instruction itself.
///
/// Written out because it is a part of the fast path: the compiler's loops take registers that the caller then has to
/// save.
///
/// # Safety
/// The processor has SSE4.2, and so many bytes may be read.
#[inline(always)]
unsafe fn words_behind(mut crc: u64, bytes: *const u8, length: u32) -> u64 {
    // SAFETY: as the caller says. The instructions read these bytes and nothing else: 32 at a time, and then 16 and 8, if
    // the length has that bit.
    unsafe {
        asm!(
            "mov {left:e}, {length:e}",
            "shr {left:e}, 5",
            "jz 3f",
            "2:",
            "crc32 {crc}, qword ptr [{at}]",
            "crc32 {crc}, qword ptr [{at} + 8]",
            "crc32 {crc}, qword ptr [{at} + 16]",
            "crc32 {crc}, qword ptr [{at} + 24]",
            "add {at}, 32",
            "dec {left:e}",
            "jnz 2b",
            "3:",
            "test {length:e}, 24",
            "jz 5f",
            "test {length:e}, 16",
            "jz 4f",
            "crc32 {crc}, qword ptr [{at}]",
            "crc32 {crc}, qword ptr [{at} + 8]",
            "add {at}, 16",
            "4:",
            "test {length:e}, 8",
            "jz 5f",
            "crc32 {crc}, qword ptr [{at}]",
            "5:",
            crc = inout(reg) crc,
            at = inout(reg) bytes => _,
            left = out(reg) _,
            length = in(reg) length,
            options(readonly, nostack)
        );
    }
    crc
}

/// The register behind the bytes behind the last whole word, of which there are some. Without a branch for each of them:
/// lengths come in no order that a processor could know.
///
/// # Safety
/// The processor has SSE4.2.
#[inline(always)]
unsafe fn rest_behind(crc: u64, last: u64, count: usize) -> u32 {
    let (word, more) = short_word(crc, last, count);
    // SAFETY: as the caller says.
    let crc = unsafe { word_behind(0, word) };
    (crc ^ more) as u32
}

#[target_feature(enable = "sse4.2,pclmulqdq")]
#[inline]
fn lanes<W: Word>(crc: u64, words: &[W], last: u64, count: usize) -> u32 {
    if words.len() >= LANE * LANES {
        groups(crc, words, last, count)
    } else {
        few(crc, words, last, count)
    }
}

/// Apart, so that short payloads do not save the registers that this needs.
#[target_feature(enable = "sse4.2,pclmulqdq")]
#[inline(never)]
fn groups<W: Word>(mut crc: u64, words: &[W], last: u64, count: usize) -> u32 {
    let (groups, rest) = words.as_chunks::<{ LANE * LANES }>();
    for group in groups {
        let (lanes, _) = group.as_chunks::<LANE>();
        let [first, second, third, fourth] = lanes else { continue };
        let before = over::<{ LANE * 4 }>(crc);
        let first = over::<{ LANE * 3 }>(one_by_one(0, first));
        let second = over::<{ LANE * 2 }>(one_by_one(0, second));
        let third = over::<LANE>(one_by_one(0, third));
        let sum = _mm_xor_si128(before, _mm_xor_si128(_mm_xor_si128(first, second), third));
        crc = reduce(sum) ^ one_by_one(0, fourth);
    }
    few(crc, rest, last, count)
}

/// As many words as are no group, and the bytes behind them.
#[target_feature(enable = "sse4.2,pclmulqdq")]
#[inline]
fn few<W: Word>(mut crc: u64, mut words: &[W], last: u64, count: usize) -> u32 {
    while let Some((lane, rest)) = words.split_first_chunk::<LANE>() {
        crc = reduce(over::<LANE>(crc)) ^ one_by_one(0, lane);
        words = rest;
    }
    if let Some((lane, rest)) = words.split_first_chunk::<SHORT_LANE>() {
        crc = reduce(over::<SHORT_LANE>(crc)) ^ one_by_one(0, lane);
        words = rest;
    }
    crc = one_by_one(crc, words);
    if count > 0 {
        let (word, rest) = short_word(crc, last, count);
        crc = _mm_crc32_u64(0, word) ^ rest;
    }
    crc as u32
}

#[target_feature(enable = "sse4.2")]
#[inline]
fn one_by_one<W: Word>(mut crc: u64, words: &[W]) -> u64 {
    for word in words {
        crc = _mm_crc32_u64(crc, word.get());
    }
    crc
}

/// The product of a checksum with the power that moves it over so many words.
#[target_feature(enable = "pclmulqdq")]
#[inline]
fn over<const WORDS: usize>(crc: u64) -> __m128i {
    let power = const { shift(WORDS) };
    _mm_clmulepi64_si128(_mm_cvtsi64_si128(crc.cast_signed()), _mm_cvtsi64_si128(power), 0)
}

/// The remainder of a product, by the instruction.
#[target_feature(enable = "sse4.2")]
#[inline]
fn reduce(product: __m128i) -> u64 {
    _mm_crc32_u64(0, _mm_cvtsi128_si64(product).cast_unsigned())
}

/// x to the power of 64 n - 33: the instruction that reduces adds 32 powers, and the product of two numbers whose
/// bits are reversed has one too many.
const fn shift(words: usize) -> i64 {
    // x to the power of 0.
    let mut power = 1_u32 << 31;
    let mut bits = 64 * words - 33;
    while bits > 0 {
        power = (power >> 1) ^ if power & 1 == 1 { POLYNOMIAL } else { 0 };
        bits -= 1;
    }
    power as i64
}

/// The `count` lowest bytes of a word, 1 to 7, as a word that leads to the register behind them from one that is zero;
/// and what is to be added then.
///
/// Bytes that are zero leave a register that is zero as it is, so these come first. A register counts as added to the
/// bytes that follow; what of it reaches beyond them stays, moved.
#[inline(always)]
const fn short_word(register: u64, last: u64, count: usize) -> (u64, u64) {
    let bits = 8 * count as u32;
    ((register ^ last) << (64 - bits), register >> bits)
}

/// What is behind the last whole word, as the lowest bytes of a word.
#[inline(always)]
fn last_word(bytes: &[u8], rest: &[u8]) -> u64 {
    match bytes.last_chunk() {
        // The last eight bytes, without those of the whole word before.
        Some(last) => {
            let shift = 64 - 8 * rest.len() as u32;
            u64::from_le_bytes(*last).checked_shr(shift).unwrap_or(0)
        }
        None => rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    }
}
