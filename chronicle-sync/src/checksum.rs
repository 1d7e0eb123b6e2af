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
    #[inline(always)]
    #[must_use]
    pub fn record(self, seed: CrcState, header: &RecordHeader, payload: &[u8]) -> u32 {
        // By value from here on: what others are called with by reference does not stay in registers.
        let [first, second, third] = header_words(header);
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `detect` makes this kind only where CPUID reports the instructions.
            Kind::X86 => !unsafe { x86::plain(seed.register(), first, second, third, payload) },
            _ => self.record_one_by_one(seed, first, second, third, payload),
        }
    }

    /// A way that takes no call, if there is one for payloads of so many bytes.
    #[inline(always)]
    #[cfg_attr(
        not(target_arch = "x86_64"),
        allow(unused_variables, reason = "there is no such way")
    )]
    pub(crate) fn without_call(self, length: u32) -> Option<WithoutCall> {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::X86 if length <= x86::INLINE => Some(WithoutCall::X86),
            _ => None,
        }
    }

    #[cfg_attr(target_arch = "x86_64", cold)]
    #[inline(never)]
    fn record_one_by_one(
        self,
        seed: CrcState,
        first: u64,
        second: u64,
        third: u64,
        payload: &[u8],
    ) -> u32 {
        let header = [length_word(payload.len() as u64), first, second, third];
        let header = self.update(seed, header.map(u64::to_le_bytes).as_flattened());
        self.update(header, payload).finish()
    }

    /// Goes on over `bytes`, as [`CrcState::update`] does.
    #[inline]
    #[must_use]
    pub fn update(self, state: CrcState, bytes: &[u8]) -> CrcState {
        match self.0 {
            Kind::Table => state.update(bytes),
            #[cfg(target_arch = "x86_64")]
            Kind::X86 => {
                // SAFETY: as in `record`.
                CrcState::from_register(unsafe { x86::update(state.register(), bytes) })
            }
            #[cfg(all(target_arch = "aarch64", target_feature = "crc"))]
            Kind::Arm => {
                let (words, rest) = bytes.as_chunks::<8>();
                self.words(state, words.iter().map(|word| u64::from_le_bytes(*word)), rest)
            }
        }
    }

    /// Goes on over a few words and a half, as [`CrcState::update`] does over their bytes in little-endian order: a part of
    /// the caller's code where the processor has an instruction for it.
    #[inline(always)]
    #[must_use]
    pub fn words_and_half<const N: usize>(
        self,
        state: CrcState,
        words: &[u64; N],
        last: u32,
    ) -> CrcState {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::X86 => {
                // SAFETY: as in `record`.
                let register = unsafe { x86::words_and_half(state.register(), words, last) };
                CrcState::from_register(register)
            }
            _ => self.words(state, words.iter().copied(), &last.to_le_bytes()),
        }
    }

    /// The checksum of a reader's position, equal to [`ReaderSlot::crc`].
    #[inline]
    #[must_use]
    pub(crate) fn reader_slot(self, words: &[u64; ReaderSlot::WORDS]) -> u32 {
        let [whole @ .., last] = words;
        self.words_and_half(CrcState::NEW, whole, *last as u32).finish()
    }

    /// Goes on over words and the bytes behind them, one after the other.
    #[inline(always)]
    fn words(self, state: CrcState, words: impl Iterator<Item = u64>, rest: &[u8]) -> CrcState {
        match self.0 {
            #[cfg(all(target_arch = "aarch64", target_feature = "crc"))]
            Kind::Arm => {
                // SAFETY: the build assumes the instruction, see the `cfg` on this kind.
                CrcState::from_register(unsafe { arm(state.register(), words, rest) })
            }
            _ => by_table(state, words, rest),
        }
    }

    /// The checksum of a record whose payload, of so many bytes, is in words that other processes may
    /// store to; the last word may hold more than the payload. Each is looked at once.
    #[inline(always)]
    #[must_use]
    pub(crate) fn shared_record(
        self,
        seed: CrcState,
        header: &RecordHeader,
        length: u32,
        payload: &[AtomicU64],
    ) -> u32 {
        // By value from here on: what others are called with by reference does not stay in registers.
        let [first, second, third] = header_words(header);
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::X86 => {
                // SAFETY: as in `record`.
                !unsafe { x86::shared(seed.register(), [first, second, third], payload, length) }
            }
            _ => self.shared_one_by_one(seed, first, second, third, payload, length),
        }
    }

    #[cfg_attr(target_arch = "x86_64", cold)]
    #[inline(never)]
    fn shared_one_by_one(
        self,
        seed: CrcState,
        first: u64,
        second: u64,
        third: u64,
        payload: &[AtomicU64],
        length: u32,
    ) -> u32 {
        let (words, last, count) = split(payload, length);
        let last = last.to_le_bytes();
        let words = [length_word(length.into()), first, second, third]
            .into_iter()
            .chain(words.iter().map(load));
        self.words(seed, words, last.get(..count).unwrap_or_default()).finish()
    }
}

/// A way to compute the checksums of short payloads' records that becomes a part of the caller's code.
#[derive(Clone, Copy)]
pub(crate) enum WithoutCall {
    #[cfg(target_arch = "x86_64")]
    X86,
}

impl WithoutCall {
    /// As [`Checksum::record`], for a payload as short as was said.
    #[inline(always)]
    #[cfg_attr(
        not(target_arch = "x86_64"),
        allow(unused_variables, reason = "there is no such way")
    )]
    pub(crate) fn record(self, seed: CrcState, header: &RecordHeader, payload: &[u8]) -> u32 {
        match self {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: only `without_call` makes this, of a kind for which `detect` has seen the instructions.
            Self::X86 => !unsafe { x86::short(seed.register(), header_words(header), payload) },
        }
    }
}

/// The whole words of a payload of `length` bytes, the word behind them, and how many of its bytes belong to it. The
/// words may be more.
#[inline(always)]
fn split(payload: &[AtomicU64], length: u32) -> (&[AtomicU64], u64, usize) {
    let (whole, count) = (length as usize / 8, length as usize % 8);
    let (words, last) = payload.split_at_checked(whole).unwrap_or((payload, &[]));
    (words, last.first().map_or(0, load), count)
}

/// A word of a payload that others may store to, as it is on the medium.
#[inline(always)]
fn load(word: &AtomicU64) -> u64 {
    u64::from_le(word.load(Ordering::Relaxed))
}

/// The word in front of the header's others, as the checksum sees it.
#[inline(always)]
fn length_word(length: u64) -> u64 {
    if seeded(Mutant::ChecksumWithoutLength) { 1 } else { length + 1 }
}

/// The header's others, as the checksum sees them. Its own half of the first word counts as zero.
#[inline(always)]
fn header_words(header: &RecordHeader) -> [u64; 3] {
    let [mut first, mut second, third] = header.words();
    if seeded(Mutant::ChecksumWithoutSeq) {
        second = 0;
    } else if seeded(Mutant::ChecksumWithoutEpoch) {
        first = u64::from(first as u32);
    }
    [first, second, third]
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

    const HEADER: RecordHeader = RecordHeader {
        type_id: TypeId::DEFAULT,
        flags: RecordFlags::empty(),
        epoch: 5,
        seq: 77,
        timestamp_ns: 88,
    };

    #[test]
    fn the_instruction_and_the_table_agree_on_every_length() {
        let payload: [u8; 2100] = core::array::from_fn(|i| (i * 131 + 7) as u8);
        let seed = record_seed(0xfeed_beef);
        // What is behind the payload in its last word does not count.
        let words: [AtomicU64; 263] = core::array::from_fn(|i| {
            let bytes = core::array::from_fn(|j| payload.get(i * 8 + j).copied().unwrap_or(0xa5));
            AtomicU64::new(u64::from_le_bytes(bytes))
        });
        for length in 0..payload.len() {
            let payload = &payload[..length];
            let table = Checksum::portable().record(seed, &HEADER, payload);
            assert_eq!(table, HEADER.crc(seed, payload));
            assert_eq!(Checksum::detect().record(seed, &HEADER, payload), table, "{length} bytes");
            for checksum in [Checksum::portable(), Checksum::detect()] {
                let short = checksum.without_call(length as u32);
                let short = short.map(|way| way.record(seed, &HEADER, payload));
                #[cfg(target_arch = "x86_64")]
                assert_eq!(
                    short.is_some(),
                    matches!(checksum.0, Kind::X86) && length as u32 <= x86::INLINE
                );
                assert_eq!(short.unwrap_or(table), table, "{length} bytes without a call");
                let shared = checksum.shared_record(seed, &HEADER, length as u32, &words);
                assert_eq!(shared, table, "{length} bytes in words");
            }
        }
    }

    #[test]
    fn words_behind_a_payload_that_is_too_short_are_not_looked_at() {
        let seed = record_seed(0xfeed_beef);
        let of = |behind: u64, words: usize, length: u32| {
            let all: [AtomicU64; 20] =
                core::array::from_fn(|i| AtomicU64::new(if i < words { i as u64 } else { behind }));
            Checksum::detect().shared_record(seed, &HEADER, length, &all[..words])
        };
        for words in 0..16 {
            for length in words as u32 * 8..150 {
                assert_eq!(of(0, words, length), of(0xa5a5, words, length), "{words}, {length}");
            }
        }
    }

    #[test]
    fn a_checksum_goes_on_over_any_bytes_as_that_of_the_format_does() {
        let bytes: [u8; 1500] = core::array::from_fn(|i| (i * 37 + 1) as u8);
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
