//! Reading a queue's files as bytes, whatever they hold.

use std::path::Path;

use chronicle_core::{Object, SegmentId};
use chronicle_sync::{Error as _, ErrorKind, ObjectKind, Platform, Storage};

use crate::QueueError;
use crate::backend::{Backend, io_error};

/// A file that is small enough to be read as a whole.
pub(super) enum Small {
    Missing,
    /// A link, a device, a directory.
    Unreadable,
    /// What it holds: a byte more than it should, if it is longer.
    Bytes(Vec<u8>),
}

impl Small {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Missing | Self::Unreadable => &[],
        }
    }
}

pub(super) fn read_small(
    path: &Path,
    platform: &Backend,
    object: &Object,
    size: u64,
) -> Result<Small, QueueError> {
    let mut bytes = vec![0; size as usize + 1];
    match platform.storage().copy_out(object, 0, &mut bytes) {
        Ok(length) => {
            bytes.truncate(length);
            Ok(Small::Bytes(bytes))
        }
        Err(error) => match error.kind() {
            ErrorKind::NotFound => Ok(Small::Missing),
            ErrorKind::NotRegular => Ok(Small::Unreadable),
            _ => Err(QueueError::io(&path.join(object.to_string()), "read", io_error(error))),
        },
    }
}

/// All segments, in ascending order.
pub(super) fn list_segments(path: &Path, platform: &Backend) -> Result<Vec<SegmentId>, QueueError> {
    let mut ids = Vec::new();
    let visit = |object| {
        if let Object::Segment(id) = object {
            ids.push(id);
        }
    };
    let listed = platform.storage().visit(ObjectKind::Segments, visit);
    listed.map_err(|error| QueueError::io(path, "list", io_error(error)))?;
    ids.sort_unstable();
    Ok(ids)
}

/// Bytes at an offset; `None` if they do not all lie inside.
pub(super) fn chunk<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// The word at an offset; 0 if it does not lie inside.
pub(super) fn word(bytes: &[u8], at: usize) -> u64 {
    chunk(bytes, at).map_or(0, u64::from_le_bytes)
}
