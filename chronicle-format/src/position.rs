use crate::{SEG_DATA_OFFSET, SegmentId};

/// A place between two records, with what a reader must know to go on from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Segment of the place.
    pub segment: SegmentId,
    /// Offset in the segment's file in bytes, a multiple of 32 from 64 up.
    pub offset: u64,
    /// Sequence number of the first user record at or behind the place.
    pub seq: u64,
    /// Epoch in force at the place: that of the record before it.
    pub epoch: u32,
}

impl Position {
    /// The first place of a segment that starts with `seq` under `epoch`.
    #[must_use]
    pub const fn start_of(segment: SegmentId, seq: u64, epoch: u32) -> Self {
        Self { segment, offset: SEG_DATA_OFFSET, seq, epoch }
    }
}
