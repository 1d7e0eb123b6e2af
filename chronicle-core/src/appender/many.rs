//! Many records with one publication.

use chronicle_format::{CommitWord, TypeId, record_size};
use chronicle_sync::mutation::{Mutant, seeded};
use chronicle_sync::{Platform, Probe, Site};
use heapless::Vec;

use super::Appender;
use super::store::Stored;
use crate::Result;
use crate::error::Error;
use crate::supply::Supply;

/// Records that are published together at the most.
pub(crate) const MOST_STAGED: usize = 256;

/// Records that were stored and not published.
struct Batch<'a> {
    /// Offset and commit word of each.
    records: &'a mut Vec<(u64, CommitWord), MOST_STAGED>,
    /// Behind the last one.
    end: u64,
    /// The first record from this offset on gets an entry in the index, so it is the first of the next batch.
    due: u64,
    /// When the first one was stored; it is the time of all.
    timestamp_ns: u64,
}

impl<P: Platform, H: Probe, S: Supply<P>> Appender<P, H, S> {
    /// Appends a record for each payload, and wakes sleepers once at the end. Returns the sequence
    /// number of the next record.
    ///
    /// Up to 256 records at a time are published with one store, under one time stamp: a reader sees
    /// all of them or none. Fewer where allocated space or a segment ends between them, or where the index
    /// gets an entry: every 16 KiB.
    ///
    /// # Errors
    /// As [`append`](Self::append); what came before the record that failed is appended, as
    /// [`next_seq`](Self::next_seq) tells.
    pub fn append_all<'a>(
        &mut self,
        type_id: u16,
        payloads: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<u64, P> {
        let type_id = TypeId::user(type_id).ok_or(Error::InvalidTypeId { found: type_id })?;
        let mut records = Vec::new();
        let mut batch = Batch { records: &mut records, end: 0, due: 0, timestamp_ns: 0 };
        let mut payloads = payloads.into_iter();
        let put = payloads.try_for_each(|payload| self.put(&mut batch, type_id, payload));
        let published = self.publish(&mut batch);
        self.announce();
        put.and(published).map(|()| self.next_seq)
    }

    /// Stores a record behind those of the batch; where there is no place for it, publishes these and makes
    /// room.
    #[inline(always)]
    fn put(&mut self, batch: &mut Batch<'_>, type_id: TypeId, payload: &[u8]) -> Result<(), P> {
        if self.stage(batch, type_id, payload)? {
            return Ok(());
        }
        self.put_with_room(batch, type_id, payload)
    }

    #[cold]
    #[inline(never)]
    fn put_with_room(
        &mut self,
        batch: &mut Batch<'_>,
        type_id: TypeId,
        payload: &[u8],
    ) -> Result<(), P> {
        if seeded(Mutant::BatchSealedEarly)
            && batch.end + record_size(self.short(payload.len())?) > self.geometry.size.bytes()
        {
            self.segment.seal_at(batch.end);
            self.probe.at(Site::Sealed);
        }
        // What is to be done for the next segment is no reason to cut a batch.
        let end = batch.end + record_size(self.short(payload.len())?);
        if !batch.records.is_empty() && self.pass(end) && self.stage(batch, type_id, payload)? {
            return Ok(());
        }
        self.publish(batch)?;
        if self.stage(batch, type_id, payload)? {
            return Ok(());
        }
        self.make_room(payload.len())?;
        // Room was made, so it is stored.
        if self.stage(batch, type_id, payload)? {
            Ok(())
        } else {
            Err(self.too_large(payload.len()))
        }
    }

    /// Stores a record behind those of the batch; whether there was a place for it.
    #[inline(always)]
    fn stage(&mut self, batch: &mut Batch<'_>, type_id: TypeId, payload: &[u8]) -> Result<bool, P> {
        if batch.records.is_empty() {
            if !self.control.holds(self.epoch) {
                return Err(self.fenced());
            }
            batch.end = self.offset();
            batch.due = if batch.end < self.due { self.due } else { self.due_behind(batch.end) };
            batch.timestamp_ns = self.stamps.now(self.platform.clock());
        } else if batch.records.is_full() || batch.end >= batch.due {
            return Ok(false);
        }
        let mut header = self.header(type_id, Some(batch.timestamp_ns));
        header.seq += batch.records.len() as u64;
        let cursor = &mut self.segment.region;
        let staged = cursor.stage(batch.end, &header, payload, self.sealing);
        let Some((end, word)) = staged else { return Ok(false) };
        let stored = batch.records.push((batch.end, word));
        batch.end = end;
        Ok(stored.is_ok())
    }

    /// Publishes what was stored. Readers come to the first record first, so that one is the last:
    /// behind it they find all others.
    fn publish(&mut self, batch: &mut Batch<'_>) -> Result<(), P> {
        if batch.records.is_empty() {
            return Ok(());
        }
        let first =
            Stored { offset: self.offset(), seq: self.next_seq, time_floor_ns: self.time_max_ns };
        self.next_seq += batch.records.len() as u64;
        self.time_max_ns = self.time_max_ns.max(batch.timestamp_ns);
        let last_to_first = core::iter::from_fn(|| batch.records.pop());
        self.segment.region.publish_staged(last_to_first, batch.end);
        self.probe.at(Site::Published);
        if !self.control.still_holds(self.epoch, self.barrier) {
            return Err(self.fenced());
        }
        self.enter(&first);
        Ok(())
    }
}
