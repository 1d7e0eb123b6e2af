use bitflags::bitflags;

use crate::bytes::{put, u32_at, u64_at};
use crate::crc32c::CrcState;
use crate::layout::{epoch_record, record, watermark_record};

/// Size of a record's header in bytes.
pub const HEADER_SIZE: u64 = record::LAYOUT.size as u64;
/// Every record begins at a multiple of this many bytes.
pub const RECORD_ALIGN: u64 = 32;

const _: () = assert!(RECORD_ALIGN.is_power_of_two() && HEADER_SIZE.is_multiple_of(RECORD_ALIGN));
// The commit word is loaded and stored as one 64-bit word.
const _: () = assert!(record::LENGTH_PLUS_ONE == 0 && record::CRC == 4);

/// Bytes that a record with a payload of `payload_length` bytes takes, header and alignment included.
#[must_use]
pub const fn record_size(payload_length: u32) -> u64 {
    // By a mask, because `next_multiple_of` becomes a comparison and a move.
    (HEADER_SIZE + payload_length as u64 + (RECORD_ALIGN - 1)) & !(RECORD_ALIGN - 1)
}

/// The first word of a record: payload length + 1 and checksum, stored last and in one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitWord(u64);

impl CommitWord {
    /// A place where nothing has been committed.
    pub const EMPTY: Self = Self(0);

    /// The word of a record, or `None` where the length + 1 would not fit 32 bits.
    #[must_use]
    pub const fn new(payload_length: u32, crc: u32) -> Option<Self> {
        match payload_length.checked_add(1) {
            Some(length_plus_one) => Some(Self(length_plus_one as u64 | (crc as u64) << 32)),
            None => None,
        }
    }

    /// The same with this checksum.
    #[must_use]
    pub const fn with_crc(self, crc: u32) -> Self {
        Self(self.0 as u32 as u64 | (crc as u64) << 32)
    }

    /// Takes a word as it was loaded.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The word as it is stored.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Payload length in bytes, or `None` while nothing is committed.
    #[must_use]
    pub const fn payload_length(self) -> Option<u32> {
        (self.0 as u32).checked_sub(1)
    }

    /// The stored checksum.
    #[must_use]
    pub const fn crc(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// What a payload is: users' types and the queue's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TypeId(u16);

impl TypeId {
    /// A writer's mark that a new epoch begins; see [`EpochRecord`].
    pub const EPOCH: Self = Self(0x0001);
    /// A writer's note of what was durable; see [`WatermarkRecord`].
    pub const WATERMARK: Self = Self(0x0002);
    /// Stands in place of records that were lost: a repair puts it there. Its sequence number is
    /// that of the next record that is there, its epoch the one in force behind it.
    pub const GAP: Self = Self(0x0003);
    /// Padding: bytes that carry nothing.
    pub const PADDING: Self = Self(0xFFFF);
    /// The type that the command line uses unless told otherwise.
    pub const DEFAULT: Self = Self(0x8000);

    /// A user's type: 0x0100 to 0xFFFE. `None` for 0 and for the queue's own types.
    #[must_use]
    pub const fn user(id: u16) -> Option<Self> {
        if id >= 0x0100 && id != Self::PADDING.0 { Some(Self(id)) } else { None }
    }

    /// Takes an id as it was stored, whatever it is.
    #[must_use]
    pub const fn from_stored(id: u16) -> Self {
        Self(id)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }

    /// Whether records of this type are handed to users. All others take no sequence number.
    #[must_use]
    pub const fn is_user(self) -> bool {
        Self::user(self.0).is_some()
    }
}

bitflags! {
    /// Flags of a record. Bits that are not known are ignored when a record is read.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct RecordFlags: u16 {
        /// No flag has a meaning yet; readers keep what they do not know.
        const _ = !0;
    }
}

/// The header of a record behind its commit word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// What the payload is.
    pub type_id: TypeId,
    /// Record flags.
    pub flags: RecordFlags,
    /// Epoch of the writer.
    pub epoch: u32,
    /// Sequence number; of an internal record, that of the next user record.
    pub seq: u64,
    /// Nanoseconds since 1970, as the writer's clock gave them.
    pub timestamp_ns: u64,
}

impl RecordHeader {
    /// The three words behind the commit word, as they are stored.
    #[must_use]
    pub const fn words(&self) -> [u64; 3] {
        let first =
            self.type_id.0 as u64 | (self.flags.bits() as u64) << 16 | (self.epoch as u64) << 32;
        [first, self.seq, self.timestamp_ns]
    }

    /// Reads the three words behind the commit word.
    #[must_use]
    pub const fn from_words([first, seq, timestamp_ns]: [u64; 3]) -> Self {
        Self {
            type_id: TypeId(first as u16),
            flags: RecordFlags::from_bits_retain((first >> 16) as u16),
            epoch: (first >> 32) as u32,
            seq,
            timestamp_ns,
        }
    }

    /// The header as its checksum sees it: with the checksum's own four bytes zero.
    #[must_use]
    pub fn checksummed_bytes(&self, payload_length: u32) -> [u8; HEADER_SIZE as usize] {
        let mut bytes = [0; HEADER_SIZE as usize];
        let [first, seq, timestamp_ns] = self.words();
        put(&mut bytes, record::LENGTH_PLUS_ONE, payload_length.wrapping_add(1).to_le_bytes());
        put(&mut bytes, record::TYPE_ID, first.to_le_bytes());
        put(&mut bytes, record::SEQ, seq.to_le_bytes());
        put(&mut bytes, record::TIMESTAMP_NS, timestamp_ns.to_le_bytes());
        bytes
    }

    /// The record's checksum by table, for cold paths and as the reference for faster ones.
    #[must_use]
    pub fn crc(&self, seed: CrcState, payload: &[u8]) -> u32 {
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        seed.update(&self.checksummed_bytes(length)).update(payload).finish()
    }
}

/// What every record's checksum in a segment begins with: the segment's salt.
///
/// Bytes that imitate a record do not know the salt. A record of an older life carries another
/// epoch, which its checksum covers with the rest of the header.
#[must_use]
pub fn record_seed(salt: u32) -> CrcState {
    CrcState::NEW.update(&salt.to_le_bytes())
}

/// Payload of the record that a writer appends first when it goes on in a segment that another
/// writer, or an earlier life of the same one, has begun. Its own checksum is made under the new
/// epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochRecord {
    /// Epoch of the writer that appends from here on; higher than `previous_epoch`.
    pub epoch: u32,
    /// Epoch of everything before.
    pub previous_epoch: u32,
    /// Sequence number of the next user record.
    pub next_seq: u64,
    /// Records below this were durable when the writer opened.
    pub durable_seq: u64,
    /// Wall clock of the takeover, nanoseconds since 1970.
    pub wall_ns: u64,
}

impl EpochRecord {
    /// Size of the payload in bytes.
    pub const SIZE: usize = epoch_record::LAYOUT.size;

    /// The payload.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        put(&mut bytes, epoch_record::EPOCH, self.epoch.to_le_bytes());
        put(&mut bytes, epoch_record::PREVIOUS_EPOCH, self.previous_epoch.to_le_bytes());
        put(&mut bytes, epoch_record::NEXT_SEQ, self.next_seq.to_le_bytes());
        put(&mut bytes, epoch_record::DURABLE_SEQ, self.durable_seq.to_le_bytes());
        put(&mut bytes, epoch_record::WALL_NS, self.wall_ns.to_le_bytes());
        bytes
    }

    /// Reads a payload; `None` if it has another size.
    #[must_use]
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::SIZE] = payload.try_into().ok()?;
        Some(Self {
            epoch: u32_at(bytes, epoch_record::EPOCH),
            previous_epoch: u32_at(bytes, epoch_record::PREVIOUS_EPOCH),
            next_seq: u64_at(bytes, epoch_record::NEXT_SEQ),
            durable_seq: u64_at(bytes, epoch_record::DURABLE_SEQ),
            wall_ns: u64_at(bytes, epoch_record::WALL_NS),
        })
    }
}

/// Payload of the record that carries the durable watermark inside the log: one before each batch
/// that is made durable, so that recovery knows what was durable even where `checkpoint.meta` is
/// older.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatermarkRecord {
    /// Records below this were durable when the record was appended.
    pub durable_seq: u64,
}

impl WatermarkRecord {
    /// Size of the payload in bytes.
    pub const SIZE: usize = watermark_record::LAYOUT.size;

    /// The payload.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::SIZE] {
        self.durable_seq.to_le_bytes()
    }

    /// Reads a payload; `None` if it has another size.
    #[must_use]
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::SIZE] = payload.try_into().ok()?;
        Some(Self { durable_seq: u64_at(bytes, watermark_record::DURABLE_SEQ) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> RecordHeader {
        RecordHeader {
            type_id: TypeId::user(0x1000).unwrap(),
            flags: RecordFlags::from_bits_retain(0x0102),
            epoch: 2,
            seq: 0xdead_beef,
            timestamp_ns: 1_723_075_200_000_000_001,
        }
    }

    #[test]
    fn header_words_survive_a_round_trip() {
        assert_eq!(RecordHeader::from_words(header().words()), header());
    }

    #[test]
    fn the_checksum_covers_every_field_and_every_payload_byte() {
        let seed = record_seed(1);
        let reference = header().crc(seed, b"payload");
        let changed = [
            RecordHeader { type_id: TypeId::user(0x1001).unwrap(), ..header() }
                .crc(seed, b"payload"),
            RecordHeader { flags: RecordFlags::empty(), ..header() }.crc(seed, b"payload"),
            RecordHeader { seq: 0xdead_beee, ..header() }.crc(seed, b"payload"),
            RecordHeader { timestamp_ns: 0, ..header() }.crc(seed, b"payload"),
            RecordHeader { epoch: 3, ..header() }.crc(seed, b"payload"),
            header().crc(record_seed(2), b"payload"),
            header().crc(seed, b"payloae"),
            header().crc(seed, b"payload\0"),
        ];
        assert!(changed.iter().all(|&crc| crc != reference), "{reference:#x} {changed:#x?}");
    }

    #[test]
    fn internal_types_are_not_users() {
        for internal in [0, 1, 2, 0xFF, 0xFFFF] {
            assert_eq!(TypeId::user(internal), None);
        }
        for user in [0x100, 0x1000, 0x8000, 0xFFFE] {
            assert!(TypeId::user(user).unwrap().is_user());
        }
    }

    #[test]
    fn an_empty_payload_is_a_commit_and_zero_is_none() {
        assert_eq!(CommitWord::new(0, 0).unwrap().payload_length(), Some(0));
        assert_eq!(CommitWord::EMPTY.payload_length(), None);
        assert_eq!(CommitWord::from_bits(0xffff_ffff_0000_0000).payload_length(), None);
        assert_eq!(CommitWord::new(u32::MAX, 0), None);
        let word = CommitWord::new(64, 0x1234_5678).unwrap();
        assert_eq!((word.payload_length(), word.crc()), (Some(64), 0x1234_5678));
    }

    #[test]
    fn an_epoch_record_survives_a_round_trip() {
        let record =
            EpochRecord { epoch: 9, previous_epoch: 8, next_seq: 7, durable_seq: 6, wall_ns: 5 };
        assert_eq!(EpochRecord::decode(&record.encode()), Some(record));
        assert_eq!(EpochRecord::decode(&[0; 31]), None);
    }

    #[test]
    fn a_watermark_record_survives_a_round_trip() {
        let record = WatermarkRecord { durable_seq: 0x0123_4567_89ab_cdef };
        assert_eq!(WatermarkRecord::decode(&record.encode()), Some(record));
        assert_eq!(WatermarkRecord::decode(&[0; 7]), None);
    }
}
