use core::fmt;

use chronicle_sync::{Error, ErrorKind};

/// What went wrong. A machine's own means to sleep report by it too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaticError(ErrorKind);

impl StaticError {
    /// An error that means this to a queue.
    #[must_use]
    pub const fn new(kind: ErrorKind) -> Self {
        Self(kind)
    }
}

impl Error for StaticError {
    fn kind(&self) -> ErrorKind {
        self.0
    }
}

impl fmt::Display for StaticError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            ErrorKind::NotFound => "there is no such object",
            ErrorKind::AlreadyExists => "there is such an object already",
            ErrorKind::NoSpace => "no slot is free, or none is large enough",
            ErrorKind::Locked => "the object is locked",
            _ => return write!(f, "{:?}", self.0),
        })
    }
}

impl core::error::Error for StaticError {}
