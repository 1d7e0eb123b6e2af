//! Many records with one publication.

use chronicle_format::{CommitWord, TypeId, record_size};
use chronicle_sync::mutation::{Mutant, seeded};
use chronicle_sync::{Platform, Probe, Site};
use heapless::Vec;

use super::Appender;
use crate::Result;
use crate::error::Error;
use crate::supply::Supply;

/// Records that are published together at the most.
pub(crate) const MOST_STAGED: usize = 256;

/// Offset and commit word of each record that was stored and not published.
type Staged = Vec<(u64, CommitWord), MOST_STAGED>;

impl<P: Platform, H: Probe, S: Supply<P>> Appender<P, H, S> {
    /// Appends a record for each payload, and wakes sleepers once at the end. Returns the sequence
    /// number of the next record.
    ///
    /// Up to 256 records at a time are published with one store, under one time stamp: a reader sees
    /// all of them or none. Fewer where allocated space or a segment ends between them.
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
        let mut staged = Staged::new();
        let mut result = Ok(());
        let mut header = None;
        let mut end = self.offset();
        for payload in payloads {
            let wanted = end_of(end, payload);
            if staged.is_full() || wanted.is_none_or(|wanted| wanted > self.segment.region.limit())
            {
                if seeded(Mutant::BatchSealedEarly)
                    && wanted.is_some_and(|wanted| wanted > self.geometry.size.bytes())
                {
                    self.segment.seal_at(end);
                    self.probe.at(Site::Sealed);
                }
                result = self.publish_staged(&mut staged, end).and_then(|()| {
                    let wanted = self.end_of(payload.len())?;
                    let has_room = wanted <= self.segment.region.limit();
                    if has_room { Ok(()) } else { self.make_room(payload.len()) }
                });
                if result.is_err() {
                    break;
                }
                end = self.offset();
                header = None;
            }
            if staged.is_empty() && !self.control.holds(self.epoch) {
                result = Err(self.fenced());
                break;
            }
            // Stamped once there is room: a segment that was begun for it starts at the time before.
            let header = header.get_or_insert_with(|| self.header(type_id, None));
            self.time_max_ns = self.time_max_ns.max(header.timestamp_ns);
            // There is room, in the region and in the list.
            header.seq = self.next_seq + staged.len() as u64;
            if let Some((behind, word)) =
                self.segment.region.stage(end, header, payload, self.sealing)
                && staged.push((end, word)).is_ok()
            {
                end = behind;
            }
        }
        let published = self.publish_staged(&mut staged, end);
        self.announce();
        result.and(published).map(|()| self.next_seq)
    }

    /// Publishes what was stored. Readers come to the first record first, so that one is the last:
    /// behind it they find all others.
    fn publish_staged(&mut self, staged: &mut Staged, end: u64) -> Result<(), P> {
        if staged.is_empty() {
            return Ok(());
        }
        let count = staged.len() as u64;
        self.segment.region.publish_staged(core::iter::from_fn(|| staged.pop()), end);
        self.next_seq += count;
        self.probe.at(Site::Published);
        if self.control.still_holds(self.epoch, self.barrier) { Ok(()) } else { Err(self.fenced()) }
    }
}

fn end_of(offset: u64, payload: &[u8]) -> Option<u64> {
    let length = u32::try_from(payload.len()).ok().filter(|length| *length < u32::MAX)?;
    Some(offset + record_size(length))
}
