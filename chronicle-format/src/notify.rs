use crate::FormatError;
use crate::bytes::{before, put, u32_at, u64_at};
use crate::crc32c::crc32c;
use crate::layout::notify;

/// Version of the layout of `notify.meta`.
pub const NOTIFY_VERSION: u32 = 2;
/// Size of `notify.meta` in bytes.
pub const NOTIFY_FILE_SIZE: u64 = 4096;

const MAGIC: u64 = u64::from_le_bytes(*b"CHRONNTF");

/// The part of `notify.meta` that never changes. The words behind it are all that a reader ever
/// writes to in a queue, beside its own position file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotifyHeader;

impl NotifyHeader {
    /// Bytes that [`encode`](Self::encode) gives and [`decode`](Self::decode) takes.
    pub const SIZE: usize = 16;

    /// The first bytes of `notify.meta`.
    #[must_use]
    pub fn encode(self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        put(&mut bytes, notify::MAGIC, MAGIC.to_le_bytes());
        put(&mut bytes, notify::VERSION, NOTIFY_VERSION.to_le_bytes());
        let crc = crc32c(before(&bytes, notify::CRC));
        put(&mut bytes, notify::CRC, crc.to_le_bytes());
        bytes
    }

    /// Reads the first bytes of `notify.meta`.
    ///
    /// # Errors
    /// Wrong magic, version or checksum.
    pub fn decode(bytes: &[u8; Self::SIZE]) -> Result<Self, FormatError> {
        let magic = u64_at(bytes, notify::MAGIC);
        if magic != MAGIC {
            return Err(FormatError::BadMagic { found: magic });
        }
        let version = u32_at(bytes, notify::VERSION);
        if version != NOTIFY_VERSION {
            return Err(FormatError::UnsupportedVersion {
                found: version,
                supported: NOTIFY_VERSION,
            });
        }
        if u32_at(bytes, notify::CRC) != crc32c(before(bytes, notify::CRC)) {
            return Err(FormatError::BadChecksum { at: notify::CRC });
        }
        Ok(Self)
    }
}
