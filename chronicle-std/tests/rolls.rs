//! Thousands of rolls of small segments, with old ones removed all the while, under readers that wait
//! in every way there is. Each of them is a process of its own.
//!
//! `CHRONICLE_TEST_ROLLS` sets how many rolls.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

#[path = "../../chronicle-core/tests/support/child.rs"]
mod child;
#[path = "../../chronicle-core/tests/support/stream.rs"]
mod stream;

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use child::{Body, Process, setting, told};
use chronicle_std::{
    Queue, QueueError, ReaderConfig, RetentionPolicy, WaitOutcome, WaitStrategy, WriterConfig,
};
use stream::Stream;

const TYPE: u16 = 0x8000;
const END: u16 = 0x8001;
const KEY: u64 = 0x524f_4c4c_5321;
const LONGEST: u64 = 400;
/// Nobody may be without a record for so long while there are any.
const STUCK: Duration = Duration::from_secs(1);
const READERS: [&str; 8] =
    ["spin", "spin-park", "park", "poll", "spin-2", "spin-park-2", "park-2", "poll-2"];

fn config() -> WriterConfig {
    let mut config = WriterConfig::default();
    config.segment_size = 64 << 10;
    config.retention = RetentionPolicy {
        max_bytes: Some(1 << 20),
        capacity_bytes: Some(8 << 20),
        ..RetentionPolicy::KEEP_ALL
    };
    config
}

/// Not a test of its own: appends until it has rolled so often; waits where the queue is full.
#[test]
fn body_rolls() {
    let Some(queue) = told::<PathBuf>("QUEUE") else { return };
    let rolls: u64 = told("ROLLS").unwrap();
    let mut writer = Queue::open_publisher_with(&queue, config()).unwrap();
    let mut stream = Stream::new(KEY, LONGEST);
    let mut payload = Vec::new();
    let (mut longest, mut longest_full, mut refused) = (Duration::ZERO, Duration::ZERO, 0u64);
    let mut append = |type_id, payload: &[u8]| {
        let mut full_since = None;
        loop {
            let begun = Instant::now();
            match writer.append(type_id, payload) {
                Ok(_) => {
                    longest = longest.max(begun.elapsed());
                    let full: Option<Instant> = full_since;
                    longest_full = longest_full.max(full.map_or(Duration::ZERO, |at| at.elapsed()));
                    return writer.position().segment.get();
                }
                Err(QueueError::Full { .. }) => {
                    refused += 1;
                    full_since.get_or_insert(begun);
                    thread::sleep(Duration::from_micros(200));
                }
                Err(error) => panic!("{error}"),
            }
        }
    };
    loop {
        stream.next_into(&mut payload);
        if u64::from(append(TYPE, &payload)) >= rolls {
            break;
        }
    }
    append(END, &stream.number().to_le_bytes());
    println!(
        "wrote {} longest append {longest:?}, full for {longest_full:?} at most, refused {refused}",
        stream.number()
    );
}

/// Not a test of its own: verifies the stream to its end, waiting as it was told.
#[test]
fn body_follows() {
    let Some(queue) = told::<PathBuf>("QUEUE") else { return };
    let name: String = told("NAME").unwrap();
    let mut config = ReaderConfig::default();
    config.name = Some(name.clone());
    config.writer_timeout = None;
    config.wait_strategy = match name.trim_end_matches("-2") {
        "spin" => WaitStrategy::BusySpin,
        "park" => WaitStrategy::Park,
        _ => WaitStrategy::SpinThenPark { spin: Duration::from_micros(50) },
    };
    let mut reader = Queue::open_reader(&queue, config).unwrap();
    println!("ready");
    let mut stream = Stream::new(KEY, LONGEST);
    let mut longest = Duration::ZERO;
    let mut last = SystemTime::now();
    loop {
        match reader.next().unwrap() {
            Some(message) if message.type_id == TYPE => {
                stream.verify(message.seq, message.payload);
                // While the writer itself is held up there is nothing to read, and nobody is stuck.
                let there_since = UNIX_EPOCH + Duration::from_nanos(message.timestamp_ns);
                let now = SystemTime::now();
                let late = now.duration_since(last.max(there_since)).unwrap_or(Duration::ZERO);
                longest = longest.max(late);
                last = now;
                if stream.number().is_multiple_of(64) {
                    reader.commit().unwrap();
                }
            }
            Some(message) => {
                assert_eq!(message.payload, stream.number().to_le_bytes());
                break;
            }
            None => match name.as_str() {
                "poll" => thread::yield_now(),
                "poll-2" => thread::sleep(Duration::from_micros(100)),
                _ => {
                    let outcome = reader.wait(Some(Duration::from_secs(60))).unwrap();
                    assert_eq!(outcome, WaitOutcome::Ready);
                }
            },
        }
    }
    println!("read {} longest {}", stream.number(), longest.as_micros());
}

/// What a process has open: descriptors and mappings.
fn held(process: &Process) -> Option<[usize; 2]> {
    let proc = Path::new("/proc").join(process.pid().to_string());
    let descriptors = fs::read_dir(proc.join("fd")).ok()?.count();
    let mappings = fs::read_to_string(proc.join("maps")).ok()?.lines().count();
    // One that has ended and was not waited for has neither.
    (mappings > 0).then_some([descriptors, mappings])
}

/// The most that a process had open, in each tenth of the run.
#[derive(Default)]
struct Held(Vec<[usize; 2]>);

impl Held {
    fn summary(&self, from: usize) -> [usize; 2] {
        let later = &self.0[from.min(self.0.len())..];
        later.iter().fold([0; 2], |most, held| [most[0].max(held[0]), most[1].max(held[1])])
    }
}

#[test]
#[cfg_attr(target_os = "macos", ignore = "looks into /proc")]
fn thousands_of_rolls_leave_no_reader_behind_and_nothing_open() {
    let rolls = setting("CHRONICLE_TEST_ROLLS").unwrap_or(1500);
    let directory = tempfile::tempdir().unwrap();
    let queue = directory.path().join("q");
    drop(Queue::create(&queue, config()).unwrap());
    let start = |body: &str, name: &str| {
        let body = Body::named(body).tell("QUEUE", queue.display());
        body.tell("NAME", name).tell("ROLLS", rolls).start()
    };
    let mut processes: Vec<_> = READERS.iter().map(|name| start("body_follows", name)).collect();
    for reader in &mut processes {
        reader.said("ready").unwrap();
    }
    let begun = Instant::now();
    processes.push(start("body_rolls", "writer"));
    let mut samples: Vec<Held> = processes.iter().map(|_| Held::default()).collect();
    while processes.iter_mut().any(|process| !process.has_ended()) {
        for (process, samples) in processes.iter().zip(&mut samples) {
            samples.0.extend(held(process));
        }
        thread::sleep(Duration::from_millis(20));
    }
    let took = begun.elapsed();
    let mut writer = processes.pop().unwrap();
    writer.succeed();
    let wrote = writer.said("wrote ").unwrap();
    println!("{rolls} rolls in {took:?}: {wrote}");
    let count = wrote.split_once(' ').unwrap().0.to_owned();
    for (reader, name) in processes.iter_mut().zip(READERS) {
        reader.succeed();
        let read = reader.said("read ").unwrap();
        let (number, longest) = read.split_once(" longest ").unwrap();
        assert_eq!(number, count, "{name}");
        let longest = Duration::from_micros(longest.parse().unwrap());
        println!("{name}: all of them, at most {longest:?} behind one that was there");
        assert!(longest < STUCK, "{name} was stuck");
    }
    for (held, name) in samples.iter().zip(READERS.iter().chain([&"writer"])) {
        let count = held.0.len();
        assert!(count > 8, "the run was too short to look at anything");
        let (start, end) =
            (Held(held.0[..count / 2].to_vec()).summary(count / 8), held.summary(count / 2));
        println!(
            "{name}: [descriptors, mappings] {start:?} in the first half, {end:?} then, {count} looks"
        );
        // What is open for a moment while a segment is made or left may or may not be seen.
        assert!(end[0] <= start[0] + 3 && end[1] <= start[1] + 4, "{name} holds more and more");
    }
    // The limits hold once all have read everything: what is there is far less than was written.
    Queue::apply_retention(&queue).unwrap();
    let left = fs::read_dir(&queue).unwrap().filter(|entry| {
        entry.as_ref().unwrap().path().extension().is_some_and(|extension| extension == "q")
    });
    assert!(left.count() <= 17, "old segments are still there");
}
