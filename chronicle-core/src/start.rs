//! Where a reader begins: at a start of its own choosing, or where its name left off.

use chronicle_format::{Object, Position, SEG_DATA_OFFSET, Seal, SegmentId, SegmentStart};
use chronicle_sync::record::{self, Slot};
use chronicle_sync::{Clock, ErrorKind, Platform, Region, Storage};

use crate::Result;
use crate::control::{Control, Hint};
use crate::error::{Damage, Error, Fault};
use crate::index::view_index;
use crate::readers::LastRead;
use crate::segment::{Geometry, Segment, segment_range, view_segment};
use crate::walk::{Cursor, walk};

/// Segments may be removed while a reader looks for its first one.
pub(crate) const OPEN_TRIES: u32 = 100;

/// Where a reader begins that has no position of its own yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Start {
    /// At the oldest record that is still there.
    #[default]
    Earliest,
    /// Behind the newest record.
    Latest,
    /// At the record with this sequence number, which may not have been appended yet.
    Seq(u64),
    /// At the first record by which a time stamp has reached this many nanoseconds since 1970, which
    /// may not have been appended yet. Where the clock never ran backwards, that is the first record
    /// with this time stamp or a later one; behind a step backwards it is found by the time before
    /// the step.
    Timestamp(u64),
}

/// Why a segment that a position leads into is not there: removed, or lost.
pub(crate) fn gone<P: Platform>(
    platform: &P,
    geometry: &Geometry,
    id: SegmentId,
    seq: u64,
) -> Error<P::Error> {
    let lost = Damage { segment: id, offset: SEG_DATA_OFFSET, seq, fault: Fault::NoSegment };
    for _ in 0..OPEN_TRIES {
        let oldest = match segment_range(platform) {
            Ok(Some((oldest, _))) if oldest > id => oldest,
            Ok(_) => return Error::Damaged(lost),
            Err(error) => return error,
        };
        match view_segment(platform, oldest, geometry).and_then(|segment| segment.started()) {
            Ok(start) => return Error::FellBehind { oldest: start.first_seq },
            // Removed since the directory was looked at.
            Err(error) if error.kind() == Some(ErrorKind::NotFound) => {}
            Err(error) => return error,
        }
    }
    Error::Damaged(lost)
}

impl Start {
    /// Whether the place moves on with the queue, so that it can be looked for again.
    pub(crate) fn moves(self) -> bool {
        matches!(self, Self::Earliest | Self::Latest)
    }
}

/// Finds the place where a reader without a position begins.
pub(crate) fn begin<P: Platform>(
    platform: &P,
    control: &Control<<P::Storage as Storage>::View>,
    geometry: &Geometry,
    start: Start,
) -> Result<Position, P> {
    let mut tries = 0;
    loop {
        tries += 1;
        let found = match start {
            Start::Earliest => earliest(platform, geometry),
            Start::Latest => latest(platform, control, geometry),
            Start::Seq(seq) => before_seq(platform, geometry, seq),
            Start::Timestamp(ns) => before_time(platform, geometry, ns),
        };
        match found {
            // Removed between the look at the directory and the opening.
            Err(error) if error.kind() == Some(ErrorKind::NotFound) && tries < OPEN_TRIES => {}
            other => return other,
        }
    }
}

fn earliest<P: Platform>(platform: &P, geometry: &Geometry) -> Result<Position, P> {
    let Some((oldest, _)) = segment_range(platform)? else {
        let (segment, fault) = (SegmentId::FIRST, Fault::NoSegment);
        return Err(Error::Damaged(Damage { segment, offset: SEG_DATA_OFFSET, seq: 0, fault }));
    };
    start_of(platform, geometry, oldest)
}

fn start_of<P: Platform>(platform: &P, geometry: &Geometry, id: SegmentId) -> Result<Position, P> {
    let start = view_segment(platform, id, geometry)?.started()?;
    Ok(Position::start_of(id, start.first_seq, start.epoch))
}

/// The start of the segment below which segments are being removed; `None` if it is not there.
pub(crate) fn at_floor<P: Platform>(
    platform: &P,
    geometry: &Geometry,
    floor: u64,
) -> Option<Position> {
    start_of(platform, geometry, SegmentId::new(floor).ok()?).ok()
}

/// A place at or before the head: the writer's hint if it leads to a record boundary, else the start
/// of the newest segment that is in use.
fn latest<P: Platform>(
    platform: &P,
    control: &Control<<P::Storage as Storage>::View>,
    geometry: &Geometry,
) -> Result<Position, P> {
    // The hint of another boot may lie behind the end that recovery will find.
    if control.writer_boot() == platform.clock().boot()
        && let Some(hint) = control.segment_index()
        && let Ok(segment) = view_segment(platform, hint.segment, geometry)
        && is_boundary(&segment, &hint)
    {
        return Ok(hint);
    }
    let Some((oldest, newest)) = segment_range(platform)? else {
        return earliest(platform, geometry);
    };
    let mut id = newest;
    while let Some(previous) = id.previous().filter(|previous| *previous >= oldest) {
        if view_segment(platform, previous, geometry)?.seal()? != Seal::Open {
            break;
        }
        id = previous;
    }
    start_of(platform, geometry, id)
}

/// Whether a hint fits what lies at its place.
fn is_boundary<R: Region>(segment: &Segment<R>, hint: &Hint) -> bool {
    match record::look(&segment.region, hint.offset) {
        Slot::Record(record) => {
            record.header().seq == hint.seq && record.header().epoch >= hint.epoch
        }
        Slot::Empty => true,
        Slot::TooLong { .. } => false,
    }
}

/// The start of the segment in which a sequence number is, or will be.
fn before_seq<P: Platform>(platform: &P, geometry: &Geometry, seq: u64) -> Result<Position, P> {
    let first = earliest(platform, geometry)?;
    if seq < first.seq {
        return Err(Error::FellBehind { oldest: first.seq });
    }
    last_start(platform, geometry, first, |start| start.first_seq <= seq)
}

/// The start of the segment in which time stamps reach so many nanoseconds, or will.
fn before_time<P: Platform>(platform: &P, geometry: &Geometry, ns: u64) -> Result<Position, P> {
    let first = earliest(platform, geometry)?;
    let start = view_segment(platform, first.segment, geometry)?.started()?;
    if start.time_floor_ns >= ns && start.first_seq > 0 {
        return Err(Error::FellBehind { oldest: first.seq });
    }
    last_start(platform, geometry, first, |start| start.time_floor_ns < ns)
}

/// The last segment in use whose start is before what is looked for; `first` if there is none.
fn last_start<P: Platform>(
    platform: &P,
    geometry: &Geometry,
    first: Position,
    is_before: impl Fn(&SegmentStart) -> bool,
) -> Result<Position, P> {
    let newest = segment_range(platform)?.map_or(first.segment, |(_, newest)| newest);
    // Invariant: the record is not before `low`, and `high` begins behind it or is not started.
    let mut low = first;
    let mut high = u64::from(newest.get()) + 1;
    while u64::from(low.segment.get()) + 1 < high {
        let middle = (u64::from(low.segment.get()) + high) / 2;
        let id = SegmentId::new(middle).map_err(Error::format(Object::Segment(newest)))?;
        let segment = view_segment(platform, id, geometry)?;
        match segment.start()? {
            // Entered only once its predecessor is sealed: a prepared one does not count.
            Some(start) if is_before(&start) && in_use(platform, geometry, id)? => {
                low = Position::start_of(id, start.first_seq, start.epoch);
            }
            _ => high = middle,
        }
    }
    Ok(low)
}

fn in_use<P: Platform>(platform: &P, geometry: &Geometry, id: SegmentId) -> Result<bool, P> {
    match id.previous() {
        None => Ok(true),
        Some(previous) => match view_segment(platform, previous, geometry) {
            Ok(segment) => Ok(segment.seal()? != Seal::Open),
            Err(error) if error.kind() == Some(ErrorKind::NotFound) => Ok(true),
            Err(error) => Err(error),
        },
    }
}

/// Opens the segment of a position and checks that the position is on this log.
pub(crate) fn resume<P: Platform>(
    platform: &P,
    geometry: &Geometry,
    position: &Position,
    last_read: Option<LastRead>,
) -> Result<Segment<<P::Storage as Storage>::View>, P> {
    let diverged = Error::Diverged { epoch: position.epoch, seq: position.seq };
    let segment = match view_segment(platform, position.segment, geometry) {
        Err(error) if error.kind() == Some(ErrorKind::NotFound) => {
            return Err(match gone(platform, geometry, position.segment, position.seq) {
                // A position in a segment that was never written: the log was cut before it.
                Error::Damaged(Damage { fault: Fault::NoSegment, .. }) => diverged,
                other => other,
            });
        }
        other => other?,
    };
    let start = segment.started()?;
    let in_segment = position.offset <= geometry.size.bytes();
    let on_log = match last_read {
        _ if !in_segment => false,
        None => {
            position.offset == SEG_DATA_OFFSET
                && (start.first_seq, start.epoch) == (position.seq, position.epoch)
                || position.offset > SEG_DATA_OFFSET && start.first_seq <= position.seq
        }
        Some(last) => match record::look(&segment.region, last.offset) {
            Slot::Record(record) => {
                record.crc() == last.crc
                    && record.header().seq.checked_add(1) == Some(position.seq)
                    && record.end() <= position.offset
            }
            _ => false,
        },
    };
    if on_log { Ok(segment) } else { Err(diverged) }
}

/// Whether a place that carries no last record is on this log: whether the records before it in its
/// segment lead to it, with its sequence number and its epoch.
///
/// Reads a stride of the segment's index at the most, or the segment from its beginning without one.
pub(crate) fn is_reached<P: Platform, R: Region>(
    platform: &P,
    geometry: &Geometry,
    segment: &Segment<R>,
    place: &Position,
) -> Result<bool, P> {
    let landing = view_index(platform, segment, geometry)
        .and_then(|index| index.landing(segment, geometry, |entry| entry.offset <= place.offset));
    let mut cursor = match landing {
        Some(landing) => Cursor::at(&landing),
        None => Cursor::at_start(&segment.started()?),
    };
    let fault = walk(segment, geometry, &mut cursor, place.offset);
    let reached = (cursor.offset, cursor.seq, cursor.epoch);
    Ok(fault.is_none() && reached == (place.offset, place.seq, place.epoch))
}
