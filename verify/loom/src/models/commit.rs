//! L1 and L10: a record is there, whole, once its commit word is, and what lies behind it is not.

use loom::sync::Arc;
use loom::thread;

use super::Model;
use crate::explore::{Exploration, claim};
use crate::words::Slot;

pub(super) const MODELS: &[Model] = &[
    Model {
        name: "L1 record",
        shows: "a committed record is whole to two readers, and the next one is not seen before it is committed",
        search: "exhaustive",
        run: record,
    },
    Model {
        name: "L10 dirt",
        shows: "who sees a record sees an end or the next record behind it, never the dirt that was there",
        search: "exhaustive",
        run: dirt,
    },
];

fn read_on(slots: &[Slot]) -> usize {
    for (i, slot) in slots.iter().enumerate() {
        match slot.look() {
            Some(number) => claim!(number as usize == i, "record {number} in slot {i}"),
            None => return i,
        }
    }
    slots.len()
}

fn record(exploration: &mut Exploration) {
    exploration.exhaustive(|| {
        let slots = Arc::new([Slot::fresh(), Slot::fresh()]);
        let readers = [(); 2].map(|()| {
            let slots = Arc::clone(&slots);
            thread::spawn(move || {
                let seen = read_on(slots.as_slice());
                claim!(read_on(slots.as_slice()) >= seen, "a record was seen and is gone");
            })
        });
        slots[0].publish(None, 0);
        slots[1].publish(None, 1);
        for reader in readers {
            reader.join().unwrap();
        }
    });
}

fn dirt(exploration: &mut Exploration) {
    exploration.exhaustive(|| {
        let slots = Arc::new([Slot::fresh(), Slot::dirty(), Slot::dirty()]);
        let reader = {
            let slots = Arc::clone(&slots);
            thread::spawn(move || {
                let seen = read_on(slots.as_slice());
                claim!(seen < 3, "a record that nobody published");
                // A reader that found the end comes back to it.
                claim!(read_on(slots.as_slice()) >= seen, "a record was seen and is gone");
            })
        };
        slots[0].publish(Some(&slots[1]), 0);
        slots[1].publish(Some(&slots[2]), 1);
        reader.join().unwrap();
        claim!(read_on(slots.as_slice()) == 2, "two records were published");
    });
}
