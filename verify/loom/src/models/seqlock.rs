//! L3: the words of a sequence lock are read as one.

use chronicle_sync::seqlock::{Torn, read, write};
use chronicle_sync::{AtomicU32, AtomicU64, ReadU32, ReadU64};
use loom::sync::Arc;
use loom::sync::atomic::Ordering;
use loom::thread;

use super::Model;
use crate::explore::{Exploration, claim};

pub(super) const MODELS: &[Model] = &[
    Model {
        name: "L3 one write",
        shows: "a reader gets all words of one write or none, in two reads of two tries each",
        search: "exhaustive",
        run: one_write,
    },
    Model {
        name: "L3 two writes",
        shows: "the same with two writes and one read",
        search: "exhaustive",
        run: two_writes,
    },
    Model {
        name: "L3 two reads",
        shows: "the second of two reads beside two writes gives nothing older than the first",
        search: "at most 2 preemptions",
        run: two_reads,
    },
    Model {
        name: "L3 dead writer",
        shows: "words that a dead writer left in pieces are refused within the bound, and the next write mends them",
        search: "exhaustive",
        run: dead_writer,
    },
];

const TRIES: u32 = 2;

struct Shared {
    generation: AtomicU32,
    words: [AtomicU64; 2],
}

impl Shared {
    fn new(generation: u32, words: [u64; 2]) -> Self {
        Self { generation: AtomicU32::new(generation), words: words.map(AtomicU64::new) }
    }

    fn write(&self, value: u64) {
        write(&self.generation, self.words.each_ref(), [value; 2]);
    }

    fn read(&self) -> Result<u64, Torn> {
        let words = self.words.each_ref().map(ReadU64::from);
        let [first, second] = read(ReadU32::from(&self.generation), words, TRIES)?;
        claim!(first == second, "words {first} and {second} were read as one");
        Ok(first)
    }
}

fn with_writes(writes: u64, reads: u32) {
    let shared = Arc::new(Shared::new(0, [0; 2]));
    let writer = {
        let shared = Arc::clone(&shared);
        thread::spawn(move || {
            for value in 1..=writes {
                shared.write(value);
            }
        })
    };
    let mut newest = 0;
    for _ in 0..reads {
        if let Ok(value) = shared.read() {
            claim!(value >= newest, "{value} was read after {newest}");
            newest = value;
        }
    }
    writer.join().unwrap();
    claim!(shared.read() == Ok(writes), "the last write is what stays");
}

fn one_write(exploration: &mut Exploration) {
    exploration.exhaustive(|| with_writes(1, 2));
}

fn two_writes(exploration: &mut Exploration) {
    exploration.exhaustive(|| with_writes(2, 1));
}

fn two_reads(exploration: &mut Exploration) {
    exploration.bounded(2, || with_writes(2, 2));
}

fn dead_writer(exploration: &mut Exploration) {
    exploration.exhaustive(|| {
        // The odd generation was stored and one of two words.
        let shared = Arc::new(Shared::new(3, [8, 7]));
        claim!(shared.read() == Err(Torn { generation: 3 }), "a torn state was read");
        let writer = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.write(9))
        };
        match shared.read() {
            Ok(value) => claim!(value == 9, "{value} was read, which nobody finished writing"),
            Err(torn) => claim!(torn.generation == 3, "generation {}", torn.generation),
        }
        writer.join().unwrap();
        claim!(shared.read() == Ok(9), "the next write mends the words");
        claim!(shared.generation.load(Ordering::Relaxed) == 4, "the generation is even again");
    });
}
