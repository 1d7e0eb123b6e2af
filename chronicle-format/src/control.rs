use bitflags::bitflags;

use crate::bytes::{before, put, u32_at, u64_at};
use crate::crc32c::crc32c;
use crate::layout::control;
use crate::{FormatError, SegmentId, SegmentSize};

/// Version of `control.meta` and of the queue as a whole.
pub const CTRL_VERSION: u32 = 2;
/// Size of `control.meta` in bytes.
pub const CONTROL_FILE_SIZE: u64 = 4096;

const MAGIC: u64 = u64::from_le_bytes(*b"CHRONCTL");
const IDENTITY: usize = 64;

bitflags! {
    /// Flags of a queue. Bits that are not known are refused.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct ControlFlags: u32 {
        /// Records carry a CRC-32C. Without it the queue promises nothing after a power loss.
        const CHECKSUMS = 1;
        /// The creator's group may read the queue and keep readers in it.
        const GROUP_READABLE = 2;
    }
}

/// Whether the creation of a queue was finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitState {
    /// The file is being made.
    Initialising = 0,
    /// The queue is complete.
    Ready = 1,
}

/// The part of `control.meta` that never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlHeader {
    /// Queue flags.
    pub flags: ControlFlags,
    /// Size of every segment file: the single source of truth.
    pub segment_size: SegmentSize,
    /// Random; binds reader and checkpoint files to this queue.
    pub queue_id: u64,
    /// Wall clock of creation, nanoseconds since 1970.
    pub created_ns: u64,
}

impl ControlHeader {
    /// Bytes that [`encode`](Self::encode) gives and [`decode`](Self::decode) takes.
    pub const SIZE: usize = IDENTITY;

    /// The first bytes of a complete `control.meta`.
    #[must_use]
    pub fn encode(&self) -> [u8; IDENTITY] {
        let mut bytes = [0; IDENTITY];
        put(&mut bytes, control::MAGIC, MAGIC.to_le_bytes());
        put(&mut bytes, control::VERSION, CTRL_VERSION.to_le_bytes());
        put(&mut bytes, control::FLAGS, self.flags.bits().to_le_bytes());
        put(&mut bytes, control::SEGMENT_SIZE, self.segment_size.bytes().to_le_bytes());
        put(&mut bytes, control::QUEUE_ID, self.queue_id.to_le_bytes());
        put(&mut bytes, control::CREATED_NS, self.created_ns.to_le_bytes());
        let crc = crc32c(before(&bytes, control::CRC));
        put(&mut bytes, control::CRC, crc.to_le_bytes());
        put(&mut bytes, control::INIT_STATE, (InitState::Ready as u32).to_le_bytes());
        bytes
    }

    /// Reads the first bytes of `control.meta`.
    ///
    /// # Errors
    /// Wrong magic, version, segment size, checksum, flags or init state, looked at in this order.
    pub fn decode(bytes: &[u8; IDENTITY]) -> Result<Self, FormatError> {
        let magic = u64_at(bytes, control::MAGIC);
        if magic != MAGIC {
            return Err(FormatError::BadMagic { found: magic });
        }
        let version = u32_at(bytes, control::VERSION);
        if version != CTRL_VERSION {
            return Err(FormatError::UnsupportedVersion {
                found: version,
                supported: CTRL_VERSION,
            });
        }
        let segment_size = SegmentSize::new(u64_at(bytes, control::SEGMENT_SIZE))?;
        if u32_at(bytes, control::CRC) != crc32c(before(bytes, control::CRC)) {
            return Err(FormatError::BadChecksum { at: control::CRC });
        }
        let flags = ControlFlags::from_bits_retain(u32_at(bytes, control::FLAGS));
        let unknown = flags.difference(ControlFlags::all());
        if !unknown.is_empty() {
            return Err(FormatError::UnknownFlags { bits: unknown.bits() });
        }
        match u32_at(bytes, control::INIT_STATE) {
            1 => {}
            0 => return Err(FormatError::NotInitialised),
            other => {
                return Err(FormatError::OutOfRange {
                    at: control::INIT_STATE,
                    value: other.into(),
                });
            }
        }
        Ok(Self {
            flags,
            segment_size,
            queue_id: u64_at(bytes, control::QUEUE_ID),
            created_ns: u64_at(bytes, control::CREATED_NS),
        })
    }
}

/// How far the open segment really has space: nothing beyond may be touched, not even to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frontier {
    /// The open segment.
    pub segment: SegmentId,
    /// Allocated bytes from the start of its file, a multiple of 4096.
    pub bytes: u64,
}

impl Frontier {
    /// The word as it is stored.
    #[must_use]
    pub const fn bits(self) -> u64 {
        ((self.segment.get() as u64) << 32) | (self.bytes / 4096)
    }

    /// Takes a word as it was loaded.
    ///
    /// # Errors
    /// [`FormatError::OutOfRange`] for a word that no writer of such segments stores.
    pub fn from_bits(bits: u64, segment_size: SegmentSize) -> Result<Self, FormatError> {
        let bytes = (bits & u64::from(u32::MAX)) * 4096;
        if bytes > segment_size.bytes() {
            return Err(FormatError::OutOfRange { at: control::FRONTIER, value: bits });
        }
        Ok(Self { segment: SegmentId::new(bits >> 32)?, bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> ControlHeader {
        ControlHeader {
            flags: ControlFlags::CHECKSUMS,
            segment_size: SegmentSize::default(),
            queue_id: 0x0123_4567_89ab_cdef,
            created_ns: 5,
        }
    }

    #[test]
    fn a_version_1_file_is_refused_as_such() {
        let mut bytes = header().encode();
        bytes[control::VERSION] = 1;
        assert_eq!(
            ControlHeader::decode(&bytes),
            Err(FormatError::UnsupportedVersion { found: 1, supported: 2 })
        );
    }

    #[test]
    fn every_flipped_bit_of_the_identity_is_refused() {
        let good = header().encode();
        assert_eq!(ControlHeader::decode(&good), Ok(header()));
        for bit in 0..(control::INIT_STATE + 4) * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            ControlHeader::decode(&bad).unwrap_err();
        }
    }

    #[test]
    fn a_segment_size_that_is_not_valid_is_named() {
        for size in [0u64, 1, 1 << 63] {
            let mut bytes = header().encode();
            put(&mut bytes, control::SEGMENT_SIZE, size.to_le_bytes());
            assert_eq!(
                ControlHeader::decode(&bytes),
                Err(FormatError::SegmentSize { bytes: size })
            );
        }
    }

    #[test]
    fn a_frontier_survives_a_round_trip_and_stays_inside() {
        let size = SegmentSize::new(1 << 40).unwrap();
        let frontier = Frontier { segment: SegmentId::new(999_999_999).unwrap(), bytes: 1 << 40 };
        assert_eq!(Frontier::from_bits(frontier.bits(), size), Ok(frontier));
        Frontier::from_bits(frontier.bits(), SegmentSize::default()).unwrap_err();
    }
}
