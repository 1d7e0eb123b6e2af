use core::fmt;

use crate::Kind;

/// Why bytes are no event, or cannot become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProtocolError {
    /// Fewer bytes than the header has, or than the header says.
    TooShort {
        /// Bytes found, or room given.
        found: usize,
        /// Bytes that are needed.
        needed: u64,
    },
    /// A later version than this library knows.
    UnsupportedVersion {
        /// The version found.
        found: u8,
    },
    /// Elements smaller than those of the kind.
    ElementSize {
        /// Bytes of an element, as the header says.
        found: usize,
        /// Bytes that one of the kind has at least.
        needed: usize,
    },
    /// Another kind than was asked for, or than can be written so.
    WrongKind {
        /// The kind of the event.
        found: Kind,
    },
    /// More elements than a header can count.
    TooMany {
        /// How many.
        count: usize,
    },
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort { found, needed } => {
                write!(f, "an event of {needed} bytes does not fit {found}")
            }
            Self::UnsupportedVersion { found } => {
                write!(f, "an event of version {found}, which a later library has written")
            }
            Self::ElementSize { found, needed } => {
                write!(f, "elements of {found} bytes, where {needed} are the least")
            }
            Self::WrongKind { found } => write!(f, "an event of kind {found}"),
            Self::TooMany { count } => write!(f, "{count} elements in one event"),
        }
    }
}

impl core::error::Error for ProtocolError {}
