use crate::bytes::{before, put, u32_at, u64_at};
use crate::crc32c::crc32c;
use crate::layout::checkpoint;
use crate::record::RECORD_ALIGN;
use crate::{FormatError, Position, SEG_DATA_OFFSET, SegmentId};

/// Size of `checkpoint.meta` in bytes.
pub const CHECKPOINT_FILE_SIZE: u64 = 8192;
/// Offsets of its two slots in bytes: a page of their own each, so that no torn page takes both.
pub const CHECKPOINT_SLOTS: [usize; 2] = [0, 4096];

const MAGIC: u64 = u64::from_le_bytes(*b"CHRONCKP");
const VERSION: u32 = 2;

/// A slot of `checkpoint.meta`: what a power loss may not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The slot with the higher generation is the newer one.
    pub generation: u64,
    /// The queue that this checkpoint belongs to.
    pub queue_id: u64,
    /// Everything before this place is durable, unless it was removed.
    pub durable: Position,
    /// The segment that the log begins with. Files of earlier ones are what is left of segments that
    /// were removed, and may hold anything.
    pub first: SegmentId,
}

impl Checkpoint {
    /// Size of a slot in bytes.
    pub const SIZE: usize = checkpoint::LAYOUT.size;

    /// The slot.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        put(&mut bytes, checkpoint::MAGIC, MAGIC.to_le_bytes());
        put(&mut bytes, checkpoint::VERSION, VERSION.to_le_bytes());
        put(&mut bytes, checkpoint::EPOCH, self.durable.epoch.to_le_bytes());
        put(&mut bytes, checkpoint::GENERATION, self.generation.to_le_bytes());
        put(&mut bytes, checkpoint::QUEUE_ID, self.queue_id.to_le_bytes());
        put(&mut bytes, checkpoint::DURABLE_SEQ, self.durable.seq.to_le_bytes());
        put(&mut bytes, checkpoint::OFFSET, self.durable.offset.to_le_bytes());
        put(&mut bytes, checkpoint::SEGMENT, self.durable.segment.get().to_le_bytes());
        let crc = crc32c(before(&bytes, checkpoint::CRC));
        put(&mut bytes, checkpoint::CRC, crc.to_le_bytes());
        if self.first != SegmentId::FIRST {
            put(&mut bytes, checkpoint::FIRST_SEGMENT, self.first.get().to_le_bytes());
            let crc = first_crc(&bytes);
            put(&mut bytes, checkpoint::FIRST_CRC, crc.to_le_bytes());
        }
        bytes
    }

    /// Reads a slot.
    ///
    /// # Errors
    /// Wrong magic, version or checksum, or a place that no record can have.
    pub fn decode(bytes: &[u8; Self::SIZE]) -> Result<Self, FormatError> {
        let magic = u64_at(bytes, checkpoint::MAGIC);
        if magic != MAGIC {
            return Err(FormatError::BadMagic { found: magic });
        }
        let version = u32_at(bytes, checkpoint::VERSION);
        if version != VERSION {
            return Err(FormatError::UnsupportedVersion { found: version, supported: VERSION });
        }
        if u32_at(bytes, checkpoint::CRC) != crc32c(before(bytes, checkpoint::CRC)) {
            return Err(FormatError::BadChecksum { at: checkpoint::CRC });
        }
        let first = u32_at(bytes, checkpoint::FIRST_SEGMENT);
        let crc = u32_at(bytes, checkpoint::FIRST_CRC);
        let is_whole = match (first, crc) {
            (0, 0) => true,
            _ => crc == first_crc(bytes),
        };
        if !is_whole {
            return Err(FormatError::BadChecksum { at: checkpoint::FIRST_CRC });
        }
        let offset = u64_at(bytes, checkpoint::OFFSET);
        if offset < SEG_DATA_OFFSET || !offset.is_multiple_of(RECORD_ALIGN) {
            return Err(FormatError::OutOfRange { at: checkpoint::OFFSET, value: offset });
        }
        Ok(Self {
            generation: u64_at(bytes, checkpoint::GENERATION),
            queue_id: u64_at(bytes, checkpoint::QUEUE_ID),
            durable: Position {
                segment: SegmentId::new(u32_at(bytes, checkpoint::SEGMENT).into())?,
                offset,
                seq: u64_at(bytes, checkpoint::DURABLE_SEQ),
                epoch: u32_at(bytes, checkpoint::EPOCH),
            },
            first: SegmentId::new(first.into())?,
        })
    }
}

/// The checksum of the beginning of the log, which binds it to the rest of its slot.
///
/// It leaves the other checksum out: a CRC over bytes with their own CRC behind them is the same number
/// whatever they are, so one that goes on from there would know nothing of them.
fn first_crc(bytes: &[u8; Checkpoint::SIZE]) -> u32 {
    let mut covered = [0; checkpoint::CRC + 4];
    put(
        &mut covered,
        0,
        *bytes.first_chunk::<{ checkpoint::CRC }>().unwrap_or(&[0; checkpoint::CRC]),
    );
    put(&mut covered, checkpoint::CRC, u32_at(bytes, checkpoint::FIRST_SEGMENT).to_le_bytes());
    crc32c(&covered)
}
