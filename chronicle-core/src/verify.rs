//! Checking every record of every file of a queue, without changing a byte.
//!
//! The same rules as in recovery, over all segments and whatever the watermark says. A running writer
//! is no hindrance: what it appends meanwhile may or may not be counted.

use chronicle_format::{CHECKPOINT_FILE_SIZE, Object, SEG_DATA_OFFSET, Seal, SegmentId};
use chronicle_sync::{Clock, ErrorKind, ObjectKind, Platform, Storage};

use crate::Result;
use crate::checkpoint::newest_checkpoint;
use crate::control::{check_notify, check_size, view_control};
use crate::error::{Damage, Error, Fault, Operation};
use crate::readers;
use crate::segment::{Geometry, log_range, view_segment};
use crate::walk::{Cursor, walk};

/// What a check of a whole queue has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verification {
    /// Segments with records.
    pub segments: u32,
    /// Records, users' and the queue's own, that were read and found whole.
    pub records: u64,
    /// Bytes that these take, headers and padding included.
    pub bytes: u64,
    /// Users' records that are known to be lost: a repair has put gaps in their places.
    pub lost: u64,
    /// Readers' files that were found whole.
    pub readers: u32,
    /// Faults, of which `visit` was told.
    pub faults: u64,
}

/// Checks a queue; tells `visit` of each fault, with its place, and goes on behind it.
///
/// Behind a fault the rest of that segment is left out: where a record is bad, nothing says where
/// the next one begins. The next segment is checked on its own.
///
/// # Errors
/// [`Error::NoQueue`], [`Error::ControlMissing`], a control file that cannot be read, and the
/// platform's where files cannot be listed.
pub fn verify<P: Platform>(
    platform: &P,
    mut visit: impl FnMut(Error<P::Error>),
) -> Result<Verification, P> {
    let control = view_control(platform)?;
    let geometry = Geometry::of(&control);
    let mut report = Verification::default();
    let mut faults = 0;
    let mut tell = |error| {
        faults += 1;
        visit(error);
    };
    if let Err(error) = control.retention() {
        tell(error);
    }
    if let Err(error) = check_checkpoint(platform, control.queue_id()) {
        tell(error);
    }

    let notify = platform.storage().view(&Object::Notify);
    let notify = notify.map_err(Error::platform(Object::Notify, Operation::Open));
    if let Err(error) = notify.and_then(check_notify) {
        tell(error);
    }

    // Taken first: what a writer flushes meanwhile need not have been seen.
    let durable_seq = control.durable_seq().unwrap_or(0);
    let same_boot = control.writer_boot() == platform.clock().boot();
    let mut expected: Option<(u64, u32)> = None;
    let mut ended = false;
    let (mut next, last) = match log_range(platform, &geometry)? {
        Some((oldest, newest)) => (Some(oldest), newest),
        None => {
            tell(damage(SegmentId::FIRST, SEG_DATA_OFFSET, 0, Fault::NoSegment));
            (None, SegmentId::FIRST)
        }
    };
    while let Some(id) = next.filter(|id| *id <= last) {
        next = id.next().ok();
        let previous = expected.take();
        let segment = match view_segment(platform, id, &geometry) {
            Ok(segment) => segment,
            Err(error) => {
                let is_gap = error.kind() == Some(ErrorKind::NotFound);
                if is_gap {
                    // A stray file may be far ahead: what lies in between is one gap.
                    next = next_present(platform, id)?;
                }
                let removed = log_range(platform, &geometry)?.is_none_or(|(oldest, _)| oldest > id);
                if !is_gap {
                    tell(error);
                } else if !removed {
                    tell(damage(id, SEG_DATA_OFFSET, 0, Fault::NoSegment));
                }
                continue;
            }
        };
        let start = match segment.start() {
            Ok(Some(start)) => start,
            // Prepared, and nobody is in it.
            Ok(None) if ended => continue,
            Ok(None) => {
                tell(damage(id, SEG_DATA_OFFSET, 0, Fault::NotStarted));
                continue;
            }
            Err(error) => {
                tell(error);
                continue;
            }
        };
        if ended && !segment.has_records() {
            continue;
        }
        if let Some((seq, epoch)) = previous {
            if start.first_seq != seq {
                tell(damage(id, SEG_DATA_OFFSET, seq, Fault::Seq { found: start.first_seq }));
            } else if start.epoch < epoch {
                let fault = Fault::Epoch { found: start.epoch, expected: epoch };
                tell(damage(id, SEG_DATA_OFFSET, seq, fault));
            }
        }
        let seal = match segment.seal() {
            Ok(seal) => seal,
            Err(error) => {
                tell(error);
                Seal::Open
            }
        };
        let frontier = control.frontier().filter(|frontier| same_boot && frontier.segment == id);
        let until = match (seal, frontier) {
            (Seal::At(end), _) => end,
            (Seal::Open, Some(frontier)) => frontier.bytes,
            // Of another boot, on a disk, where a hole reads as zeros.
            (Seal::Open, None) => geometry.size.bytes(),
        };
        let mut cursor = Cursor::at_start(&start);
        let mut fault = walk(&segment, &geometry, &mut cursor, until);
        report.segments += 1;
        report.records += cursor.records;
        report.lost += cursor.lost;
        report.bytes += cursor.offset - SEG_DATA_OFFSET;
        match seal {
            Seal::At(sealed_at) if fault.is_none() && cursor.offset < sealed_at => {
                fault = Some(Fault::Missing { sealed_at });
            }
            Seal::Open if fault.is_none() && cursor.seq < durable_seq => {
                fault = Some(Fault::NotThere);
            }
            _ => {}
        }
        // An open segment may have grown since.
        if seal != Seal::Open && fault.is_none() {
            expected = Some((cursor.seq, cursor.epoch));
        }
        if let Some(fault) = fault {
            tell(damage(id, cursor.offset, cursor.seq, fault));
        }
        ended = seal == Seal::Open;
    }

    // The last segment is sealed. A writer may have gone on in another one since the directory was
    // looked at; if none has, what should follow is not there.
    if let Some((seq, _)) = expected
        && let Ok(id) = last.next()
        && next_present(platform, last)?.is_none()
    {
        if same_boot {
            tell(damage(id, SEG_DATA_OFFSET, seq, Fault::NoSegment));
        } else if seq < durable_seq {
            tell(damage(id, SEG_DATA_OFFSET, seq, Fault::NotThere));
        }
    }

    let visit_reader = |object: Object| {
        let view = platform.storage().view(&object);
        let checked =
            view.map_err(Error::platform(object.clone(), Operation::Open)).and_then(|region| {
                readers::check(&region, control.queue_id(), &object)?;
                readers::load(&region, &object)
            });
        match checked {
            Ok(_) => report.readers += 1,
            Err(error) => tell(error),
        }
    };
    let listed = platform.storage().visit(ObjectKind::Readers, visit_reader);
    listed.map_err(Error::platform(Object::Control, Operation::List))?;
    report.faults = faults;
    Ok(report)
}

fn damage<E>(segment: SegmentId, offset: u64, seq: u64, fault: Fault) -> Error<E> {
    Error::Damaged(Damage { segment, offset, seq, fault })
}

fn check_checkpoint<P: Platform>(platform: &P, queue_id: u64) -> Result<(), P> {
    let view = platform.storage().view(&Object::Checkpoint);
    let region = view.map_err(Error::platform(Object::Checkpoint, Operation::Open))?;
    check_size(&region, CHECKPOINT_FILE_SIZE).map_err(Error::format(Object::Checkpoint))?;
    newest_checkpoint(&region, queue_id).map(drop)
}

/// The lowest segment above one that is not there.
fn next_present<P: Platform>(platform: &P, gap: SegmentId) -> Result<Option<SegmentId>, P> {
    let mut found: Option<SegmentId> = None;
    let visit = |object| {
        if let Object::Segment(id) = object
            && id > gap
        {
            found = Some(found.map_or(id, |found| found.min(id)));
        }
    };
    let listed = platform.storage().visit(ObjectKind::Segments, visit);
    listed.map_err(Error::platform(Object::Segment(gap), Operation::List))?;
    Ok(found)
}
