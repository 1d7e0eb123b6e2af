//! Shared memory as the models see it: plain data that loom watches for races, and record slots.

use chronicle_format::CommitWord;
use chronicle_sync::commit::{self, Unpublished};
use chronicle_sync::{AtomicU64, ReadU64};
use loom::cell::UnsafeCell;

use crate::explore::claim;

/// Plain data. Loom reports two accesses that nothing orders.
pub(crate) struct Plain(UnsafeCell<u64>);

// SAFETY: loom runs one thread at a time and panics at an access that races with another one.
unsafe impl Sync for Plain {}

impl Plain {
    pub(crate) fn new(value: u64) -> Self {
        Self(UnsafeCell::new(value))
    }

    pub(crate) fn get(&self) -> u64 {
        // SAFETY: the pointer is valid inside `with`, and loom has checked that no write races.
        self.0.with(|value| unsafe { *value })
    }

    pub(crate) fn set(&self, new: u64) {
        // SAFETY: the pointer is valid inside `with_mut`, and loom has checked that no access races.
        self.0.with_mut(|value| unsafe { *value = new });
    }
}

/// Payload length of every record in the models.
const LENGTH: u32 = 16;
/// Checksum field of dirt: no record of a model has it.
const DIRT: u32 = u32::MAX;

/// Room for one record: its commit word, and two words of payload as plain data.
pub(crate) struct Slot {
    commit: AtomicU64,
    payload: [Plain; 2],
}

impl Slot {
    /// Space that was never written.
    pub(crate) fn fresh() -> Self {
        Self { commit: AtomicU64::new(0), payload: [Plain::new(0), Plain::new(0)] }
    }

    /// Space where the bytes of an earlier life look like a record.
    pub(crate) fn dirty() -> Self {
        Self {
            commit: AtomicU64::new(word(DIRT).bits()),
            payload: [Plain::new(u64::MAX), Plain::new(u64::MAX)],
        }
    }

    /// Publishes record `number`, which tells it from all others of a model.
    pub(crate) fn publish(&self, next: Option<&Slot>, number: u32) {
        let next = next.map(|slot| &slot.commit);
        commit::publish(&self.commit, next, &Filling { slot: self, number });
    }

    /// Stores the payload of record `number`, by a writer that is killed before it publishes it.
    pub(crate) fn fill(&self, number: u32) {
        // The commit word goes to memory that nobody else sees.
        let lost = AtomicU64::new(0);
        commit::publish(&lost, None, &Filling { slot: self, number });
    }

    /// Looks for a record, and claims that it is whole: returns its number.
    pub(crate) fn look(&self) -> Option<u32> {
        commit::observe(ReadU64::from(&self.commit), |word, _| {
            let number = word.crc();
            claim!(number != DIRT, "dirt was taken for a record");
            claim!(word.payload_length() == Some(LENGTH), "a commit word in pieces");
            for (i, payload) in self.payload.iter().enumerate() {
                claim!(payload.get() == content(number, i), "record {number} is not whole");
            }
            number
        })
    }
}

/// A record on its way into a slot. Its first word is stored at the end, as where a checksum takes long.
struct Filling<'a> {
    slot: &'a Slot,
    number: u32,
}

impl Unpublished for Filling<'_> {
    fn fill(&self) {
        self.slot.payload[1].set(content(self.number, 1));
    }

    fn word(&self) -> CommitWord {
        word(self.number)
    }

    fn fill_head(&self) {
        self.slot.payload[0].set(content(self.number, 0));
    }
}

fn word(number: u32) -> CommitWord {
    CommitWord::new(LENGTH, number).unwrap()
}

fn content(number: u32, at: usize) -> u64 {
    (u64::from(number) << 32) | (at as u64 + 1)
}
