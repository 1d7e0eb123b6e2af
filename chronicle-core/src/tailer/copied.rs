//! Reading for those who do not trust the processes that write to the files.

use chronicle_sync::Platform;
use chronicle_sync::record::{self, Slot};

use super::{MessageView, Tailer};
use crate::Result;
use crate::error::{Error, Fault};

impl<P: Platform> Tailer<P> {
    /// The next record, copied to the beginning of `buffer`, or `None` if there is none yet.
    ///
    /// As [`next`](Self::next), for a reader that does not trust whoever may write to the queue's
    /// files: the copy is made word by word and verified, and no reference to shared memory is ever
    /// made. Whatever is stored to the files meanwhile, the result is a record under the checksum
    /// that its header claims, or an error. A file that is cut short while it is mapped still ends
    /// the process by a signal.
    ///
    /// # Errors
    /// Those of [`next`](Self::next); [`Error::BufferTooSmall`], after which the reader is where it
    /// was, and [`next_length`](Self::next_length) tells the size.
    pub fn next_copied<'b>(&mut self, buffer: &'b mut [u8]) -> Result<Option<MessageView<'b>>, P> {
        let next = match self.step_over_ordinary() {
            Ok(record) => Some(record),
            Err(rare) => self.step_otherwise(rare)?,
        };
        let Some(record) = next else { return Ok(None) };
        let header = *record.header();
        let fits = buffer.len() >= record.length() as usize;
        let copy = record.copy_payload(&self.segment.region, buffer);
        // What was verified on the way was the original, which may have changed since.
        let verified = copy.filter(|copy| {
            self.sealing
                .is_none_or(|(checksum, seed)| checksum.record(seed, &header, copy) == record.crc())
        });
        if let Some(payload) = verified {
            self.last_read = record.offset();
            return Ok(Some(MessageView::new(&header, payload)));
        }
        (self.offset, self.seq) = (record.offset(), header.seq);
        Err(if fits {
            self.damaged(Fault::Checksum)
        } else {
            Error::BufferTooSmall { needed: record.length() }
        })
    }

    /// Size in bytes of the payload that [`next_copied`](Self::next_copied) would copy, as it is now;
    /// `None` if there is no record yet. At most that of the largest record that a segment can hold.
    ///
    /// # Errors
    /// Those of [`next`](Self::next).
    pub fn next_length(&mut self) -> Result<Option<u32>, P> {
        if !self.settle()? {
            return Ok(None);
        }
        Ok(match record::look(&self.segment.region, self.offset) {
            Slot::Record(record) => Some(record.length()),
            // It has changed since; `next_copied` says how.
            Slot::Empty | Slot::TooLong { .. } => Some(0),
        })
    }
}
