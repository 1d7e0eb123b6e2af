//! What the checks share.

use std::fmt::Display;

use chronicle_sync::format::{ReaderName, SegmentId};
use chronicle_sync::{ErrorKind, Object, Platform, Stage, Storage};

use crate::report::{Stop, Verdict};
use crate::{Harness, MapOf, StorageOf};

/// Two handles on one fresh place. The handles go first.
pub(crate) struct Bench<H: Harness> {
    pub(crate) one: H::Platform,
    pub(crate) other: H::Platform,
    pub(crate) place: H::Place,
}

impl<H: Harness> Bench<H> {
    pub(crate) fn new(harness: &H) -> Self {
        let place = harness.place();
        Self { one: harness.open(&place), other: harness.open(&place), place }
    }

    pub(crate) fn storage(&self) -> &StorageOf<H::Platform> {
        self.one.storage()
    }

    pub(crate) fn other(&self) -> &StorageOf<H::Platform> {
        self.other.storage()
    }

    /// Makes an object with all of its space.
    pub(crate) fn make(&self, object: &Object, length: u64) -> Result<MapOf<H::Platform>, Stop> {
        make(self.storage(), object, length)
    }
}

pub(crate) fn make<S: Storage>(storage: &S, object: &Object, length: u64) -> Result<S::Map, Stop> {
    done("publish", publish(storage, object, length)?)
}

/// Stages and publishes; the error of publishing is the caller's to judge.
pub(crate) fn publish<S: Storage>(
    storage: &S,
    object: &Object,
    length: u64,
) -> Result<Result<S::Map, S::Error>, Stop> {
    let staged = done("stage", storage.stage(object, &stage(length)))?;
    Ok(storage.publish(staged))
}

pub(crate) fn stage(length: u64) -> Stage {
    Stage { length, reserved: length, group_readable: false }
}

pub(crate) fn segment(id: u32) -> Object {
    Object::Segment(segment_id(id))
}

/// The segment id, or the first one where the suite's own number is none.
pub(crate) fn segment_id(id: u32) -> SegmentId {
    SegmentId::new(id.into()).unwrap_or(SegmentId::FIRST)
}

pub(crate) fn reader(name: &str) -> Result<Object, Stop> {
    done("name a reader", ReaderName::new(name)).map(Object::Reader)
}

/// What a call returned; that it failed is a failure of the check.
pub(crate) fn done<T, E: Display>(what: &str, result: Result<T, E>) -> Result<T, Stop> {
    result.map_err(|error| Stop::Failed(format!("{what}: {error}")))
}

/// What the suite itself put there.
pub(crate) fn there<T>(what: &str, value: Option<T>) -> Result<T, Stop> {
    value.ok_or_else(|| Stop::Failed(format!("{what} does not lie inside its region")))
}

/// Demands that a call failed, and failed so.
pub(crate) fn fails<T, E: chronicle_sync::Error>(
    what: &str,
    kind: ErrorKind,
    result: Result<T, E>,
) -> Verdict {
    match result {
        Ok(_) => Err(Stop::Failed(format!("{what} succeeded, where it is {kind:?}"))),
        Err(error) if error.kind() == kind => Ok(()),
        Err(error) => {
            Err(Stop::Failed(format!("{what} is {:?} and not {kind:?}: {error}", error.kind())))
        }
    }
}
