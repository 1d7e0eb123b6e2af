//! The one writer of a queue.

mod at;
mod claim;
mod fast;
mod many;
mod roll;
mod room;
mod stats;
mod store;

use chronicle_format::{
    CHECKPOINT_FILE_SIZE, FormatError, Frontier, Object, Position, SegmentId, SegmentSize,
    record_size,
};
use chronicle_sync::mutation::{Mutant, seeded};
use chronicle_sync::notify::{Barrier, Waiters};
use chronicle_sync::record::Sealing;
use chronicle_sync::{
    Clock, Durability, Error as _, ErrorKind, NoProbe, Park, Platform, Probe, Site, Storage,
    WriteCursor,
};

pub use claim::Claim;
pub use fast::{Fast, Now, Time};
pub(crate) use many::MOST_STAGED;
pub use stats::AppenderStats;

use self::room::Ahead;
use self::stats::Counted;
use crate::Result;
use crate::age;
use crate::checkpoint::newest_checkpoint;
use crate::control::{Control, News, Notifications, absent, check_notify, check_size, waiters};
use crate::durable::Syncer;
use crate::error::{Error, Operation};
use crate::index::{IndexWriter, rebuild_index, resume_indexes};
use crate::recover::{self, RecoveryReport, Tail};
use crate::segment::{Geometry, Segment, segment_range_from};
use crate::stamp::Stamps;
use crate::supply::{NoSupply, Space, Supply, prepare_segment_with};
use crate::wait::lock_writer;
use crate::writable::Writable;

/// Space is allocated ahead of the writer in steps of this many bytes by default: 1 MiB.
pub const DEFAULT_STEP: u64 = 1 << 20;

const PAGE: u64 = 4096;

/// How an appender goes about its work. Nothing of this is stored in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WriteOptions {
    /// Space is allocated ahead of the writer in steps of this many bytes, rounded up to pages.
    pub step: u64,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self { step: DEFAULT_STEP }
    }
}

type Map<P> = <<P as Platform>::Storage as Storage>::Map;

/// Appends records to a queue; there is one at a time.
///
/// A record is visible to every reader when [`append`](Self::append) returns, and survives the death
/// of any process. It survives a power loss once [`flush`](Self::flush) has returned.
pub struct Appender<P: Platform, H: Probe = NoProbe, S: Supply<P> = NoSupply> {
    /// The segment that is written to: where the next record goes, and how far records may reach without
    /// leaving the fast path.
    segment: Segment<WriteCursor<Map<P>>>,
    /// The segment's index, unless it is too small for one or there was no space for it.
    index: Option<IndexWriter<Map<P>>>,
    /// The next entry of the index is for the first user's record from this offset on.
    due: u64,
    next_seq: u64,
    epoch: u32,
    /// Whether the log says that the epoch has begun. Until then no hint may speak of it: a reader that began there
    /// would take the record that says so for one that comes too late.
    begun: bool,
    sealing: Sealing,
    stamps: Stamps,
    time_max_ns: u64,
    barrier: Barrier,
    control: Control<Map<P>>,
    notify: Notifications<Map<P>>,
    state: State,
    frontier: u64,
    step: u64,
    /// What is to be done for the next segment.
    ahead: Ahead,
    /// The next segment, if it is there before the roll; behind the roll the one before, until it is handed over.
    beside: Option<Writable<Map<P>>>,
    supply: S,
    geometry: Geometry,
    /// The most bytes that the queue's segments may take, if it has such a limit, and if that can be read.
    capacity: core::result::Result<Option<u64>, FormatError>,
    /// Makes records durable, unless it was given away.
    syncer: Option<Syncer<P>>,
    /// The durable watermark that the log itself carries.
    noted_seq: u64,
    /// Whether this writer has ever been asked to make anything durable.
    flushes: bool,
    report: RecoveryReport,
    counted: Counted,
    platform: P,
    probe: H,
    _lock: <P::Storage as Storage>::Guard,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Fenced,
    Poisoned,
}

impl<P: Platform> Appender<P> {
    /// Takes the writer's lock, recovers what the last writer left behind, and begins a new epoch.
    ///
    /// # Errors
    /// [`Error::NoQueue`], [`Error::WriterAlreadyActive`], [`Error::Poisoned`], [`Error::Format`] or
    /// [`Error::Damaged`], all before any record was touched; or the platform's.
    pub fn open(platform: P, options: WriteOptions) -> Result<Self, P> {
        Self::open_with(platform, options, NoProbe, NoSupply)
    }
}

impl<P: Platform, H: Probe, S: Supply<P>> Appender<P, H, S> {
    /// As [`open`](Appender::open), watched by `probe`, and with prepared segments from `supply`.
    ///
    /// # Errors
    /// As [`open`](Appender::open).
    pub fn open_with(platform: P, options: WriteOptions, probe: H, supply: S) -> Result<Self, P> {
        let storage = platform.storage();
        // Looked at before the lock file is made: where there is no queue nothing is left behind.
        drop(crate::control::view_control(&platform)?);
        let lock = lock_writer(&platform)?;
        let control = match storage.open(&Object::Control) {
            Ok(region) => Control::check(region)?,
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(absent(&platform)),
            Err(error) => return Err(Error::platform(Object::Control, Operation::Open)(error)),
        };
        let notify = check_notify(open(&platform, &Object::Notify)?)?;
        let checkpoint = open(&platform, &Object::Checkpoint)?;
        check_size(&checkpoint, CHECKPOINT_FILE_SIZE).map_err(Error::format(Object::Checkpoint))?;
        let durable = newest_checkpoint(&checkpoint, control.queue_id())?;

        let geometry = Geometry::of(&control);
        let step = options.step.clamp(PAGE, geometry.size.bytes()).next_multiple_of(PAGE);
        let newest = (&checkpoint, &durable);
        let tail = recover::recover(&platform, &probe, &control, &geometry, newest)?;
        storage.sweep();
        // What recovery removed is gone for good before anything is appended.
        if tail.has_removed && !seeded(Mutant::OpenNamesNotSynced) {
            recover::sync_names(&platform)?;
        }
        let barrier = platform.park().enlist();
        control.set_barrier(barrier);
        if let Some(waiters) = waiters(&notify, News::Visible) {
            // Whoever slept through the last writer's death, or is about to by the last writer's
            // barrier, looks again.
            let _ = waiters.wake_all(platform.park());
        }
        // Frontier and hint are of this boot before the word that says so: a writer that is killed
        // in between must not make the next one trust those of the boot before.
        control.set_frontier(Frontier { segment: tail.segment.id, bytes: tail.frontier });
        control.set_segment_index(&tail.position);
        control.set_busy(None);
        if let Some((oldest, _)) = segment_range_from(&platform, durable.first)? {
            control.set_floor(oldest);
        }
        age::forget_after(&control, tail.segment.id);
        control.set_writer_boot(platform.clock().boot());
        // Whatever failed to be synced in this boot has reached the medium by now.
        control.set_poisoned_boot(0);
        control.set_durable_seq(tail.report.durable_seq);
        if seeded(Mutant::RecoveryMovesWatermark) {
            control.set_durable_seq(tail.position.seq);
        }
        // The epoch must never come again, not even if power is lost before anything else is synced.
        if !seeded(Mutant::EpochNotSynced) {
            storage
                .sync(control.region(), 0..PAGE, Durability::Durable)
                .map_err(Error::platform(Object::Control, Operation::Sync))?;
        }
        // For people only, so a failure changes nothing.
        let epoch = tail.report.epoch;
        let _ = storage.inscribe(&lock, epoch);

        let Tail { segment, position, frontier, time_max_ns, report, .. } = tail;
        let mut syncer = Syncer::open(&platform, &durable, report.durable_seq)?;
        syncer.names_are_synced(segment.id);
        let sealing = segment.sealing(&geometry);
        let mut appender = Self {
            next_seq: position.seq,
            epoch,
            begun: false,
            sealing,
            stamps: Stamps::default(),
            time_max_ns,
            barrier,
            state: State::Open,
            frontier,
            step,
            ahead: Ahead::Nothing,
            beside: None,
            supply,
            syncer: Some(syncer),
            noted_seq: report.durable_seq,
            flushes: false,
            segment: segment.with(|region| WriteCursor::new(region, position.offset)),
            index: None,
            due: u64::MAX,
            capacity: control.capacity_bytes(),
            control,
            notify,
            geometry,
            report,
            counted: Counted::from(&position),
            platform,
            probe,
            _lock: lock,
        };
        appender.ahead = appender.first_task();
        appender.set_frontier(frontier);
        appender.set_limit(0);
        let (platform, report) = (&appender.platform, &appender.report);
        let index = resume_indexes(platform, &geometry, &appender.segment, report);
        appender.begin_in_segment(position.epoch)?;
        appender.set_index(position.segment, index);
        appender.store_hint();
        Ok(appender)
    }

    /// Appends a record and returns its sequence number.
    ///
    /// Makes no system call but the wake-up if a reader sleeps, and at the edge of allocated space
    /// and of a segment.
    ///
    /// # Errors
    /// [`Error::InvalidTypeId`], [`Error::PayloadTooLarge`], and the platform's where space runs
    /// out: nothing was appended, and the same call may be made again. [`Error::Fenced`],
    /// [`Error::Poisoned`]: this appender is of no more use.
    #[inline(always)]
    pub fn append(&mut self, type_id: u16, payload: &[u8]) -> Result<u64, P> {
        self.append_by_any_way(type_id, Now, payload)
    }

    /// Appends a record without waking sleepers: follow a batch of these with one
    /// [`announce`](Self::announce). Readers that do not sleep see the record at once.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    #[inline(always)]
    pub fn append_quietly(&mut self, type_id: u16, payload: &[u8]) -> Result<u64, P> {
        let mut published = self.publish_fast::<false>(type_id, Now, payload);
        if published.is_none() && self.seals_fast(payload) {
            published = self.publish_fast::<true>(type_id, Now, payload);
        }
        if let Some(seq) = published {
            let is_held = self.control.still_holds(self.epoch, self.barrier);
            return if is_held { Ok(seq) } else { Err(self.fenced()) };
        }
        let stored = self.append_stamped(type_id, payload, None)?;
        self.enter(&stored);
        Ok(stored.seq)
    }

    /// Wakes readers that sleep; costs no system call if there are none.
    #[inline(always)]
    pub fn announce(&mut self) {
        let barrier = self.barrier;
        if waiters(&self.notify, News::Visible).is_some_and(|news| news.someone_waits(barrier)) {
            self.wake();
        }
    }

    /// The same behind [`published`](Self::published), whose barrier serves for both.
    #[inline(always)]
    fn announce_published(&mut self) {
        let waiters = waiters(&self.notify, News::Visible);
        if waiters.is_some_and(Waiters::someone_waits_behind_barrier) {
            self.wake();
        }
    }

    #[cold]
    #[inline(never)]
    fn wake(&mut self) {
        self.counted.wakes += 1;
        self.probe.at(Site::Waking);
        if let Some(waiters) = waiters(&self.notify, News::Visible) {
            // Whoever is not woken wakes by its time-out, and the record is visible in any case.
            let _ = waiters.wake_all(self.platform.park());
        }
    }

    /// Claims a record of `length` bytes to be filled in place.
    ///
    /// Dropping the claim, or dying, leaves nothing visible.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn claim(&mut self, length: usize) -> Result<Claim<'_, P, H, S>, P> {
        let short = self.short(length)?;
        if !self.segment.region.fits(short) {
            self.make_room(length)?;
        }
        if !self.control.holds(self.epoch) {
            return Err(self.fenced());
        }
        // The place is the claim's from here on.
        if self.segment.region.claim(short).is_none() {
            return Err(self.too_large(length));
        }
        self.control.set_busy(Some(self.platform.clock().now()));
        self.probe.at(Site::Claimed);
        Ok(Claim { length: short, appender: self })
    }

    /// Prepares the next segment now, so that the roll costs no more than a few stores. For programs
    /// without threads, at a moment of their choosing; does nothing if it is prepared already.
    ///
    /// # Errors
    /// The platform's. Nothing is lost: the roll makes the segment itself then.
    pub fn prepare_next(&mut self) -> Result<(), P> {
        self.check_epoch()?;
        let id = self.segment.id.next().map_err(Error::format(self.segment.object()))?;
        if !self.is_ready() {
            // First, because its space may be what the next one needs.
            self.hand_over();
            let (platform, probe) = (&self.platform, &self.probe);
            let prepared =
                prepare_segment_with(platform, id, Space::Allocated, probe, || Some(u64::MAX))?;
            // Looked at again: preparing takes its time, and a successor's index is not to be touched.
            self.check_epoch()?;
            if let Some(prepared) = prepared {
                self.put_beside(prepared);
            }
        }
        Ok(())
    }

    /// Makes everything appended so far durable: it survives a power loss when this returns.
    ///
    /// One sync where the segment did not change since the last flush. The durable watermark of the
    /// flush before is appended to the log first, as an internal record.
    ///
    /// # Errors
    /// The platform's. After a failed sync the appender is poisoned: what was not durable may be
    /// lost, and a sync that succeeds later would say nothing about it.
    /// [`Error::SyncerDetached`] where [`detach_syncer`](Self::detach_syncer) was called.
    pub fn flush(&mut self) -> Result<(), P> {
        let end = self.begin_flush()?;
        let Some(syncer) = &mut self.syncer else { return Err(Error::SyncerDetached) };
        let synced = syncer.sync_to(&self.platform, &end);
        if let Err(Error::Platform { .. }) = &synced
            && self.is_poisoned()
        {
            self.state = State::Poisoned;
            self.segment.region.set_limit(0);
        }
        synced
    }

    /// Takes note in the log of what is durable already, and returns the place up to which a
    /// [`Syncer`] is to bring the log to the medium: everything appended so far. For programs that
    /// sync in a thread of its own.
    ///
    /// # Errors
    /// [`Error::Fenced`], [`Error::Poisoned`].
    pub fn begin_flush(&mut self) -> Result<Position, P> {
        self.check_epoch()?;
        self.hand_over();
        if !self.flushes {
            self.flushes = true;
            self.supply.flushes();
        }
        let durable_seq = self.control.durable_seq().unwrap_or(self.noted_seq);
        if durable_seq > self.noted_seq && self.next_seq > durable_seq {
            self.note(durable_seq)?;
        }
        self.store_hint();
        Ok(self.position())
    }

    /// Gives away what makes records durable, to be used in another thread of this process while
    /// this one appends; `None` the second time. [`flush`](Self::flush) is not possible then.
    pub fn detach_syncer(&mut self) -> Option<Syncer<P>> {
        self.syncer.take()
    }

    /// Makes the index of a sealed segment anew from its records, whether it is missing, damaged or
    /// whole; whether the segment has one then.
    ///
    /// # Errors
    /// If there is no such segment, or it cannot be opened.
    pub fn rebuild_index(&mut self, id: SegmentId) -> Result<bool, P> {
        self.check_state()?;
        rebuild_index(&self.platform, id, &self.geometry, false)
    }

    /// Sequence number of the next record.
    #[must_use]
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Records below this are durable.
    #[must_use]
    pub fn durable_seq(&self) -> u64 {
        self.control.known_durable_seq()
    }

    /// Where prepared segments come from.
    pub fn supply(&mut self) -> &mut S {
        &mut self.supply
    }

    /// Where the next record goes.
    #[must_use]
    pub fn position(&self) -> Position {
        Position {
            segment: self.segment.id,
            offset: self.offset(),
            seq: self.next_seq,
            epoch: self.epoch,
        }
    }

    /// The epoch of this appender.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The queue's segment size.
    #[must_use]
    pub fn segment_size(&self) -> SegmentSize {
        self.geometry.size
    }

    /// What was found and done when the queue was opened.
    #[must_use]
    pub fn recovery(&self) -> &RecoveryReport {
        &self.report
    }

    /// The platform underneath.
    #[must_use]
    pub fn platform(&self) -> &P {
        &self.platform
    }

    fn offset(&self) -> u64 {
        self.segment.region.offset()
    }

    /// The end of a record with such a payload, whether it fits the segment or not.
    #[inline(always)]
    fn end_of(&self, length: usize) -> Result<u64, P> {
        Ok(self.offset() + record_size(self.short(length)?))
    }

    /// A payload's length, if a commit word can state it: 4,294,967,294 bytes at the most, whatever the
    /// segment's size.
    #[inline(always)]
    fn short(&self, length: usize) -> Result<u32, P> {
        match u32::try_from(length) {
            Ok(length) if length < u32::MAX => Ok(length),
            _ => Err(self.too_large(length)),
        }
    }

    #[cold]
    fn too_large(&self, length: usize) -> Error<P::Error> {
        Error::PayloadTooLarge { length: length as u64, max: self.geometry.size.max_payload() }
    }

    /// The epoch is not in force any more: another writer began one, or a failed sync ended it.
    #[cold]
    fn fenced(&mut self) -> Error<P::Error> {
        // Why it was the first time is why it is for good.
        if let Err(error) = self.check_state() {
            return error;
        }
        self.segment.region.set_limit(0);
        if self.is_poisoned() {
            self.state = State::Poisoned;
            return Error::Poisoned;
        }
        self.state = State::Fenced;
        Error::Fenced { mine: self.epoch, current: self.control.epoch() }
    }

    fn is_poisoned(&self) -> bool {
        self.control.poisoned_boot() == self.platform.clock().boot()
    }

    fn check_state(&self) -> Result<(), P> {
        match self.state {
            State::Open => Ok(()),
            State::Fenced => Err(Error::Fenced { mine: self.epoch, current: self.control.epoch() }),
            State::Poisoned => Err(Error::Poisoned),
        }
    }

    /// As [`check_state`](Self::check_state), and looks whether the epoch ended meanwhile: before
    /// anything is stored that a successor would take for its own.
    fn check_epoch(&mut self) -> Result<(), P> {
        self.check_state()?;
        if self.control.holds(self.epoch) { Ok(()) } else { Err(self.fenced()) }
    }

    fn store_hint(&self) {
        if self.begun {
            self.control.set_segment_index(&self.position());
        }
    }
}

impl<P: Platform, H: Probe, S: Supply<P>> Drop for Appender<P, H, S> {
    fn drop(&mut self) {
        let holds = self.control.holds(self.epoch);
        if holds {
            self.store_hint();
        }
        // For records that were appended quietly.
        self.announce();
        self.supply.close();
        if let Some(syncer) = &mut self.syncer {
            // Nobody else is at the checkpoint by now. What is durable is so without; the next recovery
            // only has further to walk.
            let _ = syncer.checkpoint(&self.platform);
        }
        // After a failed sync the queue is still this writer's; after another writer's takeover the
        // prepared segment may be that one's.
        if holds || self.is_poisoned() {
            self.remove_prepared();
        }
        if seeded(Mutant::LockFileRemoved) {
            let _ = self.platform.storage().remove(&Object::WriterLock);
        }
    }
}

fn open<P: Platform>(platform: &P, object: &Object) -> Result<Map<P>, P> {
    platform.storage().open(object).map_err(Error::platform(object.clone(), Operation::Open))
}

/// Space that a segment has from the beginning.
pub(crate) fn first_reservation(size: SegmentSize) -> u64 {
    DEFAULT_STEP.min(size.bytes())
}
