//! A reader of a queue.

mod copied;
mod options;
mod ordinary;
mod park_any;
mod peek;
mod place;
mod waiting;

pub use options::{TailOptions, Visibility};
pub use park_any::{NotifyView, ParkAny, Sleeper};
pub use waiting::Armed;

use chronicle_format::{Object, Position, RecordHeader, SEG_DATA_OFFSET, Seal, TypeId};
use chronicle_sync::mutation::{Mutant, seeded};
use chronicle_sync::record::{self, Record, Sealing, Slot};
use chronicle_sync::seal::{self, EmptySlot};
use chronicle_sync::{ErrorKind, Platform, Region, Storage};

use self::ordinary::Rare;
use self::waiting::{Notify, has_news};
use crate::Result;
use crate::control::{Control, bad_floor, view_control};
use crate::error::{Damage, Error, Fault};
use crate::readers::{LastRead, Registration, remove_reader};
use crate::segment::{Geometry, Segment, view_segment};
use crate::start::{OPEN_TRIES, Start, at_floor, begin, gone, open_place, resume};
use crate::walk::step;

/// Records that a reader that begins at the newest one passes over at the most.
const MOST_SKIPPED: u32 = 1 << 22;

/// A record, borrowed from the mapped segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageView<'a> {
    /// Sequence number: one more than that of the record before, across rolls and restarts.
    pub seq: u64,
    /// Nanoseconds since 1970, as the writer's clock or its program gave them.
    pub timestamp_ns: u64,
    /// What the payload is.
    pub type_id: u16,
    /// The payload.
    pub payload: &'a [u8],
}

impl<'a> MessageView<'a> {
    #[inline(always)]
    fn new(header: &RecordHeader, payload: &'a [u8]) -> Self {
        let RecordHeader { seq, timestamp_ns, type_id, .. } = *header;
        Self { seq, timestamp_ns, type_id: type_id.get(), payload }
    }
}

/// Reads the records of a queue in order, from a place of its own.
pub struct Tailer<P: Platform> {
    pub(crate) segment: Segment<<P::Storage as Storage>::View>,
    /// Where the next record is.
    offset: u64,
    seq: u64,
    epoch: u32,
    sealing: Sealing,
    /// Records before this one are passed over.
    first_wanted: u64,
    /// Records are passed over until a time stamp has reached this one.
    time_wanted: Option<u64>,
    /// What was passed over.
    pub(crate) passed: Passed,
    /// Offset of the last user record that was stepped over in this segment; 0 if there is none.
    last_read: u64,
    pub(crate) geometry: Geometry,
    verify: bool,
    visibility: Visibility,
    /// Records from this one on are not given out yet.
    limit: u64,
    pub(crate) notify: Notify<P::Storage>,
    /// The system refused the barrier that being woken rests on: sleep in short slices.
    pub(crate) barrier_refused: bool,
    pub(crate) control: Control<<P::Storage as Storage>::View>,
    registration: Option<Registration<P>>,
    pub(crate) platform: P,
}

/// Records that a reader stepped over without giving them out.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Passed {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
}

impl<P: Platform> Tailer<P> {
    /// Opens a reader.
    ///
    /// # Errors
    /// [`Error::NoQueue`], [`Error::ControlMissing`], [`Error::Format`],
    /// [`Error::ReaderAlreadyActive`]; [`Error::FellBehind`] and [`Error::Diverged`] if the name's
    /// position is not there any more; the platform's.
    pub fn open(platform: P, options: &TailOptions) -> Result<Self, P> {
        let Some(name) = &options.name else {
            return Self::open_at_start(platform, options);
        };
        let control = view_control(&platform)?;
        let (queue_id, group_readable) = (control.queue_id(), control.group_readable());
        let begin = || -> Result<(Position, Option<LastRead>), P> {
            let mut tries = 0;
            loop {
                tries += 1;
                let place = Tailer::open_at_start(&platform, options).and_then(|mut place| {
                    place.settle().map(|_| (place.position(), place.last_read()))
                });
                match place {
                    Err(Error::FellBehind { .. })
                        if options.start.moves() && tries < OPEN_TRIES => {}
                    other => return other,
                }
            }
        };
        let mut registered = None;
        let mut floor = control.join(|| {
            registered = Some(Registration::open(
                &platform,
                name,
                options.policy,
                queue_id,
                group_readable,
                begin,
            ));
        });
        let Some((mut registration, is_new)) = registered.transpose()? else {
            return Err(Error::NotRegistered);
        };
        // Segments at a place that was registered only now may be going, or gone. What is at the floor
        // stays, whatever the remover is doing just now and even if it died over it.
        let mut tries = 0;
        while is_new && u64::from(registration.committed().segment.get()) < floor {
            tries += 1;
            let (next, last) = match at_floor(&platform, &Geometry::of(&control), floor) {
                Some(next) => (next, None),
                // A floor that stays ahead of all segments is not one that anybody removes by.
                None if tries > OPEN_TRIES => {
                    return Err(Error::Format {
                        object: Object::Control,
                        source: bad_floor(floor),
                    });
                }
                None => begin()?,
            };
            if let Start::Seq(wanted) = options.start
                && next.seq > wanted
            {
                // A name that nobody reads under must hold nothing back.
                drop(registration);
                remove_reader(&platform, name)?;
                return Err(Error::FellBehind { oldest: next.seq });
            }
            floor = control.join(|| registration.commit(next, last));
        }
        let (position, last_read) = (registration.committed(), registration.last_read());
        let geometry = Geometry::of(&control);
        let (segment, place) = if is_new {
            (open_place(&platform, &geometry, &position)?, position)
        } else {
            resume(&platform, &geometry, &position, last_read)?
        };
        let mut tailer = Self::open_at(platform, control, &place, last_read, segment, options)?;
        registration.inscribe(tailer.platform.storage().process_id());
        tailer.registration = Some(registration);
        if is_new {
            tailer.want(options.start);
        }
        Ok(tailer)
    }

    /// Opens a passive reader.
    fn open_at_start(platform: P, options: &TailOptions) -> Result<Self, P> {
        let start = options.start;
        let control = view_control(&platform)?;
        let geometry = Geometry::of(&control);
        let mut tries = 0;
        let (position, segment) = loop {
            let position = begin(&platform, &control, &geometry, start)?;
            tries += 1;
            match open_place(&platform, &geometry, &position) {
                // Removed since it was found; there is an oldest segment all the same.
                Err(Error::FellBehind { .. }) if start.moves() && tries < OPEN_TRIES => {}
                other => break (position, other?),
            }
        };
        let mut tailer = Self::open_at(platform, control, &position, None, segment, options)?;
        tailer.land(start);
        if start == Start::Latest {
            tailer.skip_to_end()?;
        }
        Ok(tailer)
    }

    fn open_at(
        platform: P,
        control: Control<<P::Storage as Storage>::View>,
        position: &Position,
        last_read: Option<LastRead>,
        segment: Segment<<P::Storage as Storage>::View>,
        options: &TailOptions,
    ) -> Result<Self, P> {
        let geometry = Geometry::of(&control);
        let notify = Notify::open(&platform)?;
        let mut tailer = Self {
            offset: position.offset,
            seq: position.seq,
            epoch: position.epoch,
            sealing: None,
            first_wanted: 0,
            time_wanted: None,
            passed: Passed::default(),
            last_read: last_read.map_or(0, |last| last.offset),
            geometry,
            verify: options.verify,
            visibility: options.visibility,
            limit: match options.visibility {
                Visibility::Visible => u64::MAX,
                // Looked up as soon as there is a record.
                Visibility::Durable => 0,
            },
            notify,
            barrier_refused: false,
            segment,
            control,
            registration: None,
            platform,
        };
        tailer.sealing = tailer.sealing_of_segment();
        Ok(tailer)
    }

    /// The next record, or `None` if there is none yet.
    ///
    /// On an error the reader stays where it is, except at a gap.
    ///
    /// # Errors
    /// [`Error::Gap`] once where messages were lost: the next call goes on behind them.
    /// [`Error::Damaged`] with the place; [`Error::FellBehind`] if the next segment was removed; the
    /// platform's where a segment is opened.
    #[inline(always)]
    #[allow(
        clippy::should_implement_trait,
        reason = "the view borrows the reader: no iterator can"
    )]
    pub fn next(&mut self) -> Result<Option<MessageView<'_>>, P> {
        // What the rare case gives is taken apart here, so that an ordinary record never leaves the registers.
        let record = match self.step_over_ordinary() {
            Ok(record) => record,
            Err(rare) => match self.step_otherwise(rare)? {
                Some(record) => record,
                None => return Ok(None),
            },
        };
        Ok(self.give_out(&record))
    }

    /// A record that was stepped over.
    #[inline(always)]
    fn give_out(&mut self, record: &Record) -> Option<MessageView<'_>> {
        self.last_read = record.offset();
        let payload = record.payload(&self.segment.region);
        payload.map(|payload| MessageView::new(record.header(), payload))
    }

    /// Steps over the next record that is given out, where what lies there is not an ordinary one.
    #[inline(always)]
    fn step_otherwise(&mut self, rare: Rare) -> Result<Option<Record>, P> {
        match rare {
            Rare::Empty if self.is_at_end() || !self.leave_empty_slot()? => Ok(None),
            _ => self.step_to_any(),
        }
    }

    /// Steps over the next record that is given out, whatever lies before it.
    #[cold]
    #[inline(never)]
    fn step_to_any(&mut self) -> Result<Option<Record>, P> {
        loop {
            match record::look(&self.segment.region, self.offset) {
                Slot::Record(_) if self.seq >= self.limit && !self.raise_limit() => {
                    return Ok(None);
                }
                Slot::Record(record) => {
                    if seeded(Mutant::CursorMovedUnchecked) {
                        self.offset = record.end();
                    }
                    let region = &self.segment.region;
                    let expected = self.seq;
                    match step(region, self.sealing, &record, &mut self.seq, &mut self.epoch) {
                        Ok(is_user) => {
                            self.offset = record.end();
                            if self.is_wanted(&record, is_user) {
                                return Ok(Some(record));
                            }
                            if !is_user {
                                self.tell_of_gap(expected)?;
                            }
                        }
                        Err(fault) => self.leave_at_seal(fault)?,
                    }
                }
                Slot::Empty => {
                    if !self.leave_empty_slot()? {
                        return Ok(None);
                    }
                }
                Slot::TooLong { length } => self.leave_at_seal(Fault::Length { found: length })?,
            }
        }
    }

    /// Stores the position behind the last record that [`next`](Self::next) gave: the reader goes on
    /// there when it is opened again. A few stores, no system call.
    ///
    /// # Errors
    /// [`Error::NotRegistered`] for a passive reader.
    pub fn commit(&mut self) -> Result<(), P> {
        let (position, last_read) = (self.position(), self.last_read());
        let registration = self.registration.as_mut().ok_or(Error::NotRegistered)?;
        registration.commit(position, last_read);
        Ok(())
    }

    /// The last user record that was stepped over in this segment.
    fn last_read(&self) -> Option<LastRead> {
        if self.last_read == 0 {
            return None;
        }
        match record::look(&self.segment.region, self.last_read) {
            Slot::Record(record) => Some(LastRead::of(&record)),
            Slot::Empty | Slot::TooLong { .. } => None,
        }
    }

    /// Brings the committed position to the medium: it survives a power loss when this returns.
    ///
    /// Without it a power loss may bring back an earlier one, and the reader gets some records again.
    ///
    /// # Errors
    /// [`Error::NotRegistered`] for a passive reader; the platform's. The position still survives the
    /// death of this process.
    pub fn sync_position(&self) -> Result<(), P> {
        self.registration.as_ref().ok_or(Error::NotRegistered)?.sync(&self.platform)
    }

    /// The platform underneath.
    #[must_use]
    pub fn platform(&self) -> &P {
        &self.platform
    }

    /// Looks how far records may be given out by now; whether the next one may.
    #[cold]
    fn raise_limit(&mut self) -> bool {
        if let Some(durable) = self.control.durable_seq() {
            self.limit = durable;
        }
        self.seq < self.limit
    }

    /// From where on records are given out.
    pub(crate) fn want(&mut self, start: Start) {
        (self.first_wanted, self.time_wanted) = match start {
            Start::Seq(seq) => (seq, None),
            Start::Timestamp(ns) => (u64::MAX, Some(ns)),
            Start::Earliest | Start::Latest => (0, None),
        };
    }

    /// Whether a record that was stepped over is to be given out.
    #[inline(always)]
    fn is_wanted(&mut self, record: &Record, is_user: bool) -> bool {
        if record.header().seq >= self.first_wanted {
            is_user
        } else {
            self.pass_over(record, is_user)
        }
    }

    /// Behind a record of the queue's own: whether messages are missing that somebody wants.
    #[cold]
    fn tell_of_gap(&mut self, expected: u64) -> Result<(), P> {
        if self.seq == expected {
            return Ok(());
        }
        // The record before the gap is not the one before the next record any more.
        self.last_read = 0;
        if self.seq > self.first_wanted {
            return Err(Error::Gap { first: expected.max(self.first_wanted), next: self.seq });
        }
        Ok(())
    }

    /// Takes note of a record before the first one that is wanted; whether it is that one itself.
    #[cold]
    fn pass_over(&mut self, record: &Record, is_user: bool) -> bool {
        if self.time_wanted.is_some_and(|ns| record.header().timestamp_ns >= ns) {
            self.want(Start::Earliest);
            return is_user;
        }
        self.passed.records += 1;
        self.passed.bytes += record.end() - record.offset();
        if is_user {
            self.last_read = record.offset();
        }
        false
    }

    /// Moves to a place of the segment, or of another one that was opened for it; gives back the one that
    /// was left.
    pub(crate) fn move_to(
        &mut self,
        place: &Position,
        segment: Option<Segment<<P::Storage as Storage>::View>>,
    ) -> Option<Segment<<P::Storage as Storage>::View>> {
        let left = segment.map(|segment| core::mem::replace(&mut self.segment, segment));
        self.sealing = self.sealing_of_segment();
        (self.offset, self.seq, self.epoch) = (place.offset, place.seq, place.epoch);
        self.last_read = 0;
        left
    }

    /// Steps over everything that is not for the user; whether there is a record then.
    pub(crate) fn settle(&mut self) -> Result<bool, P> {
        loop {
            match record::look(&self.segment.region, self.offset) {
                Slot::Record(_) if self.seq >= self.limit && !self.raise_limit() => {
                    return Ok(false);
                }
                Slot::Record(record) => {
                    let header = record.header();
                    let reached = self.time_wanted.is_some_and(|ns| header.timestamp_ns >= ns);
                    if header.type_id.is_user() && (header.seq >= self.first_wanted || reached) {
                        return Ok(true);
                    }
                    // `next` tells of it.
                    if header.type_id == TypeId::GAP && header.seq > self.seq.max(self.first_wanted)
                    {
                        return Ok(true);
                    }
                    let region = &self.segment.region;
                    match step(region, self.sealing, &record, &mut self.seq, &mut self.epoch) {
                        Ok(is_user) => {
                            self.offset = record.end();
                            self.pass_over(&record, is_user);
                            if record.header().type_id == TypeId::GAP {
                                self.last_read = 0;
                            }
                        }
                        Err(fault) => self.leave_at_seal(fault)?,
                    }
                }
                Slot::Empty => {
                    if !self.leave_empty_slot()? {
                        return Ok(false);
                    }
                }
                Slot::TooLong { length } => self.leave_at_seal(Fault::Length { found: length })?,
            }
        }
    }

    /// At a slot where nothing is committed: whether there is nothing more to find out, because the segment is open and
    /// nothing that is durable is missing. So it is nearly always, and a reader that spins looks between any two
    /// messages: what this takes is waited for by the next one.
    #[inline(always)]
    fn is_at_end(&self) -> bool {
        // That fault is in `leave_empty_slot`.
        !seeded(Mutant::NextEnteredUnsealed)
            && self.segment.seal_word().is_some_and(seal::is_open)
            && self.has_what_is_durable()
    }

    /// Whether nothing that is durable comes from this place on, as far as that is known.
    #[inline(always)]
    fn has_what_is_durable(&self) -> bool {
        self.control.durable_seq().is_none_or(|durable| self.seq >= durable)
    }

    /// At a slot where nothing is committed: whether there is something to look at now, because the
    /// slot was filled in the meantime or the log goes on in the next segment.
    #[cold]
    fn leave_empty_slot(&mut self) -> Result<bool, P> {
        let Some(word) = self.segment.seal_word() else { return Ok(false) };
        let committed = || record::is_committed(&self.segment.region, self.offset);
        let slot = seal::classify(word, self.offset, self.geometry.size, committed)
            .map_err(Error::format(self.segment.object()))?;
        match slot {
            EmptySlot::Nothing if seeded(Mutant::NextEnteredUnsealed) && self.advance().is_ok() => {
                Ok(true)
            }
            EmptySlot::Nothing => self.check_durable(),
            EmptySlot::Filled => Ok(true),
            EmptySlot::EndOfSegment => self.advance().map(|()| true),
            EmptySlot::Missing { sealed_at } => Err(self.damaged(Fault::Missing { sealed_at })),
            EmptySlot::Beyond { sealed_at } => Err(self.damaged(Fault::BeyondSeal { sealed_at })),
        }
    }

    /// At the end of what there is: whether a record came in the meantime. Where one was durable and is
    /// not there, this is no end.
    fn check_durable(&self) -> Result<bool, P> {
        if self.has_what_is_durable() {
            return Ok(false);
        }
        // It may have been appended and flushed since the slot was looked at.
        if has_news(&self.segment, self.offset) {
            return Ok(true);
        }
        Err(self.damaged(Fault::NotThere))
    }

    /// At bytes that are no record: the segment's end, if it is sealed right here, for then nobody
    /// claims that there is one.
    #[cold]
    fn leave_at_seal(&mut self, fault: Fault) -> Result<(), P> {
        match self.segment.seal()? {
            Seal::At(end) if end == self.offset => self.advance(),
            _ => Err(self.damaged(fault)),
        }
    }

    /// Goes on in the next segment, which is there because this one is sealed.
    fn advance(&mut self) -> Result<(), P> {
        let id = self.segment.id.next().map_err(Error::format(self.segment.object()))?;
        let next = match view_segment(&self.platform, id, &self.geometry) {
            Err(error) if error.kind() == Some(ErrorKind::NotFound) => {
                return Err(gone(&self.platform, &self.geometry, id, self.seq));
            }
            other => other?,
        };
        let start = next.started()?;
        let fault = if start.first_seq != self.seq {
            Some(Fault::Seq { found: start.first_seq })
        } else if start.epoch < self.epoch {
            Some(Fault::Epoch { found: start.epoch, expected: self.epoch })
        } else {
            None
        };
        if let Some(fault) = fault {
            let offset = SEG_DATA_OFFSET;
            return Err(Error::Damaged(Damage { segment: id, offset, seq: self.seq, fault }));
        }
        self.segment = next;
        self.offset = SEG_DATA_OFFSET;
        self.epoch = start.epoch;
        self.last_read = 0;
        self.sealing = self.sealing_of_segment();
        Ok(())
    }

    fn sealing_of_segment(&self) -> Sealing {
        self.sealing_of(&self.segment)
    }

    /// How this reader verifies records of a segment; `None` if it does not.
    pub(crate) fn sealing_of<R: Region>(&self, segment: &Segment<R>) -> Sealing {
        if self.verify { segment.sealing(&self.geometry) } else { None }
    }

    /// Goes to the head. A writer at full speed may keep moving it, so after so many records this
    /// place counts as the newest.
    pub(crate) fn skip_to_end(&mut self) -> Result<(), P> {
        for _ in 0..MOST_SKIPPED {
            match self.next() {
                Ok(None) => break,
                // Whoever begins behind the newest record has no use for what was lost before.
                Ok(Some(_)) | Err(Error::Gap { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    #[cold]
    fn damaged(&self, fault: Fault) -> Error<P::Error> {
        Error::Damaged(Damage {
            segment: self.segment.id,
            offset: self.offset,
            seq: self.seq,
            fault,
        })
    }
}
