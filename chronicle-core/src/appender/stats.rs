//! What an appender has done, counted off the path of a record.

use chronicle_format::{Position, SEG_DATA_OFFSET, SegmentId};
use chronicle_sync::{Platform, Probe};

use super::Appender;
use crate::supply::Supply;

/// What an appender has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AppenderStats {
    /// Users' records that were appended.
    pub messages: u64,
    /// Bytes of records, headers, padding and the queue's own records included.
    pub bytes: u64,
    /// Segments that were rolled out of.
    pub rolls: u64,
    /// Rolls for which no segment was prepared, so that the append made it.
    pub unprepared_rolls: u64,
    /// Times that space was allocated ahead of the records.
    pub extensions: u64,
    /// Wake-ups of sleepers: each is a system call.
    pub wakes: u64,
    /// Times that the queue's own limit refused a roll.
    pub refused_rolls: u64,
}

/// What is counted where it happens. Records and bytes follow from where the appender is.
pub(super) struct Counted {
    first_seq: u64,
    /// Where the appender began in the segment that it is in.
    begun_at: u64,
    /// Bytes in segments that it has left.
    left_bytes: u64,
    rolls: u64,
    pub(super) unprepared_rolls: u64,
    pub(super) extensions: u64,
    pub(super) wakes: u64,
    pub(super) refused_rolls: u64,
}

impl Counted {
    pub(super) fn from(position: &Position) -> Self {
        Self {
            first_seq: position.seq,
            begun_at: position.offset,
            left_bytes: 0,
            rolls: 0,
            unprepared_rolls: 0,
            extensions: 0,
            wakes: 0,
            refused_rolls: 0,
        }
    }

    /// The segment is left at this offset.
    pub(super) fn rolled(&mut self, offset: u64) {
        self.rolls += 1;
        self.left_bytes += offset.saturating_sub(self.begun_at);
        self.begun_at = SEG_DATA_OFFSET;
    }
}

impl<P: Platform, H: Probe, S: Supply<P>> Appender<P, H, S> {
    /// What this appender has done since it was opened.
    #[must_use]
    pub fn stats(&self) -> AppenderStats {
        let Counted {
            first_seq,
            begun_at,
            left_bytes,
            rolls,
            unprepared_rolls,
            extensions,
            wakes,
            refused_rolls,
        } = self.counted;
        AppenderStats {
            messages: self.next_seq.saturating_sub(first_seq),
            bytes: left_bytes + self.offset().saturating_sub(begun_at),
            rolls,
            unprepared_rolls,
            extensions,
            wakes,
            refused_rolls,
        }
    }

    /// The highest time stamp of any record before the next one, nanoseconds since 1970; 0 if there is
    /// none.
    #[must_use]
    pub fn last_time_ns(&self) -> u64 {
        self.time_max_ns
    }

    /// The segment that the log begins with, as far as is known here.
    #[must_use]
    pub fn first_segment(&self) -> Option<SegmentId> {
        self.control.floor()
    }

    /// The most bytes that the queue's segments may take, if it has such a limit.
    #[must_use]
    pub fn capacity_bytes(&self) -> Option<u64> {
        self.capacity.ok().flatten()
    }
}
