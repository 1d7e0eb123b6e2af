//! L11: a writer dies at any step of an append and a roll, beside a reader.
//!
//! The steps are those of the queue: the last record of a segment, the start of the next one, the hint
//! that leads there, the seal, and the first record behind it.

use core::cell::Cell;

use chronicle_sync::seal::EmptySlot;
use chronicle_sync::seqlock::{self, Torn};
use chronicle_sync::{AtomicU32, AtomicU64, ReadU32, ReadU64};
use loom::sync::Arc;
use loom::sync::atomic::Ordering::Relaxed;
use loom::thread;

use super::Model;
use super::seal::{NEXT_START, Tail};
use crate::explore::{Exploration, claim};
use crate::words::Slot;

pub(super) const MODELS: &[Model] = &[Model {
    name: "L11 death",
    shows: "beside a writer that dies and behind its death a reader ends, with everything committed and nothing else; it changes nothing, and the next writer goes on",
    search: "exhaustive for each of the 11 places",
    run: death,
}];

/// Looks at torn words before a reader does without them.
const TRIES: u32 = 2;
/// The last record of the old segment, behind record 0.
const LAST: usize = 1;
const FIRST_OF_NEXT: u32 = 9;
/// What the words of the hint hold before and behind the roll.
const OLD_HINT: u64 = 5;
const NEW_HINT: u64 = 6;

struct Queue {
    tail: Tail,
    next: Slot,
    generation: AtomicU32,
    hint: [AtomicU64; 2],
}

/// Steps of the writer.
const STEPS: usize = 10;
/// Behind so many steps the record is there, the hint is odd, even again, the segment sealed, and the
/// first record of the next segment there.
const COMMITTED: usize = 2;
const HINT_BEGUN: usize = 4;
const HINT_WHOLE: usize = 7;
const SEALED: usize = 8;

impl Queue {
    fn new() -> Arc<Self> {
        let tail = Tail::new();
        tail.publish(0);
        Arc::new(Self {
            tail,
            next: Slot::fresh(),
            generation: AtomicU32::new(2),
            hint: [OLD_HINT; 2].map(AtomicU64::new),
        })
    }

    /// Takes the steps from one on up to another.
    fn write(&self, steps: core::ops::Range<usize>) {
        let odd = Cell::new(self.generation.load(Relaxed) | 1);
        let actions: [&dyn Fn(); STEPS] = [
            &|| self.tail.fill(LAST),
            &|| self.tail.publish(LAST),
            &|| self.tail.start_next(),
            &|| odd.set(seqlock::write_begin(&self.generation)),
            &|| self.hint[0].store(NEW_HINT, Relaxed),
            &|| self.hint[1].store(NEW_HINT, Relaxed),
            &|| seqlock::write_end(&self.generation, odd.get()),
            &|| self.tail.seal(LAST + 1),
            &|| self.next.fill(FIRST_OF_NEXT),
            &|| self.next.publish(None, FIRST_OF_NEXT),
        ];
        for action in &actions[steps] {
            action();
        }
    }

    fn read_hint(&self) -> Result<u64, Torn> {
        let words = self.hint.each_ref().map(ReadU64::from);
        let [first, second] = seqlock::read(ReadU32::from(&self.generation), words, TRIES)?;
        claim!(first == second, "words {first} and {second} of the hint were read as one");
        Ok(first)
    }

    /// What a reader gets from the beginning on; it does not wait.
    fn read(&self) -> usize {
        let mut index = 0;
        loop {
            if let Some(number) = self.tail.look(index) {
                claim!(number as usize == index, "record {number} in slot {index}");
                index += 1;
                continue;
            }
            match self.tail.classify(index) {
                EmptySlot::Nothing => return index,
                EmptySlot::Filled => claim!(self.tail.look(index).is_some(), "a record is gone"),
                EmptySlot::EndOfSegment => break,
                missed => claim!(false, "{missed:?} at slot {index}"),
            }
        }
        claim!(index == LAST + 1, "moved on behind {index} records");
        claim!(self.tail.next_start() == NEXT_START, "the next segment is not started");
        let first = self.next.look();
        claim!(first.is_none_or(|number| number == FIRST_OF_NEXT), "{first:?} begins the next one");
        index + usize::from(first.is_some())
    }
}

fn death(exploration: &mut Exploration) {
    for steps in 0..=STEPS {
        exploration.in_bounded_steps(move || {
            let queue = Queue::new();
            let writer = {
                let queue = Arc::clone(&queue);
                thread::spawn(move || queue.write(0..steps))
            };
            let beside = (queue.read_hint(), queue.read());
            writer.join().unwrap();
            let committed = 1 + usize::from(steps >= COMMITTED) + usize::from(steps >= STEPS);
            claim!(beside.1 <= committed, "{} records of {committed}", beside.1);
            // Twice, since what a reader does must not change what the next one finds.
            for _ in 0..2 {
                let found = queue.read();
                claim!(found == committed, "{found} records behind the death, of {committed}");
                let hint = match steps {
                    ..HINT_BEGUN => Ok(OLD_HINT),
                    HINT_BEGUN..HINT_WHOLE => Err(Torn { generation: 3 }),
                    _ => Ok(NEW_HINT),
                };
                claim!(queue.read_hint() == hint, "the hint is not as the dead writer left it");
                let end = queue.tail.classify(LAST + usize::from(steps >= COMMITTED));
                let left =
                    if steps >= SEALED { EmptySlot::EndOfSegment } else { EmptySlot::Nothing };
                claim!(end == left, "{end:?} at the end of what the dead writer left");
            }
            // The next writer begins anew with the step that was cut off.
            let again =
                if (HINT_BEGUN..HINT_WHOLE).contains(&steps) { HINT_BEGUN - 1 } else { steps };
            queue.write(again..STEPS);
            claim!(queue.read() == LAST + 2, "the next writer goes on");
            claim!(queue.read_hint() == Ok(NEW_HINT), "the next writer stores the hint anew");
        });
    }
}
