//! L9: a position is loaded whole whatever its writer is doing, and whenever it died.

use chronicle_format::{Position, ReaderSlot, SegmentId};
use chronicle_sync::slots::{load, store};
use chronicle_sync::{AtomicU64, ReadU64};
use loom::sync::Arc;
use loom::thread;

use super::Model;
use crate::explore::{Exploration, claim};

pub(super) const MODELS: &[Model] = &[
    Model {
        name: "L9 one store",
        shows: "beside a running store, a load gives the position before or behind it, whole",
        search: "exhaustive",
        run: one_store,
    },
    Model {
        name: "L9 three stores",
        shows: "beside the first three stores of a file, a load gives none, a whole position, or says that the writer is busy",
        search: "at most 1 preemption",
        run: three_stores,
    },
    Model {
        name: "L9 killed",
        shows: "wherever in a store the writer was killed, the position before it is loaded, and the next store takes its place",
        search: "exhaustive for each of the 7 places",
        run: killed,
    },
    Model {
        name: "L9 killed at first",
        shows: "a first store that was cut off reads as no position, and the next store takes its place",
        search: "exhaustive for each of the 7 places",
        run: killed_at_first,
    },
];

const WORDS: usize = ReaderSlot::WORDS;

/// The two slots of a reader's file.
struct File([[AtomicU64; WORDS]; 2]);

impl File {
    fn new() -> Self {
        Self([(); 2].map(|()| [(); WORDS].map(|()| AtomicU64::new(0))))
    }

    fn store(&self, position: &ReaderSlot) {
        store(self.0.each_ref().map(|slot| slot.each_ref()), position);
    }

    /// Stores like [`store`](Self::store), by a writer that is killed after so many words. The words
    /// behind go to memory that nobody else sees.
    fn store_cut_off(&self, position: &ReaderSlot, words: usize) {
        let lost = Self::new();
        let slots = [0, 1].map(|slot: usize| {
            core::array::from_fn(|i| if i < words { &self.0[slot][i] } else { &lost.0[slot][i] })
        });
        store(slots, position);
    }

    /// The generation that is loaded, having claimed that its position is whole.
    fn load(&self) -> Result<Option<u64>, ()> {
        let slots = self.0.each_ref().map(|slot| slot.each_ref().map(ReadU64::from));
        let Some(loaded) = load(slots)? else {
            return Ok(None);
        };
        let generation = loaded.generation;
        claim!(
            loaded == position(generation) || loaded == second_life(generation),
            "a position in pieces: {loaded:?}"
        );
        Ok(Some(generation))
    }
}

/// The position of each generation; any two differ in every word.
fn position(generation: u64) -> ReaderSlot {
    let offset = 64 * (generation + 2);
    ReaderSlot {
        generation,
        next: Position {
            segment: SegmentId::new(generation).unwrap(),
            offset,
            seq: 100 + generation,
            epoch: 7,
        },
        last_offset: offset - 64,
        last_timestamp_ns: 1_000 + generation,
        last_crc: 10_000 + generation as u32,
    }
}

/// What a writer stores that was started again: the same generation, another position.
fn second_life(generation: u64) -> ReaderSlot {
    ReaderSlot { generation, ..position(generation + 100) }
}

fn one_store(exploration: &mut Exploration) {
    exploration.exhaustive(|| {
        let file = Arc::new(File::new());
        file.store(&position(1));
        file.store(&position(2));
        let writer = {
            let file = Arc::clone(&file);
            thread::spawn(move || file.store(&position(3)))
        };
        let loaded = file.load();
        claim!(matches!(loaded, Ok(Some(2 | 3))), "{loaded:?} beside the store of 3");
        writer.join().unwrap();
        claim!(file.load() == Ok(Some(3)), "the newest position is loaded");
    });
}

fn three_stores(exploration: &mut Exploration) {
    exploration.bounded(1, || {
        let file = Arc::new(File::new());
        let writer = {
            let file = Arc::clone(&file);
            thread::spawn(move || {
                for generation in 1..=3 {
                    file.store(&position(generation));
                }
            })
        };
        // `Err` is right only while both slots are in motion; that they are whole is claimed inside.
        let loaded = file.load();
        claim!(
            matches!(loaded, Ok(None | Some(1..=3)) | Err(())),
            "{loaded:?} beside three stores"
        );
        writer.join().unwrap();
        claim!(file.load() == Ok(Some(3)), "the newest position is loaded");
    });
}

fn killed(exploration: &mut Exploration) {
    for words in 0..WORDS {
        exploration.exhaustive(move || {
            let file = Arc::new(File::new());
            file.store(&position(1));
            file.store(&position(2));
            let writer = {
                let file = Arc::clone(&file);
                thread::spawn(move || file.store_cut_off(&position(3), words))
            };
            claim!(file.load() == Ok(Some(2)), "the older slot is whole beside the killed writer");
            writer.join().unwrap();
            claim!(file.load() == Ok(Some(2)), "the older slot is whole when the writer is dead");
            file.store(&second_life(3));
            claim!(file.load() == Ok(Some(3)), "the next life's store is loaded");
        });
    }
}

fn killed_at_first(exploration: &mut Exploration) {
    for words in 0..WORDS {
        exploration.exhaustive(move || {
            let file = Arc::new(File::new());
            let writer = {
                let file = Arc::clone(&file);
                thread::spawn(move || file.store_cut_off(&position(1), words))
            };
            claim!(file.load() == Ok(None), "there is no position beside the killed writer");
            writer.join().unwrap();
            claim!(file.load() == Ok(None), "there is no position when the writer is dead");
            file.store(&second_life(1));
            claim!(file.load() == Ok(Some(1)), "the next life's store is loaded");
        });
    }
}
