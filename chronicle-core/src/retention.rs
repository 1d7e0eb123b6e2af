//! Which segments may be removed, and why the others stay.

use chronicle_format::{
    Object, READER_FILE_SIZE, READER_SLOTS, ReaderHeader, ReaderName, ReaderPolicy, ReaderSlot,
    RetentionPolicy, SegmentId,
};
use chronicle_sync::mutation::{Mutant, seeded};
use chronicle_sync::{ErrorKind, ObjectKind, Platform, Region, Storage};

use crate::Result;
use crate::age;
use crate::control::{Control, Hint, view_control};
use crate::error::{Error, Operation};
use crate::segment::{Geometry, log_range};

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
    /// The segment that the log begins with now.
    pub begins: SegmentId,
    /// Whether there is more to remove: removal was told to stop, or another thread was just storing the
    /// checkpoint.
    pub unfinished: bool,
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
    let range = log_range(platform, &Geometry::of(&control))?;
    let range = range.unwrap_or((SegmentId::FIRST, SegmentId::FIRST));
    plan(platform, &control, &mut lapsed, range, false)
}

/// What may go of the segments from `oldest` to `newest`. With `durably`, positions count once they are on
/// the medium.
pub(crate) fn plan<P: Platform, R: Region>(
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
