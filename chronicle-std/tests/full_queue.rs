//! A queue that is full by its own limit.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

use std::thread;
use std::time::{Duration, Instant};

use chronicle_std::{Queue, QueueError, QueueWriter, RetentionPolicy, WriterConfig};

const TYPE: u16 = 0x8000;

fn is_full(error: &QueueError) -> bool {
    matches!(error, QueueError::Queue { reason, .. }
        if matches!(**reason, chronicle_core::Error::QueueFull { .. }))
}

/// Appends until the queue is full; returns how many messages it took.
fn fill(writer: &mut QueueWriter) -> u64 {
    loop {
        match writer.append(TYPE, &[7; 200]) {
            Ok(_) => {}
            Err(error) => {
                assert!(is_full(&error), "{error}");
                return writer.next_seq();
            }
        }
    }
}

#[test]
fn a_full_queue_takes_messages_soon_after_its_reader_has_passed_some() {
    let directory = tempfile::tempdir().unwrap();
    let queue = directory.path().join("q");
    let mut config = WriterConfig::default();
    config.segment_size = 64 << 10;
    config.retention =
        RetentionPolicy { max_bytes: None, max_segments: Some(1), capacity_bytes: Some(256 << 10) };
    let mut writer = Queue::create(&queue, config).unwrap();
    let mut reader = Queue::open_subscriber(&queue, "slow").unwrap();
    let mut read = 0;
    for round in 0..3 {
        let count = fill(&mut writer);
        // Long enough that the thread beside the writer has nothing to do and sleeps.
        thread::sleep(Duration::from_millis(200));
        while let Some(message) = reader.next().unwrap() {
            assert_eq!(message.seq, read);
            read += 1;
        }
        assert_eq!(read, count);
        reader.commit().unwrap();
        let begun = Instant::now();
        while let Err(error) = writer.append(TYPE, &[7; 200]) {
            assert!(is_full(&error), "{error}");
            thread::sleep(Duration::from_millis(1));
        }
        let took = begun.elapsed();
        assert!(took < Duration::from_millis(250), "round {round}: full for {took:?}");
    }
}
