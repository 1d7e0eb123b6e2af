//! CRC-32C of records with the processor's instruction where it has one.
//!
//! Unsafe lives here because an instruction that the processor may lack is called: which one is used
//! is found out once, by [`Checksum::detect`].

use chronicle_format::{CrcState, RecordHeader};

/// A way to compute CRC-32C, chosen once when a queue is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checksum(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Table,
    #[cfg(target_arch = "x86_64")]
    #[cfg_attr(miri, allow(dead_code, reason = "only made where CPUID can be asked"))]
    Sse42,
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
            const SSE42: u32 = 1 << 20;
            // Intel SDM volume 2A, CPUID leaf 1: ECX bit 20.
            if core::arch::x86_64::__cpuid(1).ecx & SSE42 != 0 {
                return Self(Kind::Sse42);
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
            Kind::Sse42 => {
                // SAFETY: `detect` makes this kind only where CPUID reports SSE4.2.
                !unsafe { sse42(seed.register(), header_words(header, payload), payload) }
            }
            #[cfg(all(target_arch = "aarch64", target_feature = "crc"))]
            Kind::Arm => {
                // SAFETY: the build assumes the instruction, see the `cfg` on this kind.
                !unsafe { arm(seed.register(), header_words(header, payload), payload) }
            }
        }
    }
}

/// The header as its checksum sees it, as words: the checksum's own half is zero.
#[cfg(any(target_arch = "x86_64", all(target_arch = "aarch64", target_feature = "crc")))]
#[inline(always)]
fn header_words(header: &RecordHeader, payload: &[u8]) -> [u64; 4] {
    let [first, second, third] = header.words();
    [payload.len() as u64 + 1, first, second, third]
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse4.2")]
fn sse42(register: u32, header: [u64; 4], payload: &[u8]) -> u32 {
    use core::arch::x86_64::{_mm_crc32_u8, _mm_crc32_u32, _mm_crc32_u64};
    let mut crc = u64::from(register);
    for word in header {
        crc = _mm_crc32_u64(crc, word);
    }
    let (words, mut rest) = payload.as_chunks::<8>();
    for word in words {
        crc = _mm_crc32_u64(crc, u64::from_le_bytes(*word));
    }
    let mut crc = crc as u32;
    if let Some((half, tail)) = rest.split_first_chunk::<4>() {
        crc = _mm_crc32_u32(crc, u32::from_le_bytes(*half));
        rest = tail;
    }
    for &byte in rest {
        crc = _mm_crc32_u8(crc, byte);
    }
    crc
}

#[cfg(all(target_arch = "aarch64", target_feature = "crc"))]
#[target_feature(enable = "crc")]
fn arm(register: u32, header: [u64; 4], payload: &[u8]) -> u32 {
    use core::arch::aarch64::{__crc32cb, __crc32cd};
    let mut crc = register;
    for word in header {
        crc = __crc32cd(crc, word);
    }
    let (words, rest) = payload.as_chunks::<8>();
    for word in words {
        crc = __crc32cd(crc, u64::from_le_bytes(*word));
    }
    for &byte in rest {
        crc = __crc32cb(crc, byte);
    }
    crc
}

#[cfg(test)]
mod tests {
    use chronicle_format::{RecordFlags, TypeId, record_seed};

    use super::*;

    #[test]
    fn the_instruction_and_the_table_agree_on_every_length() {
        let payload: [u8; 300] = core::array::from_fn(|i| (i * 131 + 7) as u8);
        let header = RecordHeader {
            type_id: TypeId::DEFAULT,
            flags: RecordFlags::empty(),
            epoch: 5,
            seq: 77,
            timestamp_ns: 88,
        };
        let seed = record_seed(0xfeed_beef);
        for length in 0..payload.len() {
            let payload = &payload[..length];
            let table = Checksum::portable().record(seed, &header, payload);
            assert_eq!(table, header.crc(seed, payload));
            assert_eq!(Checksum::detect().record(seed, &header, payload), table, "{length} bytes");
        }
    }
}
