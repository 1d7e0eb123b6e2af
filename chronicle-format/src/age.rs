use crate::bytes::{put, u32_at, u64_at};
use crate::crc32c::crc32c;
use crate::layout::{age_sample, control};
use crate::{FormatError, SegmentId};

/// Samples that `control.meta` has room for: half as many again as cover the age limit.
pub const AGE_SAMPLES: usize = 96;
/// Offset of the first sample in `control.meta` in bytes.
pub const AGE_SAMPLES_OFFSET: usize = 1024;

const START: usize = control::AGE_CLOCK_NS;

/// The clock by which segments age, as it was read last.
///
/// It goes on by the monotonic clock within a boot. In another one it goes on where it stood, or at
/// the wall clock if that is later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgeClock {
    /// What it showed, in nanoseconds.
    pub clock_ns: u64,
    /// What the monotonic clock showed at that moment.
    pub monotonic_ns: u64,
    /// The boot of that reading.
    pub boot: u64,
}

impl AgeClock {
    /// Offset in `control.meta` in bytes.
    pub const OFFSET: usize = START;
    /// Bytes that [`encode`](Self::encode) gives and [`decode`](Self::decode) takes.
    pub const SIZE: usize = 32;

    /// The reading as it is stored.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        put(&mut bytes, 0, self.clock_ns.to_le_bytes());
        put(&mut bytes, control::AGE_MONOTONIC_NS - START, self.monotonic_ns.to_le_bytes());
        put(&mut bytes, control::AGE_BOOT - START, self.boot.to_le_bytes());
        let crc = crc32c(crate::bytes::before(&bytes, control::AGE_CRC - START));
        put(&mut bytes, control::AGE_CRC - START, crc.to_le_bytes());
        bytes
    }

    /// Reads a stored reading; `None` if there is none that is whole.
    #[must_use]
    pub fn decode(bytes: &[u8; Self::SIZE]) -> Option<Self> {
        let crc = crc32c(crate::bytes::before(bytes, control::AGE_CRC - START));
        (u32_at(bytes, control::AGE_CRC - START) == crc).then(|| Self {
            clock_ns: u64_at(bytes, 0),
            monotonic_ns: u64_at(bytes, control::AGE_MONOTONIC_NS - START),
            boot: u64_at(bytes, control::AGE_BOOT - START),
        })
    }
}

/// Where the log ended at one moment: whatever is in earlier segments is older.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgeSample {
    /// The moment, by the age clock.
    pub age_ns: u64,
    /// The segment that was being written to, or one before it.
    pub segment: SegmentId,
}

impl AgeSample {
    /// Size of a sample in bytes.
    pub const SIZE: usize = age_sample::LAYOUT.size;

    /// The sample as it is stored.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        put(&mut bytes, age_sample::AGE_NS, self.age_ns.to_le_bytes());
        put(&mut bytes, age_sample::SEGMENT, self.segment.get().to_le_bytes());
        let crc = crc32c(crate::bytes::before(&bytes, age_sample::CRC));
        put(&mut bytes, age_sample::CRC, crc.to_le_bytes());
        bytes
    }

    /// Reads a stored sample; `None` if there is none that is whole.
    #[must_use]
    pub fn decode(bytes: &[u8; Self::SIZE]) -> Option<Self> {
        let crc = crc32c(crate::bytes::before(bytes, age_sample::CRC));
        if u32_at(bytes, age_sample::CRC) != crc {
            return None;
        }
        let segment: Result<SegmentId, FormatError> =
            SegmentId::new(u32_at(bytes, age_sample::SEGMENT).into());
        Some(Self { age_ns: u64_at(bytes, age_sample::AGE_NS), segment: segment.ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_and_a_sample_are_whole_or_not_there() {
        let clock = AgeClock { clock_ns: 5, monotonic_ns: 6, boot: 7 };
        let sample = AgeSample { age_ns: 8, segment: SegmentId::new(9).unwrap() };
        assert_eq!(AgeClock::decode(&clock.encode()), Some(clock));
        assert_eq!(AgeSample::decode(&sample.encode()), Some(sample));
        assert_eq!(AgeClock::decode(&[0; AgeClock::SIZE]), None);
        assert_eq!(AgeSample::decode(&[0; AgeSample::SIZE]), None);
        for bit in 0..AgeSample::SIZE * 8 {
            let mut bad = sample.encode();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(AgeSample::decode(&bad), None);
        }
        for bit in 0..28 * 8 {
            let mut bad = clock.encode();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(AgeClock::decode(&bad), None);
        }
    }
}
