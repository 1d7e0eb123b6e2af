//! Reading backwards, record by record.
//!
//! Nothing behind a record says where it begins, so the way back is found by a walk forwards: from the
//! nearest entry of the segment's index, over a stride at most. What the walk passes is remembered as
//! marks at even distances, and the records between two marks as a trail that is then gone back.
//! Neither grows: where there are more records than marks, every other mark is dropped.

use core::hint::spin_loop;

use chronicle_format::{Position, SEG_DATA_OFFSET, Seal, TypeId};
use chronicle_sync::record::{self, Sealing, Slot};
use chronicle_sync::{ErrorKind, Platform, Storage};
use heapless::{Deque, Vec};

use crate::Result;
use crate::error::{Damage, Error, Fault};
use crate::index::{Index, view_index};
use crate::segment::{Segment, view_segment};
use crate::start::{gone, view_in_log};
use crate::tailer::{MessageView, Tailer};
use crate::walk::step;

/// Places that are remembered between the entry of the index and the cursor.
const MARKS: usize = 64;
/// Records that are remembered behind a mark.
const TRAIL: usize = 64;
/// Looks at the seal of a segment that the writer is just leaving.
const SEAL_TRIES: u32 = 1 << 16;

type View<P> = <<P as Platform>::Storage as Storage>::View;

/// A record boundary of the cursor's segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    offset: u64,
    seq: u64,
    epoch: u32,
}

/// Goes backwards from the place of a [`Tailer`], which stays where it is.
///
/// A stride of the index (64 KiB in segments of up to 4 GiB) is walked through once, and up to 4096
/// records of it once more in pieces: some two looks at a header for each record and one at its
/// payload. Where a segment has no index, the stride is the whole segment, and beyond 4096 records
/// each step costs a 4096th of their number.
pub struct Reversed<'t, P: Platform> {
    tailer: &'t Tailer<P>,
    segment: Segment<View<P>>,
    index: Option<Index<View<P>>>,
    /// Behind the record that comes next.
    place: Mark,
    /// Records directly before the place, the oldest first.
    trail: Deque<Mark, TRAIL>,
    /// Places further before, in ascending order, at about even distances.
    marks: Vec<Mark, MARKS>,
}

impl<P: Platform> Tailer<P> {
    /// Reads backwards from where this reader is, which stays there. One that was opened at a record
    /// goes to it first. Opens the segment once more.
    ///
    /// # Errors
    /// [`Error::FellBehind`] if the segment was removed; those of [`next`](Self::next) on the way to
    /// the record; the platform's.
    pub fn reversed(&mut self) -> Result<Reversed<'_, P>, P> {
        self.settle()?;
        let Position { segment: id, offset, seq, epoch } = self.position();
        let segment = match view_segment(&self.platform, id, &self.geometry) {
            Err(error) if error.kind() == Some(ErrorKind::NotFound) => {
                return Err(gone(&self.platform, &self.geometry, id, seq));
            }
            other => other?,
        };
        Ok(Reversed {
            index: view_index(&self.platform, &segment, &self.geometry),
            tailer: self,
            segment,
            place: Mark { offset, seq, epoch },
            trail: Deque::new(),
            marks: Vec::new(),
        })
    }
}

impl<P: Platform> Reversed<'_, P> {
    /// The record before the place, which moves in front of it.
    ///
    /// # Errors
    /// [`Error::NothingBefore`] at the oldest record; [`Error::Gap`] once where records were lost, in
    /// front of which the place then is. [`Error::Damaged`] with the place of damage: what lies before
    /// it in its stride cannot be reached from behind, and the place stays where it is.
    pub fn previous(&mut self) -> Result<MessageView<'_>, P> {
        let record = loop {
            let Some(mark) = self.trail.pop_back() else {
                self.look_back()?;
                continue;
            };
            let Slot::Record(record) = record::look(&self.segment.region, mark.offset) else {
                // It was there when the trail was laid.
                return Err(self.damaged(mark, Fault::NotThere));
            };
            self.place = mark;
            let header = record.header();
            if header.type_id.is_user() {
                break record;
            }
            if header.type_id == TypeId::GAP && header.seq > mark.seq {
                return Err(Error::Gap { first: mark.seq, next: header.seq });
            }
        };
        let header = *record.header();
        let payload = record.payload(&self.segment.region).unwrap_or(&[]);
        Ok(MessageView {
            seq: header.seq,
            timestamp_ns: header.timestamp_ns,
            type_id: header.type_id.get(),
            payload,
        })
    }

    /// In front of the last record that [`previous`](Self::previous) gave.
    #[must_use]
    pub fn position(&self) -> Position {
        let Mark { offset, seq, epoch } = self.place;
        Position { segment: self.segment.id, offset, seq, epoch }
    }

    /// Lays a trail up to the place, from the nearest mark; finds marks where there are none.
    fn look_back(&mut self) -> Result<(), P> {
        if self.place.offset <= SEG_DATA_OFFSET {
            return self.enter_previous_segment();
        }
        while self.marks.last().is_some_and(|mark| mark.offset >= self.place.offset) {
            self.marks.pop();
        }
        let from = match self.marks.last() {
            Some(mark) => *mark,
            None => self.find_marks()?,
        };
        // Its bytes were verified when the marks were found.
        let mut trail = Deque::new();
        self.walk(from, None, |mark| {
            if trail.is_full() {
                trail.pop_front();
            }
            let _ = trail.push_back(mark);
        })?;
        self.trail = trail;
        Ok(())
    }

    /// Walks from the last entry of the index that is before the place; returns the last mark.
    fn find_marks(&mut self) -> Result<Mark, P> {
        let start = self.segment.started()?;
        let before = self.place.offset;
        let landing = self.index.as_ref().and_then(|index| {
            index.landing(&self.segment, &self.tailer.geometry, |entry| entry.offset < before)
        });
        let from = match landing {
            Some(Position { offset, seq, epoch, .. }) => Mark { offset, seq, epoch },
            None => Mark { offset: SEG_DATA_OFFSET, seq: start.first_seq, epoch: start.epoch },
        };
        let mut marks = Vec::new();
        let (mut distance, mut passed) = (1, 0u64);
        self.walk(from, self.tailer.sealing_of(&self.segment), |mark| {
            if passed.is_multiple_of(distance) {
                if marks.is_full() {
                    marks = thinned(&marks);
                    distance *= 2;
                }
                if passed.is_multiple_of(distance) {
                    let _ = marks.push(mark);
                }
            }
            passed += 1;
        })?;
        self.marks = marks;
        Ok(self.marks.last().copied().unwrap_or(from))
    }

    /// Shows every record boundary from `from` up to the place, which is not shown itself.
    fn walk(&self, from: Mark, sealing: Sealing, mut show: impl FnMut(Mark)) -> Result<(), P> {
        let mut at = from;
        while at.offset < self.place.offset {
            let before = at;
            let record = match record::look(&self.segment.region, at.offset) {
                Slot::Record(record) => record,
                Slot::Empty => return Err(self.damaged(at, Fault::NotThere)),
                Slot::TooLong { length } => {
                    return Err(self.damaged(at, Fault::Length { found: length }));
                }
            };
            step(&self.segment.region, sealing, &record, &mut at.seq, &mut at.epoch)
                .map_err(|fault| self.damaged(before, fault))?;
            at.offset = record.end();
            show(before);
        }
        if (at.offset, at.seq) == (self.place.offset, self.place.seq) {
            return Ok(());
        }
        Err(Error::Diverged { epoch: self.place.epoch, seq: self.place.seq })
    }

    /// At the beginning of a segment: goes to the end of the one before.
    fn enter_previous_segment(&mut self) -> Result<(), P> {
        let Tailer { platform, geometry, .. } = self.tailer;
        let seq = self.place.seq;
        let nothing = Error::NothingBefore { oldest: seq };
        let Some(id) = self.segment.id.previous() else { return Err(nothing) };
        let Some(segment) = view_in_log(platform, geometry, id)? else {
            return Err(match gone(platform, geometry, id, seq) {
                Error::FellBehind { .. } => nothing,
                other => other,
            });
        };
        // The writer moves its hint to a segment a few stores before it seals the one before.
        let mut seal = segment.seal()?;
        for _ in 0..SEAL_TRIES {
            if seal != Seal::Open {
                break;
            }
            spin_loop();
            seal = segment.seal()?;
        }
        let Seal::At(end) = seal else {
            let fault = Fault::Hole;
            let damage = Damage { segment: self.segment.id, offset: SEG_DATA_OFFSET, seq, fault };
            return Err(Error::Damaged(damage));
        };
        self.index = view_index(platform, &segment, geometry);
        self.segment = segment;
        self.place.offset = end;
        self.marks.clear();
        Ok(())
    }

    #[cold]
    fn damaged(&self, at: Mark, fault: Fault) -> Error<P::Error> {
        let Mark { offset, seq, .. } = at;
        Error::Damaged(Damage { segment: self.segment.id, offset, seq, fault })
    }
}

/// Every other mark, beginning with the first.
fn thinned(marks: &Vec<Mark, MARKS>) -> Vec<Mark, MARKS> {
    marks.iter().step_by(2).copied().collect()
}
