//! L12: a durable watermark is never ahead of its sync, whatever the sync comes to.

use chronicle_sync::AtomicU64;
use chronicle_sync::watermark::{WatermarkWords, left_behind, read};
use loom::sync::Arc;
use loom::sync::atomic::Ordering::Relaxed;
use loom::thread;

use super::Model;
use crate::explore::{Exploration, claim};

pub(super) const MODELS: &[Model] = &[
    Model {
        name: "L12 watermark",
        shows: "who sees the watermark finds what it promises on the medium",
        search: "exhaustive",
        run: watermark,
    },
    Model {
        name: "L12 poison",
        shows: "a sync that fails never moves the watermark, nor does a try after it",
        search: "exhaustive",
        run: poison,
    },
    Model {
        name: "L12 left behind",
        shows: "what the next writer finds of a dead one's watermark is on the medium, and not below what any reader was told",
        search: "exhaustive for each of the 5 places, and with damage",
        run: left,
    },
];

/// A medium, the watermark over it, and whether a sync has failed.
struct Disk {
    medium: AtomicU64,
    value: AtomicU64,
    complement: AtomicU64,
}

impl Disk {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            medium: AtomicU64::new(0),
            value: AtomicU64::new(0),
            complement: AtomicU64::new(!0),
        })
    }

    fn advance(&self, seq: u64, works: bool) -> Result<(), ()> {
        let words = WatermarkWords { value: &self.value, complement: &self.complement };
        words.advance(seq, || {
            if works {
                self.medium.store(seq, Relaxed);
                Ok(())
            } else {
                Err(())
            }
        })
    }

    fn look(&self) -> u64 {
        let seen = read((&self.value).into(), (&self.complement).into());
        let medium = self.medium.load(Relaxed);
        let durable = seen.unwrap_or(0);
        claim!(durable <= medium, "{durable} is said to be durable, the medium has {medium}");
        durable
    }
}

fn watermark(exploration: &mut Exploration) {
    exploration.exhaustive(|| {
        let disk = Disk::new();
        let reader = {
            let disk = Arc::clone(&disk);
            thread::spawn(move || {
                disk.look();
                disk.look();
            })
        };
        for seq in [1, 2] {
            claim!(disk.advance(seq, true).is_ok(), "this medium works");
        }
        reader.join().unwrap();
        claim!(disk.look() == 2, "both syncs worked");
    });
}

fn poison(exploration: &mut Exploration) {
    exploration.exhaustive(|| {
        let disk = Disk::new();
        let reader = {
            let disk = Arc::clone(&disk);
            thread::spawn(move || {
                disk.look();
                // A foreign hand, or half of a move: a number without its complement.
                disk.value.store(7, Relaxed);
                claim!(disk.look() <= 1, "a number that nobody stored");
            })
        };
        claim!(disk.advance(1, true).is_ok(), "this medium works");
        claim!(disk.advance(2, false).is_err(), "this one does not");
        reader.join().unwrap();
        disk.look();
    });
}

/// Stores of the two words, over two moves.
const STORES: usize = 4;

impl Disk {
    /// Moves the watermark twice, by a writer that is killed behind so many stores. The others go to
    /// memory that nobody else sees.
    fn advance_cut_off(&self, stores: usize) {
        let lost = AtomicU64::new(0);
        let word = |number: usize, word| if number < stores { word } else { &lost };
        for move_number in 0..STORES / 2 {
            let words = WatermarkWords {
                value: word(2 * move_number, &self.value),
                complement: word(2 * move_number + 1, &self.complement),
            };
            let seq = move_number as u64 + 1;
            // Killed in the sync of a move that stores nothing any more: it may have come that far.
            let synced = words.advance(seq, || {
                self.medium.store(seq, Relaxed);
                Ok::<(), ()>(())
            });
            claim!(synced.is_ok(), "this medium works");
        }
    }

    fn left_behind(&self) -> u64 {
        let left = left_behind((&self.value).into(), (&self.complement).into());
        let medium = self.medium.load(Relaxed);
        claim!(left <= medium, "{left} is taken for durable, the medium has {medium}");
        left
    }
}

fn left(exploration: &mut Exploration) {
    for stores in 0..=STORES {
        exploration.exhaustive(move || {
            let disk = Disk::new();
            let writer = {
                let disk = Arc::clone(&disk);
                thread::spawn(move || disk.advance_cut_off(stores))
            };
            let told = disk.look();
            writer.join().unwrap();
            let told = told.max(disk.look());
            let left = disk.left_behind();
            claim!(left >= told, "{told} was told to be durable, the next writer finds {left}");
            // One of the words is not what was stored: nobody may take more for durable than there is.
            let value = disk.value.load(Relaxed);
            disk.value.store(100, Relaxed);
            disk.left_behind();
            disk.value.store(value, Relaxed);
            disk.complement.store(!100, Relaxed);
            disk.left_behind();
        });
    }
}
