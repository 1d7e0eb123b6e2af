//! L12: a durable watermark is never ahead of its sync, whatever the sync comes to.

use chronicle_sync::AtomicU64;
use chronicle_sync::watermark::{WatermarkWords, read};
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
