//! The backend of the example does what a backend in one thread has to do, and carries a queue.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../examples/static_memory/backend.rs"]
mod backend;

use backend::{Slots, StaticMemory};
use chronicle_conformance::{Harness, durable_level, memory_level};
use chronicle_core::{
    Appender, CreateOptions, ReaderName, SegmentSize, TailOptions, Tailer, WriteOptions,
    apply_retention, create,
};

type Memory = StaticMemory<12, 8192>;

fn memory() -> Memory {
    StaticMemory(Box::leak(Box::new(Slots::new())))
}

struct Static;

impl Harness for Static {
    type Platform = Memory;
    type Place = Memory;

    fn place(&self) -> Memory {
        memory()
    }

    fn open(&self, place: &Memory) -> Memory {
        *place
    }
}

#[test]
fn memory_and_durable() {
    memory_level(&Static).assert_passed();
    durable_level(&Static).assert_passed();
}

#[test]
fn a_queue_of_many_segments_lives_in_a_few_slots() {
    let memory = memory();
    let mut options = CreateOptions::default();
    options.segment_size = SegmentSize::new(4096).unwrap();
    options.retention.max_bytes = Some(3 * 4096);
    create(&memory, &options).unwrap();
    let mut named = TailOptions::default();
    named.name = Some(ReaderName::new("only").unwrap());
    for life in 0..10u64 {
        let mut writer = Appender::open(memory, WriteOptions::default()).unwrap();
        let mut reader = Tailer::open(memory, &named).unwrap();
        for number in life * 100..(life + 1) * 100 {
            let payload = [number as u8; 100];
            assert_eq!(writer.append(0x8000, &payload).unwrap(), number);
            let message = reader.next().unwrap().unwrap();
            assert_eq!((message.seq, message.payload), (number, &payload[..]));
            reader.commit().unwrap();
            if number % 10 == 0 {
                apply_retention(&memory, |_| false).unwrap();
            }
        }
        writer.flush().unwrap();
    }
}
