//! Records that follow each other simply, one at a time or in a row: the paths that have to be fast.

use chronicle_sync::Platform;
use chronicle_sync::record::{self, ReadCursor, Record, Sealing, Seen, Slot};

use super::{MessageView, Tailer};
use crate::Result;
use crate::walk::{follows_simply, is_intact};

/// What lies where the next record is expected, if that is not an ordinary record.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Rare {
    Empty,
    Other,
}

/// What an ordinary record in a row of them has to be like.
struct Expected {
    seq: u64,
    epoch: u32,
    sealing: Sealing,
}

impl Expected {
    /// The record at a place, verified.
    #[inline(always)]
    fn look<'r>(&self, at: &ReadCursor<'r>) -> core::result::Result<Seen<'r>, Rare> {
        match at.look() {
            Slot::Record(seen)
                if follows_simply(seen.record().header(), self.seq, self.epoch)
                    && self
                        .sealing
                        .is_none_or(|(checksum, seed)| seen.is_intact(checksum, seed)) =>
            {
                Ok(seen)
            }
            Slot::Empty => Err(Rare::Empty),
            Slot::Record(_) | Slot::TooLong { .. } => Err(Rare::Other),
        }
    }
}

impl<P: Platform> Tailer<P> {
    /// Hands up to `limit` records to `each`, as many as there are; returns how many that were.
    ///
    /// # Errors
    /// As [`next`](Self::next); what was handed out before counts as read.
    pub fn read_all(
        &mut self,
        limit: u64,
        mut each: impl FnMut(MessageView<'_>),
    ) -> Result<u64, P> {
        let mut read = 0;
        while read < limit {
            let before = self.seq;
            let outcome = self.hand_out_ordinary(limit - read, &mut each);
            read += self.seq - before;
            let Err(rare) = outcome else { break };
            let Some(record) = self.step_otherwise(rare)? else { break };
            let Some(message) = self.give_out(&record) else { break };
            each(message);
            read += 1;
        }
        Ok(read)
    }

    /// Steps over the next record, which is verified, if it needs nothing beyond what every record needs, as nearly all
    /// do. The code is small enough to become a part of the caller's.
    #[inline(always)]
    pub(super) fn step_over_ordinary(&mut self) -> core::result::Result<Record, Rare> {
        match record::look(&self.segment.region, self.offset) {
            Slot::Record(record) if self.is_ordinary(&record) => {
                // Less than the limit.
                self.seq += 1;
                self.offset = record.end();
                Ok(record)
            }
            Slot::Empty => Err(Rare::Empty),
            Slot::Record(_) | Slot::TooLong { .. } => Err(Rare::Other),
        }
    }

    #[inline(always)]
    fn is_ordinary(&self, record: &Record) -> bool {
        follows_simply(record.header(), self.seq, self.epoch)
            && self.seq >= self.first_wanted
            && self.seq < self.limit
            && is_intact(&self.segment.region, self.sealing, record)
    }

    /// Hands out records for as long as they are ordinary ones, at most so many; otherwise what lies behind them.
    #[inline(always)]
    fn hand_out_ordinary(
        &mut self,
        most: u64,
        each: &mut impl FnMut(MessageView<'_>),
    ) -> core::result::Result<(), Rare> {
        let wanted = self.seq.saturating_add(most);
        let end = if self.seq < self.first_wanted { self.seq } else { wanted.min(self.limit) };
        // The place is kept in registers too: to find the next record by what was stored just now takes longer than
        // to check it.
        let mut cursor = ReadCursor::new(&self.segment.region, self.offset).ok_or(Rare::Empty)?;
        let mut expected = Expected { seq: self.seq, epoch: self.epoch, sealing: self.sealing };
        while expected.seq < end {
            let seen = expected.look(&cursor)?;
            let record = seen.record();
            cursor.step_over(record);
            expected.seq += 1;
            // What was handed out counts as read, even if `each` does not return.
            (self.offset, self.seq) = (record.end(), expected.seq);
            self.last_read = record.offset();
            each(MessageView::new(record.header(), seen.payload()));
        }
        if end < wanted { Err(Rare::Other) } else { Ok(()) }
    }
}
