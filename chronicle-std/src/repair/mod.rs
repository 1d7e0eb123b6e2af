//! Making a damaged queue readable again, without losing what can be read.
//!
//! [`examine`] finds out what is wrong and what is to be done, and changes nothing; [`apply`] does it,
//! in place or in a new directory. What is lost becomes a gap of which readers are told; all other
//! messages keep their numbers and their places.

mod apply;
mod examine;
mod files;
mod log;
mod readers;

use std::path::{Path, PathBuf};

use chronicle_core::{Error, Object, SegmentId, lock_writer};
use chronicle_sync::{Clock, LockState, ObjectKind, Platform, Storage};

use crate::QueueError;
use crate::backend::{self, Backend, io_error};
use examine::Plan;

/// How a queue is repaired.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepairOptions {
    /// Makes a repaired copy in this directory, which must be empty or not be there, and leaves the
    /// queue as it is, to the last byte.
    pub into: Option<PathBuf>,
    /// Where files go that are replaced or taken out of the queue; by default a directory in the
    /// queue whose name begins with `quarantine-`.
    pub quarantine: Option<PathBuf>,
}

/// Something that is wrong with a queue, and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Repair {
    /// The file, relative to the queue's directory.
    pub file: String,
    /// The bytes of the file that are no part of the queue any more; `None` if that is all of it, or
    /// if there is no such file.
    pub bytes: Option<(u64, u64)>,
    /// The messages that are lost with it: the first, and the first that is not.
    pub lost: Option<(u64, u64)>,
    /// What was found.
    pub reason: String,
    /// What becomes of it.
    pub remedy: Remedy,
}

/// What a repair does to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Remedy {
    /// It is made anew from what the rest of the queue says.
    Rebuilt,
    /// These bytes become a gap of which readers are told; everything else in it stays.
    Gap,
    /// The log is cut here: nothing whole follows, and nothing behind was ever durable.
    Cut,
    /// Its records stay, and its head or its end is put right.
    Mended,
    /// A file that is not there, or of which nothing can be read, gives way to one that says so.
    Replaced,
    /// The reader goes on at the next place that is there.
    Moved,
    /// The reader begins again at the oldest message, as a durable one.
    Restarted,
    /// It is taken out of the queue.
    Removed,
}

/// What is wrong with a queue, and what a repair does or did about it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepairReport {
    /// Everything that is wrong, in the order in which it is put right.
    pub repairs: Vec<Repair>,
    /// Messages that are lost.
    pub messages_lost: u64,
    /// Sequence number of the next message.
    pub next_seq: u64,
    /// Where the files that were replaced or taken out are; `None` where nothing was changed.
    pub quarantine: Option<PathBuf>,
}

/// Looks what is wrong; changes nothing.
pub(crate) fn plan(path: &Path) -> Result<RepairReport, QueueError> {
    let platform = backend::open(path)?;
    Ok(Plan::of(path, &platform)?.report(None))
}

/// Repairs a queue in place, or into a new directory.
pub(crate) fn repair(path: &Path, options: &RepairOptions) -> Result<RepairReport, QueueError> {
    let platform = backend::open(path)?;
    let failed = |error| QueueError::from_core(path, error);
    // Looked at before the lock file is made, so that nothing is left where there is no queue; and
    // a copy must not even do that.
    Plan::of(path, &platform)?;
    let state = platform.storage().lock_state(&Object::WriterLock);
    let has_lock_file = path.join(Object::WriterLock.to_string()).exists();
    let _lock = match state.map_err(|error| QueueError::io(path, "lock", io_error(error)))? {
        LockState::Free if options.into.is_some() && !has_lock_file => None,
        _ => Some(lock_writer(&platform).map_err(failed)?),
    };
    let plan = Plan::of(path, &platform)?;
    if let Some(target) = &options.into {
        apply::into_copy(&plan, path, target)?;
        return Ok(plan.report(None));
    }
    if plan.is_whole() {
        return Ok(plan.report(None));
    }
    if plan.poisoned_boot == Some(platform.clock().boot()) {
        // What the system shows of these files may not be what the medium holds.
        return Err(failed(Error::Poisoned));
    }
    check_no_reader(path, &platform)?;
    let quarantine = match &options.quarantine {
        Some(directory) => directory.clone(),
        None => quarantine_in(path, platform.clock().wall_ns() / 1_000_000_000),
    };
    apply::in_place(&plan, path, &platform, &quarantine)?;
    Ok(plan.report(Some(quarantine)))
}

/// A directory that is not there yet, named for the time: a repair that was cut off has left one, and may
/// be made again in the same second.
fn quarantine_in(path: &Path, seconds: u64) -> PathBuf {
    let first = path.join(format!("quarantine-{seconds}"));
    let later = (2..100).map(|number| path.join(format!("quarantine-{seconds}-{number}")));
    // Where there are that many, making it fails and says so.
    let is_free = |directory: &PathBuf| !directory.exists();
    [first.clone()].into_iter().chain(later).find(is_free).unwrap_or(first)
}

/// Files are replaced, and a reader that has one mapped would go on with the old one.
fn check_no_reader(path: &Path, platform: &Backend) -> Result<(), QueueError> {
    let mut active = None;
    let visit = |object: Object| {
        if matches!(platform.storage().lock_state(&object), Ok(LockState::Held(_)))
            && let Object::Reader(name) = object
        {
            active = Some(name);
        }
    };
    let listed = platform.storage().visit(ObjectKind::Readers, visit);
    listed.map_err(|error| QueueError::io(path, "list", io_error(error)))?;
    match active {
        None => Ok(()),
        Some(name) => Err(QueueError::from_core(path, Error::ReaderAlreadyActive { name, pid: 0 })),
    }
}

/// The name of a segment's file.
fn segment_file(id: SegmentId) -> String {
    Object::Segment(id).to_string()
}
