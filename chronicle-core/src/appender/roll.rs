//! The roll: how a writer goes on in the next segment.

use chronicle_format::layout::segment;
use chronicle_format::{HEADER_SIZE, Object, Position, SEG_DATA_OFFSET, SegmentId, SegmentStart};
use chronicle_sync::{Clock, Platform, Probe, RegionExt, Site, Storage};

use super::room::Ahead;
use super::{Appender, Map};
use crate::Result;
use crate::error::Error;
use crate::index::{Foreign, IndexWriter, open_or_make_index, remove_index};
use crate::segment::{Geometry, Segment, open_or_create_segment, segment_range, view_segment};
use crate::supply::{PreparedSegment, RetiredSegment, Supply};
use crate::writable::Writable;

impl<P: Platform, H: Probe, S: Supply<P>> Appender<P, H, S> {
    /// Goes on in the next segment: a few stores, if it is [ready](Self::is_ready).
    #[inline(always)]
    pub(super) fn roll(&mut self) -> Result<(), P> {
        self.probe.at(Site::Rolling);
        let id = self.segment.id.next().map_err(Error::format(self.segment.object()))?;
        self.check_capacity(id)?;
        let start = SegmentStart {
            first_seq: self.next_seq,
            time_floor_ns: self.time_max_ns,
            epoch: self.epoch,
        };
        if !self.is_ready() {
            self.make_ready(id, &start)?;
        }
        self.go_on(&start);
        // 4. Readers that sleep at the end of the old segment are woken by the record that follows;
        //    should it not follow, they have nothing to read.
        Ok(())
    }

    /// Whether the next segment is there before the roll.
    pub(super) fn is_ready(&self) -> bool {
        self.beside.as_ref().is_some_and(|beside| beside.segment.id > self.segment.id)
    }

    /// Changes places with the next segment. What is done here is all that takes its time at a roll: whatever it
    /// touches, code as well, has left the caches since the roll before.
    #[inline(always)]
    fn go_on(&mut self, start: &SegmentStart) {
        debug_assert!(self.is_ready(), "nothing to go on in");
        let Some(beside) = &mut self.beside else { return };
        // 1. The next segment is whole before anything refers to it.
        beside.segment.begin(start, beside.start_seed, self.geometry.crc);
        self.probe.at(Site::NextPublished);
        // 2. The hint moves.
        let hint = Position::start_of(beside.segment.id, start.first_seq, start.epoch);
        self.control.set_segment_index(&hint);
        self.probe.at(Site::HintMoved);
        // 3. The old segment is sealed: readers at its end go on.
        let end = self.segment.region.offset();
        self.segment.seal_at(end);
        self.probe.at(Site::Sealed);
        self.counted.rolled(end);
        let reserved = beside.reserved;
        self.sealing = beside.sealing;
        core::mem::swap(&mut self.segment, &mut beside.segment);
        core::mem::swap(&mut self.index, &mut beside.index);
        self.due = self.index.as_ref().map_or(u64::MAX, IndexWriter::due);
        self.set_frontier(reserved);
        self.ahead = Ahead::HandOver;
        self.supply.rolled();
    }

    /// Hands over the segment that was rolled out of, if it is still there.
    #[cold]
    #[inline(never)]
    pub(super) fn hand_over(&mut self) {
        if self.is_ready() {
            return;
        }
        let Some(left) = self.beside.take() else { return };
        let old = RetiredSegment { left };
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
            self.due = index.as_ref().map_or(u64::MAX, IndexWriter::due);
            self.index = index;
        }
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
        self.beside = None;
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
        if !self.is_ready()
            && let Some(prepared) = self.supply.take(id)
            && prepared.id() == id
        {
            self.put_beside(prepared);
        }
    }

    /// Touches what the roll stores to in the next segment, if it was [taken](Self::take_next).
    pub(super) fn touch_next(&self) {
        if let Some(next) = &self.beside {
            next.segment.region.touch(segment::FIRST_SEQ as u64);
            next.segment.region.touch(SEG_DATA_OFFSET + HEADER_SIZE);
        }
    }

    /// Puts the next segment beside the one that is written to, where the one before may still be.
    #[inline(always)]
    pub(super) fn put_beside(&mut self, prepared: PreparedSegment<P>) {
        if self.beside.is_some() {
            self.hand_over();
        }
        let next = self.beside.insert(prepared.next);
        match &mut next.index {
            Some(index) => index.begin(),
            None => next.index = make_index(&self.platform, &next.segment, &self.geometry),
        }
    }

    /// Makes the next segment ready in the roll itself.
    #[cold]
    #[inline(never)]
    fn make_ready(&mut self, id: SegmentId, start: &SegmentStart) -> Result<(), P> {
        // First, because its space may be what the next one needs.
        self.hand_over();
        self.control.set_busy(Some(self.platform.clock().now()));
        let made = match self.supply.take(id).filter(|prepared| prepared.id() == id) {
            Some(prepared) => {
                self.put_beside(prepared);
                Ok(())
            }
            None => {
                self.supply.missed();
                self.create_next(id, start)
            }
        };
        self.control.set_busy(None);
        made
    }

    fn create_next(&mut self, id: SegmentId, start: &SegmentStart) -> Result<(), P> {
        let reserved = self.step.min(self.geometry.size.bytes());
        let next = open_or_create_segment(&self.platform, id, &self.geometry, reserved, start)?;
        self.counted.unprepared_rolls += 1;
        self.platform.storage().prefault(&next.region, 0..reserved);
        let index = make_index(&self.platform, &next, &self.geometry);
        self.beside = Some(Writable::new(next, index, reserved, &self.geometry));
        Ok(())
    }
}

fn make_index<P: Platform, R>(
    platform: &P,
    segment: &Segment<R>,
    geometry: &Geometry,
) -> Option<IndexWriter<Map<P>>> {
    open_or_make_index(platform, segment, geometry, Foreign::Replace).map(|index| {
        let mut writer = IndexWriter::new(index);
        writer.begin();
        writer
    })
}
