//! Where a reader begins: at a start of its own choosing, or where its name left off.

use chronicle_format::{Position, SEG_DATA_OFFSET, Seal, SegmentId, SegmentStart};
use chronicle_sync::mutation::{Mutant, seeded};
use chronicle_sync::record::{self, Slot};
use chronicle_sync::{Clock, ErrorKind, Platform, Region, Storage};

use crate::Result;
use crate::checkpoint::first_segment;
use crate::control::{Control, Hint};
use crate::error::{Damage, Error, Fault};
use crate::index::view_index;
use crate::readers::LastRead;
use crate::segment::{Geometry, Segment, log_range, view_segment};
use crate::walk::{Cursor, step};

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
        let oldest = match log_range(platform, geometry) {
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

    /// Whether what is looked for is in a segment that begins like this, or behind it.
    pub(crate) fn is_behind(self, segment: &SegmentStart) -> bool {
        match self {
            Self::Seq(seq) => segment.first_seq <= seq,
            Self::Timestamp(ns) => segment.time_floor_ns < ns,
            Self::Earliest | Self::Latest => false,
        }
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
    let Some((oldest, _)) = log_range(platform, geometry)? else {
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
    let Some((oldest, newest)) = log_range(platform, geometry)? else {
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
    last_start(platform, geometry, first, Start::Seq(seq))
}

/// The start of the segment in which time stamps reach so many nanoseconds, or will.
fn before_time<P: Platform>(platform: &P, geometry: &Geometry, ns: u64) -> Result<Position, P> {
    let first = earliest(platform, geometry)?;
    let start = view_segment(platform, first.segment, geometry)?.started()?;
    if start.time_floor_ns >= ns && start.first_seq > 0 {
        return Err(Error::FellBehind { oldest: first.seq });
    }
    last_start(platform, geometry, first, Start::Timestamp(ns))
}

/// The last segment in use whose start is before what is looked for; `first` if there is none.
fn last_start<P: Platform>(
    platform: &P,
    geometry: &Geometry,
    first: Position,
    wanted: Start,
) -> Result<Position, P> {
    let newest = log_range(platform, geometry)?.map_or(first.segment, |(_, newest)| newest);
    let look = |id| {
        let start = view_segment(platform, id, geometry)?.start()?;
        match start.filter(|start| wanted.is_behind(start)) {
            // Entered only once its predecessor is sealed: a prepared one does not count.
            Some(start) if in_use(platform, geometry, id)? => {
                Ok(Some(Position::start_of(id, start.first_seq, start.epoch)))
            }
            _ => Ok(None),
        }
    };
    Ok(last_where((first.segment, first), newest, look)?.1)
}

/// The last segment that is before something, and what `look` says of it: it says something of the first
/// ones up to that, and `None` of those behind it.
pub(crate) fn last_where<T, E>(
    first: (SegmentId, T),
    newest: SegmentId,
    mut look: impl FnMut(SegmentId) -> core::result::Result<Option<T>, E>,
) -> core::result::Result<(SegmentId, T), E> {
    // Invariant: `low` is before it, and nothing from `high` on is.
    let mut low = first;
    let mut high = u64::from(newest.get()) + 1;
    while u64::from(low.0.get()) + 1 < high {
        let middle = (u64::from(low.0.get()) + high) / 2;
        // No number that is not one of a segment lies between two that are.
        let Ok(id) = SegmentId::new(middle) else { break };
        match look(id)? {
            Some(found) => low = (id, found),
            None => high = middle,
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

/// Opens a segment that somebody remembers; `None` if it is not there, or is what is left of one that was
/// removed.
pub(crate) fn view_in_log<P: Platform>(
    platform: &P,
    geometry: &Geometry,
    id: SegmentId,
) -> Result<Option<Segment<<P::Storage as Storage>::View>>, P> {
    if id < first_segment(platform, geometry.queue_id) {
        return Ok(None);
    }
    match view_segment(platform, id, geometry) {
        Ok(segment) => Ok(Some(segment)),
        Err(error) if error.kind() == Some(ErrorKind::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Opens the segment of a place that was just found.
pub(crate) fn open_place<P: Platform>(
    platform: &P,
    geometry: &Geometry,
    place: &Position,
) -> Result<Segment<<P::Storage as Storage>::View>, P> {
    let segment = match view_segment(platform, place.segment, geometry) {
        Err(error) if error.kind() == Some(ErrorKind::NotFound) => {
            return Err(gone(platform, geometry, place.segment, place.seq));
        }
        other => other?,
    };
    segment.started()?;
    Ok(segment)
}

/// A segment and a place in it.
type Place<P> = (Segment<<<P as Platform>::Storage as Storage>::View>, Position);

/// Opens the segment of a position that was kept, checks that the position is on this log, and finds
/// where to go on: behind the last user record before it. Records of the queue's own between that one
/// and the position may be others than they were, so the reader steps over them anew.
pub(crate) fn resume<P: Platform>(
    platform: &P,
    geometry: &Geometry,
    position: &Position,
    last_read: Option<LastRead>,
) -> Result<Place<P>, P> {
    let own = match view_in_log(platform, geometry, position.segment)? {
        Some(segment) => Some(segment),
        None => match gone(platform, geometry, position.segment, position.seq) {
            // A segment that was never written: the log was cut before it.
            Error::Damaged(Damage { fault: Fault::NoSegment, .. }) => None,
            other => return Err(other),
        },
    };
    // What no segment holds is the place of nothing.
    if position.offset > geometry.size.bytes() {
        return Err(Error::Diverged { epoch: position.epoch, seq: position.seq });
    }
    if let Some(segment) = own
        && let Some(start) = segment.start()?
        && start.epoch <= position.epoch
    {
        let place = match last_read {
            Some(last) => behind(&segment, &last, position.seq),
            None => walk_to_seq(platform, &segment, geometry, &start, position.seq),
        };
        let place = place.filter(|(end, _)| *end <= position.offset);
        let place = on_log(position, segment.id, place)
            .filter(|place| !skips_a_record(&segment, place, position));
        let place = place.ok_or(Error::Diverged { epoch: position.epoch, seq: position.seq })?;
        let place = if seeded(Mutant::ReaderEpochKept) { *position } else { place };
        return Ok((segment, place));
    }
    // The segment was lost, or is of a later life. Without a record of it before the position, that may
    // still be at the end of the segment before, if that is where the log was cut.
    let before =
        if last_read.is_none() { place_by_seq(platform, geometry, position)? } else { None };
    match before {
        Some((segment, place)) => Ok((segment, place)),
        None => Err(Error::Diverged { epoch: position.epoch, seq: position.seq }),
    }
}

/// The place, if it is in the life of the log that the position is of: whatever took the place of a
/// record that was lost has a later epoch.
fn on_log(position: &Position, segment: SegmentId, place: Option<(u64, u32)>) -> Option<Position> {
    let (offset, epoch) = place.filter(|(_, epoch)| *epoch <= position.epoch)?;
    Some(Position { segment, offset, epoch, seq: position.seq })
}

/// Whether a user record that was there when the position was kept lies before it and behind the place
/// found: then the position is no boundary.
fn skips_a_record<R: Region>(segment: &Segment<R>, place: &Position, position: &Position) -> bool {
    let mut at = place.offset;
    while at < position.offset
        && let Slot::Record(record) = record::look(&segment.region, at)
        && record.header().epoch <= position.epoch
    {
        if record.header().type_id.is_user() {
            return true;
        }
        at = record.end();
    }
    false
}

/// The place behind the record that was read last, if that is the one that is there.
fn behind<R: Region>(segment: &Segment<R>, last: &LastRead, seq: u64) -> Option<(u64, u32)> {
    match record::look(&segment.region, last.offset) {
        Slot::Record(record)
            if record.crc() == last.crc && record.header().seq.checked_add(1) == Some(seq) =>
        {
            Some((record.end(), record.header().epoch))
        }
        _ => None,
    }
}

/// The place behind the record before a position, wherever that is now.
fn place_by_seq<P: Platform>(
    platform: &P,
    geometry: &Geometry,
    position: &Position,
) -> Result<Option<Place<P>>, P> {
    let first = earliest(platform, geometry)?;
    if position.seq < first.seq {
        return Ok(None);
    }
    let before = position.seq.checked_sub(1).map_or(Start::Earliest, Start::Seq);
    let found = last_start(platform, geometry, first, before)?;
    let segment = view_segment(platform, found.segment, geometry)?;
    let place = walk_to_seq(platform, &segment, geometry, &segment.started()?, position.seq);
    // Before the very first record there is nothing that could be another.
    let latest = if position.seq == 0 { u32::MAX } else { position.epoch };
    let place = on_log(&Position { epoch: latest, ..*position }, segment.id, place);
    Ok(place.map(|place| (segment, place)))
}

/// Where in a segment the record with this sequence number is, or will be, and the epoch in force
/// there: for a position without a record before it, most often at the segment's very start.
///
/// Reads a stride of the segment's index at the most, or the segment from its beginning without one.
fn walk_to_seq<P: Platform, R: Region>(
    platform: &P,
    segment: &Segment<R>,
    geometry: &Geometry,
    start: &SegmentStart,
    seq: u64,
) -> Option<(u64, u32)> {
    let sealing = segment.sealing(geometry);
    let landing = view_index(platform, segment, geometry)
        .and_then(|index| index.landing(segment, geometry, |entry| entry.seq < seq));
    let mut cursor =
        landing.map_or_else(|| Cursor::at_start(start), |landing| Cursor::at(&landing));
    while cursor.seq < seq {
        let Slot::Record(record) = record::look(&segment.region, cursor.offset) else { break };
        step(&segment.region, sealing, &record, &mut cursor.seq, &mut cursor.epoch).ok()?;
        cursor.offset = record.end();
    }
    (cursor.seq == seq).then_some((cursor.offset, cursor.epoch))
}
