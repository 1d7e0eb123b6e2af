//! Removing old segments: which ones, why the others stay, and doing it beside readers that join.

use chronicle_format::{
    Object, READER_FILE_SIZE, READER_SLOTS, ReaderHeader, ReaderName, ReaderPolicy, ReaderSlot,
    RetentionPolicy, Seal, SegmentId,
};
use chronicle_sync::mutation::{Mutant, seeded};
use chronicle_sync::{Clock, Error as _, ErrorKind, ObjectKind, Platform, Region, Storage};

use crate::Result;
use crate::age;
use crate::control::{Control, Hint, view_control};
use crate::error::{Error, Operation};
use crate::segment::{Geometry, segment_range, view_segment};

/// Why a segment stays, or that it may go.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fate {
    /// A limit asks for it to go and nobody holds it.
    Removable,
    /// All its records are older than the age limit, and nobody holds it.
    Expired,
    /// It is being written to, or is prepared for that.
    InUse,
    /// No limit asks for it to go.
    WithinLimits,
    /// A limit asks for it to go, and this reader has not passed it.
    HeldBy(ReaderName),
    /// A limit asks for it to go, and what this reader's position is cannot be read.
    HeldByUnreadable(ReaderName),
}

/// What may be removed from a queue at one moment, and what keeps the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetentionPlan {
    /// The limits in force.
    pub policy: RetentionPolicy,
    /// The oldest segment.
    pub oldest: SegmentId,
    /// A segment at or before the one that is being written to.
    pub head: SegmentId,
    /// The limits ask for everything below this one to go.
    pub limits_keep_from: SegmentId,
    /// Of these, everything below this one is older than the age limit.
    pub age_keeps_from: SegmentId,
    /// Readers hold everything from this one on; none that registered is before it.
    pub readers_keep_from: SegmentId,
    /// Who holds that one, if anybody does.
    pub holder: Option<ReaderName>,
    /// Whether that reader's position cannot be read.
    pub holder_unreadable: bool,
}

/// What was removed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetentionReport {
    /// What was found.
    pub plan: RetentionPlan,
    /// Segments that were removed.
    pub removed: u32,
    /// Whether removal was told to stop while there was more to remove.
    pub interrupted: bool,
}

/// A registered reader, as retention sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HoldingReader {
    /// Its name.
    pub name: ReaderName,
    /// How long the queue keeps records for it.
    pub policy: ReaderPolicy,
    /// The segment that its position is in.
    pub segment: SegmentId,
    /// Whether a process holds the name just now.
    pub active: bool,
}

impl RetentionPlan {
    /// The first segment that stays.
    #[must_use]
    pub fn keep_from(&self) -> SegmentId {
        self.limits_keep_from.min(self.readers_keep_from).min(self.head)
    }

    /// Why a segment stays, or that it may go.
    #[must_use]
    pub fn fate(&self, id: SegmentId) -> Fate {
        if id < self.keep_from() {
            return if id < self.age_keeps_from { Fate::Expired } else { Fate::Removable };
        }
        match &self.holder {
            _ if id >= self.head => Fate::InUse,
            _ if id >= self.limits_keep_from => Fate::WithinLimits,
            Some(name) if self.holder_unreadable => Fate::HeldByUnreadable(name.clone()),
            Some(name) => Fate::HeldBy(name.clone()),
            None => Fate::WithinLimits,
        }
    }
}

/// Looks what could be removed. Changes nothing.
///
/// `lapsed` says of a reader with a lease whether its time to live is over since it was last active;
/// the caller keeps that time, by a clock that cannot run backwards.
///
/// # Errors
/// As [`Tailer::open`](crate::Tailer::open).
pub fn plan_retention<P: Platform>(
    platform: &P,
    mut lapsed: impl FnMut(&HoldingReader) -> bool,
) -> Result<RetentionPlan, P> {
    let control = view_control(platform)?;
    plan(platform, &control, &mut lapsed, segments_there(platform)?, false)
}

/// Removes what may go, from the oldest on. Only for the process that holds the writer's lock.
///
/// Another thread that is just doing the same is left to it: nothing is removed here then.
///
/// A position counts once it is on the medium, so that no reader can fall back behind what was
/// removed. A segment goes only if it is sealed, and once the one behind it is on the medium: a power
/// loss then leaves a queue that begins with a whole segment, whatever was flushed.
///
/// # Errors
/// As [`plan_retention`]. What was removed before the error stays removed. After a failed sync the
/// queue is [`Error::Poisoned`] for this boot, and nothing more is removed.
pub fn apply_retention<P: Platform>(
    platform: &P,
    lapsed: impl FnMut(&HoldingReader) -> bool,
) -> Result<RetentionReport, P> {
    apply_retention_while(platform, lapsed, || true)
}

/// As [`apply_retention`], for a thread that has other things to do: `go_on` is asked before each
/// segment, may do what is more urgent, and ends the removal by returning `false`. What is left is for
/// the next call.
///
/// # Errors
/// As [`apply_retention`].
pub fn apply_retention_while<P: Platform>(
    platform: &P,
    mut lapsed: impl FnMut(&HoldingReader) -> bool,
    mut go_on: impl FnMut() -> bool,
) -> Result<RetentionReport, P> {
    let storage = platform.storage();
    let region = storage.open(&Object::Control);
    let control =
        Control::check(region.map_err(Error::platform(Object::Control, Operation::Open))?)?;
    let geometry = Geometry::of(&control);
    // Before anything is looked at: two threads of the writer's process that announced different
    // floors would undo each other's promise to joining readers.
    let alone = match storage.lock(&Object::Control) {
        Ok(lock) => Some(lock),
        Err(error) if error.kind() == ErrorKind::Locked => None,
        Err(error) => return Err(Error::platform(Object::Control, Operation::Lock)(error)),
    };
    if control.poisoned_boot() == platform.clock().boot() {
        return Err(Error::Poisoned);
    }
    if alone.is_some()
        && let Some(max_age_ns) = control.retention()?.max_age_ns
    {
        age::take_sample(platform, &control, max_age_ns);
    }
    let there = segments_there(platform)?;
    let first = plan(platform, &control, &mut lapsed, there, false)?;
    let mut keep_from = first.keep_from();
    if seeded(Mutant::RetentionRemovesOneMore) {
        keep_from = keep_from.next().map_or(keep_from, |next| next.min(first.head));
    }
    if alone.is_none() || keep_from == first.oldest {
        return Ok(RetentionReport { plan: first, removed: 0, interrupted: false });
    }
    let poisoning = |error: Error<P::Error>| {
        if error.is_failed_sync() {
            control.poison(platform.clock().boot());
        }
        error
    };
    let mut report = RetentionReport { plan: first, removed: 0, interrupted: false };
    let mut id = report.plan.oldest;
    // One at a time: a joining reader finds the floor ahead of what is there for a moment only, and no
    // removal reaches the medium before the one below it.
    while id < keep_from {
        if !go_on() {
            report.interrupted = true;
            break;
        }
        if view_segment(platform, id, &geometry)?.seal()? == Seal::Open {
            break;
        }
        let next = id.next().map_err(Error::format(Object::Segment(id)))?;
        if !seeded(Mutant::RetentionNotSynced) {
            if report.removed == 0 {
                // It comes back if power is lost before its removal is on the medium, and may lie
                // before the durable watermark by then: whole, or readers would report damage.
                sync_segment(platform, id).map_err(poisoning)?;
            }
            sync_segment(platform, next).map_err(poisoning)?;
            sync_names(platform, next).map_err(poisoning)?;
        }
        let mut second = Ok(report.plan.clone());
        let allowed = control.announce_floor(next, id, || {
            // Which segments are there is known: nobody else removes any. The writer may have made
            // more, but the limits ask for no more to go than they did.
            second = plan(platform, &control, &mut lapsed, (id, there.1), true);
            // What cannot be looked at is not removed.
            second.as_ref().map_or(id, RetentionPlan::keep_from)
        });
        // The oldest segment stays the one that was found at first: the report tells what was done.
        report.plan = RetentionPlan { oldest: report.plan.oldest, ..second.map_err(poisoning)? };
        let one_more = u64::from(seeded(Mutant::RetentionRemovesOneMore));
        if allowed + one_more <= u64::from(id.get()) {
            break;
        }
        for object in [Object::Index(id), Object::Segment(id)] {
            match storage.remove(&object) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(Error::platform(object, Operation::Remove)(error)),
            }
        }
        report.removed += 1;
        id = next;
    }
    Ok(report)
}

/// Makes a segment what the log may begin with after a power loss.
fn sync_segment<P: Platform>(platform: &P, id: SegmentId) -> Result<(), P> {
    let object = Object::Segment(id);
    platform.storage().sync_object(&object).map_err(Error::platform(object, Operation::Sync))
}

fn sync_names<P: Platform>(platform: &P, id: SegmentId) -> Result<(), P> {
    let synced = platform.storage().sync_names();
    synced.map_err(Error::platform(Object::Segment(id), Operation::Sync))
}

/// The oldest and the newest segment.
fn segments_there<P: Platform>(platform: &P) -> Result<(SegmentId, SegmentId), P> {
    Ok(segment_range(platform)?.unwrap_or((SegmentId::FIRST, SegmentId::FIRST)))
}

fn plan<P: Platform, R: Region>(
    platform: &P,
    control: &Control<R>,
    lapsed: &mut impl FnMut(&HoldingReader) -> bool,
    (oldest, newest): (SegmentId, SegmentId),
    durably: bool,
) -> Result<RetentionPlan, P> {
    let policy = control.retention()?;
    // The hint is at or before the head, so going by it keeps too much rather than too little.
    let hint = control.segment_index();
    let head = hint.map_or(oldest, |hint| hint.segment).clamp(oldest, newest);
    let count = u64::from(head.get() - oldest.get()) + 1;
    let by_bytes = policy.max_bytes.map(|bytes| bytes / control.segment_size().bytes());
    let limits = [by_bytes, policy.max_segments];
    let kept = limits.into_iter().flatten().min().unwrap_or(count).clamp(1, count);
    let sizes_keep_from = SegmentId::new(u64::from(head.get()) + 1 - kept).unwrap_or(head);
    let expired = policy.max_age_ns.and_then(|max| age::expired_before(platform, control, max));
    let age_keeps_from = expired.unwrap_or(oldest).clamp(oldest, head);
    let limits_keep_from = sizes_keep_from.max(age_keeps_from);

    let mut plan = RetentionPlan {
        policy,
        oldest,
        head,
        limits_keep_from,
        age_keeps_from,
        readers_keep_from: head,
        holder: None,
        holder_unreadable: false,
    };
    let mut failed = None;
    let visit = |object| {
        let Object::Reader(name) = object else { return };
        let (segment, unreadable) =
            match look_at_reader(platform, control.queue_id(), &name, durably) {
                Ok(reader) if holds(&reader, hint.as_ref(), control, lapsed) => {
                    (reader.segment, false)
                }
                Ok(_) => return,
                // Removed in the meantime.
                Err(error) if error.kind() == Some(ErrorKind::NotFound) => return,
                Err(error) if error.is_failed_sync() => {
                    failed = Some(error);
                    return;
                }
                Err(_) if seeded(Mutant::UnreadableReaderIgnored) => return,
                // It may be anywhere, so it holds everything until somebody looks after it.
                Err(_) => (oldest, true),
            };
        if segment < plan.readers_keep_from || (plan.holder.is_none() && segment <= head) {
            plan.readers_keep_from = segment.max(oldest);
            plan.holder = Some(name);
            plan.holder_unreadable = unreadable;
        }
    };
    let listed = platform.storage().visit(ObjectKind::Readers, visit);
    listed.map_err(Error::platform(Object::Control, Operation::List))?;
    failed.map_or(Ok(plan), Err)
}

/// Whether segments at a reader's position stay for it.
fn holds<R: Region>(
    reader: &HoldingReader,
    head: Option<&Hint>,
    control: &Control<R>,
    lapsed: &mut impl FnMut(&HoldingReader) -> bool,
) -> bool {
    match reader.policy {
        ReaderPolicy::Lease { .. } => reader.active || !lapsed(reader),
        ReaderPolicy::MaxLag { bytes } => {
            let head = head.map_or(reader.segment, |head| head.segment);
            let segments = u64::from(head.get().saturating_sub(reader.segment.get()));
            // Whole segments behind: less than what it really lags, by up to a segment.
            segments.saturating_sub(1).saturating_mul(control.segment_size().bytes()) <= bytes
        }
        _ => true,
    }
}

/// Reads a reader's file, by copying and never by mapping: its owner could truncate it.
fn look_at_reader<P: Platform>(
    platform: &P,
    queue_id: u64,
    name: &ReaderName,
    durably: bool,
) -> Result<HoldingReader, P> {
    let storage = platform.storage();
    let object = Object::Reader(name.clone());
    let mut bytes = [0; READER_FILE_SIZE as usize];
    let read = storage.copy_out(&object, 0, &mut bytes);
    let length = read.map_err(Error::platform(object.clone(), Operation::Open))?;
    let short = || {
        let (found, expected) = (length as u64, READER_FILE_SIZE);
        let source = chronicle_format::FormatError::WrongSize { found, expected };
        Error::Format { object: object.clone(), source }
    };
    if length < bytes.len() {
        return Err(short());
    }
    let head = bytes.first_chunk().ok_or_else(short)?;
    let header = ReaderHeader::decode(head).map_err(Error::format(object.clone()))?;
    if header.queue_id != queue_id {
        let source = chronicle_format::FormatError::ForeignQueue { found: header.queue_id };
        return Err(Error::Format { object, source });
    }
    let slots = READER_SLOTS.map(|at| {
        let bytes = bytes.get(at..).and_then(|bytes| bytes.first_chunk());
        bytes.map_or(Ok(None), ReaderSlot::decode_bytes)
    });
    let slot = match slots {
        [Ok(Some(a)), Ok(Some(b))] => Some(if a.generation >= b.generation { a } else { b }),
        [Ok(Some(slot)), _] | [_, Ok(Some(slot))] => Some(slot),
        _ => None,
    };
    let slot = slot.ok_or_else(|| Error::Format {
        object: object.clone(),
        source: chronicle_format::FormatError::BadChecksum { at: READER_SLOTS[0] },
    })?;
    if durably {
        storage.sync_object(&object).map_err(Error::platform(object.clone(), Operation::Sync))?;
    }
    let state = storage.lock_state(&object);
    let active =
        state.map_err(Error::platform(object, Operation::Lock))? != chronicle_sync::LockState::Free;
    let (policy, segment) = (header.policy, slot.next.segment);
    Ok(HoldingReader { name: name.clone(), policy, segment, active })
}
