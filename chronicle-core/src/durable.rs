//! The durable watermark: bringing what was appended to the medium, and saying how far it got.

use chronicle_format::{Checkpoint, Object, Position, SEG_DATA_OFFSET, Seal, SegmentId};
use chronicle_sync::mutation::{Mutant, seeded};
use chronicle_sync::notify::Barrier;
use chronicle_sync::record::{self, Slot};
use chronicle_sync::{Clock, Durability, ErrorKind, Platform, Storage};
use heapless::Deque;

use crate::Result;
use crate::checkpoint::CheckpointFile;
use crate::control::{Control, News, Notifications, check_notify, waiters};
use crate::error::{Error, Operation};
use crate::segment::{Geometry, Segment, open_segment, segment_range_from};
use crate::supply::RetiredSegment;

/// Segments that are kept open between the roll out of them and their sync. A program that flushes
/// more rarely has the others opened again, which is as good unless the system forgets a write error
/// together with a file that nobody has open.
const RETAINED: usize = 4;
/// Records that are passed over in search of the newest one before any of them is synced.
const MOST_SCANNED: u32 = 1 << 20;

type Map<P> = <<P as Platform>::Storage as Storage>::Map;

/// Makes a queue's records durable: syncs files, then moves the watermark, then wakes who waits for
/// it.
///
/// An [`Appender`](crate::Appender) has one and uses it in [`flush`](crate::Appender::flush).
/// [`detach_syncer`](crate::Appender::detach_syncer) gives it away to a thread of its own, so that
/// syncs run beside appends; there is still one per queue.
pub struct Syncer<P: Platform> {
    control: Control<Map<P>>,
    notify: Notifications<Map<P>>,
    checkpoint: CheckpointFile<Map<P>>,
    geometry: Geometry,
    /// The segment that the log began with when the writer opened. Files before it are leftovers.
    first: SegmentId,
    /// Everything before this place is durable, unless it was removed.
    durable: Position,
    /// Whether the watermark has moved since the checkpoint was stored.
    checkpoint_due: bool,
    /// Whether somebody else was just storing the checkpoint when it was this syncer's turn.
    checkpoint_missed: bool,
    /// The segment in which the watermark is, with the descriptor on which the system reports its
    /// write errors.
    segment: Option<Segment<Map<P>>>,
    /// Names of segments up to this one were synced.
    names_synced: Option<SegmentId>,
    retained: Deque<RetiredSegment<P>, RETAINED>,
    failed: bool,
}

impl<P: Platform> Syncer<P> {
    /// For a writer that has just recovered the queue.
    pub(crate) fn open(platform: &P, newest: &Checkpoint, durable_seq: u64) -> Result<Self, P> {
        let open = |object: Object| {
            let region = platform.storage().open(&object);
            region.map_err(Error::platform(object, Operation::Open))
        };
        let control = Control::check(open(Object::Control)?)?;
        let first = newest.first;
        let mut durable = Position { seq: durable_seq, ..newest.durable };
        if durable.segment < first {
            // What lies between was removed.
            durable = Position { segment: first, offset: SEG_DATA_OFFSET, ..durable };
        }
        Ok(Self {
            geometry: Geometry::of(&control),
            notify: check_notify(open(Object::Notify)?)?,
            // Recovery has seen to it that it is on the medium.
            checkpoint: CheckpointFile::open(platform, control.queue_id(), true)?,
            control,
            first,
            durable,
            checkpoint_due: false,
            checkpoint_missed: false,
            segment: None,
            names_synced: None,
            retained: Deque::new(),
            failed: false,
        })
    }

    /// Takes note that the names of all segments up to this one were synced.
    pub(crate) fn names_are_synced(&mut self, up_to: SegmentId) {
        self.names_synced = Some(up_to);
    }

    /// Records below this are durable.
    #[must_use]
    pub fn durable_seq(&self) -> u64 {
        self.durable.seq
    }

    /// Whether a sync has failed, so that nothing becomes durable any more. Other errors pass: the
    /// same call may be made again.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.failed
    }

    /// Makes everything durable that is visible now.
    ///
    /// # Errors
    /// As [`sync_to`](Self::sync_to).
    pub fn sync(&mut self, platform: &P) -> Result<(), P> {
        let head = self.head(platform)?;
        self.sync_to(platform, &head)
    }

    /// Makes everything before `to` durable, a place that the appender has reached. A few
    /// instructions if it is so already.
    ///
    /// # Errors
    /// The platform's. After a failed sync the queue is poisoned: what was not durable may be lost,
    /// a sync that succeeds later would say nothing about it, and the appender is told by its next
    /// append.
    pub fn sync_to(&mut self, platform: &P, to: &Position) -> Result<(), P> {
        self.check(platform)?;
        if (to.segment, to.offset) <= (self.durable.segment, self.durable.offset) {
            return Ok(());
        }
        let old = self.durable.segment;
        if let Err(error) = self.bring_to_medium(platform, to) {
            return Err(self.failed(platform, error));
        }
        if to.segment != old || self.checkpoint_missed {
            // So that recovery has no more than the last segments to walk through.
            self.checkpoint(platform)?;
        }
        Ok(())
    }

    /// Brings the watermark to the checkpoint, where recovery begins after a power loss.
    ///
    /// Nothing is lost without: the log itself says what was durable, so this is for rolls, for the
    /// end, and for times of rest. Returns whether the checkpoint says it now: another thread that
    /// removes segments may just be storing it, and the next call makes up for that.
    ///
    /// # Errors
    /// As [`sync_to`](Self::sync_to).
    pub fn checkpoint(&mut self, platform: &P) -> Result<bool, P> {
        self.check(platform)?;
        if self.checkpoint_due {
            let durable = self.durable;
            let advanced = self.checkpoint.advance(platform, |newest| {
                let forgets = seeded(Mutant::CheckpointForgetsFirst);
                let first = if forgets { SegmentId::FIRST } else { newest.first };
                Checkpoint { durable, first, ..newest }
            });
            match advanced {
                Ok(stored) => (self.checkpoint_due, self.checkpoint_missed) = (!stored, !stored),
                Err(error) => return Err(self.failed(platform, error)),
            }
        }
        Ok(!self.checkpoint_due)
    }

    /// Keeps a segment that was rolled out of until it was synced; gives it back where it is not
    /// needed, or where too many are kept already.
    pub fn retain(&mut self, segment: RetiredSegment<P>) -> Option<RetiredSegment<P>> {
        if segment.left.id() < self.durable.segment {
            return Some(segment);
        }
        self.retained.push_back(segment).err()
    }

    /// Refuses where a sync has failed: here, or of whoever removes segments.
    fn check(&self, platform: &P) -> Result<(), P> {
        let poisoned = self.failed || self.control.poisoned_boot() == platform.clock().boot();
        if poisoned { Err(Error::Poisoned) } else { Ok(()) }
    }

    /// Data first, the oldest segment first; then names; then the watermark.
    fn bring_to_medium(&mut self, platform: &P, to: &Position) -> Result<(), P> {
        if seeded(Mutant::WatermarkBeforeData) {
            self.move_early(platform, to)?;
        }
        let mut id = self.durable.segment;
        if seeded(Mutant::FlushSealedNotSynced) {
            id = to.segment;
        }
        while id < to.segment {
            if let Some(oldest) = self.enter_or_pass(platform, id)? {
                id = oldest;
                continue;
            }
            self.sync_segment(platform, self.geometry.size.bytes())?;
            // Behind the durable watermark nobody looks whether an index is whole.
            let _ = platform.storage().sync_object(&Object::Index(id));
            id = id.next().map_err(Error::format(Object::Segment(id)))?;
        }
        // Where the writer has gone on for so long that even this one was removed, there is nothing to
        // bring to the medium but the names that are gone.
        if id == to.segment {
            self.enter_or_pass(platform, id)?;
        }
        let words = self.control.durable_words().ok_or(Error::Poisoned)?;
        words.advance(to.seq, || {
            self.sync_segment(platform, to.offset)?;
            let synced = self.names_synced.is_some_and(|synced| synced >= to.segment);
            if !synced && !seeded(Mutant::FlushNamesNotSynced) {
                platform
                    .storage()
                    .sync_names()
                    .map_err(Error::platform(Object::Segment(to.segment), Operation::Sync))?;
            }
            Ok(())
        })?;
        self.names_synced = Some(to.segment);
        self.durable = *to;
        self.checkpoint_due = true;
        if let Some(waiters) = waiters(&self.notify, News::Durable)
            && waiters.someone_waits(Barrier::Full)
        {
            // Whoever is not woken wakes by its time-out.
            let _ = waiters.wake_all(platform.park());
        }
        Ok(())
    }

    /// Has `segment` be the one with this id. Where it was removed as an old one, nobody will ask for
    /// it after a power loss either: there is no `segment` then, and the result is the oldest one.
    fn enter_or_pass(&mut self, platform: &P, id: SegmentId) -> Result<Option<SegmentId>, P> {
        match self.enter(platform, id) {
            Ok(()) => Ok(None),
            Err(error) if error.kind() == Some(ErrorKind::NotFound) => {
                // Not what the checkpoint says: that may not be on the medium yet.
                let oldest = segment_range_from(platform, self.first)?.map(|(oldest, _)| oldest);
                // A file that is gone from between others was lost, and is missed.
                oldest.filter(|oldest| *oldest > id).map(Some).ok_or(error)
            }
            Err(error) => Err(error),
        }
    }

    /// Has `segment` be the one with this id.
    fn enter(&mut self, platform: &P, id: SegmentId) -> Result<(), P> {
        if self.segment.as_ref().is_some_and(|segment| segment.id == id) {
            return Ok(());
        }
        self.segment = None;
        while let Some(retained) = self.retained.pop_front() {
            if retained.left.id() == id && !seeded(Mutant::FlushOpensAnew) {
                self.segment = Some(retained.left.into_segment());
                return Ok(());
            }
            if retained.left.id() > id {
                // Cannot fail: it was just taken out.
                let _ = self.retained.push_front(retained);
                break;
            }
        }
        self.segment = Some(open_segment(platform, id, &self.geometry)?);
        Ok(())
    }

    fn sync_segment(&self, platform: &P, end: u64) -> Result<(), P> {
        let Some(segment) = &self.segment else { return Ok(()) };
        let sync = || platform.storage().sync(&segment.region, 0..end, Durability::Durable);
        let synced = match sync() {
            Err(_) if seeded(Mutant::FailedSyncIgnored) => Ok(()),
            Err(_) if seeded(Mutant::FailedSyncRetried) => sync(),
            other => other,
        };
        synced.map_err(Error::platform(segment.object(), Operation::Sync))
    }

    /// What [`Mutant::WatermarkBeforeData`] does.
    fn move_early(&mut self, platform: &P, to: &Position) -> Result<(), P> {
        let before = core::mem::replace(&mut self.durable, *to);
        self.checkpoint_due = true;
        let moved = self.checkpoint(platform);
        self.durable = before;
        moved.map(drop)
    }

    /// Takes note of an error: what failed to be synced may be lost, and nothing can be said about
    /// it any more.
    fn failed(&mut self, platform: &P, error: Error<P::Error>) -> Error<P::Error> {
        // Where a descriptor could only not be had, nothing was lost and the next try may succeed.
        if error.is_failed_sync() {
            self.failed = true;
            self.control.poison(platform.clock().boot());
        }
        error
    }

    /// A place at or before the head, close to it: from the watermark or the hint forward, over what
    /// the writer has committed.
    fn head(&mut self, platform: &P) -> Result<Position, P> {
        let known = self.control.segment_index().filter(|hint| {
            (hint.segment, hint.offset) > (self.durable.segment, self.durable.offset)
        });
        let mut at = known.unwrap_or(self.durable);
        let mut segment = self.open_at(platform, &mut at)?;
        for _ in 0..MOST_SCANNED {
            match record::look(&segment.region, at.offset) {
                Slot::Record(record) => {
                    let header = record.header();
                    at.offset = record.end();
                    at.seq = header.seq + u64::from(header.type_id.is_user());
                    at.epoch = header.epoch;
                }
                Slot::TooLong { .. } => break,
                Slot::Empty => match segment.seal()? {
                    Seal::At(end) if end == at.offset => {
                        let id = segment.id.next().map_err(Error::format(segment.object()))?;
                        at = Position { segment: id, offset: SEG_DATA_OFFSET, ..at };
                        segment = self.open_at(platform, &mut at)?;
                    }
                    // Filled since it was looked at.
                    Seal::At(end) if end > at.offset => {}
                    _ => break,
                },
            }
        }
        Ok(at)
    }

    /// Opens the segment of a place in the log. Where it was removed as an old one, the oldest that is
    /// there, with the place at its beginning.
    fn open_at(&self, platform: &P, at: &mut Position) -> Result<Segment<Map<P>>, P> {
        match open_segment(platform, at.segment, &self.geometry) {
            Err(error) if error.kind() == Some(ErrorKind::NotFound) => {
                let oldest = segment_range_from(platform, self.first)?.map(|(oldest, _)| oldest);
                let oldest = oldest.filter(|oldest| *oldest > at.segment).ok_or(error)?;
                let segment = open_segment(platform, oldest, &self.geometry)?;
                let start = segment.started()?;
                *at = Position::start_of(oldest, start.first_seq, start.epoch);
                Ok(segment)
            }
            other => other,
        }
    }
}
