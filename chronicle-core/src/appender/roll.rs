//! The roll: how a writer goes on in the next segment.

use chronicle_format::layout::segment;
use chronicle_format::{HEADER_SIZE, Object, Position, SEG_DATA_OFFSET, SegmentId, SegmentStart};
use chronicle_sync::{Clock, Platform, Probe, RegionExt, RegionMut, Site, Storage, WriteCursor};

use super::{Appender, Map};
use crate::Result;
use crate::error::Error;
use crate::index::{Foreign, Index, IndexWriter, open_or_make_index, remove_index};
use crate::segment::{Segment, open_or_create_segment, segment_range, view_segment};
use crate::supply::{PreparedSegment, RetiredSegment, Supply};

/// A segment to go on in, with everything done that can be before the place of its first record is known.
pub(super) struct Next<M> {
    segment: Segment<WriteCursor<M>>,
    index: Option<IndexWriter<M>>,
    /// How far it has space.
    reserved: u64,
}

impl<M: RegionMut> Next<M> {
    fn new(segment: Segment<M>, index: Option<Index<M>>, reserved: u64) -> Self {
        Self {
            segment: segment.with(|region| WriteCursor::new(region, SEG_DATA_OFFSET)),
            index: index.map(IndexWriter::begin),
            reserved,
        }
    }
}

impl<P: Platform, H: Probe, S: Supply<P>> Appender<P, H, S> {
    /// Goes on in the next segment: a few stores, if it is [ready](Self::ready).
    pub(super) fn roll(&mut self) -> Result<(), P> {
        self.probe.at(Site::Rolling);
        let id = self.segment.id.next().map_err(Error::format(self.segment.object()))?;
        self.check_capacity(id)?;
        let start = SegmentStart {
            first_seq: self.next_seq,
            time_floor_ns: self.time_max_ns,
            epoch: self.epoch,
        };
        let next = match self.ready.take() {
            Some(next) => next,
            None => self.make_next(id, &start)?,
        };
        // 1. The next segment is whole before anything refers to it.
        next.segment.begin(&start, self.geometry.crc);
        self.probe.at(Site::NextPublished);
        // 2. The hint moves.
        self.control.set_segment_index(&Position::start_of(id, self.next_seq, self.epoch));
        self.probe.at(Site::HintMoved);
        // 3. The old segment is sealed: readers at its end go on.
        self.segment.seal_at(self.offset());
        self.probe.at(Site::Sealed);
        self.counted.rolled(self.offset());
        let old = core::mem::replace(&mut self.segment, next.segment).with(WriteCursor::into_inner);
        let index = self.replace_index(next.index).map(IndexWriter::into_index);
        self.ahead = self.first_task();
        self.sealing = self.segment.sealing(&self.geometry);
        self.set_frontier(next.reserved);
        self.leave(RetiredSegment { segment: old, _index: index });
        // 4. Readers that sleep at the end of the old segment are woken by the record that follows;
        //    should it not follow, they have nothing to read.
        Ok(())
    }

    fn leave(&mut self, old: RetiredSegment<P>) {
        // Who never flushes has nothing kept open.
        let old = match &mut self.syncer {
            Some(syncer) if self.flushes => syncer.retain(old),
            _ => Some(old),
        };
        if let Some(old) = old {
            self.supply.retire(old);
        }
    }

    /// Goes on with this index, if it is that of the segment that is being written to.
    pub(super) fn set_index(&mut self, of: SegmentId, index: Option<IndexWriter<Map<P>>>) {
        if self.segment.id == of {
            self.replace_index(index);
        }
    }

    /// Goes on with this index, and returns the one before.
    fn replace_index(&mut self, index: Option<IndexWriter<Map<P>>>) -> Option<IndexWriter<Map<P>>> {
        self.due = index.as_ref().map_or(u64::MAX, IndexWriter::due);
        core::mem::replace(&mut self.index, index)
    }

    /// Refuses to roll into a segment for which the queue has no room by its own limit.
    fn check_capacity(&mut self, next: SegmentId) -> Result<(), P> {
        match self.capacity {
            Ok(None) => Ok(()),
            Ok(Some(capacity)) => self.check_fits(next, capacity),
            Err(error) => Err(Error::format(Object::Control)(error)),
        }
    }

    #[cold]
    #[inline(never)]
    fn check_fits(&mut self, next: SegmentId, capacity: u64) -> Result<(), P> {
        let fits = |oldest: SegmentId| {
            let segments = u64::from(next.get().saturating_sub(oldest.get())) + 1;
            segments.saturating_mul(self.geometry.size.bytes()) <= capacity
        };
        // Segments are removed up to the floor; only if that is not enough the directory is asked,
        // where a remover may have gone less far, and a damaged word has no say.
        if self.control.floor().is_some_and(|floor| floor <= self.segment.id && fits(floor)) {
            return Ok(());
        }
        let oldest = segment_range(&self.platform)?.map_or(next, |(oldest, _)| oldest);
        if fits(oldest) {
            return Ok(());
        }
        self.counted.refused_rolls += 1;
        self.supply.full();
        Err(Error::QueueFull { capacity })
    }

    /// Removes the segment that was prepared and not needed. The lock is still held and this segment
    /// not sealed, so nobody is in the next one.
    pub(super) fn remove_prepared(&mut self) {
        self.ready = None;
        let unneeded = self.segment.id.next().ok().filter(|id| {
            view_segment(&self.platform, *id, &self.geometry)
                .is_ok_and(|next| matches!(next.start::<P::Error>(), Ok(None)))
        });
        if let Some(id) = unneeded {
            // What is left lying is removed by the next writer.
            remove_index(&self.platform, id);
            let _ = self.platform.storage().remove(&Object::Segment(id));
        }
    }

    /// Takes the next segment before the roll, if it is prepared.
    pub(super) fn take_next(&mut self, id: SegmentId) {
        if self.ready.is_none() {
            self.ready = self.supply.take(id).map(|prepared| self.next_of(prepared));
        }
        if let Some(next) = &self.ready {
            next.segment.region.touch(segment::FIRST_SEQ as u64);
            next.segment.region.touch(SEG_DATA_OFFSET + HEADER_SIZE);
        }
    }

    /// A prepared segment, ready to go on in.
    pub(super) fn next_of(&self, prepared: PreparedSegment<P>) -> Next<Map<P>> {
        let PreparedSegment { segment, index } = prepared;
        let index = index.or_else(|| self.make_index(&segment));
        Next::new(segment, index, self.geometry.size.bytes())
    }

    /// The next segment, taken or made by the roll itself.
    #[cold]
    #[inline(never)]
    fn make_next(&mut self, id: SegmentId, start: &SegmentStart) -> Result<Next<Map<P>>, P> {
        self.control.set_busy(Some(self.platform.clock().now()));
        let next = match self.supply.take(id) {
            Some(prepared) => Ok(self.next_of(prepared)),
            None => {
                self.supply.missed();
                self.create_next(id, start)
            }
        };
        self.control.set_busy(None);
        next
    }

    fn create_next(&mut self, id: SegmentId, start: &SegmentStart) -> Result<Next<Map<P>>, P> {
        let reserved = self.step.min(self.geometry.size.bytes());
        let next = open_or_create_segment(&self.platform, id, &self.geometry, reserved, start)?;
        self.counted.unprepared_rolls += 1;
        self.platform.storage().prefault(&next.region, 0..reserved);
        let index = self.make_index(&next);
        Ok(Next::new(next, index, reserved))
    }

    fn make_index(&self, segment: &Segment<Map<P>>) -> Option<Index<Map<P>>> {
        open_or_make_index(&self.platform, segment, &self.geometry, Foreign::Replace)
    }
}
