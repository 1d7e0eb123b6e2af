//! Segments that are prepared before they are needed, by somebody who has the time.

use chronicle_format::{Object, SegmentId};
use chronicle_sync::{ErrorKind, NoProbe, Platform, Probe, Site, Storage};

use crate::Result;
use crate::control::view_control;
use crate::error::{Error, Operation};
use crate::index::{Foreign, IndexWriter, open_or_make_index};
use crate::segment::{Geometry, open_segment, publish_segment, stage_segment, view_segment};
use crate::writable::Writable;

const PAGE: u64 = 4096;

/// A segment that has its name, all of its space, and pages that are ready to be stored to, and that
/// nobody has started.
pub struct PreparedSegment<P: Platform> {
    pub(crate) next: Writable<<P::Storage as Storage>::Map>,
}

impl<P: Platform> PreparedSegment<P> {
    /// The segment's id.
    #[must_use]
    pub fn id(&self) -> SegmentId {
        self.next.id()
    }
}

/// What is done about the space of a segment that is prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Space {
    /// It is allocated, and its pages are made ready.
    Allocated,
    /// And its zeros are written to the medium before it has a name ([`Storage::write_staged`]), in pieces of up to 256 KiB:
    /// whoever takes larger ones has no time, and leaves the rest unwritten. Syncs of what is appended then take less of
    /// it, and the medium writes twice as much.
    Written,
}

/// No more is written ahead at once: a sync of the log's waits behind it.
const WRITTEN_AT_ONCE: u64 = 256 << 10;

/// A segment that was rolled out of. Dropping it unmaps it, which takes its time.
pub struct RetiredSegment<P: Platform> {
    pub(crate) left: Writable<<P::Storage as Storage>::Map>,
}

impl<P: Platform> RetiredSegment<P> {
    /// The segment's id.
    #[must_use]
    pub fn id(&self) -> SegmentId {
        self.left.id()
    }
}

impl<P: Platform> From<PreparedSegment<P>> for RetiredSegment<P> {
    /// A prepared segment that is not needed: its file stays for the writer to come to.
    fn from(prepared: PreparedSegment<P>) -> Self {
        Self { left: prepared.next }
    }
}

/// Prepares a segment of a queue, wherever there is time for it: allocates all of its space, makes
/// its pages ready, and gives it its name without replacing anything.
///
/// May run beside the writer, in another thread of its process. `None` if the writer was first and
/// has made the segment itself.
///
/// # Errors
/// The platform's; nothing is left behind, and the writer makes the segment itself when it needs it.
pub fn prepare_segment<P: Platform>(
    platform: &P,
    id: SegmentId,
) -> Result<Option<PreparedSegment<P>>, P> {
    prepare_segment_with(platform, id, Space::Allocated, &NoProbe, || Some(u64::MAX))
}

/// As [`prepare_segment`], watched by `probe`, and providing space and making pages ready in pieces, so that whoever needs
/// the processor meanwhile gets it: `next_piece` is called before each, may take its time, and says how many bytes the piece has.
/// Where it says `None`, the rest is left, and nothing is returned.
///
/// # Errors
/// As [`prepare_segment`].
pub fn prepare_segment_with<P: Platform>(
    platform: &P,
    id: SegmentId,
    space: Space,
    probe: &impl Probe,
    mut next_piece: impl FnMut() -> Option<u64>,
) -> Result<Option<PreparedSegment<P>>, P> {
    let geometry = Geometry::of(&view_control(platform)?);
    let size = geometry.size.bytes();
    let storage = platform.storage();
    // Before any space is taken for nothing.
    if let Ok(existing) = view_segment(platform, id, &geometry)
        && existing.start()?.is_some()
    {
        return Ok(None);
    }
    let mut reserved = if P::Storage::STAGES_IN_PIECES { PAGE.min(size) } else { size };
    let (staged, header) = stage_segment(platform, id, &geometry, reserved)?;
    while reserved < size {
        let Some(piece) = next_piece() else { return Ok(None) };
        let wanted = reserved.saturating_add(piece.max(PAGE)).min(size);
        let provided = storage
            .reserve_staged(&staged, reserved, wanted)
            .map_err(Error::platform(Object::Segment(id), Operation::Reserve))?;
        if provided < wanted {
            // A backend that does not keep its word; what it has not provided must not be touched.
            return Ok(None);
        }
        reserved = provided;
    }
    let mut written = if space == Space::Written { 0 } else { size };
    while written < size {
        let Some(piece) = next_piece() else { return Ok(None) };
        if piece > WRITTEN_AT_ONCE {
            break;
        }
        let end = written.saturating_add(piece.max(PAGE)).min(size);
        storage
            .write_staged(&staged, written..end)
            .map_err(Error::platform(Object::Segment(id), Operation::Sync))?;
        written = end;
    }
    probe.at(Site::Staged);
    let segment = match publish_segment(platform, id, header, staged) {
        Ok(segment) => segment,
        Err(error) if error.kind() == Some(ErrorKind::AlreadyExists) => {
            let existing = open_segment(platform, id, &geometry)?;
            if existing.start()?.is_some() || existing.has_records() {
                return Ok(None);
            }
            // Prepared by an earlier writer, perhaps with less space. Should this writer start it
            // just now, more space does it no harm.
            storage
                .reserve(&existing.region, 0..size)
                .map_err(Error::platform(Object::Segment(id), Operation::Reserve))?;
            existing
        }
        Err(error) => return Err(error),
    };
    probe.at(Site::Named);
    let mut ready = 0;
    while ready < size {
        let Some(piece) = next_piece() else { return Ok(None) };
        let end = ready.saturating_add(piece.max(PAGE)).min(size);
        storage.prefault(&segment.region, ready..end);
        ready = end;
    }
    // The segment is what counts: without space for an index it has none.
    let index = open_or_make_index(platform, &segment, &geometry, Foreign::Keep);
    probe.at(Site::Prepared);
    let index = index.map(IndexWriter::new);
    Ok(Some(PreparedSegment { next: Writable::new(segment, index, size, &geometry) }))
}

/// Where an appender gets prepared segments from. Nothing here may wait: an append is in progress.
pub trait Supply<P: Platform> {
    /// Whether there is any use in asking, and whether anybody takes what the writer has left.
    const SUPPLIES: bool = true;

    /// The writer has begun to write to a segment that is large enough for it to ask for the next one later.
    fn begun(&mut self) {}

    /// The writer has flushed for the first time: from now on, what is prepared for it may be [`Space::Written`].
    fn flushes(&mut self) {}

    /// The writer will need this segment soon: it is a quarter through the one before.
    fn want(&mut self, id: SegmentId);

    /// The segment, if it is ready. What was prepared for another id is not for this one. Called on the last page
    /// before the roll, and at the roll if the writer has none by then. A writer that closes may have taken one
    /// that it has not entered.
    fn take(&mut self, id: SegmentId) -> Option<PreparedSegment<P>>;

    /// The writer has rolled. Called in the roll itself, where every line that nobody has touched for long costs, so it
    /// should do no more than store something.
    fn rolled(&mut self) {}

    /// Nothing was ready at the roll: the writer makes the segment itself.
    fn missed(&mut self) {}

    /// The writer closes: nothing is prepared any more when this returns.
    fn close(&mut self) {}

    /// The queue has no room by its own limit, so an append was refused: whoever removes old segments
    /// should look for some now.
    fn full(&mut self) {}

    /// Takes a segment that the writer has left, to unmap it elsewhere: at the append behind the roll, or before that where
    /// the writer flushes or prepares the next segment itself, or at the roll itself where only a few records like the one that
    /// rolled fit into the next segment. What was left last is the writer's to unmap if it closes before.
    fn retire(&mut self, segment: RetiredSegment<P>) {
        drop(segment);
    }
}

/// Supplies nothing: the appender makes every segment when it needs it, or before, where
/// [`prepare_next`](crate::Appender::prepare_next) is called.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSupply;

impl<P: Platform> Supply<P> for NoSupply {
    const SUPPLIES: bool = false;

    fn want(&mut self, _: SegmentId) {}

    fn take(&mut self, _: SegmentId) -> Option<PreparedSegment<P>> {
        None
    }
}
