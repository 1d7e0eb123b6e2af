use crate::bytes::{before, put, u32_at, u64_at};
use crate::crc32c::crc32c;
use crate::layout::{reader, reader_slot};
use crate::record::RECORD_ALIGN;
use crate::{FormatError, Position, SEG_DATA_OFFSET, SegmentId};

/// Version of the layout of `readers/NAME.meta`.
pub const READER_VERSION: u32 = 2;
/// Size of `readers/NAME.meta` in bytes.
pub const READER_FILE_SIZE: u64 = 4096;
/// Offsets of its two position slots in bytes: a sector of their own each.
pub const READER_SLOTS: [usize; 2] = [512, 1024];

const MAGIC: u64 = u64::from_le_bytes(*b"CHRONRDR");
const HEAD: usize = 64;

/// How long a queue keeps messages for a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReaderPolicy {
    /// For ever: never cut off by time or size.
    Durable,
    /// Until it has been closed for so many nanoseconds.
    Lease {
        /// Time to live after the reader was closed or died, in nanoseconds.
        ttl_ns: u64,
    },
    /// While it lags by no more than so many bytes.
    MaxLag {
        /// The most that it may lag, in bytes.
        bytes: u64,
    },
}

/// The part of a reader's file that changes only when the reader is registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReaderHeader {
    /// The queue that this reader belongs to.
    pub queue_id: u64,
    /// How long the queue keeps messages for this reader.
    pub policy: ReaderPolicy,
}

impl ReaderHeader {
    /// Bytes that [`encode`](Self::encode) gives and [`decode`](Self::decode) takes.
    pub const SIZE: usize = HEAD;

    /// The first bytes of the file.
    #[must_use]
    pub fn encode(&self) -> [u8; HEAD] {
        let (policy, limit): (u32, u64) = match self.policy {
            ReaderPolicy::Durable => (0, 0),
            ReaderPolicy::Lease { ttl_ns } => (1, ttl_ns),
            ReaderPolicy::MaxLag { bytes } => (2, bytes),
        };
        let mut bytes = [0; HEAD];
        put(&mut bytes, reader::MAGIC, MAGIC.to_le_bytes());
        put(&mut bytes, reader::VERSION, READER_VERSION.to_le_bytes());
        put(&mut bytes, reader::POLICY, policy.to_le_bytes());
        put(&mut bytes, reader::QUEUE_ID, self.queue_id.to_le_bytes());
        put(&mut bytes, reader::LIMIT, limit.to_le_bytes());
        let crc = crc32c(before(&bytes, reader::CRC));
        put(&mut bytes, reader::CRC, crc.to_le_bytes());
        bytes
    }

    /// Reads the first bytes of the file.
    ///
    /// # Errors
    /// Wrong magic, version, checksum or policy.
    pub fn decode(bytes: &[u8; HEAD]) -> Result<Self, FormatError> {
        let magic = u64_at(bytes, reader::MAGIC);
        if magic != MAGIC {
            return Err(FormatError::BadMagic { found: magic });
        }
        let version = u32_at(bytes, reader::VERSION);
        if version != READER_VERSION {
            return Err(FormatError::UnsupportedVersion {
                found: version,
                supported: READER_VERSION,
            });
        }
        if u32_at(bytes, reader::CRC) != crc32c(before(bytes, reader::CRC)) {
            return Err(FormatError::BadChecksum { at: reader::CRC });
        }
        let limit = u64_at(bytes, reader::LIMIT);
        let policy = match u32_at(bytes, reader::POLICY) {
            0 => ReaderPolicy::Durable,
            1 => ReaderPolicy::Lease { ttl_ns: limit },
            2 => ReaderPolicy::MaxLag { bytes: limit },
            other => {
                return Err(FormatError::OutOfRange { at: reader::POLICY, value: other.into() });
            }
        };
        Ok(Self { queue_id: u64_at(bytes, reader::QUEUE_ID), policy })
    }
}

/// A committed position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReaderSlot {
    /// The slot with the higher generation is the newer one; never 0.
    pub generation: u64,
    /// The next record to read.
    pub next: Position,
    /// Offset of the last record read, in the same segment; 0 if none was.
    pub last_offset: u64,
    /// Time stamp of the last record read.
    pub last_timestamp_ns: u64,
    /// Checksum field of the last record read: tells the record that was there from another one
    /// that a power loss put in its place.
    pub last_crc: u32,
}

impl ReaderSlot {
    /// Words of a slot that are stored; the last one carries the checksum in its high half.
    pub const WORDS: usize = 7;

    /// The slot as words, without its checksum. The high half of the last word is zero.
    #[must_use]
    pub const fn words(&self) -> [u64; Self::WORDS] {
        [
            self.generation,
            self.next.seq,
            self.next.offset,
            self.next.segment.get() as u64 | (self.next.epoch as u64) << 32,
            self.last_offset,
            self.last_timestamp_ns,
            self.last_crc as u64,
        ]
    }

    /// The checksum of a slot: CRC-32C of its first 52 bytes.
    #[must_use]
    pub fn crc(words: &[u64; Self::WORDS]) -> u32 {
        let mut bytes = [0; Self::WORDS * 8];
        for (i, word) in words.iter().enumerate() {
            put(&mut bytes, i * 8, word.to_le_bytes());
        }
        crc32c(before(&bytes, reader_slot::CRC))
    }

    /// Reads a slot from its bytes, like [`decode`](Self::decode).
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn decode_bytes(bytes: &[u8; Self::WORDS * 8]) -> Result<Option<Self>, FormatError> {
        let mut words = [0; Self::WORDS];
        for (i, word) in words.iter_mut().enumerate() {
            *word = u64_at(bytes, i * 8);
        }
        Self::decode(&words)
    }

    /// Reads a slot from its words; `None` for a slot that was never written.
    ///
    /// # Errors
    /// A wrong checksum, or a place that no record can have.
    pub fn decode(words: &[u64; Self::WORDS]) -> Result<Option<Self>, FormatError> {
        let [generation, seq, offset, segment_epoch, last_offset, last_timestamp_ns, tail] = *words;
        if words.iter().all(|&word| word == 0) {
            return Ok(None);
        }
        if (tail >> 32) as u32 != Self::crc(words) {
            return Err(FormatError::BadChecksum { at: reader_slot::CRC });
        }
        if offset < SEG_DATA_OFFSET || !offset.is_multiple_of(RECORD_ALIGN) {
            return Err(FormatError::OutOfRange { at: reader_slot::OFFSET, value: offset });
        }
        if last_offset != 0 && (last_offset < SEG_DATA_OFFSET || last_offset >= offset) {
            return Err(FormatError::OutOfRange {
                at: reader_slot::LAST_OFFSET,
                value: last_offset,
            });
        }
        if generation == 0 {
            return Err(FormatError::OutOfRange { at: reader_slot::GENERATION, value: 0 });
        }
        Ok(Some(Self {
            generation,
            next: Position {
                segment: SegmentId::new(segment_epoch & u64::from(u32::MAX))?,
                offset,
                seq,
                epoch: (segment_epoch >> 32) as u32,
            },
            last_offset,
            last_timestamp_ns,
            last_crc: tail as u32,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_survive_a_round_trip() {
        for policy in [
            ReaderPolicy::Durable,
            ReaderPolicy::Lease { ttl_ns: 30_000_000_000 },
            ReaderPolicy::MaxLag { bytes: 1 << 30 },
        ] {
            let header = ReaderHeader { queue_id: 3, policy };
            assert_eq!(ReaderHeader::decode(&header.encode()), Ok(header));
        }
    }

    #[test]
    fn a_slot_is_absent_whole_or_refused() {
        let slot = ReaderSlot {
            generation: 4,
            next: Position { segment: SegmentId::new(2).unwrap(), offset: 128, seq: 9, epoch: 3 },
            last_offset: 64,
            last_timestamp_ns: 8,
            last_crc: 0xabcd,
        };
        let mut words = slot.words();
        words[6] |= u64::from(ReaderSlot::crc(&words)) << 32;
        assert_eq!(ReaderSlot::decode(&words), Ok(Some(slot)));
        assert_eq!(ReaderSlot::decode(&[0; 7]), Ok(None));
        for i in 0..7 {
            let mut torn = words;
            torn[i] ^= 1;
            ReaderSlot::decode(&torn).unwrap_err();
        }
    }
}
