use core::fmt;

/// Why bytes are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FormatError {
    /// The file does not begin with the magic of its kind.
    BadMagic {
        /// The eight bytes found, little-endian.
        found: u64,
    },
    /// A version that this library does not know; nothing was touched.
    UnsupportedVersion {
        /// The version found.
        found: u32,
        /// The version that this library reads and writes.
        supported: u32,
    },
    /// Flag bits of a later version.
    UnknownFlags {
        /// The bits that are not known.
        bits: u32,
    },
    /// A stored checksum does not match the bytes that it covers.
    BadChecksum {
        /// Offset of the stored checksum in its layout.
        at: usize,
    },
    /// The file ends before its layout does, or is larger than it may be.
    WrongSize {
        /// Bytes found.
        found: u64,
        /// Bytes that the layout asks for.
        expected: u64,
    },
    /// The creation of the queue never finished.
    NotInitialised,
    /// A segment size that is not a multiple of 4096 between 4 KiB and 1 TiB, or that does not fit
    /// the address space.
    SegmentSize {
        /// The size found or asked for, in bytes.
        bytes: u64,
    },
    /// A segment id above 999,999,999.
    SegmentId {
        /// The id found or asked for.
        id: u64,
    },
    /// A field that holds a value outside its range.
    OutOfRange {
        /// Offset of the field in its layout.
        at: usize,
        /// The value found.
        value: u64,
    },
    /// A name that is empty, longer than 64 bytes, or uses anything but `A-Z a-z 0-9 _ -`.
    Name,
    /// The file belongs to another queue.
    ForeignQueue {
        /// The queue id found in the file.
        found: u64,
    },
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::BadMagic { found } => {
                write!(f, "wrong magic {found:#018x}: this is not a Chronicle file of this kind")
            }
            Self::UnsupportedVersion { found, supported } => {
                write!(
                    f,
                    "unsupported version {found}, this build reads version {supported}; nothing was changed"
                )
            }
            Self::UnknownFlags { bits } => {
                write!(
                    f,
                    "unknown flags {bits:#x}: written by a newer version; nothing was changed"
                )
            }
            Self::BadChecksum { at } => write!(f, "checksum stored at byte {at} does not match"),
            Self::WrongSize { found, expected } => {
                write!(
                    f,
                    "the file has {found} bytes where {expected} are needed: truncated or not a Chronicle file"
                )
            }
            Self::NotInitialised => write!(f, "its creation was never finished"),
            Self::SegmentSize { bytes } => write!(
                f,
                "segment size {bytes} is not valid: it must be a multiple of 4096 from 4096 (4 KiB) to 1099511627776 (1 TiB)"
            ),
            Self::SegmentId { id } => write!(f, "segment id {id} is above 999999999"),
            Self::OutOfRange { at, value } => {
                write!(f, "value {value} at byte {at} is outside its range")
            }
            Self::Name => {
                write!(f, "a name must have 1 to 64 characters out of A-Z, a-z, 0-9, '_' and '-'")
            }
            Self::ForeignQueue { found } => {
                write!(f, "it belongs to another queue (id {found:#018x})")
            }
        }
    }
}

impl core::error::Error for FormatError {}
