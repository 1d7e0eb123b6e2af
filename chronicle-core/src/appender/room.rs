//! Room for the next record: space ahead of the writer, and what is done ahead of a roll.

use chronicle_format::layout::segment;
use chronicle_format::{Frontier, HEADER_SIZE, record_size};
use chronicle_sync::{ErrorKind, Platform, Probe, RegionExt, Site, Storage};

use super::{Appender, PAGE};
use crate::Result;
use crate::error::{Error, Operation};
use crate::supply::Supply;

/// Smaller segments are not asked for: making one takes longer than filling it, so the writer and
/// whoever prepares would only be in each other's way.
const TINY_SEGMENT: u64 = 64 << 10;
/// Segments up to this size are asked for by one of the first records of their predecessor.
const SMALL_SEGMENT: u64 = 4 << 20;

/// No fewer appends than there is to be done at one each.
const TASKS: u64 = 8;

/// What the writer does for its next segment on the way through this one: one thing at an append, so that
/// none pays for all. What it does not get to is left to the roll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ahead {
    /// Hands over the segment before.
    HandOver,
    /// Says that it has begun, for whoever wants to know how much time there is.
    Begin,
    /// Asks for it, from [`mark`](Appender::mark) on.
    Ask,
    /// Touches what the roll stores to here, on the last page.
    Touch,
    /// Takes it, if it is prepared.
    Take,
    /// Touches what the roll stores to there.
    TouchNext,
    /// Nothing before the roll.
    Nothing,
}

impl<P: Platform, H: Probe, S: Supply<P>> Appender<P, H, S> {
    /// Provides space for a record: allocates ahead, or rolls to the next segment.
    #[cold]
    #[inline(never)]
    pub(super) fn make_room(&mut self, length: usize) -> Result<(), P> {
        self.check_epoch()?;
        if length as u64 > self.geometry.size.max_payload() {
            return Err(self.too_large(length));
        }
        let size = self.geometry.size.bytes();
        let mut end = self.end_of(length)?;
        let rolls = end > size;
        if rolls {
            self.roll()?;
            end = self.end_of(length)?;
        }
        let record = record_size(self.short(length)?);
        if !rolls {
            self.look_ahead(end);
        } else if self.hands_over_at_once(size - end, record) {
            self.look_ahead(end);
            // A roll is enough for an append, but where no second record like this one fits, nobody else would ask.
            if end + record > size {
                self.look_ahead(end);
            }
        }
        if end > self.end_of_space() {
            self.extend(end)?;
        }
        self.set_limit(end);
        Ok(())
    }

    /// Lets records go on up to `end`, if only something to be done for the next segment is in their way.
    pub(super) fn pass(&mut self, end: u64) -> bool {
        let is_task = self.segment.region.limit() < end && end <= self.end_of_space();
        if !is_task || !self.control.holds(self.epoch) {
            return false;
        }
        self.look_ahead(end);
        self.set_limit(end);
        true
    }

    /// Does what is to be done for the next segment, where the next record ends at `end`.
    #[inline(never)]
    fn look_ahead(&mut self, end: u64) {
        if end <= self.begin_of_task() {
            return;
        }
        if self.ahead == Ahead::HandOver {
            self.hand_over();
            self.ahead = self.first_task();
            return;
        }
        let Ok(next) = self.segment.id.next() else {
            self.ahead = Ahead::Nothing;
            return;
        };
        self.ahead = match self.ahead {
            Ahead::Begin => {
                self.supply.begun();
                Ahead::Ask
            }
            Ahead::Ask => {
                self.supply.want(next);
                Ahead::Touch
            }
            Ahead::Touch => {
                // Between two rolls all of it has left the processor's caches, and the translations of its
                // addresses with it. The hint is stored, so that its line is this processor's own.
                self.store_hint();
                self.segment.region.touch(segment::SEAL as u64);
                Ahead::Take
            }
            Ahead::Take => {
                self.take_next(next);
                // Where no other record comes before the roll, this one does both.
                let record = end - self.offset();
                if end + record > self.geometry.size.bytes() {
                    self.touch_next();
                }
                Ahead::TouchNext
            }
            Ahead::TouchNext => {
                self.touch_next();
                Ahead::Nothing
            }
            Ahead::HandOver | Ahead::Nothing => Ahead::Nothing,
        };
    }

    /// Whether a roll hands over the segment before, instead of the append that follows: where the supply is of a kind
    /// that takes nothing, so that unmapping it is a system call of the writer's in any case, and where few more records
    /// like this one fit, which leaves no appends for what is to be done.
    fn hands_over_at_once(&self, left: u64, record: u64) -> bool {
        !S::SUPPLIES || left < record.saturating_mul(TASKS)
    }

    /// What is to be done first in a segment that is entered.
    pub(super) fn first_task(&self) -> Ahead {
        match self.geometry.size.bytes() {
            size if !S::SUPPLIES || size < TINY_SEGMENT => Ahead::Touch,
            size if size <= SMALL_SEGMENT => Ahead::Ask,
            _ => Ahead::Begin,
        }
    }

    /// How far the writer gets before it asks for the next segment: early enough that it is ready
    /// in time, and late enough that a queue that is hardly used stays small.
    fn mark(&self) -> u64 {
        let size = self.geometry.size.bytes();
        if size <= SMALL_SEGMENT { 0 } else { size / 4 }
    }

    /// From where on the writer does what is next to be done for the next segment.
    fn begin_of_task(&self) -> u64 {
        match self.ahead {
            Ahead::HandOver | Ahead::Begin | Ahead::Take | Ahead::TouchNext => 0,
            Ahead::Ask => self.mark(),
            Ahead::Touch => self.geometry.size.bytes() - PAGE,
            Ahead::Nothing => u64::MAX,
        }
    }

    /// Allocates space up to `end` and the slot behind it, and a step more if there is enough.
    #[cold]
    #[inline(never)]
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
    }

    /// How far records may reach without more space.
    fn end_of_space(&self) -> u64 {
        let size = self.geometry.size.bytes();
        // The slot behind the last record is polled by readers, so it has to have space as well; at
        // the end of the segment there is none.
        if self.frontier >= size { size } else { self.frontier.saturating_sub(HEADER_SIZE) }
    }

    /// The fast path ends where there is something to do, but not before `end`, up to which there is room.
    pub(super) fn set_limit(&mut self, end: u64) {
        let limit = self.end_of_space().min(self.begin_of_task());
        self.segment.region.set_limit(limit.max(end));
    }
}
