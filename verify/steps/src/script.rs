//! What a traced process does, as a line of text that it is started with.

use std::fmt;
use std::str::FromStr;

use crate::canary::Wrong;

/// One thing that a process does with its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Makes the queue and opens its writer. Keeps two segments if told to keep few.
    Create { segment_size: u64, checksums: bool, keep_few: bool },
    /// Opens the writer, which recovers what the process before left.
    Open,
    /// Appends a record with so many bytes.
    Append(usize),
    /// Claims a record, fills it and commits it.
    Claim(usize),
    /// Claims a record, fills it with what looks like records, and drops it.
    Abort(usize),
    /// Appends so many records of so many bytes at once.
    AppendAll(usize, usize),
    /// Makes everything durable.
    Flush,
    /// Prepares the next segment.
    Prepare,
    /// Removes segments that need not be kept.
    Retain,
    /// Opens the named reader.
    Register,
    /// Reads so many records by the named reader.
    Read(u64),
    /// Commits the place of the named reader.
    Commit,
    /// Closes the writer.
    Close,
    /// Remembers the place of the next record, which has so many bytes, for `Tear`.
    Mark(usize),
    /// Flips a bit of the record at the place that was remembered: the log ends there now.
    Tear,
    /// Has the queue look as if it had last been written to before a reboot.
    Reboot,
    /// Does something that is wrong on purpose.
    Wrong(Wrong),
    /// Fills a claim in and dies: nothing is undone.
    DieInClaim(usize),
}

/// An operation, and whether it is run by single steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) operation: Operation,
    pub(crate) single: bool,
}

/// Runs by single steps.
pub(crate) fn single(operation: Operation) -> Step {
    Step { operation, single: true }
}

/// Runs at full speed.
pub(crate) fn swift(operation: Operation) -> Step {
    Step { operation, single: false }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create { segment_size, checksums, keep_few } => {
                write!(f, "create:{segment_size}:{}:{}", u8::from(*checksums), u8::from(*keep_few))
            }
            Self::Open => write!(f, "open"),
            Self::Append(length) => write!(f, "append:{length}"),
            Self::Claim(length) => write!(f, "claim:{length}"),
            Self::Abort(length) => write!(f, "abort:{length}"),
            Self::AppendAll(count, length) => write!(f, "append-all:{count}:{length}"),
            Self::Flush => write!(f, "flush"),
            Self::Prepare => write!(f, "prepare"),
            Self::Retain => write!(f, "retain"),
            Self::Register => write!(f, "register"),
            Self::Read(count) => write!(f, "read:{count}"),
            Self::Commit => write!(f, "commit"),
            Self::Close => write!(f, "close"),
            Self::Mark(length) => write!(f, "mark:{length}"),
            Self::Tear => write!(f, "tear"),
            Self::Reboot => write!(f, "reboot"),
            Self::Wrong(wrong) => write!(f, "wrong:{}", wrong.number()),
            Self::DieInClaim(length) => write!(f, "die-in-claim:{length}"),
        }
    }
}

impl FromStr for Operation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || format!("'{text}' is no operation");
        let mut parts = text.split(':');
        let name = parts.next().unwrap_or_default();
        let mut number = || -> Result<u64, String> {
            parts.next().and_then(|part| part.parse().ok()).ok_or_else(refused)
        };
        let operation = match name {
            "create" => Self::Create {
                segment_size: number()?,
                checksums: number()? == 1,
                keep_few: number()? == 1,
            },
            "open" => Self::Open,
            "append" => Self::Append(number()? as usize),
            "claim" => Self::Claim(number()? as usize),
            "abort" => Self::Abort(number()? as usize),
            "append-all" => Self::AppendAll(number()? as usize, number()? as usize),
            "flush" => Self::Flush,
            "prepare" => Self::Prepare,
            "retain" => Self::Retain,
            "register" => Self::Register,
            "read" => Self::Read(number()?),
            "commit" => Self::Commit,
            "close" => Self::Close,
            "mark" => Self::Mark(number()? as usize),
            "tear" => Self::Tear,
            "reboot" => Self::Reboot,
            "wrong" => Self::Wrong(Wrong::numbered(number()?).ok_or_else(refused)?),
            "die-in-claim" => Self::DieInClaim(number()? as usize),
            _ => return Err(refused()),
        };
        Ok(operation)
    }
}

/// The line of text for these steps. How they are run is the tracer's business.
pub(crate) fn text(steps: &[Step]) -> String {
    steps.iter().map(|step| step.operation.to_string()).collect::<Vec<_>>().join(",")
}

/// Reads a line of text.
pub(crate) fn parse(text: &str) -> Result<Vec<Operation>, String> {
    text.split(',').filter(|part| !part.is_empty()).map(str::parse).collect()
}

/// The payload of the record with this sequence number and length.
pub(crate) fn payload(seq: u64, length: usize) -> Vec<u8> {
    let number = seq.to_le_bytes();
    let tail = (0..).map(|at: u64| (seq.wrapping_mul(31) + at * 7) as u8 | 1);
    number.into_iter().chain(tail).take(length).collect()
}
