//! Looking at the next record without taking it.

use chronicle_sync::Platform;
use chronicle_sync::record::{self, Slot};

use super::{MessageView, Tailer, step};
use crate::Result;
use crate::start::Start;

/// The next record of a reader that was not taken yet, verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peeked {
    pub(crate) seq: u64,
    pub(crate) timestamp_ns: u64,
}

impl<P: Platform> Tailer<P> {
    /// Verifies the next record and leaves it where it is; `None` if there is none yet.
    ///
    /// # Errors
    /// Those of [`next`](Self::next).
    pub(crate) fn peek(&mut self) -> Result<Option<Peeked>, P> {
        while self.settle()? {
            let Slot::Record(record) = record::look(&self.segment.region, self.offset) else {
                continue;
            };
            let (mut seq, mut epoch) = (self.seq, self.epoch);
            match step(&self.segment.region, self.sealing, &record, &mut seq, &mut epoch) {
                // What was settled at is a gap: it is told here, as by `next`.
                Ok(false) => {
                    let expected = self.seq;
                    (self.offset, self.seq, self.epoch) = (record.end(), seq, epoch);
                    self.tell_of_gap(expected)?;
                }
                Ok(true) => {
                    let header = record.header();
                    return Ok(Some(Peeked { seq: header.seq, timestamp_ns: header.timestamp_ns }));
                }
                Err(fault) => self.leave_at_seal(fault)?,
            }
        }
        Ok(None)
    }

    /// Takes the record that [`peek`](Self::peek) gave, with nothing in between: it is not verified
    /// a second time, since committed bytes do not change.
    pub(crate) fn take(&mut self) -> Option<MessageView<'_>> {
        let Slot::Record(record) = record::look(&self.segment.region, self.offset) else {
            return None;
        };
        self.want(Start::Earliest);
        self.seq += 1;
        self.offset = record.end();
        self.last_read = record.offset();
        let payload = record.payload(&self.segment.region);
        payload.map(|payload| MessageView::new(record.header(), payload))
    }
}
