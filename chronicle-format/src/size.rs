use crate::FormatError;
use crate::record::HEADER_SIZE;
use crate::segment::SEG_DATA_OFFSET;

/// Segment size of a queue whose creator named none: 128 MiB.
pub const DEFAULT_SEGMENT_SIZE: u64 = 128 << 20;
/// Smallest segment size in bytes.
pub const MIN_SEGMENT_SIZE: u64 = 4096;
/// Largest segment size in bytes: 1 TiB.
pub const MAX_SEGMENT_SIZE: u64 = 1 << 40;
/// Every segment size is a multiple of this many bytes.
pub const SEGMENT_SIZE_UNIT: u64 = 4096;

const _: () = assert!(MIN_SEGMENT_SIZE >= SEG_DATA_OFFSET + HEADER_SIZE);
const _: () = assert!(DEFAULT_SEGMENT_SIZE.is_multiple_of(SEGMENT_SIZE_UNIT));

/// A valid segment size: a multiple of 4096 from 4 KiB to 1 TiB that fits `usize`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentSize(u64);

impl SegmentSize {
    /// Checks a size in bytes.
    ///
    /// # Errors
    /// [`FormatError::SegmentSize`] for every size that is not valid.
    pub const fn new(bytes: u64) -> Result<Self, FormatError> {
        let in_range = bytes >= MIN_SEGMENT_SIZE && bytes <= MAX_SEGMENT_SIZE;
        if in_range && bytes.is_multiple_of(SEGMENT_SIZE_UNIT) && bytes <= isize::MAX as u64 {
            Ok(Self(bytes))
        } else {
            Err(FormatError::SegmentSize { bytes })
        }
    }

    /// The size in bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// Largest payload in bytes that a record in such a segment can hold.
    #[must_use]
    pub const fn max_payload(self) -> u64 {
        let room = self.0 - SEG_DATA_OFFSET - HEADER_SIZE;
        // length + 1 must fit the 32-bit half of the commit word.
        let limit = u32::MAX as u64 - 1;
        if room < limit { room } else { limit }
    }
}

impl Default for SegmentSize {
    fn default() -> Self {
        Self(DEFAULT_SEGMENT_SIZE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_page_multiples_between_4_kib_and_1_tib_are_sizes() {
        for good in [4096, 8192, 12288, 64 << 10, 4 << 20, DEFAULT_SEGMENT_SIZE, 1 << 40] {
            assert_eq!(SegmentSize::new(good).unwrap().bytes(), good);
        }
        for bad in [0, 1, 64, 4095, 4097, 65_600, (1 << 40) + 4096, 1 << 63, u64::MAX] {
            assert_eq!(SegmentSize::new(bad), Err(FormatError::SegmentSize { bytes: bad }));
        }
    }

    #[test]
    fn the_largest_payload_fills_a_segment_or_the_length_field() {
        assert_eq!(SegmentSize::new(4096).unwrap().max_payload(), 4096 - 64 - 32);
        assert_eq!(SegmentSize::new(1 << 40).unwrap().max_payload(), u64::from(u32::MAX) - 1);
    }
}
