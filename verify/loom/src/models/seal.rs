//! L4: a reader leaves a segment behind its last record, not before and not without the next one.

use chronicle_format::{RECORD_ALIGN, SegmentSize, record_size};
use chronicle_sync::mutation::{Mutant, is_selected};
use chronicle_sync::seal::{EmptySlot, classify, has_news, is_open, seal};
use chronicle_sync::{AtomicU64, ReadU64};
use loom::sync::Arc;
use loom::thread;

use super::Model;
use crate::explore::{Exploration, claim};
use crate::words::{Plain, Slot};

pub(super) const MODELS: &[Model] = &[
    Model {
        name: "L4 full segment",
        shows: "a reader gets the last two records of a full segment before it moves on, and then sees the next segment's start",
        search: "exhaustive",
        run: full_segment,
    },
    Model {
        name: "L4 early seal",
        shows: "the same where an empty slot lies behind the last record",
        search: "exhaustive",
        run: early_seal,
    },
];

/// Looks that a reader makes while the segment goes on being open.
const PATIENCE: u32 = 2;
/// What the start of the next segment holds.
pub(super) const NEXT_START: u64 = 77;

/// The last two slots of a segment, its seal, and the start of the next segment.
pub(super) struct Tail {
    slots: [Slot; 2],
    seal: AtomicU64,
    next_start: Plain,
}

impl Tail {
    pub(super) fn new() -> Self {
        Self {
            slots: [Slot::fresh(), Slot::fresh()],
            seal: AtomicU64::new(0),
            next_start: Plain::new(0),
        }
    }

    fn size() -> SegmentSize {
        SegmentSize::new(4096).unwrap()
    }

    /// Offset of slot `index`; that of the segment's end for the one behind the last.
    fn offset(&self, index: usize) -> u64 {
        const RECORD: u64 = record_size(RECORD_ALIGN as u32);
        Self::size().bytes() - RECORD * (self.slots.len() - index) as u64
    }

    /// Writer: publishes record `index`.
    pub(super) fn publish(&self, index: usize) {
        self.slots[index].publish(None, index as u32);
    }

    /// Writer: stores the payload of record `index` and is killed before it publishes it.
    pub(super) fn fill(&self, index: usize) {
        self.slots[index].fill(index as u32);
    }

    /// Writer: starts the next segment and seals this one behind so many records.
    pub(super) fn roll(&self, records: usize) {
        self.start_next();
        self.seal(records);
    }

    /// Writer: starts the next segment, the first part of a roll.
    pub(super) fn start_next(&self) {
        self.next_start.set(NEXT_START);
    }

    /// Writer: seals this segment behind so many records, the last part of a roll.
    pub(super) fn seal(&self, records: usize) {
        seal(&self.seal, self.offset(records));
    }

    /// Reader: looks at the slot at `index`.
    pub(super) fn look(&self, index: usize) -> Option<u32> {
        self.slots.get(index)?.look()
    }

    /// Reader: whether nothing more is to be found out at an empty slot.
    fn is_open(&self) -> bool {
        is_open(ReadU64::from(&self.seal))
    }

    /// Reader: what the empty slot at `index` means.
    pub(super) fn classify(&self, index: usize) -> EmptySlot {
        let word = ReadU64::from(&self.seal);
        classify(word, self.offset(index), Self::size(), || self.look(index).is_some()).unwrap()
    }

    /// Reader: whether a waiting reader at the slot at `index` has something to wake for.
    pub(super) fn has_news(&self, index: usize) -> bool {
        has_news(ReadU64::from(&self.seal), || self.look(index).is_some())
    }

    /// Reader: the start of the next segment, once this one's end was seen.
    pub(super) fn next_start(&self) -> u64 {
        self.next_start.get()
    }
}

fn write(tail: &Tail, records: usize) {
    let before_seal = if is_selected(Mutant::SealBeforeLastCommit) { records - 1 } else { records };
    for index in 0..before_seal {
        tail.publish(index);
    }
    tail.roll(records);
    for index in before_seal..records {
        tail.publish(index);
    }
}

fn read(tail: &Tail, records: usize) -> bool {
    let mut index = 0;
    let mut patience = PATIENCE;
    loop {
        if let Some(number) = tail.look(index) {
            claim!(number as usize == index, "record {number} in slot {index}");
            index += 1;
            continue;
        }
        // In the order in which the queue's reader asks.
        let slot = if tail.is_open() { EmptySlot::Nothing } else { tail.classify(index) };
        match slot {
            EmptySlot::Nothing if patience == 0 => return false,
            EmptySlot::Nothing => {
                patience -= 1;
                thread::yield_now();
            }
            EmptySlot::Filled => claim!(tail.look(index).is_some(), "a record is gone again"),
            EmptySlot::EndOfSegment => {
                claim!(index == records, "moved on after {index} of {records} records");
                claim!(tail.next_start() == NEXT_START, "the next segment is not started");
                return true;
            }
            missed => claim!(false, "{missed:?} after {index} of {records} records"),
        }
    }
}

fn sealed_behind(records: usize) {
    let tail = Arc::new(Tail::new());
    let writer = {
        let tail = Arc::clone(&tail);
        thread::spawn(move || write(&tail, records))
    };
    read(&tail, records);
    writer.join().unwrap();
    claim!(read(&tail, records), "a sealed segment has an end");
}

fn full_segment(exploration: &mut Exploration) {
    exploration.exhaustive(|| sealed_behind(2));
}

fn early_seal(exploration: &mut Exploration) {
    exploration.exhaustive(|| sealed_behind(1));
}
