use core::fmt;

/// What a backend's error means to a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// There is no such object.
    NotFound,
    /// There is such an object already.
    AlreadyExists,
    /// No space, quota or size limit left.
    NoSpace,
    /// Not allowed.
    Denied,
    /// Someone else holds the lock.
    Locked,
    /// The object is not a plain file of the queue: a link, a device, a directory.
    NotRegular,
    /// No file descriptor, mapping or memory left.
    Exhausted,
    /// The medium failed: what was to be made durable may be lost.
    Io,
    /// The backend cannot do this.
    Unsupported,
    /// Anything else.
    Other,
}

/// A backend's error.
pub trait Error: fmt::Debug + fmt::Display + Copy {
    /// What the error means to a queue.
    fn kind(&self) -> ErrorKind;
}
