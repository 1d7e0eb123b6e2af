//! CRC-32C of records with the processor's instruction where it has one.
//!
//! Unsafe lives here because an instruction that the processor may lack is called: which one is used
//! is found out once, by [`Checksum::detect`].

#[cfg(target_arch = "x86_64")]
mod x86;

use chronicle_format::{CrcState, ReaderSlot, RecordHeader};

use crate::mutation::{Mutant, seeded};
use crate::primitive::{AtomicU64, Ordering};

/// A way to compute CRC-32C, chosen once when a queue is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checksum(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Table,
    #[cfg(target_arch = "x86_64")]
    #[cfg_attr(miri, allow(dead_code, reason = "only made where CPUID can be asked"))]
    X86,
    #[cfg(all(target_arch = "aarch64", target_feature = "crc"))]
    Arm,
}

impl Checksum {
    /// The fastest way that this processor has.
    ///
    /// On aarch64 the instruction is used if the build assumes it (`-C target-feature=+crc`, the
    /// default on Apple's systems): without `std` there is no way to ask.
    #[must_use]
    pub fn detect() -> Self {
        // Miri cannot run the CPUID instruction.
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        {
            // Intel SDM volume 2A, CPUID leaf 1, ECX: SSE4.2 and PCLMULQDQ. All processors since 2010
            // have both.
            const NEEDED: u32 = 1 << 20 | 1 << 1;
            #[allow(
                unused_unsafe,
                reason = "a safe function only for newer compilers than the oldest"
            )]
            // SAFETY: every x86-64 processor has the instruction and its leaf 1.
            let leaf = unsafe { core::arch::x86_64::__cpuid(1) };
            if leaf.ecx & NEEDED == NEEDED {
                return Self(Kind::X86);
            }
        }
        #[cfg(all(target_arch = "aarch64", target_feature = "crc"))]
        return Self(Kind::Arm);
        #[cfg(not(all(target_arch = "aarch64", target_feature = "crc")))]
        Self::portable()
    }

    /// By table, on every processor.
    #[must_use]
    pub const fn portable() -> Self {
        Self(Kind::Table)
    }

    /// The checksum of a record, equal to [`RecordHeader::crc`].
    #[inline]
    #[must_use]
    pub fn record(self, seed: CrcState, header: &RecordHeader, payload: &[u8]) -> u32 {
        match self.0 {
            Kind::Table => header.crc(seed, payload),
            #[cfg(target_arch = "x86_64")]
            Kind::X86 => {
                let header = header_words(header, payload.len() as u64);
                let (words, rest) = payload.as_chunks();
                // SAFETY: `detect` makes this kind only where CPUID reports the instructions.
                !unsafe { x86::plain(seed.register(), header, words, rest) }
            }
            #[cfg(all(target_arch = "aarch64", target_feature = "crc"))]
            Kind::Arm => {
                let header = header_words(header, payload.len() as u64).into_iter();
                let (words, rest) = payload.as_chunks::<8>();
                let words = words.iter().map(|word| u64::from_le_bytes(*word));
                self.words(seed, header.chain(words), rest).finish()
            }
        }
    }

    /// Goes on over `bytes`, as [`CrcState::update`] does.
    #[inline]
    #[must_use]
    pub fn update(self, state: CrcState, bytes: &[u8]) -> CrcState {
        if self == Self::portable() {
            return state.update(bytes);
        }
        let (words, rest) = bytes.as_chunks::<8>();
        self.words(state, words.iter().map(|word| u64::from_le_bytes(*word)), rest)
    }

    /// The checksum of a reader's position, equal to [`ReaderSlot::crc`].
    #[inline]
    #[must_use]
    pub(crate) fn reader_slot(self, words: &[u64; ReaderSlot::WORDS]) -> u32 {
        let [whole @ .., last] = words;
        let last = (*last as u32).to_le_bytes();
        self.words(CrcState::NEW, whole.iter().copied(), &last).finish()
    }

    /// Goes on over words and the bytes behind them.
    #[inline(always)]
    fn words(self, state: CrcState, words: impl Iterator<Item = u64>, rest: &[u8]) -> CrcState {
        match self.0 {
            Kind::Table => by_table(state, words, rest),
            #[cfg(target_arch = "x86_64")]
            Kind::X86 => {
                // SAFETY: `detect` makes this kind only where CPUID reports the instructions.
                CrcState::from_register(unsafe { x86::words(state.register(), words, rest) })
            }
            #[cfg(all(target_arch = "aarch64", target_feature = "crc"))]
            Kind::Arm => {
                // SAFETY: the build assumes the instruction, see the `cfg` on this kind.
                CrcState::from_register(unsafe { arm(state.register(), words, rest) })
            }
        }
    }

    /// The checksum of a record whose payload, of so many bytes, is in words that other processes may
    /// store to; the last word may hold more than the payload. Each is looked at once.
    #[inline]
    #[must_use]
    pub(crate) fn shared_record(
        self,
        seed: CrcState,
        header: &RecordHeader,
        length: u32,
        payload: &[AtomicU64],
    ) -> u32 {
        let (whole, rest) = (length as usize / 8, length as usize % 8);
        let (words, last) = payload.split_at_checked(whole).unwrap_or((payload, &[]));
        let last = last.first().map_or(0, load).to_le_bytes();
        let rest = last.get(..rest).unwrap_or_default();
        let header = header_words(header, length.into());
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as in `record`.
            Kind::X86 => !unsafe { x86::shared(seed.register(), header, words, rest) },
            _ => self.words(seed, header.into_iter().chain(words.iter().map(load)), rest).finish(),
        }
    }
}

/// A word of a payload that others may store to, as it is on the medium.
#[inline(always)]
fn load(word: &AtomicU64) -> u64 {
    u64::from_le(word.load(Ordering::Relaxed))
}

/// The header as its checksum sees it, as words: the checksum's own half of the first one is zero.
#[inline(always)]
fn header_words(header: &RecordHeader, length: u64) -> [u64; 4] {
    let [mut first, mut second, third] = header.words();
    let mut length_plus_one = length + 1;
    if seeded(Mutant::ChecksumWithoutLength) {
        length_plus_one = 1;
    } else if seeded(Mutant::ChecksumWithoutSeq) {
        second = 0;
    } else if seeded(Mutant::ChecksumWithoutEpoch) {
        first = u64::from(first as u32);
    }
    [length_plus_one, first, second, third]
}

#[inline(never)]
fn by_table(state: CrcState, words: impl Iterator<Item = u64>, rest: &[u8]) -> CrcState {
    words.fold(state, |state, word| state.update(&word.to_le_bytes())).update(rest)
}

#[cfg(all(target_arch = "aarch64", target_feature = "crc"))]
#[target_feature(enable = "crc")]
#[inline]
fn arm(register: u32, words: impl Iterator<Item = u64>, rest: &[u8]) -> u32 {
    use core::arch::aarch64::{__crc32cb, __crc32cd};
    let crc = words.fold(register, |crc, word| __crc32cd(crc, word));
    rest.iter().fold(crc, |crc, byte| __crc32cb(crc, *byte))
}

#[cfg(test)]
mod tests {
    use chronicle_format::{RecordFlags, TypeId, record_seed};

    use super::*;

    #[test]
    fn the_instruction_and_the_table_agree_on_every_length() {
        let payload: [u8; 2100] = core::array::from_fn(|i| (i * 131 + 7) as u8);
        let header = RecordHeader {
            type_id: TypeId::DEFAULT,
            flags: RecordFlags::empty(),
            epoch: 5,
            seq: 77,
            timestamp_ns: 88,
        };
        let seed = record_seed(0xfeed_beef);
        // What is behind the payload in its last word does not count.
        let words: [AtomicU64; 263] = core::array::from_fn(|i| {
            let bytes = core::array::from_fn(|j| payload.get(i * 8 + j).copied().unwrap_or(0xa5));
            AtomicU64::new(u64::from_le_bytes(bytes))
        });
        for length in 0..payload.len() {
            let payload = &payload[..length];
            let table = Checksum::portable().record(seed, &header, payload);
            assert_eq!(table, header.crc(seed, payload));
            assert_eq!(Checksum::detect().record(seed, &header, payload), table, "{length} bytes");
            for checksum in [Checksum::portable(), Checksum::detect()] {
                let shared = checksum.shared_record(seed, &header, length as u32, &words);
                assert_eq!(shared, table, "{length} bytes in words");
            }
        }
    }

    #[test]
    fn a_checksum_goes_on_over_any_bytes_as_that_of_the_format_does() {
        let bytes: [u8; 67] = core::array::from_fn(|i| (i * 37 + 1) as u8);
        for checksum in [Checksum::portable(), Checksum::detect()] {
            for cut in 0..=bytes.len() {
                let (first, second) = bytes.split_at(cut);
                let state = checksum.update(checksum.update(CrcState::NEW, first), second);
                assert_eq!(state, CrcState::NEW.update(&bytes), "cut at {cut}");
            }
        }
    }

    #[test]
    fn the_checksum_of_a_position_is_that_of_the_format() {
        let words = core::array::from_fn(|i| (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        for checksum in [Checksum::portable(), Checksum::detect()] {
            assert_eq!(checksum.reader_slot(&words), ReaderSlot::crc(&words));
        }
    }
}
