//! What appends of every kind leave behind: every record, and an index like the one that is made from the records.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

use chronicle_conformance::memory::Memory;
use chronicle_core::{
    Appender, CreateOptions, Error, SegmentId, SegmentSize, Start, TailOptions, Tailer,
    WriteOptions, create, verify,
};
use chronicle_sync::{Object, Region, RegionExt, Storage};

const TYPE: u16 = 0x8000;
const LIVES: usize = 3;
const OPERATIONS: usize = 150;

/// Xorshift: the same choices for the same seed.
struct Choices(u64);

impl Choices {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end
    }

    fn payload(&mut self, most: usize) -> Vec<u8> {
        let length = match self.below(10) {
            0 => self.below(most + 1),
            1 => most,
            2 => self.below(5000.min(most)),
            _ => self.below(300.min(most)),
        };
        (0..length).map(|_| self.below(256) as u8).collect()
    }
}

/// A message, and its time where the program gave one.
type Log = Vec<(Vec<u8>, Option<u64>)>;

fn operate(writer: &mut Appender<&Memory>, choices: &mut Choices, log: &mut Log, most: usize) {
    let payload = choices.payload(most);
    let seq = log.len() as u64;
    match choices.below(8) {
        0 => {
            assert_eq!(writer.append_quietly(TYPE, &payload).unwrap(), seq);
            log.push((payload, None));
        }
        1 => {
            // Anything from 1970 on: times that go back, and times that are far ahead.
            let time = choices.below(1 << 52) as u64;
            assert_eq!(writer.append_at(TYPE, time, &payload).unwrap(), seq);
            log.push((payload, Some(time)));
        }
        2 => writer.claim(payload.len()).unwrap().fill(0xff),
        3 => {
            let mut claim = writer.claim(payload.len()).unwrap();
            claim.copy_from_slice(&payload);
            assert_eq!(claim.commit(TYPE).unwrap(), seq);
            log.push((payload, None));
        }
        4 => {
            let largest = if choices.below(4) == 0 { 3000 } else { 60 };
            let batch: Vec<Vec<u8>> =
                (0..choices.below(400)).map(|_| choices.payload(largest)).collect();
            let next = writer.append_all(TYPE, batch.iter().map(|payload| &payload[..])).unwrap();
            assert_eq!(next, seq + batch.len() as u64);
            log.extend(batch.into_iter().map(|payload| (payload, None)));
        }
        5 => {
            let large = vec![1; most + 1];
            let refused = writer.append_all(TYPE, [&b"fits"[..], &large, b"is not reached"]);
            assert!(matches!(refused, Err(Error::PayloadTooLarge { .. })));
            log.push((b"fits".to_vec(), None));
        }
        6 => writer.flush().unwrap(),
        _ => {
            assert_eq!(writer.append(TYPE, &payload).unwrap(), seq);
            log.push((payload, None));
        }
    }
    assert_eq!(writer.next_seq(), log.len() as u64);
}

/// The words of a segment's index.
fn index(memory: &Memory, id: SegmentId) -> Option<Vec<u64>> {
    let region = memory.view(&Object::Index(id)).ok()?;
    let words = (0..region.size() as u64).step_by(8);
    Some(words.map(|at| region.read_u64(at).unwrap().load_relaxed()).collect())
}

#[test]
fn every_record_is_there_and_every_index_is_the_one_that_its_records_give() {
    let mut compared = 0;
    for seed in 1..=12_usize {
        let mut choices = Choices((seed as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let size = [128 << 10, 256 << 10, 8192, 4096][seed % 4];
        let memory = Memory::durable();
        let mut options = CreateOptions::default();
        options.segment_size = SegmentSize::new(size).unwrap();
        options.checksums = seed % 3 != 0;
        create(&memory, &options).unwrap();
        let mut log = Log::new();
        for life in 0..LIVES {
            let mut options = WriteOptions::default();
            options.step = [4096, 1 << 20, 16384][(seed + life) % 3];
            let mut writer = Appender::open(&memory, options).unwrap();
            for _ in 0..OPERATIONS {
                operate(&mut writer, &mut choices, &mut log, size as usize - 96);
            }
            let checked = verify(&memory, |fault| panic!("seed {seed}, life {life}: {fault:?}"));
            assert_eq!(checked.unwrap().faults, 0);
            for id in 0..writer.position().segment.get() {
                let id = SegmentId::new(id.into()).unwrap();
                let found = index(&memory, id);
                writer.rebuild_index(id).unwrap();
                assert_eq!(found, index(&memory, id), "seed {seed}, life {life}, {id:?}");
                compared += usize::from(found.is_some());
            }
        }
        let mut options = TailOptions::default();
        options.start = Start::Earliest;
        let mut reader = Tailer::open(&memory, &options).unwrap();
        for (seq, (payload, time)) in log.iter().enumerate() {
            let message = reader.next().unwrap().unwrap();
            assert_eq!((message.seq, message.payload), (seq as u64, &payload[..]), "seed {seed}");
            assert!(time.is_none_or(|time| time == message.timestamp_ns), "seed {seed}, {seq}");
        }
        assert!(reader.next().unwrap().is_none());
    }
    assert!(compared > 50, "{compared} indexes");
}
