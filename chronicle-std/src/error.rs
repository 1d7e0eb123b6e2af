use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chronicle_core::{Damage, Error, FormatError, Holder, Object, Operation};
use chronicle_sync::{Error as _, ErrorKind};

use crate::backend::{PlatformError, io_error};

/// Why a call failed. Says which file, and what to do; nothing was lost.
#[derive(Debug)]
#[non_exhaustive]
pub enum QueueError {
    /// There is no queue at the path.
    NotFound {
        /// The queue.
        path: PathBuf,
    },
    /// The path is not a directory.
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// The path is on a file system that other hosts may share, where a queue cannot work. Nothing was
    /// touched.
    ForeignFileSystem {
        /// The queue, or the directory in which it was to be made.
        path: PathBuf,
        /// Name of the file system.
        file_system: &'static str,
    },
    /// The directory holds other things, so no queue is made in it.
    NotEmpty {
        /// The directory.
        path: PathBuf,
        /// One of the things that it holds.
        entry: String,
    },
    /// There is a queue already.
    AlreadyExists {
        /// The queue.
        path: PathBuf,
    },
    /// Another writer is active.
    WriterAlreadyActive {
        /// The queue.
        path: PathBuf,
        /// Who; `None` if this process may not read it.
        holder: Option<Holder>,
    },
    /// A reader of this name is active.
    ReaderAlreadyActive {
        /// The queue.
        path: PathBuf,
        /// The reader's name.
        name: String,
        /// Process id of the holder; 0 if it is not known.
        pid: u32,
    },
    /// A file is of a version that this library does not read. Nothing was touched.
    UnsupportedVersion {
        /// The file.
        file: PathBuf,
        /// The version found.
        found: u32,
        /// The version that this library reads and writes.
        supported: u32,
    },
    /// A file is not what its name says.
    InvalidFile {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        source: FormatError,
    },
    /// An argument is not valid.
    InvalidArgument {
        /// The queue.
        path: PathBuf,
        /// What is wrong with it.
        source: FormatError,
    },
    /// Messages are damaged.
    Corrupt {
        /// The segment's file.
        file: PathBuf,
        /// Where, and what is wrong there.
        damage: Damage,
    },
    /// The operating system said no.
    Io {
        /// The file or directory.
        file: PathBuf,
        /// What was being done.
        operation: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The queue has reached the capacity that it was made with, and nothing in it may be removed:
    /// readers, or the limits of the queue, hold its oldest segment. Nothing was appended; the same
    /// call may be made again.
    Full {
        /// The queue.
        path: PathBuf,
        /// The limit in bytes.
        capacity: u64,
        /// How long the call has waited for room.
        waited: Duration,
    },
    /// Messages were lost, and a repair has put a gap in their place. The reader stands behind it:
    /// the next call goes on there, and a commit keeps that place.
    Gap {
        /// The queue.
        path: PathBuf,
        /// Sequence number of the first message that is lost.
        first: u64,
        /// Sequence number of the next message that is there.
        next: u64,
    },
    /// Reading backwards: there is no message before this place.
    NothingBefore {
        /// The queue.
        path: PathBuf,
        /// Sequence number of the oldest message.
        oldest: u64,
    },
    /// Anything else that a queue says; see the message.
    Queue {
        /// The queue.
        path: PathBuf,
        /// What it says.
        reason: Reason,
    },
}

/// What a queue says that is not about a file.
pub type Reason = Box<Error<PlatformError>>;

impl QueueError {
    pub(crate) fn io(file: &Path, operation: &str, source: io::Error) -> Self {
        Self::Io { file: file.to_owned(), operation: operation.to_owned(), source }
    }

    #[cold]
    pub(crate) fn from_core(path: &Path, error: Error<PlatformError>) -> Self {
        let file = |object: &Object| path.join(object.to_string());
        let path = path.to_owned();
        match error {
            Error::NoQueue => Self::NotFound { path },
            Error::AlreadyExists => Self::AlreadyExists { path },
            Error::WriterAlreadyActive { holder } => Self::WriterAlreadyActive { path, holder },
            Error::ReaderAlreadyActive { name, pid } => {
                Self::ReaderAlreadyActive { path, name: name.as_str().to_owned(), pid }
            }
            Error::Format {
                object,
                source: FormatError::UnsupportedVersion { found, supported },
            } => Self::UnsupportedVersion { file: file(&object), found, supported },
            Error::Format { object, source } => Self::InvalidFile { file: file(&object), source },
            Error::Damaged(damage) => {
                Self::Corrupt { file: file(&Object::Segment(damage.segment)), damage }
            }
            Error::Platform { object, operation, source } => Self::Io {
                file: file(&object),
                operation: operation.to_string(),
                source: match source.kind() {
                    ErrorKind::NotRegular => io::Error::other(
                        "not a plain file: links, devices and directories are refused",
                    ),
                    _ => io_error(source),
                },
            },
            Error::Gap { first, next } => Self::Gap { path, first, next },
            Error::NothingBefore { oldest } => Self::NothingBefore { path, oldest },
            Error::QueueFull { capacity } => Self::Full { path, capacity, waited: Duration::ZERO },
            other => Self::Queue { path, reason: Box::new(other) },
        }
    }

    /// Whether there is no queue at the path.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }
}

impl fmt::Display for QueueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound { path } => write!(f, "{}: there is no queue here", path.display()),
            Self::NotADirectory { path } => {
                write!(f, "{}: not a directory; a queue is a directory", path.display())
            }
            Self::ForeignFileSystem { path, file_system } => write!(
                f,
                "{}: is on {file_system}, which keeps neither shared memory nor locks as a queue needs them; put the queue on a local file system, or force it (`any_file_system`) if only processes of this host ever use it",
                path.display()
            ),
            Self::NotEmpty { path, entry } => write!(
                f,
                "{}: holds '{entry}' and is no queue; a queue needs a directory of its own",
                path.display()
            ),
            Self::AlreadyExists { path } => {
                write!(f, "{}: there is a queue here already", path.display())
            }
            Self::WriterAlreadyActive { path, holder: Some(holder) } => {
                write!(f, "{}: WriterAlreadyActive: held by {holder}", path.display())
            }
            Self::WriterAlreadyActive { path, holder: None } => {
                write!(f, "{}: WriterAlreadyActive: the holder is not known", path.display())
            }
            Self::ReaderAlreadyActive { path, name, pid } => {
                write!(f, "{}: reader '{name}' is active in process {pid}", path.display())
            }
            Self::UnsupportedVersion { file, found, supported } => write!(
                f,
                "{}: UnsupportedVersion: version {found} is not readable by this build, which reads version {supported}; nothing was changed",
                file.display()
            ),
            Self::InvalidFile { file, source } => write!(f, "{}: {source}", file.display()),
            Self::InvalidArgument { path, source } => write!(f, "{}: {source}", path.display()),
            Self::Corrupt { file, damage } => write!(
                f,
                "{}: damaged at offset {} (seq {}): {}; nothing was changed",
                file.display(),
                damage.offset,
                damage.seq,
                damage.fault
            ),
            Self::Io { file, operation, source } => {
                write!(f, "{}: cannot {operation}: {source}", file.display())?;
                match source.kind() {
                    _ if *operation == Operation::Sync.to_string() => {
                        write!(f, "; what was not durable may be lost")
                    }
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                        write!(f, "; free some space and try again, nothing was lost")
                    }
                    _ => Ok(()),
                }
            }
            Self::Gap { path, first, next } => write!(
                f,
                "{}: messages {first} to {} were lost, as a repair has found; reading goes on with {next}",
                path.display(),
                next.saturating_sub(1)
            ),
            Self::NothingBefore { path, oldest } => {
                write!(f, "{}: there is nothing before seq {oldest}", path.display())
            }
            Self::Full { path, capacity, waited } => {
                write!(
                    f,
                    "{}: the queue is full: its limit is {capacity} bytes, and its oldest segment is still held",
                    path.display()
                )?;
                match waited {
                    &Duration::ZERO => Ok(()),
                    waited => write!(f, "; waited {:.1} s for room", waited.as_secs_f64()),
                }
            }
            Self::Queue { path, reason } => write!(f, "{}: {reason}", path.display()),
        }
    }
}

impl std::error::Error for QueueError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::InvalidFile { source, .. } | Self::InvalidArgument { source, .. } => Some(source),
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
