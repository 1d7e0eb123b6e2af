use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use chronicle_std::format::Holder;
use chronicle_std::{QueueError, SourceId};

/// Why something on the bus failed. Says where.
#[derive(Debug)]
#[non_exhaustive]
pub enum BusError {
    /// A name is not one: it has 1 to 64 characters out of `A-Z a-z 0-9 _ -`.
    InvalidName {
        /// The name.
        name: String,
    },
    /// A link, or anything else that is neither the directory nor the plain file that belongs there.
    /// Nothing on a bus leads out of it.
    Refused {
        /// What was refused.
        path: PathBuf,
    },
    /// The strategy runs already.
    StrategyAlreadyActive {
        /// Its lease.
        lease: PathBuf,
        /// Who has it, as that process wrote it down.
        holder: Option<Holder>,
    },
    /// A queue's messages are of another type.
    WrongType {
        /// The queue.
        queue: PathBuf,
        /// What the queue says of them.
        stored: String,
        /// What it would say of those that were expected.
        expected: String,
    },
    /// A queue does not say of which type its messages are.
    NotTyped {
        /// The queue.
        queue: PathBuf,
    },
    /// A record is no message of the queue's type.
    UnexpectedMessage {
        /// The queue.
        queue: PathBuf,
        /// The record's sequence number.
        seq: u64,
        /// Its type id.
        type_id: u16,
        /// Bytes of its payload.
        length: usize,
        /// Name of the type that was expected.
        expected: &'static str,
    },
    /// A reply is to a request that was never sent, or that has a reply.
    UnexpectedReply {
        /// The queue of requests.
        requests: PathBuf,
        /// Sequence number of the reply in its queue.
        seq: u64,
        /// The request that it names.
        request_seq: u64,
    },
    /// A request was not given out, or has its reply: it is not answered.
    NotAsked {
        /// The queue of requests.
        queue: PathBuf,
        /// The request that the reply names.
        request_seq: u64,
    },
    /// A message that a merge has given out is not in the source, or there is no such source.
    NotInSource {
        /// The source.
        source: SourceId,
        /// Sequence number of the message.
        seq: u64,
    },
    /// A fan-in has no place for a strategy: it has as many as it can have, or one whose name gives the
    /// same number.
    NoPlace {
        /// The strategy.
        strategy: String,
    },
    /// A queue said no.
    Queue(QueueError),
    /// The operating system said no.
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was being done.
        operation: &'static str,
        /// The system's reason.
        source: io::Error,
    },
}

impl BusError {
    pub(crate) fn io(
        path: impl AsRef<Path>,
        operation: &'static str,
        source: impl Into<io::Error>,
    ) -> Self {
        Self::Io { path: path.as_ref().to_owned(), operation, source: source.into() }
    }

    /// Whether it says something about the file, and not about this process or the machine.
    pub(crate) fn is_about_the_file(&self) -> bool {
        match self {
            Self::Refused { .. } => true,
            Self::Io { source, .. } => {
                matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied)
            }
            _ => false,
        }
    }

    /// Whether there is no such file, directory or queue.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        match self {
            Self::Queue(error) => error.is_not_found(),
            Self::Io { source, .. } => source.kind() == io::ErrorKind::NotFound,
            _ => false,
        }
    }
}

impl From<QueueError> for BusError {
    fn from(error: QueueError) -> Self {
        Self::Queue(error)
    }
}

impl fmt::Display for BusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidName { name } => {
                write!(f, "{name:?} is no name: it needs 1 to 64 characters out of A-Z a-z 0-9 _ -")
            }
            Self::Refused { path } => write!(
                f,
                "{}: neither a directory nor a plain file of the bus; links are refused",
                path.display()
            ),
            Self::StrategyAlreadyActive { lease, holder: Some(holder) } => {
                write!(f, "{}: the strategy runs already: held by {holder}", lease.display())
            }
            Self::StrategyAlreadyActive { lease, holder: None } => {
                write!(f, "{}: the strategy runs already", lease.display())
            }
            Self::WrongType { queue, stored, expected } => write!(
                f,
                "{}: holds messages of the type '{stored}', and not '{expected}'",
                queue.display()
            ),
            Self::NotTyped { queue } => {
                write!(f, "{}: does not say of which type its messages are", queue.display())
            }
            Self::UnexpectedMessage { queue, seq, type_id, length, expected } => write!(
                f,
                "{}: message {seq} of type {type_id:#06x} with {length} bytes is no {expected}",
                queue.display()
            ),
            Self::UnexpectedReply { requests, seq, request_seq } => write!(
                f,
                "{}: reply {seq} is to request {request_seq}, which was never sent or has a reply",
                requests.display()
            ),
            Self::NotAsked { queue, request_seq } => write!(
                f,
                "{}: request {request_seq} was not given out, or has its reply",
                queue.display()
            ),
            Self::NotInSource { source, seq } => {
                write!(f, "{source}: message {seq}, which was merged, is not there")
            }
            Self::NoPlace { strategy } => {
                write!(f, "there is no place for strategy {strategy} among the sources")
            }
            Self::Queue(error) => error.fmt(f),
            Self::Io { path, operation, source } => {
                write!(f, "{}: cannot {operation}: {source}", path.display())
            }
        }
    }
}

impl std::error::Error for BusError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Queue(error) => Some(error),
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
