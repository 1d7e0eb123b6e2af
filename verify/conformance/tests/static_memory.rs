//! The backend in static memory does what a backend of one program has to do, and carries a queue.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_types, reason = "a park is handed the word that it sleeps on")]

use std::num::NonZeroU32;
use std::thread;

use chronicle_conformance::memory::{Memory, MemoryError};
use chronicle_conformance::{Harness, durable_level, memory_level, thread_level};
use chronicle_core::{
    Appender, CreateOptions, ReaderName, SegmentSize, TailOptions, Tailer, WriteOptions,
    apply_retention, create,
};
use chronicle_platform_static::{Slots, StaticError, StaticPlatform};
use chronicle_sync::{AtomicU32, Clock, Error as _, Instant, Park, Wake};

/// The clock and the sleep of this process, as those of a machine.
#[derive(Clone)]
struct Machine(Memory);

fn failed(error: MemoryError) -> StaticError {
    StaticError::new(error.kind())
}

impl Park for Machine {
    type Error = StaticError;

    fn wait(&self, word: &AtomicU32, expected: u32, until: Instant) -> Result<Wake, StaticError> {
        self.0.wait(word, expected, until).map_err(failed)
    }

    fn wake(&self, word: &AtomicU32, at_most: NonZeroU32) -> Result<u32, StaticError> {
        self.0.wake(word, at_most).map_err(failed)
    }
}

impl Clock for Machine {
    fn now(&self) -> Instant {
        self.0.now()
    }

    fn wall_ns(&self) -> u64 {
        self.0.wall_ns()
    }

    fn boot(&self) -> u64 {
        self.0.boot()
    }
}

type Static = StaticPlatform<Machine, 12, 8192>;

/// Memory of its own, for good: a static that is made when it is wanted.
fn memory() -> Static {
    Box::leak(Box::new(Slots::new())).platform(Machine(Memory::new()))
}

struct OfAProcess;

impl Harness for OfAProcess {
    type Platform = Static;
    type Place = Static;

    fn place(&self) -> Static {
        memory()
    }

    fn open(&self, place: &Static) -> Static {
        place.clone()
    }
}

#[test]
fn memory_and_durable() {
    memory_level(&OfAProcess).assert_passed();
    durable_level(&OfAProcess).assert_passed();
}

#[test]
#[cfg_attr(miri, ignore = "rounds of threads, which take Miri minutes")]
fn threads() {
    thread_level(&OfAProcess).assert_passed();
}

fn options() -> CreateOptions {
    let mut options = CreateOptions::default();
    options.segment_size = SegmentSize::new(4096).unwrap();
    options.retention.max_bytes = Some(3 * 4096);
    options
}

#[test]
fn a_queue_of_many_segments_lives_in_a_few_slots() {
    let memory = memory();
    create(&memory, &options()).unwrap();
    let mut named = TailOptions::default();
    named.name = Some(ReaderName::new("only").unwrap());
    // Miri takes half a minute for each.
    let lives = if cfg!(miri) { 2 } else { 10 };
    for life in 0..lives {
        let mut writer = Appender::open(&memory, WriteOptions::default()).unwrap();
        let mut reader = Tailer::open(&memory, &named).unwrap();
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

#[test]
fn a_writer_that_finds_no_free_slot_goes_on_when_there_is_one() {
    let memory = memory();
    let mut options = options();
    options.retention.max_bytes = None;
    create(&memory, &options).unwrap();
    let mut writer = Appender::open(&memory, WriteOptions::default()).unwrap();
    let error = (0..).find_map(|_| writer.append(0x8000, &[7; 1000]).err()).unwrap();
    let full = writer.next_seq();
    assert!(error.to_string().contains("no slot is free"), "{error}");
    // The oldest segment goes, and with it the oldest messages.
    let oldest = chronicle_sync::Object::Segment(chronicle_sync::format::SegmentId::FIRST);
    chronicle_sync::Storage::remove(chronicle_sync::Platform::storage(&memory), &oldest).unwrap();
    assert_eq!(writer.append(0x8000, &[8; 1000]).unwrap(), full);
}

#[test]
#[cfg_attr(miri, ignore = "a thousand records of two threads, which take Miri minutes")]
fn a_queue_in_a_static_is_read_by_another_thread() {
    static MEMORY: Slots<16, 8192> = Slots::new();
    let platform = MEMORY.platform(Machine(Memory::new()));
    create(&platform, &options()).unwrap();
    let mut writer = Appender::open(platform.clone(), WriteOptions::default()).unwrap();
    let mut reader = Tailer::open(platform.clone(), &TailOptions::default()).unwrap();
    let reading = thread::spawn(move || {
        for number in 0..30u64 {
            let message = loop {
                let far = Instant::NEVER;
                reader.wait(chronicle_core::WaitStrategy::Park, far, None).unwrap();
                if let Some(message) = reader.next().unwrap() {
                    break message;
                }
            };
            assert_eq!((message.seq, message.payload), (number, &number.to_le_bytes()[..]));
        }
    });
    for number in 0..30u64 {
        writer.append(0x8000, &number.to_le_bytes()).unwrap();
    }
    reading.join().unwrap();
}
