//! L5: a sleeper at the end of a segment wakes for the roll.
//!
//! The reader here looks, classifies and sleeps in the order in which the queue's reader does.

use chronicle_sync::seal::EmptySlot;
use loom::sync::Arc;
use loom::thread;

use super::Model;
use super::notify::Bell;
use super::seal::{NEXT_START, Tail};
use crate::explore::{Exploration, claim};
use crate::words::Slot;

pub(super) const MODELS: &[Model] = &[
    Model {
        name: "L5 roll and record",
        shows: "a sleeper gets a segment's last record, the roll, and the first record behind it, where the writer wakes for records only",
        search: "at most 4 preemptions",
        run: roll_and_record,
    },
    Model {
        name: "L5 roll alone",
        shows: "a sleeper at the end of a segment wakes for a roll that no record follows",
        search: "exhaustive",
        run: roll_alone,
    },
];

const LAST: usize = 1;
const FIRST_OF_NEXT: u32 = 9;

/// Why a sleeper stopped sleeping.
enum Found {
    Record(u32),
    Roll,
}

struct Queue {
    tail: Tail,
    next: Slot,
    bell: Bell,
}

impl Queue {
    fn new() -> Arc<Self> {
        let tail = Tail::new();
        tail.publish(0);
        Arc::new(Self { tail, next: Slot::fresh(), bell: Bell::new(0) })
    }

    /// Sleeps until there is something at `index` of the old segment.
    fn wait(&self, index: usize) -> Found {
        loop {
            if let Some(number) = self.tail.look(index) {
                return Found::Record(number);
            }
            match self.tail.classify(index) {
                EmptySlot::Nothing => self.bell.wait(|| self.tail.has_news(index).then_some(())),
                EmptySlot::Filled => {}
                EmptySlot::EndOfSegment => return Found::Roll,
                missed => claim!(false, "{missed:?} at slot {index}"),
            }
        }
    }

    fn expect_roll(&self, index: usize) {
        match self.wait(index) {
            Found::Roll => {
                claim!(self.tail.next_start() == NEXT_START, "the next segment is not started");
            }
            Found::Record(number) => claim!(false, "record {number} behind the last one"),
        }
    }
}

fn roll_and_record(exploration: &mut Exploration) {
    exploration.bounded(4, || {
        let queue = Queue::new();
        let sleeper = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || {
                match queue.wait(LAST) {
                    Found::Record(number) => claim!(number as usize == LAST, "record {number}"),
                    Found::Roll => claim!(false, "moved on before the last record"),
                }
                queue.expect_roll(LAST + 1);
                let number = queue.bell.wait(|| queue.next.look());
                claim!(number == FIRST_OF_NEXT, "record {number} in the next segment");
            })
        };
        queue.tail.publish(LAST);
        queue.bell.ring();
        queue.tail.roll(LAST + 1);
        queue.next.publish(None, FIRST_OF_NEXT);
        queue.bell.ring();
        sleeper.join().unwrap();
    });
}

fn roll_alone(exploration: &mut Exploration) {
    exploration.exhaustive(|| {
        let queue = Queue::new();
        let sleeper = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || queue.expect_roll(LAST))
        };
        queue.tail.roll(LAST);
        queue.bell.ring();
        sleeper.join().unwrap();
    });
}
