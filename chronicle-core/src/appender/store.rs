//! How a record gets into the segment.

use chronicle_format::{
    EpochRecord, IndexEntry, RecordFlags, RecordHeader, TypeId, WatermarkRecord,
};
use chronicle_sync::{Clock, Platform, Probe, Site};

use super::Appender;
use crate::Result;
use crate::error::Error;
use crate::supply::Supply;

/// A record that was published.
pub(super) struct Stored {
    pub(super) offset: u64,
    pub(super) seq: u64,
    /// The highest time before it.
    pub(super) time_floor_ns: u64,
}

impl<P: Platform, H: Probe, S: Supply<P>> Appender<P, H, S> {
    /// Appends a user's record, with the time that is given or that of the clock.
    #[inline(always)]
    pub(super) fn append_stamped(
        &mut self,
        type_id: u16,
        payload: &[u8],
        timestamp_ns: Option<u64>,
    ) -> Result<Stored, P> {
        let type_id = TypeId::user(type_id).ok_or(Error::InvalidTypeId { found: type_id })?;
        let header = self.header(type_id, timestamp_ns);
        match self.write(&header, payload)? {
            Some(stored) => Ok(stored),
            None => self.append_with_room(type_id, payload, timestamp_ns),
        }
    }

    /// The same where there is no room for it yet. Stamped once there is: a segment that is begun for the
    /// record starts at the time before.
    #[cold]
    #[inline(never)]
    fn append_with_room(
        &mut self,
        type_id: TypeId,
        payload: &[u8],
        timestamp_ns: Option<u64>,
    ) -> Result<Stored, P> {
        self.make_room(payload.len())?;
        let header = self.header(type_id, timestamp_ns);
        // Room was made, so it is stored.
        self.write(&header, payload)?.ok_or_else(|| self.too_large(payload.len()))
    }

    /// Stores and publishes a record; `None` if there is no room for it.
    #[inline(always)]
    fn write(&mut self, header: &RecordHeader, payload: &[u8]) -> Result<Option<Stored>, P> {
        // Looked at before as well as after: a writer that lost the queue long ago must not store
        // over what its successor has appended.
        if !self.control.holds(self.epoch) {
            return Err(self.fenced());
        }
        let offset = self.offset();
        if self.segment.region.append(header, payload, self.sealing).is_none() {
            return Ok(None);
        }
        let stored = Stored { offset, seq: header.seq, time_floor_ns: self.time_max_ns };
        self.published(header)?;
        Ok(Some(stored))
    }

    /// Gives a user's record its entry in the index, if one is due: behind its publication, because no reader
    /// waits for it.
    #[inline(always)]
    pub(super) fn enter(&mut self, stored: &Stored) {
        if stored.offset >= self.due {
            self.enter_due(stored.offset, stored.seq, stored.time_floor_ns);
        }
    }

    /// From which offset on the next entry is for, once a record at `offset` has one.
    pub(super) fn due_behind(&self, offset: u64) -> u64 {
        self.index.as_ref().map_or(u64::MAX, |index| index.due_behind(offset))
    }

    #[cold]
    #[inline(never)]
    fn enter_due(&mut self, offset: u64, seq: u64, time_floor_ns: u64) {
        if let Some(index) = &mut self.index {
            index.push(&IndexEntry { seq, offset, time_floor_ns, epoch: self.epoch });
            self.due = index.due();
        }
    }

    /// A record's header, with the time that is given or that of the clock.
    #[inline(always)]
    pub(super) fn header(&mut self, type_id: TypeId, timestamp_ns: Option<u64>) -> RecordHeader {
        let clock = self.platform.clock();
        RecordHeader {
            type_id,
            flags: RecordFlags::empty(),
            epoch: self.epoch,
            seq: self.next_seq,
            timestamp_ns: timestamp_ns.unwrap_or_else(|| self.stamps.now(clock)),
        }
    }

    /// Takes account of a record that was just published.
    #[inline(always)]
    pub(super) fn published(&mut self, header: &RecordHeader) -> Result<(), P> {
        self.time_max_ns = self.time_max_ns.max(header.timestamp_ns);
        if header.type_id.is_user() {
            self.next_seq += 1;
        }
        self.probe.at(Site::Published);
        if !self.control.still_holds(self.epoch, self.barrier) {
            return Err(self.fenced());
        }
        Ok(())
    }

    /// Says under which epoch the segment goes on, if another one has been at work in it.
    pub(super) fn begin_in_segment(&mut self, previous_epoch: u32) -> Result<(), P> {
        let payload = EpochRecord {
            epoch: self.epoch,
            previous_epoch,
            next_seq: self.next_seq,
            durable_seq: self.noted_seq,
            wall_ns: self.platform.clock().wall_ns(),
        }
        .encode();
        if self.end_of(payload.len())? > self.geometry.size.bytes() {
            // No room: the next segment starts under the new epoch, which says the same but for what
            // is durable.
            self.noted_seq = 0;
            self.roll()?;
            self.begun = true;
            return Ok(());
        }
        self.write_own(TypeId::EPOCH, &payload)?;
        self.begun = true;
        self.announce();
        Ok(())
    }

    /// Appends the durable watermark to the log, if that can be done where the log is: it is worth
    /// neither a roll nor an error.
    pub(super) fn note(&mut self, durable_seq: u64) -> Result<(), P> {
        let payload = WatermarkRecord { durable_seq }.encode();
        if self.end_of(payload.len())? > self.geometry.size.bytes() {
            return Ok(());
        }
        match self.write_own(TypeId::WATERMARK, &payload) {
            Ok(()) => {
                self.noted_seq = durable_seq;
                Ok(())
            }
            // Without space there is no note; it was not asked for.
            Err(_) => self.check_state(),
        }
    }

    /// Appends a record of the queue's own. It has the highest time before it: users' times need not be the
    /// clock's, and a search by time must not find those behind the clock.
    fn write_own(&mut self, type_id: TypeId, payload: &[u8]) -> Result<(), P> {
        let time = Some(self.time_max_ns);
        let header = self.header(type_id, time);
        if self.write(&header, payload)?.is_none() {
            self.append_with_room(type_id, payload, time)?;
        }
        Ok(())
    }
}
