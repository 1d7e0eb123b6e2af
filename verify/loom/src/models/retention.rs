//! L6: a segment that a joining reader holds is not removed.

use chronicle_sync::retention::{announce, join};
use chronicle_sync::{AtomicU64, ReadU64};
use loom::sync::Arc;
use loom::sync::atomic::Ordering;
use loom::thread;

use super::Model;
use crate::explore::{Exploration, claim};

pub(super) const MODELS: &[Model] = &[
    Model {
        name: "L6 one join",
        shows: "a reader that joins at a segment finds it there, or is told that it is going",
        search: "exhaustive",
        run: one_join,
    },
    Model {
        name: "L6 two joins",
        shows: "the same for two readers at two segments, while segments are removed twice",
        search: "at most 3 preemptions",
        run: two_joins,
    },
];

/// A reader that has not joined holds nothing.
const NOBODY: u64 = u64::MAX;

struct Queue {
    floor: AtomicU64,
    positions: [AtomicU64; 2],
    /// Segments below this are gone.
    removed: AtomicU64,
}

impl Queue {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            floor: AtomicU64::new(0),
            positions: [AtomicU64::new(NOBODY), AtomicU64::new(NOBODY)],
            removed: AtomicU64::new(0),
        })
    }

    fn remove_below(&self, wanted: u64) {
        let lowest = || {
            let held = self.positions.iter().map(|position| position.load(Ordering::Relaxed));
            held.min().unwrap_or(NOBODY)
        };
        let oldest = self.removed.load(Ordering::Relaxed);
        let allowed = announce(&self.floor, wanted.min(lowest()), oldest, lowest);
        self.removed.fetch_max(allowed, Ordering::AcqRel);
    }

    /// Joins at a segment; returns the segment if the reader may rely on it.
    fn join_at(&self, reader: usize, segment: u64) -> Option<u64> {
        let publish = || self.positions[reader].store(segment, Ordering::Relaxed);
        (join(ReadU64::from(&self.floor), publish) <= segment).then_some(segment)
    }
}

fn one_join(exploration: &mut Exploration) {
    exploration.exhaustive(|| {
        let queue = Queue::new();
        let remover = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || queue.remove_below(3))
        };
        let held = queue.join_at(0, 1);
        remover.join().unwrap();
        let removed = queue.removed.load(Ordering::Acquire);
        claim!(held.is_none_or(|held| removed <= held), "{held:?} held, removed below {removed}");
    });
}

fn two_joins(exploration: &mut Exploration) {
    exploration.bounded(3, || {
        let queue = Queue::new();
        let remover = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || {
                queue.remove_below(2);
                queue.remove_below(4);
            })
        };
        let other = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || queue.join_at(1, 3))
        };
        let held = [queue.join_at(0, 1), other.join().unwrap()];
        remover.join().unwrap();
        let removed = queue.removed.load(Ordering::Acquire);
        for held in held.into_iter().flatten() {
            claim!(removed <= held, "{held} held, removed below {removed}");
        }
    });
}
