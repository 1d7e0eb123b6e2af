//! Removing old segments, beside readers that join and whatever power losses leave.
//!
//! Many segments go at once, and what that costs depends neither on how many there are nor on what is in
//! them: before the first file goes, the checkpoint says on the medium with which segment the log begins
//! from now on. Whichever files come back after a power loss, and whatever is in them, nobody reads them.

use chronicle_format::{
    Checkpoint, IndexHeader, Object, SEG_DATA_OFFSET, Seal, SegmentId, SegmentSize,
};
use chronicle_sync::mutation::{Mutant, seeded};
use chronicle_sync::{Clock, Durability, Error as _, ErrorKind, Platform, Storage};

use crate::Result;
use crate::age;
use crate::checkpoint::CheckpointFile;
use crate::control::Control;
use crate::error::{Error, Operation};
use crate::recover::no_segment;
use crate::retention::{HoldingReader, RetentionPlan, RetentionReport, plan};
use crate::segment::{Geometry, open_segment, segment_range, view_segment};

type Map<P> = <<P as Platform>::Storage as Storage>::Map;

/// Removes what may go, from the oldest segment on. Only for the process that holds the writer's lock.
///
/// As [`Remover::apply`], once.
///
/// # Errors
/// As [`Remover::open`] and [`Remover::apply`].
pub fn apply_retention<P: Platform>(
    platform: &P,
    lapsed: impl FnMut(&HoldingReader) -> bool,
) -> Result<RetentionReport, P> {
    Remover::open(platform)?.apply(platform, lapsed, |_| true)
}

/// Segments that are no part of the log any more, whose files are still to be removed. The medium knows
/// it, so that any thread of the writer's process may remove any of them, in any order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leftovers {
    /// The first of them, if it is before `end`.
    pub next: SegmentId,
    /// The segment behind the last of them.
    pub end: SegmentId,
    /// The size of the queue's segments.
    pub segment_size: SegmentSize,
}

impl Leftovers {
    /// How many there are at most.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.end.get().saturating_sub(self.next.get())
    }

    /// Takes the last one out, to be removed elsewhere: whoever removes them comes from the other side.
    pub fn split_last(&mut self) -> Option<Self> {
        let end = self.end;
        self.end = end.previous().filter(|last| *last >= self.next)?;
        Some(Self { next: self.end, end, ..*self })
    }

    /// Removes their files; returns how many there were.
    ///
    /// # Errors
    /// The platform's. What was removed before the error is gone.
    pub fn remove<P: Platform>(mut self, platform: &P) -> Result<u32, P> {
        let mut removed = 0;
        while self.next < self.end {
            removed += u32::from(remove(platform, self.next, self.segment_size)?);
            self.next = self.next.next().map_err(Error::format(Object::Segment(self.next)))?;
        }
        Ok(removed)
    }
}

/// Removes segments that need not be kept, again and again. Only for the process that holds the writer's
/// lock, in any of its threads.
///
/// Beside what it removes it costs a few syncs each time. The directory is listed once.
pub struct Remover<P: Platform> {
    control: Control<Map<P>>,
    checkpoint: CheckpointFile<Map<P>>,
    geometry: Geometry,
    /// There is no file of any segment before this one. `None` where that has to be looked at.
    lowest: Option<SegmentId>,
    /// Names of segments up to this one were synced.
    names_synced: Option<SegmentId>,
}

impl<P: Platform> Remover<P> {
    /// For a queue that exists.
    ///
    /// # Errors
    /// [`Error::Format`] where files of the queue are damaged; the platform's.
    pub fn open(platform: &P) -> Result<Self, P> {
        let region = platform.storage().open(&Object::Control);
        let control =
            Control::check(region.map_err(Error::platform(Object::Control, Operation::Open))?)?;
        Ok(Self {
            checkpoint: CheckpointFile::open(platform, control.queue_id(), false)?,
            geometry: Geometry::of(&control),
            control,
            lowest: None,
            names_synced: None,
        })
    }

    /// Removes what may go, from the oldest segment on.
    ///
    /// Another thread that is just doing the same is left to it: nothing is removed here then.
    ///
    /// A position counts once it is on the medium, so that no reader can fall back behind what was
    /// removed. Files go once head and name of the segment that the log then begins with are on the
    /// medium, and the checkpoint that says so.
    ///
    /// `lapsed` says of a reader with a lease whether its time to live is over, as in
    /// [`plan_retention`](crate::plan_retention). `go_on` is asked at first and before each file, with what
    /// is left. It may do what is more urgent, and ends the removal by returning `false`: the rest is for
    /// the next time.
    ///
    /// # Errors
    /// As [`plan_retention`](crate::plan_retention). What was removed before the error stays removed.
    /// After a failed sync the queue is [`Error::Poisoned`] for this boot, and nothing more is removed.
    pub fn apply(
        &mut self,
        platform: &P,
        mut lapsed: impl FnMut(&HoldingReader) -> bool,
        go_on: impl FnMut(Leftovers) -> bool,
    ) -> Result<RetentionReport, P> {
        // Before anything is looked at: two threads of the writer's process that announced different
        // floors would undo each other's promise to joining readers.
        let alone = match platform.storage().lock(&Object::Control) {
            Ok(lock) => Some(lock),
            Err(error) if error.kind() == ErrorKind::Locked => None,
            Err(error) => return Err(Error::platform(Object::Control, Operation::Lock)(error)),
        };
        if self.control.poisoned_boot() == platform.clock().boot() {
            return Err(Error::Poisoned);
        }
        if alone.is_some()
            && let Some(max_age_ns) = self.control.retention()?.max_age_ns
        {
            age::take_sample(platform, &self.control, max_age_ns);
        }
        let applied = self.look_and_remove(platform, &mut lapsed, go_on, alone.is_some());
        if let Err(error) = &applied {
            // Something may be left below, so the next time looks.
            self.lowest = None;
            if error.is_failed_sync() {
                self.control.poison(platform.clock().boot());
            }
        }
        applied
    }

    fn look_and_remove(
        &mut self,
        platform: &P,
        lapsed: &mut impl FnMut(&HoldingReader) -> bool,
        mut go_on: impl FnMut(Leftovers) -> bool,
        alone: bool,
    ) -> Result<RetentionReport, P> {
        let first = self.checkpoint.newest().first;
        let (lowest, newest) = match self.lowest {
            // The writer makes segments meanwhile; its hint is known to be one of them.
            Some(lowest) => (lowest, SegmentId::LAST),
            None => segment_range(platform)?
                .filter(|(_, newest)| *newest >= first)
                .ok_or_else(|| no_segment(first, 0))?,
        };
        let oldest = lowest.max(first);
        let found = plan(platform, &self.control, lapsed, (oldest, newest), false)?;
        let (head, wanted) = (found.head, found.keep_from());
        let mut report =
            RetentionReport { plan: found, removed: 0, begins: oldest, unfinished: false };
        if !alone {
            return Ok(report);
        }
        self.lowest = Some(lowest);
        let mut keep_from = self.behind_a_seal(platform, oldest, wanted)?;
        if seeded(Mutant::RetentionRemovesOneMore) {
            keep_from = keep_from.next().map_or(keep_from, |next| next.min(head));
        }
        if keep_from <= oldest && lowest >= first {
            return Ok(report);
        }
        let segment_size = self.geometry.size;
        if !go_on(Leftovers { next: lowest, end: lowest, segment_size }) {
            report.unfinished = true;
            return Ok(report);
        }
        let mut begins = oldest;
        if keep_from > oldest {
            let mut second = Ok(report.plan.clone());
            let allowed = self.control.announce_floor(keep_from, oldest, || {
                // Which segments are there is known: nobody else removes any. The writer may have made
                // more, but the limits ask for no more to go than they did.
                second = plan(platform, &self.control, lapsed, (oldest, newest), true);
                // What cannot be looked at is not removed.
                second.as_ref().map_or(oldest, RetentionPlan::keep_from)
            });
            report.plan = second?;
            let mut allowed = SegmentId::new(allowed).map_err(Error::format(Object::Control))?;
            if seeded(Mutant::RetentionRemovesOneMore) {
                allowed = allowed.max(keep_from);
            }
            if allowed > oldest {
                if self.begin_log_at(platform, allowed, head)? {
                    begins = allowed;
                } else {
                    report.unfinished = true;
                }
            }
        }
        // Leftovers go for what the checkpoint said before: that may not be on the medium yet.
        self.checkpoint.sync(platform)?;
        report.begins = begins;
        let mut id = lowest;
        while id < begins {
            if !go_on(Leftovers { next: id, end: begins, segment_size }) {
                report.unfinished = true;
                break;
            }
            report.removed += u32::from(remove(platform, id, segment_size)?);
            id = id.next().map_err(Error::format(Object::Segment(id)))?;
        }
        self.lowest = Some(id);
        if seeded(Mutant::RetentionSaidLate) {
            self.checkpoint.advance(platform, |newest| Checkpoint { first: begins, ..newest })?;
        }
        Ok(report)
    }

    /// The segment itself, or the one before, if that is not sealed: the writer moves its hint to a
    /// segment a few stores before it seals the one that it leaves, and readers in there wait for that.
    fn behind_a_seal(
        &self,
        platform: &P,
        oldest: SegmentId,
        keep_from: SegmentId,
    ) -> Result<SegmentId, P> {
        match keep_from.previous().filter(|previous| *previous >= oldest) {
            Some(left) if view_segment(platform, left, &self.geometry)?.seal()? == Seal::Open => {
                Ok(left)
            }
            _ => Ok(keep_from),
        }
    }

    /// Makes this the segment that the log begins with, whatever a power loss leaves of those before;
    /// whether that was done, because the checkpoint may just be stored by somebody else.
    fn begin_log_at(&mut self, platform: &P, id: SegmentId, head: SegmentId) -> Result<bool, P> {
        let storage = platform.storage();
        let segment = open_segment(platform, id, &self.geometry)?;
        segment.started()?;
        if !seeded(Mutant::RetentionHeadNotSynced) {
            storage
                .sync(&segment.region, 0..SEG_DATA_OFFSET, Durability::Durable)
                .map_err(Error::platform(segment.object(), Operation::Sync))?;
        }
        // Where many segments are kept, those from which the log will begin for long were there the last
        // time.
        if self.names_synced.is_none_or(|synced| synced < id)
            && !seeded(Mutant::RetentionNamesNotSynced)
        {
            storage.sync_names().map_err(Error::platform(segment.object(), Operation::Sync))?;
            self.names_synced = Some(head);
        }
        if seeded(Mutant::RetentionSaidLate) {
            return Ok(true);
        }
        self.checkpoint.advance(platform, |newest| Checkpoint { first: id, ..newest })
    }
}

/// Takes a segment's file away, and its index before, where segments of this size have one; whether there
/// was a file.
fn remove<P: Platform>(platform: &P, id: SegmentId, size: SegmentSize) -> Result<bool, P> {
    let index = IndexHeader::new(id, 0, size).map(|_| Object::Index(id));
    let mut was_there = false;
    for object in index.into_iter().chain([Object::Segment(id)]) {
        was_there = match platform.storage().remove(&object) {
            Ok(()) => true,
            Err(error) if error.kind() == ErrorKind::NotFound => false,
            Err(error) => return Err(Error::platform(object, Operation::Remove)(error)),
        };
    }
    Ok(was_there)
}
