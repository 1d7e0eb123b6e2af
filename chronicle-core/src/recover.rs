//! What a writer does before it appends: find the end of the log, check every record on the way,
//! and clear what lies behind it.
//!
//! The walk begins at the checkpoint and not at the hint in `control.meta`, which may be stale.
//! Where a record is bad, the durable watermark decides: at or below it the log is damaged, which is
//! reported and nothing is changed; above it a power loss tore the tail, which is cut.

mod behind;

use chronicle_format::{
    CHECKPOINT_FILE_SIZE, Checkpoint, Object, Position, SEG_DATA_OFFSET, Seal, SegmentId,
};
use chronicle_sync::mutation::{Mutant, seeded};
use chronicle_sync::record;
use chronicle_sync::{
    Clock, Durability, Error as _, ErrorKind, ObjectKind, Platform, Probe, Region, Site, Storage,
};

use self::behind::{Behind, records_behind};
use crate::Result;
use crate::checkpoint::sync_checkpoint;
use crate::control::Control;
use crate::error::{Damage, Error, Fault, Operation};
use crate::index::remove_index;
use crate::segment::{
    Geometry, Segment, open_segment, segment_range, segment_range_from, view_segment,
};
use crate::walk::{Cursor, walk};

/// Records that recovery did not keep: all of them were above the durable watermark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Where the log was cut, and what was wrong there.
    pub at: Damage,
    /// Whole records of this queue that were found behind the cut in the same segment.
    pub records_behind: u64,
    /// Later segments that were removed.
    pub segments_removed: u32,
}

/// What a writer found and did when it opened a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoveryReport {
    /// The epoch that began.
    pub epoch: u32,
    /// Where the log ends: the place of the next record.
    pub end: Position,
    /// Records below this are known to have been durable.
    pub durable_seq: u64,
    /// Segments that were looked at, from the checkpoint's on.
    pub segments_checked: u32,
    /// Records, users' and the queue's own, that were read and found whole.
    pub records_checked: u64,
    /// Words behind the end that a dead writer had left and that were cleared.
    pub words_cleared: u64,
    /// What was not kept, if anything.
    pub cut: Option<Cut>,
    /// Whether the queue was last written to in this boot, so that only a process can have died.
    pub same_boot: bool,
}

/// Where and how a writer goes on.
pub(crate) struct Tail<M> {
    pub(crate) segment: Segment<M>,
    pub(crate) position: Position,
    /// Bytes of the segment that have space.
    pub(crate) frontier: u64,
    pub(crate) time_max_ns: u64,
    /// Names of segments are gone that a power loss could bring back.
    pub(crate) has_removed: bool,
    pub(crate) report: RecoveryReport,
}

/// Finds the end of the log, begins a new epoch, and makes the log fit for appending.
pub(crate) fn recover<P: Platform, H: Probe>(
    platform: &P,
    probe: &H,
    control: &Control<<P::Storage as Storage>::Map>,
    geometry: &Geometry,
    (region, checkpoint): (&Map<P>, &Checkpoint),
) -> Result<Tail<Map<P>>, P> {
    let Checkpoint { durable, first, .. } = checkpoint;
    let boot = platform.clock().boot();
    let poisoned = control.poisoned_boot() == boot;
    let recovery = Recovery {
        platform,
        control,
        geometry,
        // After a failed sync the medium decides, as after a power loss.
        same_boot: control.writer_boot() == boot && !poisoned,
        first: if seeded(Mutant::LeftoversRead) { SegmentId::FIRST } else { *first },
    };
    if seeded(Mutant::RecoveryTrustedEarly) {
        control.set_writer_boot(boot);
    }
    if poisoned {
        recovery.rescue(durable.segment, region)?;
    } else {
        if !seeded(Mutant::OpenNamesNotSynced) {
            // Whoever made the queue may have died before that: records without a `control.meta`
            // beside them are damage. Where it fails, nothing has been changed yet.
            sync_names(platform)?;
        }
        // Whoever stored it may have died before its sync, and segments are passed over and removed
        // for what it says. In another boot it costs next to nothing.
        recovery.poisoning(sync_checkpoint(platform, region))?;
    }
    let find_end = || {
        let end = recovery.find_end(durable)?;
        let Walked { segment, cursor, .. } = &end.walked;
        if cursor.seq > LAST_SEQ {
            let Cursor { offset, seq, .. } = *cursor;
            let fault = Fault::Seq { found: seq };
            return Err(Error::Damaged(Damage { segment: segment.id, offset, seq, fault }));
        }
        probe.at(Site::TakingOver);
        Ok(end)
    };
    let last_epoch = |end: &End<_>| end.walked.cursor.epoch.max(durable.epoch);
    let taken = control.take_over(platform.park(), find_end, last_epoch, End::has_moved)?;
    let (epoch, end) = taken.ok_or(Error::EpochsExhausted)?;
    probe.at(Site::Clearing);
    recovery.cut(epoch, end)
}

/// Brings the names of everything to the medium.
pub(crate) fn sync_names<P: Platform>(platform: &P) -> Result<(), P> {
    let synced = platform.storage().sync_names();
    synced.map_err(Error::platform(Object::Control, Operation::Sync))
}

/// The highest number at which a writer begins. No log gets there by appending; counting on from here
/// cannot overflow.
const LAST_SEQ: u64 = u64::MAX >> 1;

/// Segments whose heads are looked at when a queue is opened in the boot that wrote it.
const MOST_HEADS: u32 = 1024;

type Map<P> = <<P as Platform>::Storage as Storage>::Map;

struct Recovery<'a, P: Platform> {
    platform: &'a P,
    control: &'a Control<Map<P>>,
    geometry: &'a Geometry,
    /// Only a process can have died since the queue was written to: what was stored is there.
    same_boot: bool,
    /// The log begins with this segment: files of earlier ones are leftovers.
    first: SegmentId,
}

struct Walked<M> {
    segment: Segment<M>,
    cursor: Cursor,
    fault: Option<Fault>,
    /// Whether the walk ended in a sealed segment, whose successor was lost.
    sealed: bool,
    segments_checked: u32,
}

/// The end of the log and what is known of it, before anything is changed.
struct End<M> {
    walked: Walked<M>,
    followers: Followers,
    behind: Behind,
    /// Bytes of the segment that have space.
    frontier: u64,
    durable_seq: u64,
}

impl<M: Region> End<M> {
    /// Whether somebody appended here since: the writer whose lock was taken from it, if it lives.
    fn has_moved(&self) -> bool {
        let Walked { segment, cursor, fault, sealed, .. } = &self.walked;
        let was_sealed = segment.seal::<()>().is_ok_and(|seal| seal != Seal::Open) && !sealed;
        let has_record =
            cursor.offset < self.frontier && record::is_committed(&segment.region, cursor.offset);
        // Behind a bad record nobody appends.
        fault.is_none() && (was_sealed || has_record)
    }
}

/// What lies behind the end of the log.
struct Followers {
    /// Segments with records that do not carry on from the end.
    with_records: u32,
    /// What their records say was durable.
    durable_seq: u64,
}

/// That a segment is not there which has to be.
pub(crate) fn no_segment<E>(segment: SegmentId, seq: u64) -> Error<E> {
    let fault = Fault::NoSegment;
    Error::Damaged(Damage { segment, offset: SEG_DATA_OFFSET, seq, fault })
}

impl<P: Platform> Recovery<'_, P> {
    /// Walks to the end of the log, and refuses one that lacks what was durable.
    fn find_end(&self, durable: &Position) -> Result<End<Map<P>>, P> {
        let Some((oldest, newest)) = self.log_range()?.filter(|(_, high)| *high >= durable.segment)
        else {
            return Err(no_segment(durable.segment.max(self.first), durable.seq));
        };
        let first = self.first_to_check(oldest, newest, durable)?;
        let walked = self.walk_from(first, newest, durable.seq)?;
        let Walked { segment, cursor, fault, .. } = &walked;
        let followers = self.followers(segment)?;
        let frontier = self.writable_end(segment)?;
        let behind = records_behind(segment, self.geometry, cursor.offset, cursor.seq, frontier);
        // The word in control may be older than the checkpoint, or newer where a slot of it is damaged;
        // the records may know better than both. None of them is ever ahead of a sync.
        let durable_seq = [
            durable.seq,
            self.durable_word(),
            cursor.durable_seq,
            behind.durable_seq,
            followers.durable_seq,
        ]
        .into_iter()
        .fold(0, u64::max);
        let is_durable = (segment.id, cursor.offset) < (durable.segment, durable.offset)
            || cursor.seq < durable_seq;
        if is_durable && !seeded(Mutant::RecoveryCutsDurable) {
            let fault = fault.unwrap_or(Fault::NotThere);
            let (segment, offset, seq) = (segment.id, cursor.offset, cursor.seq);
            return Err(Error::Damaged(Damage { segment, offset, seq, fault }));
        }
        Ok(End { walked, followers, behind, frontier, durable_seq })
    }

    /// Takes away what lies behind the end, so that the writer of `epoch` can go on there.
    fn cut(&self, epoch: u32, end: End<Map<P>>) -> Result<Tail<Map<P>>, P> {
        let End { walked, followers, behind, frontier, durable_seq } = end;
        let Walked { mut segment, cursor, fault, sealed, segments_checked } = walked;
        let Cursor { offset, seq, time_max_ns, records, .. } = cursor;
        let position = Position { segment: segment.id, offset, seq, epoch: cursor.epoch };
        // Records that a process was killed over before it published the first of them were never visible.
        let unpublished = self.same_boot && behind.is_one_batch();
        let lost = followers.with_records > 0 || behind.records > 0 && !unpublished;
        let fault = fault.or(lost.then_some(Fault::Hole));
        let cut = fault.map(|fault| Cut {
            at: Damage { segment: segment.id, offset, seq, fault },
            records_behind: behind.records,
            segments_removed: followers.with_records,
        });
        let has_removed = self.remove(&segment)?;
        if sealed && !seeded(Mutant::RecoveryKeepsSeal) {
            segment.unseal();
            // On the medium before anything is appended: a record behind a seal that came back would be
            // one that readers step over and recovery does not.
            if !seeded(Mutant::UnsealNotSynced) {
                self.sync(&segment)?;
            }
        }
        let words_cleared = if seeded(Mutant::RecoveryKeepsTail) {
            0
        } else {
            record::clear(&mut segment.region, offset, frontier)
        };
        let report = RecoveryReport {
            epoch,
            end: position,
            durable_seq,
            segments_checked,
            records_checked: records,
            words_cleared,
            cut,
            same_boot: self.same_boot,
        };
        Ok(Tail { segment, position, frontier, time_max_ns, has_removed, report })
    }

    /// After a failed sync in this boot: brings everything from the checkpoint's segment on to the
    /// medium once more, in a way that proves that it arrived. What the cache has lost meanwhile
    /// shows as the end of the log.
    fn rescue(&self, durable: SegmentId, checkpoint: &Map<P>) -> Result<(), P> {
        let storage = self.platform.storage();
        let rescue = |object: &Object, region: &Map<P>, space: u64| match storage.rescue(
            object,
            region,
            0..space,
        ) {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(Error::Poisoned),
        };
        let frontier = self.control.frontier().ok_or(Error::Poisoned)?;
        let (oldest, _) = self.log_range()?.ok_or(Error::Poisoned)?;
        let mut id = durable.max(oldest);
        while id <= frontier.segment {
            let segment = open_segment(self.platform, id, self.geometry)?;
            let space =
                if id == frontier.segment { frontier.bytes } else { self.geometry.size.bytes() };
            rescue(&segment.object(), &segment.region, space)?;
            id = id.next().map_err(Error::format(segment.object()))?;
        }
        storage.sync_names().map_err(|_| Error::Poisoned)?;
        // Last: the segment that it lets the log begin with is there by then.
        rescue(&Object::Checkpoint, checkpoint, CHECKPOINT_FILE_SIZE)
    }

    fn log_range(&self) -> Result<Option<(SegmentId, SegmentId)>, P> {
        segment_range_from(self.platform, self.first)
    }

    /// The watermark in `control.meta`; 0 where it is not known.
    fn durable_word(&self) -> u64 {
        let word = if self.same_boot {
            self.control.durable_seq_left_behind()
        } else {
            self.control.durable_seq()
        };
        word.unwrap_or(0)
    }

    /// Where the walk begins: at the checkpoint, or, where only a process died, at the segment that
    /// it was writing to, because everything before was sealed and is as it was.
    fn first_to_check(
        &self,
        oldest: SegmentId,
        newest: SegmentId,
        durable: &Position,
    ) -> Result<SegmentId, P> {
        if seeded(Mutant::RecoveryFromHint) {
            let hint = self.control.segment_index().map_or(oldest, |hint| hint.segment);
            return Ok(hint.clamp(oldest, newest));
        }
        if !self.same_boot {
            let first = durable.segment.max(oldest);
            // As strict as the next open, which is one in this boot: an open that succeeds must not be
            // followed by one that is refused for what was there all the time.
            self.check_heads(oldest, first)?;
            return Ok(first);
        }
        let mut id = newest;
        while let Some(previous) = id.previous().filter(|previous| *previous >= oldest) {
            let before = match open_segment(self.platform, previous, self.geometry) {
                Err(error) if error.kind() == Some(ErrorKind::NotFound) => {
                    let (offset, fault) = (SEG_DATA_OFFSET, Fault::Hole);
                    return Err(Error::Damaged(Damage { segment: id, offset, seq: 0, fault }));
                }
                other => other?,
            };
            if before.seal()? != Seal::Open {
                break;
            }
            id = previous;
        }
        self.check_heads(oldest, id)?;
        Ok(id)
    }

    /// Looks at size and head of the segments before the one that the walk begins with, the latest ones
    /// if there are very many: their records are left to readers.
    ///
    /// Ends at a gap: a power loss may bring the name of a removed segment back and not those behind
    /// it. A reader that begins there is told.
    fn check_heads(&self, oldest: SegmentId, end: SegmentId) -> Result<(), P> {
        let mut id = end;
        for _ in 0..MOST_HEADS {
            let Some(previous) = id.previous().filter(|previous| *previous >= oldest) else {
                break;
            };
            match view_segment(self.platform, previous, self.geometry) {
                Err(error) if error.kind() == Some(ErrorKind::NotFound) => break,
                segment => segment?.started()?,
            };
            id = previous;
        }
        Ok(())
    }

    /// Walks from the first record of a segment to the end of the log. Records up to `durable_seq` are
    /// what would be missing if the segment is.
    fn walk_from(
        &self,
        first: SegmentId,
        newest: SegmentId,
        durable_seq: u64,
    ) -> Result<Walked<Map<P>>, P> {
        let mut segment = match open_segment(self.platform, first, self.geometry) {
            // The one that the checkpoint names, behind which there are others.
            Err(error) if error.kind() == Some(ErrorKind::NotFound) => {
                return Err(no_segment(first, durable_seq));
            }
            other => other?,
        };
        let start = segment.started()?;
        let mut segments_checked = 1;
        let mut cursor = Cursor::at_start(&start);
        loop {
            let seal = segment.seal()?;
            let until = self.readable_end(&segment, seal)?;
            let mut fault = walk(&segment, self.geometry, &mut cursor, until);
            if let Seal::At(sealed_at) = seal
                && fault.is_none()
                && cursor.offset < sealed_at
            {
                fault = Some(Fault::Missing { sealed_at });
            }
            let next = match fault {
                None => self.successor(&segment, seal, newest, &cursor)?,
                Some(_) => None,
            };
            let Some((next, epoch, time_floor_ns)) = next else {
                let sealed = seal != Seal::Open;
                return Ok(Walked { segment, cursor, fault, sealed, segments_checked });
            };
            if seal == Seal::Open {
                // The writer died before it sealed, or a power loss took the seal and left the next
                // segment's records.
                segment.seal_at(cursor.offset);
            }
            cursor.offset = SEG_DATA_OFFSET;
            cursor.epoch = epoch;
            cursor.time_max_ns = cursor.time_max_ns.max(time_floor_ns);
            segment = next;
            segments_checked += 1;
        }
    }

    /// The segment in which the log goes on behind this one, with the epoch and the time floor of
    /// its start; `None` if it ends here.
    #[allow(clippy::type_complexity, reason = "a segment and two numbers of its start")]
    fn successor(
        &self,
        segment: &Segment<Map<P>>,
        seal: Seal,
        newest: SegmentId,
        cursor: &Cursor,
    ) -> Result<Option<(Segment<Map<P>>, u32, u64)>, P> {
        let sealed = seal != Seal::Open;
        // In this boot a seal proves that the next segment had been there.
        let must_exist = sealed && self.same_boot;
        let id = segment.id.next().map_err(Error::format(segment.object()))?;
        if segment.id >= newest {
            return if must_exist { Err(no_segment(id, cursor.seq)) } else { Ok(None) };
        }
        let next = match open_segment(self.platform, id, self.geometry) {
            Ok(next) => next,
            Err(error) if error.kind() == Some(ErrorKind::NotFound) => {
                return if must_exist { Err(no_segment(id, cursor.seq)) } else { Ok(None) };
            }
            // Its name outlived a power loss and its head did not.
            Err(Error::Format { .. }) if !must_exist => return Ok(None),
            Err(error) => return Err(error),
        };
        let start = match next.start() {
            Ok(start) => start,
            Err(error) if must_exist => return Err(error),
            Err(_) => None,
        };
        // That a next file exists proves nothing: it may have been prepared. Behind a segment that
        // is not sealed, only records that carry on from here show that the roll took place.
        // The same shows a hint of this boot: a reader that began at the newest record may be there.
        let is_hint =
            self.same_boot && self.control.segment_index().is_some_and(|hint| hint.segment == id);
        let entered = sealed || is_hint || next.has_records();
        Ok(start
            .filter(|start| entered && start.first_seq == cursor.seq && start.epoch >= cursor.epoch)
            .map(|start| (next, start.epoch, start.time_floor_ns)))
    }

    /// How far records of a segment may be looked for: never into space that was not allocated.
    fn readable_end(&self, segment: &Segment<Map<P>>, seal: Seal) -> Result<u64, P> {
        match seal {
            Seal::At(end) => Ok(end),
            Seal::Open if self.same_boot => self.writable_end(segment),
            // The frontier may be older than the records. A queue that outlived a reboot is on a
            // disk, where a hole reads as zeros.
            Seal::Open => Ok(self.geometry.size.bytes()),
        }
    }

    /// How far a segment has space for certain; space is provided where that is not known.
    fn writable_end(&self, segment: &Segment<Map<P>>) -> Result<u64, P> {
        let size = self.geometry.size.bytes();
        let known = self.control.frontier().filter(|frontier| frontier.segment == segment.id);
        let wanted = match known {
            // Reserved again, which costs next to nothing, because the files may be a copy with
            // holes in place of zeros.
            Some(frontier) if self.same_boot => frontier.bytes,
            // Anything may have been written back, or the word is damaged, or the writer died between a
            // roll and its first record: all of it has to be looked at.
            _ => size,
        };
        self.platform
            .storage()
            .reserve(&segment.region, 0..wanted)
            .map_err(Error::platform(segment.object(), Operation::Reserve))?;
        Ok(wanted)
    }

    /// Brings a segment to the medium. Where that fails, nobody writes to the queue in this boot: the
    /// kernel would not try again.
    fn sync(&self, segment: &Segment<Map<P>>) -> Result<(), P> {
        let range = 0..self.geometry.size.bytes();
        let synced = self.platform.storage().sync(&segment.region, range, Durability::Durable);
        self.poisoning(synced.map_err(Error::platform(segment.object(), Operation::Sync)))
    }

    fn poisoning(&self, synced: Result<(), P>) -> Result<(), P> {
        if synced.as_ref().is_err_and(Error::is_failed_sync) {
            self.control.set_poisoned_boot(self.platform.clock().boot());
        }
        synced
    }

    /// Looks at the segments behind the end of the log.
    ///
    /// An empty one was prepared for the next roll. One with records or without a head is what a power
    /// loss left; where there was none, it is damage.
    fn followers(&self, last: &Segment<Map<P>>) -> Result<Followers, P> {
        let mut followers = Followers { with_records: 0, durable_seq: 0 };
        let mut failed = None;
        let visit = |object| {
            let Object::Segment(id) = object else { return };
            if id <= last.id || failed.is_some() {
                return;
            }
            match open_segment(self.platform, id, self.geometry) {
                Ok(segment) if segment.has_records() && self.same_boot => {
                    let (offset, fault) = (SEG_DATA_OFFSET, Fault::Hole);
                    failed = Some(Error::Damaged(Damage { segment: id, offset, seq: 0, fault }));
                }
                Ok(segment) if segment.has_records() => {
                    let until = self.geometry.size.bytes();
                    let behind = records_behind(&segment, self.geometry, SEG_DATA_OFFSET, 0, until);
                    followers.with_records += 1;
                    followers.durable_seq = followers.durable_seq.max(behind.durable_seq);
                }
                Ok(_) => {}
                Err(error) if error.kind() == Some(ErrorKind::NotFound) => {}
                Err(Error::Format { .. }) if !self.same_boot => {}
                Err(error) => failed = Some(error),
            }
        };
        let listed = self.platform.storage().visit(ObjectKind::Segments, visit);
        listed.map_err(Error::platform(last.object(), Operation::List))?;
        failed.map_or(Ok(followers), Err)
    }

    /// Removes what lies behind the end: what is left of lost segments, and what a dead writer had
    /// prepared, which may hold anything behind its first slot after a power loss and is quickly
    /// made again. From the highest down, so that a crash in between leaves no gap. Whether there was
    /// anything.
    fn remove(&self, last: &Segment<Map<P>>) -> Result<bool, P> {
        let mut removed = false;
        while let Some((_, id)) = segment_range(self.platform)?.filter(|(_, high)| *high > last.id)
        {
            removed = true;
            let object = Object::Segment(id);
            remove_index(self.platform, id);
            match self.platform.storage().remove(&object) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(Error::platform(object, Operation::Remove)(error)),
            }
        }
        Ok(removed)
    }
}
