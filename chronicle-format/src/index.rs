use crate::bytes::{before, put, u32_at, u64_at};
use crate::crc32c::{CrcState, crc32c};
use crate::layout::{index, index_entry};
use crate::record::RECORD_ALIGN;
use crate::{FormatError, SEG_DATA_OFFSET, SegmentId, SegmentSize};

/// Version of the index layout.
pub const INDEX_VERSION: u32 = 2;
/// Bytes of a segment between two entries of its index, at the least.
pub const INDEX_STRIDE: u64 = 16 << 10;
/// The largest segment, in bytes, that has no index: what it holds is walked through as fast as two files
/// are opened.
pub const LARGEST_WITHOUT_INDEX: u64 = 64 << 10;
/// Entries that an index has room for, at the most: larger segments have a larger stride.
pub const MAX_INDEX_ENTRIES: u64 = 1 << 16;

const MAGIC: u64 = u64::from_le_bytes(*b"CHRONIDX");

/// The head of the sparse index of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexHeader {
    /// The segment.
    pub segment: SegmentId,
    /// The salt of the segment: the index of another life of the same id does not carry it.
    pub salt: u32,
    /// Bytes between two entries: there is one for the first user record at or behind every multiple
    /// of this.
    pub stride: u64,
}

impl IndexHeader {
    /// Size of the head in bytes.
    pub const SIZE: usize = index::LAYOUT.size;

    /// The head of the index that this version makes; `None` for a segment of at most
    /// [`LARGEST_WITHOUT_INDEX`].
    #[must_use]
    pub fn new(segment: SegmentId, salt: u32, segment_size: SegmentSize) -> Option<Self> {
        let stride = INDEX_STRIDE.max(segment_size.bytes() / MAX_INDEX_ENTRIES);
        let header = Self { segment, salt, stride: stride.next_power_of_two() };
        (segment_size.bytes() > LARGEST_WITHOUT_INDEX).then_some(header)
    }

    /// Entries that the index of such a segment has room for: one per multiple of the stride that
    /// lies inside it.
    #[must_use]
    pub const fn entries(&self, segment_size: SegmentSize) -> u64 {
        (segment_size.bytes() - 1) / self.stride
    }

    /// Size of the file in bytes.
    #[must_use]
    pub const fn file_size(&self, segment_size: SegmentSize) -> u64 {
        Self::SIZE as u64 + self.entries(segment_size) * IndexEntry::SIZE as u64
    }

    /// The first multiple of the stride behind an offset.
    #[must_use]
    pub const fn next_multiple(&self, offset: u64) -> u64 {
        (offset / self.stride + 1).saturating_mul(self.stride)
    }

    /// The head.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        put(&mut bytes, index::MAGIC, MAGIC.to_le_bytes());
        put(&mut bytes, index::VERSION, INDEX_VERSION.to_le_bytes());
        put(&mut bytes, index::SEGMENT_ID, self.segment.get().to_le_bytes());
        put(&mut bytes, index::STRIDE, self.stride.to_le_bytes());
        put(&mut bytes, index::SALT, self.salt.to_le_bytes());
        let crc = crc32c(before(&bytes, index::CRC));
        put(&mut bytes, index::CRC, crc.to_le_bytes());
        bytes
    }

    /// Reads the head of an index.
    ///
    /// # Errors
    /// Wrong magic, version or checksum, an id that no segment has, or a stride that is no multiple
    /// of 32.
    pub fn decode(bytes: &[u8; Self::SIZE]) -> Result<Self, FormatError> {
        let magic = u64_at(bytes, index::MAGIC);
        if magic != MAGIC {
            return Err(FormatError::BadMagic { found: magic });
        }
        let version = u32_at(bytes, index::VERSION);
        if version != INDEX_VERSION {
            return Err(FormatError::UnsupportedVersion {
                found: version,
                supported: INDEX_VERSION,
            });
        }
        if u32_at(bytes, index::CRC) != crc32c(before(bytes, index::CRC)) {
            return Err(FormatError::BadChecksum { at: index::CRC });
        }
        let stride = u64_at(bytes, index::STRIDE);
        if stride == 0 || !stride.is_multiple_of(RECORD_ALIGN) {
            return Err(FormatError::OutOfRange { at: index::STRIDE, value: stride });
        }
        Ok(Self {
            segment: SegmentId::new(u32_at(bytes, index::SEGMENT_ID).into())?,
            salt: u32_at(bytes, index::SALT),
            stride,
        })
    }
}

/// Where a user record is, and what a reader must know to begin there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// Sequence number of the record.
    pub seq: u64,
    /// Its offset in the segment.
    pub offset: u64,
    /// Highest time stamp of any record before it, in whatever segment; 0 if there is none.
    pub time_floor_ns: u64,
    /// The epoch that it carries.
    pub epoch: u32,
}

impl IndexEntry {
    /// Size of an entry in bytes.
    pub const SIZE: usize = index_entry::LAYOUT.size;

    /// The entry as it lies in the index of a segment with this salt.
    #[must_use]
    pub fn encode(&self, salt: u32) -> [u8; Self::SIZE] {
        self.encode_with(salt, CrcState::update)
    }

    /// The same, its checksum by other means than a table: `update` is what [`CrcState::update`] is.
    #[inline]
    #[must_use]
    pub fn encode_with(
        &self,
        salt: u32,
        update: impl Fn(CrcState, &[u8]) -> CrcState,
    ) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        put(&mut bytes, index_entry::SEQ, self.seq.to_le_bytes());
        put(&mut bytes, index_entry::OFFSET, self.offset.to_le_bytes());
        put(&mut bytes, index_entry::TIME_FLOOR_NS, self.time_floor_ns.to_le_bytes());
        put(&mut bytes, index_entry::EPOCH, self.epoch.to_le_bytes());
        let crc = crc(&bytes, salt, update);
        put(&mut bytes, index_entry::CRC, crc.to_le_bytes());
        bytes
    }

    /// Reads an entry; `None` if it is empty, not whole, or of another segment.
    #[must_use]
    pub fn decode(bytes: &[u8; Self::SIZE], salt: u32) -> Option<Self> {
        Self::decode_with(bytes, salt, CrcState::update)
    }

    /// The same, its checksum by other means than a table: `update` is what [`CrcState::update`] is.
    #[inline]
    #[must_use]
    pub fn decode_with(
        bytes: &[u8; Self::SIZE],
        salt: u32,
        update: impl Fn(CrcState, &[u8]) -> CrcState,
    ) -> Option<Self> {
        let offset = u64_at(bytes, index_entry::OFFSET);
        if offset < SEG_DATA_OFFSET
            || !offset.is_multiple_of(RECORD_ALIGN)
            || u32_at(bytes, index_entry::CRC) != crc(bytes, salt, update)
        {
            return None;
        }
        Some(Self {
            seq: u64_at(bytes, index_entry::SEQ),
            offset,
            time_floor_ns: u64_at(bytes, index_entry::TIME_FLOOR_NS),
            epoch: u32_at(bytes, index_entry::EPOCH),
        })
    }
}

/// The salt goes first, as in [`record_seed`](crate::record_seed).
#[inline]
fn crc(
    bytes: &[u8; IndexEntry::SIZE],
    salt: u32,
    update: impl Fn(CrcState, &[u8]) -> CrcState,
) -> u32 {
    let seed = update(CrcState::NEW, &salt.to_le_bytes());
    update(seed, before(bytes, index_entry::CRC)).finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(segment_size: u64) -> Option<IndexHeader> {
        IndexHeader::new(SegmentId::FIRST, 7, SegmentSize::new(segment_size).unwrap())
    }

    #[test]
    fn an_index_is_small_whatever_the_size_of_its_segment() {
        assert_eq!(header(4096), None);
        assert_eq!(header(64 << 10), None);
        for (segment_size, stride, file_size) in [
            ((64 << 10) + 4096, 16 << 10, 5 * 32),
            (1 << 20, 16 << 10, 2048),
            (128 << 20, 16 << 10, 262_144),
            (1 << 30, 16 << 10, 2 << 20),
            (1 << 40, 16 << 20, 2 << 20),
            ((1 << 40) - 4096, 16 << 20, 2 << 20),
        ] {
            let header = header(segment_size).unwrap();
            let size = SegmentSize::new(segment_size).unwrap();
            assert_eq!((header.stride, header.file_size(size)), (stride, file_size));
            assert_eq!(header.next_multiple(64), stride);
            assert_eq!(header.next_multiple(stride), 2 * stride);
        }
    }

    #[test]
    fn every_flipped_bit_of_a_head_and_of_an_entry_is_found() {
        let good = header(1 << 20).unwrap().encode();
        for bit in 0..IndexHeader::SIZE * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            IndexHeader::decode(&bad).unwrap_err();
        }
        let entry = IndexEntry { seq: 1, offset: 65_536, time_floor_ns: 2, epoch: 3 };
        let good = entry.encode(7);
        assert_eq!(IndexEntry::decode(&good, 7), Some(entry));
        for bit in 0..IndexEntry::SIZE * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(IndexEntry::decode(&bad, 7), None, "bit {bit}");
        }
    }

    #[test]
    fn an_empty_entry_and_one_of_another_segment_are_none() {
        assert_eq!(IndexEntry::decode(&[0; IndexEntry::SIZE], 7), None);
        let entry = IndexEntry { seq: 1, offset: 65_536, time_floor_ns: 2, epoch: 3 };
        assert_eq!(IndexEntry::decode(&entry.encode(7), 8), None);
    }
}
