//! L2: no wake-up is lost.

use chronicle_sync::notify::{Barrier, Parked, Waiters};
use chronicle_sync::{AtomicU32, Instant, lease};
use loom::sync::Arc;
use loom::thread;

use super::Model;
use crate::explore::{Exploration, claim};
use crate::park::Futex;
use crate::words::Slot;

pub(super) const MODELS: &[Model] = &[
    Model {
        name: "L2 one sleeper",
        shows: "a sleeper gets both of two records and never sleeps on while one is there",
        search: "exhaustive",
        run: one_sleeper,
    },
    Model {
        name: "L2 stale flag",
        shows: "the same where a sleeper that was killed left its flag raised",
        search: "at most 4 preemptions",
        run: stale_flag,
    },
    Model {
        name: "L2 one barrier",
        shows: "the same where the barrier behind which the writer looks at its epoch serves for both looks",
        search: "exhaustive",
        run: one_barrier,
    },
    Model {
        name: "L2 two sleepers",
        shows: "two sleepers both get both of two records",
        search: "at most 3 preemptions",
        run: two_sleepers,
    },
];

/// The words of one wait queue and the means to sleep on them.
pub(super) struct Bell {
    waiting: AtomicU32,
    notify_seq: AtomicU32,
    pub(super) futex: Futex,
}

impl Bell {
    pub(super) fn new(waiting: u32) -> Self {
        Self {
            waiting: AtomicU32::new(waiting),
            notify_seq: AtomicU32::new(0),
            futex: Futex::new(),
        }
    }

    pub(super) fn waiters(&self) -> Waiters<'_> {
        Waiters { waiting: &self.waiting, notify_seq: &self.notify_seq }
    }

    /// What a writer does behind everything that it publishes.
    pub(super) fn ring(&self) {
        if self.waiters().someone_waits(Barrier::Full) {
            self.waiters().wake_all(&self.futex).unwrap();
        }
    }

    /// What a reader does that has found nothing: sleeps until `look` finds something.
    pub(super) fn wait<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
        loop {
            match self.waiters().park_unless(&self.futex, Instant::NEVER, || {}, &mut look).unwrap()
            {
                Parked::Ready(found) => return found,
                Parked::Woken => {}
                Parked::TimedOut => claim!(false, "a time-out where there is none"),
            }
        }
    }
}

struct Queue {
    slots: [Slot; 2],
    bell: Bell,
}

impl Queue {
    fn new(waiting: u32) -> Arc<Self> {
        Arc::new(Self { slots: [Slot::fresh(), Slot::fresh()], bell: Bell::new(waiting) })
    }

    fn write(&self) {
        for (slot, number) in self.slots.iter().zip(0..) {
            slot.publish(None, number);
            self.bell.ring();
        }
    }

    fn read(&self) {
        for (slot, number) in self.slots.iter().zip(0..) {
            let found = self.bell.wait(|| slot.look());
            claim!(found == number, "record {found} in the place of {number}");
        }
    }
}

fn one_sleeper(exploration: &mut Exploration) {
    exploration.exhaustive(|| with_sleepers::<1>(0));
}

/// What an append does: it looks whether its epoch is still in force, and for sleepers.
fn one_barrier(exploration: &mut Exploration) {
    exploration.exhaustive(|| {
        let queue = Queue::new(0);
        let sleeper = thread::spawn({
            let queue = Arc::clone(&queue);
            move || queue.read()
        });
        let epoch = AtomicU32::new(1);
        for (slot, number) in queue.slots.iter().zip(0..) {
            slot.publish(None, number);
            claim!(lease::still_holds((&epoch).into(), 1, Barrier::Full), "nobody took the log");
            if queue.bell.waiters().someone_waits_behind_barrier() {
                queue.bell.waiters().wake_all(&queue.bell.futex).unwrap();
            }
        }
        sleeper.join().unwrap();
    });
}

fn stale_flag(exploration: &mut Exploration) {
    exploration.bounded(4, || with_sleepers::<1>(1));
}

fn two_sleepers(exploration: &mut Exploration) {
    exploration.bounded(3, || with_sleepers::<2>(0));
}

fn with_sleepers<const N: usize>(waiting: u32) {
    let queue = Queue::new(waiting);
    let sleepers = [(); N].map(|()| {
        let queue = Arc::clone(&queue);
        thread::spawn(move || queue.read())
    });
    queue.write();
    for sleeper in sleepers {
        sleeper.join().unwrap();
    }
}
