//! A writer and readers in processes of their own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

#[path = "../../chronicle-core/tests/support/child.rs"]
mod child;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use child::{Body, Process, seconds, told};

use chronicle_std::{
    Queue, QueueError, QueueReader, ReaderConfig, WaitOutcome, WaitStrategy, WriterConfig,
    WriterStatus,
};

const TYPE: u16 = 0x8000;
fn small_segments() -> WriterConfig {
    let mut config = WriterConfig::default();
    config.segment_size = 65536;
    config
}

/// A record that says which one it is, in all of its bytes.
fn payload(number: u64) -> [u8; 48] {
    let mut bytes = [number as u8; 48];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    bytes
}

fn start(body: &str, queue: &Path) -> Process {
    Body::named(body).tell("QUEUE", queue.display()).start()
}

/// Not a test of its own: appends at full speed for the time, then says how many.
#[test]
fn body_writes_at_full_speed() {
    let Some(queue) = told::<PathBuf>("QUEUE") else { return };
    let mut writer = Queue::open_publisher_with(&queue, small_segments()).unwrap();
    let until = Instant::now() + seconds(4);
    let mut number = 0;
    while Instant::now() < until {
        for _ in 0..256 {
            assert_eq!(writer.append(TYPE, &payload(number)).unwrap(), number);
            number += 1;
        }
    }
    // A type of its own ends the stream.
    writer.append(TYPE + 1, &number.to_le_bytes()).unwrap();
    println!("done {number} in {} segments", writer.position().segment.get() + 1);
}

/// Not a test of its own: holds a queue until it is killed.
#[test]
fn body_holds_a_queue() {
    let Some(queue) = told::<PathBuf>("QUEUE") else { return };
    let mut writer = Queue::open_publisher(&queue).unwrap();
    writer.append(TYPE, b"held").unwrap();
    println!("holding");
    std::thread::sleep(Duration::from_secs(60));
}

/// Reads to the end of the stream and checks every record; `next_or_wait` polls or waits.
fn verify_stream(reader: &mut QueueReader, polling: bool) -> u64 {
    let mut expected = 0;
    loop {
        match reader.next().unwrap() {
            Some(message) if message.type_id == TYPE => {
                assert_eq!(message.seq, expected, "a record is missing or doubled");
                assert_eq!(message.payload, payload(expected));
                expected += 1;
            }
            Some(message) => {
                assert_eq!(message.payload, expected.to_le_bytes());
                return expected;
            }
            None if polling => std::hint::spin_loop(),
            None => {
                let outcome = reader.wait(Some(Duration::from_secs(20))).unwrap();
                assert_eq!(outcome, WaitOutcome::Ready);
            }
        }
    }
}

fn runs_at_full_speed(polling: bool, strategy: WaitStrategy) {
    let directory = tempfile::tempdir().unwrap();
    let queue = directory.path().join("q");
    drop(Queue::create(&queue, small_segments()).unwrap());
    let mut config = ReaderConfig::default();
    config.wait_strategy = strategy;
    config.writer_timeout = None;
    let mut reader = Queue::open_reader(&queue, config).unwrap();
    let mut writer = start("body_writes_at_full_speed", &queue);
    let count = verify_stream(&mut reader, polling);
    let line = writer.said("done ").unwrap();
    assert!(line.starts_with(&format!("{count} ")), "{count} read, {line}");
    writer.succeed();
    println!("{strategy:?}, polling {polling}: {line}, all of them read");
}

#[test]
fn a_polling_reader_loses_nothing_over_thousands_of_rolls() {
    runs_at_full_speed(true, WaitStrategy::BusySpin);
}

#[test]
fn a_parking_reader_loses_nothing_over_thousands_of_rolls() {
    runs_at_full_speed(false, WaitStrategy::Park);
}

#[test]
fn a_killed_writer_frees_the_queue_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let queue = directory.path().join("q");
    for round in 0..5 {
        let mut holder = start("body_holds_a_queue", &queue);
        holder.said("holding").unwrap();
        let refused = Queue::open_publisher(&queue).map(drop).unwrap_err();
        match refused {
            QueueError::WriterAlreadyActive { holder: Some(found), .. } => {
                assert_eq!(found.pid, holder.pid());
            }
            other => panic!("{other}"),
        }
        holder.kill();
        let begun = Instant::now();
        let writer = Queue::open_publisher(&queue).unwrap();
        assert!(begun.elapsed() < Duration::from_secs(5));
        assert_eq!(writer.next_seq(), round + 1);
    }
}

#[test]
fn a_sleeping_reader_learns_that_its_writer_was_killed() {
    let directory = tempfile::tempdir().unwrap();
    let queue = directory.path().join("q");
    let mut holder = start("body_holds_a_queue", &queue);
    holder.said("holding").unwrap();
    let mut config = ReaderConfig::default();
    config.wait_strategy = WaitStrategy::Park;
    config.writer_timeout = Some(Duration::from_millis(200));
    let mut reader = Queue::open_reader(&queue, config).unwrap();
    assert_eq!(reader.next().unwrap().unwrap().payload, b"held");
    let outcome = reader.wait(Some(Duration::from_millis(500))).unwrap();
    assert_eq!(outcome, WaitOutcome::TimedOut, "a live writer that has nothing to say");
    holder.kill();
    let outcome = reader.wait(Some(Duration::from_secs(20))).unwrap();
    assert_eq!(outcome, WaitOutcome::Writer(WriterStatus::Dead));
}

#[test]
fn a_reader_may_wait_for_a_queue_that_is_not_there_yet() {
    let directory = tempfile::tempdir().unwrap();
    let queue = directory.path().join("deep/er/q");
    assert!(!Queue::wait_for(&queue, Some(Duration::from_millis(50))).unwrap());
    let path = queue.clone();
    let waiting = std::thread::spawn(move || Queue::wait_for(path, Some(Duration::from_secs(20))));
    std::thread::sleep(Duration::from_millis(100));
    let _writer = Queue::open_publisher(&queue).unwrap();
    assert!(waiting.join().unwrap().unwrap());
}
