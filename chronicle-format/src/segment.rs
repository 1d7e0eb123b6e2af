use bitflags::bitflags;

use crate::bytes::{before, put, u16_at, u32_at, u64_at};
use crate::crc32c::{CrcState, crc32c};
use crate::layout::segment;
use crate::record::RECORD_ALIGN;
use crate::{FormatError, SegmentId, SegmentSize};

/// Version of the segment layout.
pub const SEG_VERSION: u16 = 2;
/// Offset of a segment's first record in bytes.
pub const SEG_DATA_OFFSET: u64 = segment::LAYOUT.size as u64;
/// The bit of the seal word that says that nothing more is appended to the segment.
pub const SEG_FLAG_SEALED: u64 = 1;

const MAGIC: u64 = u64::from_le_bytes(*b"CHRONSEG");

bitflags! {
    /// Flags of a segment. Bits that are not known are refused.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct SegmentFlags: u16 {
        /// Records carry a CRC-32C.
        const CHECKSUMS = 1;
    }
}

/// The part of a segment's head that never changes once the file has its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The segment's id.
    pub id: SegmentId,
    /// Size of the file in bytes.
    pub segment_size: SegmentSize,
    /// Whether records carry a CRC-32C.
    pub checksums: bool,
    /// Random and never 0; seeds every record's checksum.
    pub salt: u32,
}

impl SegmentHeader {
    /// Size of the whole head in bytes.
    pub const SIZE: usize = segment::LAYOUT.size;

    /// The head of a segment that is not started yet.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::SIZE] {
        let mut bytes = self.unchecked();
        let crc = crc32c(before(&bytes, segment::HEADER_CRC));
        put(&mut bytes, segment::HEADER_CRC, crc.to_le_bytes());
        bytes
    }

    /// What the checksum of a [`SegmentStart`] behind this header begins with. `update` is what [`CrcState::update`] is, perhaps
    /// by other means than a table.
    #[must_use]
    pub fn start_seed(&self, update: impl Fn(CrcState, &[u8]) -> CrcState) -> CrcState {
        // What lies between both parts is the head's own checksum.
        update(CrcState::NEW, before(&self.unchecked(), segment::HEADER_CRC))
    }

    /// The head without its checksum.
    fn unchecked(&self) -> [u8; Self::SIZE] {
        let flags = if self.checksums { SegmentFlags::CHECKSUMS } else { SegmentFlags::empty() };
        let mut bytes = [0; Self::SIZE];
        put(&mut bytes, segment::MAGIC, MAGIC.to_le_bytes());
        put(&mut bytes, segment::VERSION, SEG_VERSION.to_le_bytes());
        put(&mut bytes, segment::FLAGS, flags.bits().to_le_bytes());
        put(&mut bytes, segment::SEGMENT_ID, self.id.get().to_le_bytes());
        put(&mut bytes, segment::SEGMENT_SIZE, self.segment_size.bytes().to_le_bytes());
        put(&mut bytes, segment::SALT, self.salt.to_le_bytes());
        bytes
    }

    /// Reads the head of a segment.
    ///
    /// # Errors
    /// Wrong magic, version, flags, checksum, id, size, or a salt of 0. Magic and version are looked
    /// at first, so a file of another version says so.
    pub fn decode(bytes: &[u8; Self::SIZE]) -> Result<Self, FormatError> {
        let magic = u64_at(bytes, segment::MAGIC);
        if magic != MAGIC {
            return Err(FormatError::BadMagic { found: magic });
        }
        let version = u16_at(bytes, segment::VERSION);
        if version != SEG_VERSION {
            return Err(FormatError::UnsupportedVersion {
                found: version.into(),
                supported: SEG_VERSION.into(),
            });
        }
        if u32_at(bytes, segment::HEADER_CRC) != crc32c(before(bytes, segment::HEADER_CRC)) {
            return Err(FormatError::BadChecksum { at: segment::HEADER_CRC });
        }
        let flags = SegmentFlags::from_bits_retain(u16_at(bytes, segment::FLAGS));
        let unknown = flags.difference(SegmentFlags::all());
        if !unknown.is_empty() {
            return Err(FormatError::UnknownFlags { bits: unknown.bits().into() });
        }
        let salt = u32_at(bytes, segment::SALT);
        if salt == 0 {
            return Err(FormatError::OutOfRange { at: segment::SALT, value: 0 });
        }
        Ok(Self {
            id: SegmentId::new(u32_at(bytes, segment::SEGMENT_ID).into())?,
            segment_size: SegmentSize::new(u64_at(bytes, segment::SEGMENT_SIZE))?,
            checksums: flags.contains(SegmentFlags::CHECKSUMS),
            salt,
        })
    }
}

/// What a writer adds to a segment's head when it starts to append there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentStart {
    /// Sequence number of the segment's first user record.
    pub first_seq: u64,
    /// Highest time stamp of any record before this segment; 0 if there is none.
    pub time_floor_ns: u64,
    /// Epoch of the writer.
    pub epoch: u32,
}

impl SegmentStart {
    /// The words at offsets 32, 40 and 48 of the head that begins with `header`.
    #[must_use]
    pub fn words(&self, header: &SegmentHeader) -> [u64; 3] {
        self.words_behind(header.start_seed(CrcState::update), by_table)
    }

    /// The same, behind the [header's part](SegmentHeader::start_seed) of their checksum. `update` goes on over two words and a
    /// half, as [`CrcState::update`] does over their bytes in little-endian order, perhaps by other means than a table.
    #[inline(always)]
    #[must_use]
    pub fn words_behind(
        &self,
        seed: CrcState,
        update: impl Fn(CrcState, &[u64; 2], u32) -> CrcState,
    ) -> [u64; 3] {
        let crc = update(seed, &[self.first_seq, self.time_floor_ns], self.epoch).finish();
        [self.first_seq, self.time_floor_ns, u64::from(self.epoch) | u64::from(crc) << 32]
    }

    /// Reads the start of a segment; `None` if the segment has not been started.
    ///
    /// # Errors
    /// [`FormatError::BadChecksum`] if there is something that is not a start of this segment.
    pub fn decode(bytes: &[u8; SegmentHeader::SIZE]) -> Result<Option<Self>, FormatError> {
        let start = Self {
            first_seq: u64_at(bytes, segment::FIRST_SEQ),
            time_floor_ns: u64_at(bytes, segment::TIME_FLOOR_NS),
            epoch: u32_at(bytes, segment::EPOCH),
        };
        let stored = u32_at(bytes, segment::START_CRC);
        let seed = CrcState::NEW.update(before(bytes, segment::HEADER_CRC));
        let [.., last] = start.words_behind(seed, by_table);
        if stored == (last >> 32) as u32 {
            return Ok(Some(start));
        }
        if stored == 0 && start == (Self { first_seq: 0, time_floor_ns: 0, epoch: 0 }) {
            return Ok(None);
        }
        Err(FormatError::BadChecksum { at: segment::START_CRC })
    }
}

fn by_table(state: CrcState, words: &[u64; 2], last: u32) -> CrcState {
    state.update(words.map(u64::to_le_bytes).as_flattened()).update(&last.to_le_bytes())
}

/// The last word of a segment's head: open, or sealed at an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seal {
    /// Records may still be appended.
    Open,
    /// Nothing is appended any more; the last record ends at this offset.
    At(u64),
}

impl Seal {
    /// The word as it is stored.
    #[must_use]
    pub const fn bits(self) -> u64 {
        match self {
            Self::Open => 0,
            Self::At(end) => end | SEG_FLAG_SEALED,
        }
    }

    /// Takes a word as it was loaded.
    ///
    /// # Errors
    /// [`FormatError::OutOfRange`] for a word that no writer stores in a segment of `segment_size`.
    pub const fn from_bits(bits: u64, segment_size: SegmentSize) -> Result<Self, FormatError> {
        let end = bits & !SEG_FLAG_SEALED;
        let in_range = end >= SEG_DATA_OFFSET && end <= segment_size.bytes();
        if bits == 0 {
            Ok(Self::Open)
        } else if bits & SEG_FLAG_SEALED != 0 && in_range && end.is_multiple_of(RECORD_ALIGN) {
            Ok(Self::At(end))
        } else {
            Err(FormatError::OutOfRange { at: segment::SEAL, value: bits })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> SegmentHeader {
        SegmentHeader {
            id: SegmentId::new(42).unwrap(),
            segment_size: SegmentSize::new(65536).unwrap(),
            checksums: true,
            salt: 0x1234_5678,
        }
    }

    fn started(start: SegmentStart) -> [u8; SegmentHeader::SIZE] {
        let mut bytes = header().encode();
        for (i, word) in start.words(&header()).iter().enumerate() {
            put(&mut bytes, segment::FIRST_SEQ + 8 * i, word.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn every_flipped_bit_of_the_header_is_refused() {
        let good = header().encode();
        assert_eq!(SegmentHeader::decode(&good).unwrap(), header());
        for bit in 0..segment::FIRST_SEQ * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            SegmentHeader::decode(&bad).unwrap_err();
        }
    }

    #[test]
    fn a_start_is_absent_whole_or_refused() {
        let start = SegmentStart { first_seq: 1000, time_floor_ns: 77, epoch: 3 };
        assert_eq!(SegmentStart::decode(&header().encode()).unwrap(), None);
        assert_eq!(SegmentStart::decode(&started(start)).unwrap(), Some(start));
        let mut torn = started(start);
        torn[segment::EPOCH] ^= 1;
        SegmentStart::decode(&torn).unwrap_err();
        let zero = SegmentStart { first_seq: 0, time_floor_ns: 0, epoch: 0 };
        assert_eq!(SegmentStart::decode(&started(zero)).unwrap(), Some(zero));
    }

    #[test]
    fn a_seal_lies_on_a_record_boundary_inside_the_segment() {
        let size = SegmentSize::new(4096).unwrap();
        assert_eq!(Seal::from_bits(0, size).unwrap(), Seal::Open);
        for end in [64, 96, 4096] {
            assert_eq!(Seal::from_bits(Seal::At(end).bits(), size).unwrap(), Seal::At(end));
        }
        for bad in [1, 63, 33, 67, 73, 64, 4128 | 1, u64::MAX] {
            Seal::from_bits(bad, size).unwrap_err();
        }
    }
}
