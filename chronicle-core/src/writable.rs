//! A segment as a writer has it.

use chronicle_format::{CrcState, SEG_DATA_OFFSET, SegmentId};
use chronicle_sync::record::Sealing;
use chronicle_sync::{RegionMut, WriteCursor};

use crate::index::IndexWriter;
use crate::segment::{Geometry, Segment};

/// A segment without records, with everything done for a writer that can be before the place of its first record is
/// known. Behind the roll out of it, what is left to be unmapped; only the segment and its index are its own then.
///
/// It changes places with the segment before as it is: nothing has to be made of it at a roll.
pub(crate) struct Writable<M> {
    pub(crate) segment: Segment<WriteCursor<M>>,
    pub(crate) index: Option<IndexWriter<M>>,
    pub(crate) sealing: Sealing,
    /// What the checksum of the segment's start begins with.
    pub(crate) start_seed: CrcState,
    /// How far it has space.
    pub(crate) reserved: u64,
}

impl<M: RegionMut> Writable<M> {
    pub(crate) fn new(
        segment: Segment<M>,
        index: Option<IndexWriter<M>>,
        reserved: u64,
        geometry: &Geometry,
    ) -> Self {
        Self {
            sealing: segment.sealing(geometry),
            start_seed: segment.start_seed(geometry.crc),
            segment: segment.with(|region| WriteCursor::new(region, SEG_DATA_OFFSET)),
            index,
            reserved,
        }
    }

    pub(crate) fn id(&self) -> SegmentId {
        self.segment.id
    }

    pub(crate) fn into_segment(self) -> Segment<M> {
        self.segment.with(WriteCursor::into_inner)
    }
}
