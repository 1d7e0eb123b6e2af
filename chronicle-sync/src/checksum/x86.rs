//! CRC-32C by the instruction of SSE4.2, three words at a time.
//!
//! The instruction takes a word each cycle but gives its result three cycles later, and the next word of the
//! same checksum needs that. So longer payloads are cut into three parts whose checksums go on side by side,
//! and are put together by carry-less multiplication: V. Gopal et al., "Fast CRC Computation for iSCSI
//! Polynomial Using CRC32 Instruction", Intel, 2011.

use core::arch::x86_64::{
    _mm_clmulepi64_si128, _mm_crc32_u8, _mm_crc32_u32, _mm_crc32_u64, _mm_cvtsi64_si128,
    _mm_cvtsi128_si64,
};

use crate::primitive::AtomicU64;

/// The polynomial, its lowest bit that of the highest power.
const POLYNOMIAL: u32 = 0x82f6_3b78;
/// A payload of fewer words is not worth it: what is gained is less than putting together costs.
const LEAST: usize = 12;
/// The most words of a part.
const MOST: usize = 64;

/// By `SHIFTS[n]` a checksum is moved over `n` words of zeros: x to the power of 64 n - 33.
///
/// The instruction adds 32 powers, and the product of two numbers whose bits are reversed has one too many.
static SHIFTS: [u32; 2 * MOST + 1] = {
    let mut shifts = [0; 2 * MOST + 1];
    // x to the power of 31.
    let mut power = 1_u32;
    let mut n = 1;
    while n <= 2 * MOST {
        #[allow(clippy::indexing_slicing, reason = "in a constant there are no iterators")]
        {
            shifts[n] = power;
        }
        let mut bit = 0;
        while bit < 64 {
            power = (power >> 1) ^ if power & 1 == 1 { POLYNOMIAL } else { 0 };
            bit += 1;
        }
        n += 1;
    }
    shifts
};

/// Twice the same, because one over plain bytes and one over shared words become different machine code: an
/// append is a few instructions.
macro_rules! checksum {
    ($name:ident, $long:ident, $word:ty, $load:expr) => {
        #[target_feature(enable = "sse4.2,pclmulqdq")]
        pub(super) fn $name(register: u32, header: [u64; 4], words: &[$word], rest: &[u8]) -> u32 {
            let mut crc = u64::from(register);
            for word in header {
                crc = _mm_crc32_u64(crc, word);
            }
            if words.len() >= LEAST {
                return $long(crc, words, rest);
            }
            for word in words {
                crc = _mm_crc32_u64(crc, $load(word));
            }
            bytes(crc as u32, rest)
        }

        /// Apart, so that short payloads do not save the registers that this needs.
        #[target_feature(enable = "sse4.2,pclmulqdq")]
        #[inline(never)]
        fn $long(mut crc: u64, mut words: &[$word], rest: &[u8]) -> u32 {
            while words.len() >= LEAST {
                let part = (words.len() / 3).min(MOST);
                let Some((first, behind)) = words.split_at_checked(part) else { break };
                let Some((second, behind)) = behind.split_at_checked(part) else { break };
                let Some((third, behind)) = behind.split_at_checked(part) else { break };
                let (mut of_second, mut of_third) = (0, 0);
                for ((a, b), c) in first.iter().zip(second).zip(third) {
                    crc = _mm_crc32_u64(crc, $load(a));
                    of_second = _mm_crc32_u64(of_second, $load(b));
                    of_third = _mm_crc32_u64(of_third, $load(c));
                }
                crc = _mm_crc32_u64(0, over(crc, 2 * part) ^ over(of_second, part)) ^ of_third;
                words = behind;
            }
            for word in words {
                crc = _mm_crc32_u64(crc, $load(word));
            }
            bytes(crc as u32, rest)
        }
    };
}

checksum!(plain, plain_long, [u8; 8], |word: &[u8; 8]| u64::from_le_bytes(*word));
checksum!(shared, shared_long, AtomicU64, super::load);

/// The product of a checksum with the power that moves it over so many words, for the instruction to reduce.
#[target_feature(enable = "sse4.2,pclmulqdq")]
#[inline]
fn over(crc: u64, words: usize) -> u64 {
    let shift = SHIFTS.get(words).copied().unwrap_or(0);
    let product = _mm_clmulepi64_si128(
        _mm_cvtsi64_si128(crc.cast_signed()),
        _mm_cvtsi64_si128(i64::from(shift)),
        0,
    );
    _mm_cvtsi128_si64(product).cast_unsigned()
}

/// The bytes behind the last whole word.
#[target_feature(enable = "sse4.2")]
#[inline]
fn bytes(mut crc: u32, mut rest: &[u8]) -> u32 {
    if let Some((half, tail)) = rest.split_first_chunk::<4>() {
        crc = _mm_crc32_u32(crc, u32::from_le_bytes(*half));
        rest = tail;
    }
    for &byte in rest {
        crc = _mm_crc32_u8(crc, byte);
    }
    crc
}

/// Words without a header, and the bytes behind them.
#[target_feature(enable = "sse4.2")]
#[inline]
pub(super) fn words(register: u32, words: impl Iterator<Item = u64>, rest: &[u8]) -> u32 {
    let crc = words.fold(u64::from(register), |crc, word| _mm_crc32_u64(crc, word));
    bytes(crc as u32, rest)
}
