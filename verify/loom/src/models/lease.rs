//! L7: a writer whose lock was taken from it by force, while it may be between any two of its steps.
//!
//! The old writer appends in epoch 1 while the new one takes the log over for epoch 2, by the shipping
//! code. Where both store into one slot, the payload is that of one and the commit word that of the
//! other: a record that fails its checksum.

use chronicle_format::CommitWord;
use chronicle_sync::mutation::{Mutant, is_selected};
use chronicle_sync::notify::Barrier;
use chronicle_sync::{AtomicU32, AtomicU64, ReadU32, ReadU64, commit, lease};
use loom::sync::Arc;
use loom::sync::atomic::Ordering::Relaxed;
use loom::thread;

use super::Model;
use crate::explore::{Exploration, claim};
use crate::words::Plain;

pub(super) const MODELS: &[Model] = &[
    Model {
        name: "L7 takeover",
        shows: "what the old writer was told is appended is part of the log that the new one goes on with; it is fenced behind that, and stores nothing once it could know",
        search: "exhaustive",
        run: takeover,
    },
    Model {
        name: "L7 stray records",
        shows: "a reader takes no record of the old writer for one behind the new writer's first, even where no barrier is to be had",
        search: "at most 3 preemptions",
        run: stray_records,
    },
    Model {
        name: "L7 two takers",
        shows: "of two who begin an epoch at once each gets one of its own, higher than all before",
        search: "exhaustive",
        run: two_takers,
    },
    Model {
        name: "L7 reason",
        shows: "a writer that finds its epoch ended sees why",
        search: "exhaustive",
        run: reason,
    },
];

const OLD: u32 = 1;
const NEW: u32 = 2;
const SLOTS: usize = 5;
const LENGTH: u32 = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A user's record: takes a sequence number.
    User,
    /// One of the queue's own, which takes none.
    Watermark,
    /// The one that begins an epoch.
    Epoch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Record {
    kind: Kind,
    epoch: u32,
    seq: u32,
}

impl Record {
    /// Tells the record from all others; stands for its checksum.
    fn number(self) -> u32 {
        (self.kind as u32) << 16 | self.epoch << 8 | self.seq
    }

    fn from_number(number: u32) -> Self {
        let kind = [Kind::User, Kind::Watermark, Kind::Epoch][(number >> 16) as usize];
        Self { kind, epoch: number >> 8 & 0xff, seq: number & 0xff }
    }
}

/// Room for one record, whose payload two may write at once.
struct Slot {
    commit: AtomicU64,
    payload: AtomicU64,
}

struct Log {
    epoch: AtomicU32,
    slots: [Slot; SLOTS],
}

/// Where a walk ended, and what it met.
struct End {
    slot: usize,
    seq: u32,
    epoch: u32,
    records: Vec<Record>,
    /// Whether what lies here is no record of this log.
    damaged: bool,
}

/// A place to append at, and the epoch to do it in.
struct Writer {
    slot: usize,
    seq: u32,
    epoch: u32,
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Appended,
    /// It was stored, and may or may not be part of the log.
    Maybe,
    /// Nothing was stored.
    Refused,
}

impl Log {
    /// A log with one record of the old writer.
    fn new() -> Arc<Self> {
        let slot = |_| Slot { commit: AtomicU64::new(0), payload: AtomicU64::new(0) };
        let log = Self { epoch: AtomicU32::new(OLD), slots: core::array::from_fn(slot) };
        log.publish(0, Record { kind: Kind::User, epoch: OLD, seq: 0 });
        Arc::new(log)
    }

    fn old_writer() -> Writer {
        Writer { slot: 1, seq: 1, epoch: OLD }
    }

    fn publish(&self, slot: usize, record: Record) {
        let Slot { commit, payload } = &self.slots[slot];
        let word = CommitWord::new(LENGTH, record.number()).unwrap();
        let fill = || payload.store(record.number().into(), Relaxed);
        commit::publish(commit, None, &(fill, || word));
    }

    /// The record in a slot; `Err` for one that fails its checksum.
    fn look(&self, slot: usize) -> Option<Result<Record, ()>> {
        let Slot { commit, payload } = &self.slots[slot];
        commit::observe(ReadU64::from(commit), |word, _| {
            let whole = payload.load(Relaxed) == u64::from(word.crc());
            whole.then(|| Record::from_number(word.crc())).ok_or(())
        })
    }

    /// Walks by the rules of readers and of recovery.
    fn walk(&self) -> End {
        let mut end = End { slot: 0, seq: 0, epoch: OLD, records: Vec::new(), damaged: false };
        while end.slot < SLOTS {
            let Some(found) = self.look(end.slot) else { return end };
            let follows = found.ok().filter(|record| record.seq == end.seq).and_then(|record| {
                let begins = record.kind == Kind::Epoch;
                lease::behind(end.epoch, record.epoch, begins).map(|epoch| (record, epoch))
            });
            let Some((record, epoch)) = follows else {
                end.damaged = true;
                return end;
            };
            end.slot += 1;
            end.seq += u32::from(record.kind == Kind::User);
            end.epoch = epoch;
            end.records.push(record);
        }
        end
    }

    fn append(&self, writer: &mut Writer, kind: Kind) -> Outcome {
        if !lease::holds((&self.epoch).into(), writer.epoch) {
            return Outcome::Refused;
        }
        let Writer { slot, seq, epoch } = *writer;
        self.publish(slot, Record { kind, epoch, seq });
        writer.slot += 1;
        writer.seq += u32::from(kind == Kind::User);
        if lease::still_holds((&self.epoch).into(), writer.epoch, Barrier::Full) {
            Outcome::Appended
        } else {
            Outcome::Maybe
        }
    }

    fn clear_behind(&self, end: &End) {
        for slot in &self.slots[end.slot..] {
            if slot.commit.load(Relaxed) != 0 {
                slot.commit.store(0, Relaxed);
            }
        }
    }

    /// Finds the end, begins an epoch, and clears what lies behind, as recovery does.
    fn take_over(&self) -> Writer {
        let find_end = || {
            let end = self.walk();
            claim!(!end.damaged, "the log is damaged before anybody took it over");
            if is_selected(Mutant::LeaseClearedEarly) {
                self.clear_behind(&end);
            }
            Ok::<End, ()>(end)
        };
        let has_moved = |end: &End| self.look(end.slot).is_some();
        let taken = lease::take_over(&self.epoch, || {}, find_end, |end| end.epoch, has_moved);
        let (epoch, end) = taken.unwrap().unwrap();
        if !is_selected(Mutant::LeaseClearedEarly) {
            self.clear_behind(&end);
        }
        Writer { slot: end.slot, seq: end.seq, epoch }
    }
}

fn takeover(exploration: &mut Exploration) {
    exploration.exhaustive(|| {
        let log = Log::new();
        let old = {
            let log = Arc::clone(&log);
            thread::spawn(move || {
                let mut writer = Log::old_writer();
                let mut outcomes = vec![log.append(&mut writer, Kind::User)];
                if outcomes == [Outcome::Appended] {
                    outcomes.push(log.append(&mut writer, Kind::User));
                }
                (writer, outcomes)
            })
        };
        let mut new = log.take_over();
        claim!(new.epoch == NEW, "epoch {} behind {OLD}", new.epoch);
        let outcome = log.append(&mut new, Kind::Epoch);
        claim!(outcome == Outcome::Appended, "nobody takes over from the new writer");
        let (mut writer, outcomes) = old.join().unwrap();
        let appended = outcomes.iter().filter(|outcome| **outcome == Outcome::Appended).count();
        let log_of_both = log.walk();
        for seq in 0..=appended as u32 {
            let record = Record { kind: Kind::User, epoch: OLD, seq };
            claim!(log_of_both.records.contains(&record), "{record:?} was appended and is lost");
        }
        if !outcomes.contains(&Outcome::Maybe) {
            claim!(!log_of_both.damaged, "the old writer stored nothing that it was not told of");
            claim!(log_of_both.epoch == NEW, "the new writer's first record is not there");
        }
        // It has heard of the takeover by now.
        let late = log.append(&mut writer, Kind::User);
        claim!(late == Outcome::Refused, "a writer that lost the log stored a record");
    });
}

fn stray_records(exploration: &mut Exploration) {
    exploration.bounded(3, || {
        let log = Log::new();
        let old = {
            let log = Arc::clone(&log);
            // Stopped in the middle, and by no means fenced: the record of the queue's own takes no
            // number, so the one behind it has the number that comes next for the new writer too.
            thread::spawn(move || {
                log.publish(1, Record { kind: Kind::Watermark, epoch: OLD, seq: 1 });
                log.publish(2, Record { kind: Kind::User, epoch: OLD, seq: 1 });
            })
        };
        let reader = {
            let log = Arc::clone(&log);
            thread::spawn(move || {
                let records = log.walk().records;
                let sorted = records.is_sorted_by_key(|record| record.epoch);
                claim!(sorted, "a record of an older epoch was taken: {records:?}");
            })
        };
        claim!(lease::begin(&log.epoch, OLD) == Some(NEW), "the next epoch");
        log.publish(1, Record { kind: Kind::Epoch, epoch: NEW, seq: 1 });
        log.publish(2, Record { kind: Kind::User, epoch: NEW, seq: 1 });
        old.join().unwrap();
        reader.join().unwrap();
    });
}

fn two_takers(exploration: &mut Exploration) {
    exploration.exhaustive(|| {
        let epoch = Arc::new(AtomicU32::new(OLD));
        let other = {
            let epoch = Arc::clone(&epoch);
            thread::spawn(move || lease::begin(&epoch, OLD))
        };
        let mine = lease::begin(&epoch, OLD);
        let mut begun = [mine, other.join().unwrap()];
        begun.sort_unstable();
        claim!(begun == [Some(OLD + 1), Some(OLD + 2)], "two began {begun:?}");
        claim!(lease::begin(&epoch, u32::MAX).is_none(), "there is no epoch left");
        claim!(epoch.load(Relaxed) == OLD + 2, "an epoch that nobody began");
    });
}

fn reason(exploration: &mut Exploration) {
    exploration.exhaustive(|| {
        let shared = Arc::new((AtomicU32::new(OLD), Plain::new(0)));
        let other = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                shared.1.set(7);
                lease::begin(&shared.0, OLD)
            })
        };
        if !lease::holds(ReadU32::from(&shared.0), OLD) {
            claim!(shared.1.get() == 7, "the reason");
        }
        other.join().unwrap();
    });
}
