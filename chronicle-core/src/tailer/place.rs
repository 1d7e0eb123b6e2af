//! Where a reader is.

use chronicle_format::Position;
use chronicle_sync::Platform;

use super::Tailer;
use crate::readers::Registration;

impl<P: Platform> Tailer<P> {
    /// Where the next record is.
    #[must_use]
    pub fn position(&self) -> Position {
        Position { segment: self.segment.id, offset: self.offset, seq: self.seq, epoch: self.epoch }
    }

    /// The position that was committed last; `None` for a passive reader.
    #[must_use]
    pub fn committed(&self) -> Option<Position> {
        self.registration.as_ref().map(Registration::committed)
    }

    /// Sequence number of the next record.
    #[must_use]
    #[inline(always)]
    pub fn next_seq(&self) -> u64 {
        self.seq
    }

    /// Time stamp of the last record that [`next`](Self::next) gave in the current segment.
    #[must_use]
    pub fn last_timestamp_ns(&self) -> Option<u64> {
        self.last_read().map(|last| last.timestamp_ns)
    }
}
