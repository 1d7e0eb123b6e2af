//! Room for the next record: space ahead of the writer, and the roll to the next segment.

use chronicle_format::{
    Frontier, HEADER_SIZE, Object, Position, SEG_DATA_OFFSET, SegmentId, SegmentStart,
};
use chronicle_sync::{Clock, ErrorKind, Platform, Probe, Site, Storage, WriteCursor};

use super::{Appender, Map, PAGE};
use crate::Result;
use crate::error::{Error, Operation};
use crate::index::{Foreign, Index, IndexWriter, open_or_make_index, remove_index};
use crate::segment::{Segment, open_or_create_segment, segment_range, view_segment};
use crate::supply::{PreparedSegment, RetiredSegment, Supply};

/// Smaller segments are not asked for: making one takes longer than filling it, so the writer and
/// whoever prepares would only be in each other's way.
const TINY_SEGMENT: u64 = 64 << 10;
/// Segments up to this size are asked for as soon as their predecessor is entered.
const SMALL_SEGMENT: u64 = 4 << 20;

/// A segment to append to, its index, and how far it has space.
type Next<P> = (Segment<Map<P>>, Option<Index<Map<P>>>, u64);

impl<P: Platform, H: Probe, S: Supply<P>> Appender<P, H, S> {
    /// Provides space for a record: allocates ahead, or rolls to the next segment.
    #[cold]
    #[inline(never)]
    pub(super) fn make_room(&mut self, length: usize) -> Result<(), P> {
        self.check_epoch()?;
        if length as u64 > self.geometry.size.max_payload() {
            return Err(self.too_large(length));
        }
        if self.end_of(length)? > self.geometry.size.bytes() {
            self.roll()?;
        }
        let end = self.end_of(length)?;
        if !self.asked && end > self.mark() {
            self.asked = true;
            if let Ok(next) = self.segment.id.next() {
                self.supply.want(next);
            }
            self.set_limit();
        }
        if end > self.end_of_space() {
            self.extend(end)?;
        }
        Ok(())
    }

    /// Whether this writer asks for segments at all.
    pub(super) fn asks(&self) -> bool {
        S::SUPPLIES && self.geometry.size.bytes() >= TINY_SEGMENT
    }

    /// How far the writer gets before it asks for the next segment: early enough that it is ready
    /// in time, and late enough that a queue that is hardly used stays small.
    fn mark(&self) -> u64 {
        let size = self.geometry.size.bytes();
        if size <= SMALL_SEGMENT { 0 } else { size / 4 }
    }

    /// Allocates space up to `end` and the slot behind it, and a step more if there is enough.
    fn extend(&mut self, end: u64) -> Result<(), P> {
        self.probe.at(Site::Extending);
        self.counted.extensions += 1;
        let size = self.geometry.size.bytes();
        let needed = (end + HEADER_SIZE).next_multiple_of(PAGE).min(size);
        let wanted = (self.frontier + self.step).max(needed).min(size);
        let reserved = match self.reserve(wanted) {
            Err(error) if error.kind() == Some(ErrorKind::NoSpace) && needed < wanted => {
                self.reserve(needed).map(|()| needed)
            }
            other => other.map(|()| wanted),
        }?;
        let new = self.frontier..reserved;
        self.platform.storage().prefault(self.segment.region.get(), new);
        self.set_frontier(reserved);
        self.store_hint();
        Ok(())
    }

    fn reserve(&self, up_to: u64) -> Result<(), P> {
        self.platform
            .storage()
            .reserve(self.segment.region.get(), self.frontier..up_to)
            .map_err(Error::platform(self.segment.object(), Operation::Reserve))
    }

    pub(super) fn set_frontier(&mut self, bytes: u64) {
        self.frontier = bytes;
        self.control.set_frontier(Frontier { segment: self.segment.id, bytes });
        self.set_limit();
    }

    /// How far records may reach without more space.
    fn end_of_space(&self) -> u64 {
        let size = self.geometry.size.bytes();
        // The slot behind the last record is polled by readers, so it has to have space as well; at
        // the end of the segment there is none.
        if self.frontier >= size { size } else { self.frontier.saturating_sub(HEADER_SIZE) }
    }

    /// The fast path ends where there is something to do: at the end of the space, and at the mark.
    fn set_limit(&mut self) {
        let mark = if self.asked { u64::MAX } else { self.mark() };
        self.segment.region.set_limit(self.end_of_space().min(mark));
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

    /// Goes on in the next segment.
    pub(super) fn roll(&mut self) -> Result<(), P> {
        self.probe.at(Site::Rolling);
        let id = self.segment.id.next().map_err(Error::format(self.segment.object()))?;
        if let Err(error) = self.check_capacity(id) {
            if matches!(error, Error::QueueFull { .. }) {
                self.counted.refused_rolls += 1;
                self.supply.full();
            }
            return Err(error);
        }
        self.control.set_busy(Some(self.platform.clock().now()));
        let rolled = self.roll_to(id);
        self.control.set_busy(None);
        rolled
    }

    fn roll_to(&mut self, id: SegmentId) -> Result<(), P> {
        let start = SegmentStart {
            first_seq: self.next_seq,
            time_floor_ns: self.time_max_ns,
            epoch: self.epoch,
        };
        // 1. The next segment is whole before anything refers to it.
        let (next, index, reserved) = self.next_segment(id, &start)?;
        self.probe.at(Site::NextPublished);
        // 2. The hint moves.
        self.control.set_segment_index(&Position::start_of(id, self.next_seq, self.epoch));
        self.probe.at(Site::HintMoved);
        // 3. The old segment is sealed: readers at its end go on.
        self.segment.seal_at(self.offset());
        self.probe.at(Site::Sealed);
        self.counted.rolled(self.offset());
        let next = next.with(|region| WriteCursor::new(region, SEG_DATA_OFFSET));
        let old = core::mem::replace(&mut self.segment, next).with(WriteCursor::into_inner);
        let index = self.replace_index(index.map(IndexWriter::begin));
        let index = index.map(IndexWriter::into_index);
        let old = RetiredSegment { segment: old, _index: index };
        // Who never flushes has nothing kept open.
        let old = match &mut self.syncer {
            Some(syncer) if self.flushes => syncer.retain(old),
            _ => Some(old),
        };
        if let Some(old) = old {
            self.supply.retire(old);
        }
        self.asked = !self.asks();
        self.sealing = self.segment.sealing(&self.geometry);
        self.set_frontier(reserved);
        // 4. Readers that sleep at the end of the old segment are woken by the record that follows;
        //    should it not follow, they have nothing to read.
        Ok(())
    }

    /// Refuses to roll into a segment for which the queue has no room by its own limit.
    fn check_capacity(&self, next: SegmentId) -> Result<(), P> {
        let Some(capacity) = self.control.retention()?.capacity_bytes else { return Ok(()) };
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
        if fits(oldest) { Ok(()) } else { Err(Error::QueueFull { capacity }) }
    }

    /// Removes the segment that was prepared and not needed. The lock is still held and this segment
    /// not sealed, so nobody is in the next one.
    pub(super) fn remove_prepared(&mut self) {
        self.prepared = None;
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

    /// The next segment, started: a prepared one, or one that is made now. And how far it has space.
    fn next_segment(&mut self, id: SegmentId, start: &SegmentStart) -> Result<Next<P>, P> {
        let prepared = self.prepared.take().filter(|prepared| prepared.id() == id);
        let make_index = |segment: &Segment<Map<P>>| {
            open_or_make_index(&self.platform, segment, &self.geometry, Foreign::Replace)
        };
        if let Some(PreparedSegment { segment, index }) = prepared.or_else(|| self.supply.take(id))
        {
            segment.begin(start);
            let index = index.or_else(|| make_index(&segment));
            return Ok((segment, index, self.geometry.size.bytes()));
        }
        let reserved = self.step.min(self.geometry.size.bytes());
        let next = open_or_create_segment(&self.platform, id, &self.geometry, reserved, start)?;
        self.counted.unprepared_rolls += 1;
        self.platform.storage().prefault(&next.region, 0..reserved);
        let index = make_index(&next);
        Ok((next, index, reserved))
    }
}
