use crate::bytes::{put, u32_at, u64_at};
use crate::crc32c::CrcState;
use crate::layout::replicated;
use crate::{FormatError, bytes};

/// Version of the layout of `replicated.meta`.
pub const REPLICATED_VERSION: u32 = 2;
/// Size of `replicated.meta` in bytes.
pub const REPLICATED_FILE_SIZE: u64 = 4096;

const MAGIC: u64 = u64::from_le_bytes(*b"CHRONREP");

/// The part of `replicated.meta` that never changes. A replica keeps the file; the watermark behind
/// the header is its to move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicatedHeader {
    /// The queue that the watermark belongs to.
    pub queue_id: u64,
}

impl ReplicatedHeader {
    /// Bytes that [`encode`](Self::encode) gives and [`decode`](Self::decode) takes.
    pub const SIZE: usize = 24;

    /// The first bytes of `replicated.meta`.
    #[must_use]
    pub fn encode(self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        put(&mut bytes, replicated::MAGIC, MAGIC.to_le_bytes());
        put(&mut bytes, replicated::VERSION, REPLICATED_VERSION.to_le_bytes());
        put(&mut bytes, replicated::QUEUE_ID, self.queue_id.to_le_bytes());
        let crc = Self::crc(&bytes);
        put(&mut bytes, replicated::CRC, crc.to_le_bytes());
        bytes
    }

    /// Reads the first bytes of `replicated.meta`.
    ///
    /// # Errors
    /// Wrong magic, version or checksum.
    pub fn decode(bytes: &[u8; Self::SIZE]) -> Result<Self, FormatError> {
        let magic = u64_at(bytes, replicated::MAGIC);
        if magic != MAGIC {
            return Err(FormatError::BadMagic { found: magic });
        }
        let version = u32_at(bytes, replicated::VERSION);
        if version != REPLICATED_VERSION {
            return Err(FormatError::UnsupportedVersion {
                found: version,
                supported: REPLICATED_VERSION,
            });
        }
        if u32_at(bytes, replicated::CRC) != Self::crc(bytes) {
            return Err(FormatError::BadChecksum { at: replicated::CRC });
        }
        Ok(Self { queue_id: u64_at(bytes, replicated::QUEUE_ID) })
    }

    fn crc(bytes: &[u8; Self::SIZE]) -> u32 {
        let behind = u64_at(bytes, replicated::QUEUE_ID).to_le_bytes();
        CrcState::NEW.update(bytes::before(bytes, replicated::CRC)).update(&behind).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_of_the_header_is_refused() {
        let header = ReplicatedHeader { queue_id: 0x0123_4567_89ab_cdef };
        let good = header.encode();
        assert_eq!(ReplicatedHeader::decode(&good), Ok(header));
        for bit in 0..ReplicatedHeader::SIZE * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            ReplicatedHeader::decode(&bad).unwrap_err();
        }
    }
}
