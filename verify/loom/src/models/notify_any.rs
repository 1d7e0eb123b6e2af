//! L2 where one sleeper waits for many queues: no wake-up of any of them is lost.

use chronicle_sync::notify::{Barrier, Parked, Waiters};
use chronicle_sync::notify_any::{Bell as AnyBell, Doorbell, Relay, park_unless_any};
use chronicle_sync::{AtomicU32, Instant, Park, ReadU32};
use loom::sync::Arc;
use loom::sync::atomic::Ordering;
use loom::thread;

use super::Model;
use super::notify::Bell;
use crate::explore::{Exploration, claim};
use crate::park::Futex;
use crate::words::Slot;

pub(super) const MODELS: &[Model] = &[
    Model {
        name: "L2 any",
        shows: "a sleeper on two queues with a writer each gets the record of both",
        search: "at most 3 preemptions",
        run: any_of_two,
    },
    Model {
        name: "L2 one is silent",
        shows: "a sleeper on two queues gets the record of the second one while the first has no writer",
        search: "exhaustive",
        run: one_is_silent,
    },
    Model {
        name: "L2 relay",
        shows: "a sleeper on a doorbell gets two records of a queue that a relay watches, which may come late",
        search: "at most 3 preemptions",
        run: relayed,
    },
];

/// Two queues of one record each, whose sleepers share a futex, as they share the kernel.
struct Pair {
    slots: [Slot; 2],
    words: [[AtomicU32; 2]; 2],
    futex: Futex,
}

impl Pair {
    fn waiters(&self, queue: usize) -> Waiters<'_> {
        let [waiting, notify_seq] = &self.words[queue];
        Waiters { waiting, notify_seq }
    }

    fn write(&self, queue: usize) {
        self.slots[queue].publish(None, queue as u32);
        if self.waiters(queue).someone_waits(Barrier::Full) {
            self.waiters(queue).wake_all(&self.futex).unwrap();
        }
    }
}

impl Pair {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            slots: [Slot::fresh(), Slot::fresh()],
            words: [(); 2].map(|()| [AtomicU32::new(0), AtomicU32::new(0)]),
            futex: Futex::new(),
        })
    }

    /// Sleeps on both queues until the wanted ones have a record.
    fn read(&self, mut wanted: Vec<usize>) {
        while !wanted.is_empty() {
            let look = || wanted.iter().position(|queue| self.slots[*queue].look().is_some());
            let bells = [0, 1].map(|queue| AnyBell::Asked(self.waiters(queue)));
            let parked = park_unless_any(&self.futex, bells, Instant::NEVER, || {}, look).unwrap();
            if let Parked::Ready(found) = parked {
                wanted.remove(found);
            }
        }
    }
}

fn any_of_two(exploration: &mut Exploration) {
    exploration.bounded(3, || {
        let pair = Pair::new();
        let writers = [0, 1].map(|queue| {
            let pair = Arc::clone(&pair);
            thread::spawn(move || pair.write(queue))
        });
        pair.read(vec![0, 1]);
        for writer in writers {
            writer.join().unwrap();
        }
    });
}

fn one_is_silent(exploration: &mut Exploration) {
    exploration.exhaustive(|| {
        let pair = Pair::new();
        let writer = {
            let pair = Arc::clone(&pair);
            thread::spawn(move || pair.write(1))
        };
        pair.read(vec![1]);
        writer.join().unwrap();
    });
}

/// A queue, and the doorbell that a relay rings for it.
struct Chain {
    slots: [Slot; 2],
    queue: Bell,
    doorbell: Doorbell,
    /// Sleepers on the doorbell. Apart from those on the queue, so that no wake-up of the queue
    /// reaches them but by the relay.
    futex: Futex,
    done: AtomicU32,
}

impl Chain {
    fn relay(&self) {
        let word = ReadU32::from(self.queue.waiters().notify_seq);
        let mut relay = Relay::new();
        loop {
            let mut moved = false;
            while relay.moved(word) {
                moved = true;
                self.doorbell.ring(&self.futex).unwrap();
            }
            if moved {
                if self.done.load(Ordering::Acquire) == 1 {
                    return;
                }
                continue;
            }
            self.queue.futex.wait_any(&[relay.ticket(word)], Instant::NEVER).unwrap();
        }
    }

    fn read(&self) {
        for (slot, number) in self.slots.iter().zip(0..) {
            let found = loop {
                let bells = [
                    AnyBell::Asked(self.doorbell.waiters()),
                    AnyBell::Relayed(self.queue.waiters()),
                ];
                let look = || slot.look();
                match park_unless_any(&self.futex, bells, Instant::NEVER, || {}, look).unwrap() {
                    Parked::Ready(found) => break found,
                    Parked::Woken => {}
                    Parked::TimedOut => claim!(false, "a time-out where there is none"),
                }
            };
            claim!(found == number, "record {found} in the place of {number}");
        }
    }
}

fn relayed(exploration: &mut Exploration) {
    exploration.bounded(3, || {
        let chain = Arc::new(Chain {
            slots: [Slot::fresh(), Slot::fresh()],
            queue: Bell::new(0),
            doorbell: Doorbell::new(),
            futex: Futex::new(),
            done: AtomicU32::new(0),
        });
        let relay = {
            let chain = Arc::clone(&chain);
            thread::spawn(move || chain.relay())
        };
        let reader = {
            let chain = Arc::clone(&chain);
            thread::spawn(move || chain.read())
        };
        for (slot, number) in chain.slots.iter().zip(0..) {
            slot.publish(None, number);
            chain.queue.ring();
        }
        reader.join().unwrap();
        chain.done.store(1, Ordering::Release);
        chain.queue.waiters().wake_all(&chain.queue.futex).unwrap();
        relay.join().unwrap();
    });
}
