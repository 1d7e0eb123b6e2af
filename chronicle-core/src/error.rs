use core::fmt;

use chronicle_format::{FormatError, Holder, Object, ReaderName, SegmentId};
use chronicle_sync::ErrorKind;

/// What was being done to an object when the platform said no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operation {
    /// Opening it.
    Open,
    /// Making it.
    Create,
    /// Allocating space for it.
    Reserve,
    /// Bringing it to the medium.
    Sync,
    /// Locking it, or asking who holds the lock.
    Lock,
    /// Removing it.
    Remove,
    /// Listing objects of its kind.
    List,
    /// Sleeping on it.
    Wait,
}

/// Why the bytes at a place are not what a writer put there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The checksum of the record does not match.
    Checksum,
    /// The length leads beyond the segment.
    Length {
        /// The payload length that the record claims, in bytes.
        found: u32,
    },
    /// Another sequence number than the next one.
    Seq {
        /// The sequence number found.
        found: u64,
    },
    /// Another epoch than the one in force.
    Epoch {
        /// The epoch found.
        found: u32,
        /// The epoch in force.
        expected: u32,
    },
    /// A record of the queue's own whose payload makes no sense.
    Internal,
    /// The segment is sealed behind this place, yet there is no record.
    Missing {
        /// Where the segment says that its last record ends.
        sealed_at: u64,
    },
    /// The segment is sealed before this place.
    BeyondSeal {
        /// Where the segment says that its last record ends.
        sealed_at: u64,
    },
    /// The segment is not there, although later or durable ones are.
    NoSegment,
    /// The segment was never started, although records lead into it.
    NotStarted,
    /// Later records are there, and those that belong before them are not.
    Hole,
    /// There is no record, although one at this place was durable.
    NotThere,
}

/// Damaged bytes: where they are and what is wrong with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The segment.
    pub segment: SegmentId,
    /// Offset in the segment's file in bytes.
    pub offset: u64,
    /// Sequence number that the record at this place should have.
    pub seq: u64,
    /// What is wrong.
    pub fault: Fault,
}

/// Why a call failed. Nothing was changed unless the variant says so.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error<E> {
    /// The platform said no.
    Platform {
        /// The object concerned.
        object: Object,
        /// What was being done to it.
        operation: Operation,
        /// The platform's reason.
        source: E,
    },
    /// An object's bytes are not of this format, this version or this queue.
    Format {
        /// The object concerned.
        object: Object,
        /// What is wrong with it.
        source: FormatError,
    },
    /// Records are damaged.
    Damaged(Damage),
    /// There is no queue: no `control.meta`, and nothing else of a queue either.
    NoQueue,
    /// Segments with records are there, but `control.meta` is not.
    ControlMissing,
    /// There is a queue already.
    AlreadyExists,
    /// Another writer is active.
    WriterAlreadyActive {
        /// Who, as the holder wrote it down; `None` if this process may not read it.
        holder: Option<Holder>,
    },
    /// A reader of this name is active.
    ReaderAlreadyActive {
        /// The name.
        name: ReaderName,
        /// Process id of the holder; 0 if it is not known.
        pid: u32,
    },
    /// The writer's lock was taken from it. The record in flight may or may not have been appended;
    /// this appender appends no more.
    Fenced {
        /// The epoch of this appender.
        mine: u32,
        /// The epoch in force.
        current: u32,
    },
    /// A sync failed: what was appended since the last successful one may be lost in a power loss. The
    /// queue can be read. A writer that opens it brings everything to the medium anew and makes sure
    /// that it is there; this error is also what it gets where that fails.
    Poisoned,
    /// This appender gave its syncer away: whoever has it makes records durable.
    SyncerDetached,
    /// Type ids 0x0000 to 0x00FF and 0xFFFF are not for users.
    InvalidTypeId {
        /// The id asked for.
        found: u16,
    },
    /// The payload is larger than a segment can hold.
    PayloadTooLarge {
        /// Its size in bytes.
        length: u64,
        /// The largest size in bytes.
        max: u64,
    },
    /// The next record does not fit into the buffer that it was to be copied to. It is still the next
    /// one.
    BufferTooSmall {
        /// Its size in bytes.
        needed: u32,
    },
    /// The queue has reached the limit that it was made with, and readers still hold its oldest
    /// segment. Nothing was appended; the same call may be made again.
    QueueFull {
        /// The limit in bytes.
        capacity: u64,
    },
    /// The segments up to the reader's position were removed.
    FellBehind {
        /// Sequence number of the oldest record that is still there.
        oldest: u64,
    },
    /// Messages were lost, and a repair has put a gap in their place. The reader stands behind it:
    /// the next call goes on there, and a commit keeps that place.
    Gap {
        /// Sequence number of the first one that is lost.
        first: u64,
        /// Sequence number of the next one that is there.
        next: u64,
    },
    /// Reading backwards: there is no record before this place, because older ones were removed or
    /// never were.
    NothingBefore {
        /// Sequence number of the oldest record.
        oldest: u64,
    },
    /// The reader's position is not on this log: a power loss took records that it had read.
    Diverged {
        /// Epoch of the position.
        epoch: u32,
        /// Sequence number of the position.
        seq: u64,
    },
    /// The queue has had its last epoch, or its control file is damaged.
    EpochsExhausted,
    /// The reader was opened without a name, so there is no position to commit.
    NotRegistered,
}

impl<E> Error<E> {
    pub(crate) fn format(object: Object) -> impl FnOnce(FormatError) -> Self {
        move |source| Self::Format { object, source }
    }

    pub(crate) fn platform(object: Object, operation: Operation) -> impl FnOnce(E) -> Self {
        move |source| Self::Platform { object, operation, source }
    }
}

impl<E: chronicle_sync::Error> Error<E> {
    /// Whether a sync failed, so that what was not durable may be lost. Where what is to be synced
    /// could not even be opened, nothing was lost and the next try may succeed.
    pub(crate) fn is_failed_sync(&self) -> bool {
        match self {
            Self::Platform { operation: Operation::Sync, source, .. } => {
                use ErrorKind::{Denied, Exhausted, NotFound, NotRegular};
                !matches!(source.kind(), Exhausted | Denied | NotFound | NotRegular)
            }
            _ => false,
        }
    }

    /// The platform's kind of error, if it was the platform.
    #[must_use]
    pub fn kind(&self) -> Option<ErrorKind> {
        match self {
            Self::Platform { source, .. } => Some(source.kind()),
            _ => None,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Checksum => write!(f, "its checksum does not match"),
            Self::Length { found } => write!(f, "its length {found} leads beyond the segment"),
            Self::Seq { found } => write!(f, "its sequence number is {found}"),
            Self::Epoch { found, expected } => {
                write!(f, "its epoch is {found} where {expected} is in force")
            }
            Self::Internal => write!(f, "it is a record of the queue's own that makes no sense"),
            Self::Missing { sealed_at } => {
                write!(f, "there is no record, yet the segment is sealed at {sealed_at}")
            }
            Self::BeyondSeal { sealed_at } => write!(f, "the segment is sealed at {sealed_at}"),
            Self::NoSegment => write!(f, "the segment is not there"),
            Self::NotStarted => write!(f, "the segment was never started"),
            Self::NotThere => write!(f, "there is no record, although there was a durable one"),
            Self::Hole => write!(f, "later records are there, but those before them are not"),
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let object = Object::Segment(self.segment);
        write!(
            f,
            "{object} is damaged at offset {} (seq {}): {}",
            self.offset, self.seq, self.fault
        )
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Create => "create",
            Self::Reserve => "allocate space for",
            Self::Sync => "sync",
            Self::Lock => "lock",
            Self::Remove => "remove",
            Self::List => "list",
            Self::Wait => "wait on",
        })
    }
}

impl<E: chronicle_sync::Error> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Platform { object, operation, source } => {
                write!(f, "cannot {operation} {object}: {source}")?;
                match (operation, source.kind()) {
                    (Operation::Sync, ErrorKind::NoSpace) | (_, ErrorKind::Io) => {
                        write!(f, "; what was not durable may be lost")
                    }
                    (_, ErrorKind::NoSpace) => {
                        write!(f, "; free some space and append again, nothing was lost")
                    }
                    (_, ErrorKind::NotRegular) => {
                        write!(f, "; links, devices and directories are refused")
                    }
                    _ => Ok(()),
                }
            }
            Self::Format { object, source } => write!(f, "{object}: {source}"),
            Self::Damaged(damage) => damage.fmt(f),
            Self::NoQueue => write!(f, "there is no queue here (no control.meta)"),
            Self::ControlMissing => write!(
                f,
                "control.meta is missing, but there are segments with records; nothing was changed"
            ),
            Self::AlreadyExists => write!(f, "there is a queue here already"),
            Self::WriterAlreadyActive { holder: Some(holder) } => {
                write!(f, "another writer is active: {holder}")
            }
            Self::WriterAlreadyActive { holder: None } => write!(f, "another writer is active"),
            Self::ReaderAlreadyActive { name, pid } => {
                write!(f, "reader '{name}' is active already in process {pid}")
            }
            Self::Fenced { mine, current } => write!(
                f,
                "this writer (epoch {mine}) lost the queue to a newer one (epoch {current}); the record in flight may or may not be there"
            ),
            Self::Poisoned => write!(
                f,
                "a sync failed, and what was not durable may be lost in a power loss; the queue can be read, and a writer that opens it tries to bring everything to the medium anew: look for errors of the disk, then open it again, or reboot"
            ),
            Self::SyncerDetached => {
                f.write_str("this appender gave its syncer away: flush by that one")
            }
            Self::InvalidTypeId { found } => {
                write!(f, "type id {found:#06x} is not for users, who have 0x0100 to 0xfffe")
            }
            Self::PayloadTooLarge { length, max } => write!(
                f,
                "a payload of {length} bytes does not fit, this queue takes at most {max}"
            ),
            Self::BufferTooSmall { needed } => {
                write!(f, "the next message has {needed} bytes, more than the buffer for it")
            }
            Self::QueueFull { capacity } => write!(
                f,
                "the queue is full: its limit is {capacity} bytes, and readers hold its oldest segment"
            ),
            Self::FellBehind { oldest } => write!(
                f,
                "the records at this position were removed; the oldest one still there has seq {oldest}"
            ),
            Self::Gap { first, next } => {
                write!(f, "messages {first} to {} were lost; reading goes on with {next}", next - 1)
            }
            Self::NothingBefore { oldest } => {
                write!(f, "there is nothing before seq {oldest}")
            }
            Self::Diverged { epoch, seq } => write!(
                f,
                "the position (epoch {epoch}, seq {seq}) is not on this log: records that were read are gone; remove the reader to begin anew"
            ),
            Self::EpochsExhausted => write!(f, "no epoch is left: control.meta is damaged"),
            Self::NotRegistered => write!(f, "a reader without a name has no position to commit"),
        }
    }
}

impl<E: chronicle_sync::Error> core::error::Error for Error<E> {}
