//! What a writer gets in a queue that is full, call by call.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

use std::path::Path;
use std::time::{Duration, Instant};

use chronicle_std::{Queue, QueueError, QueueWriter, WhenFull, WriterConfig};

const TYPE: u16 = 0x8000;
const SEGMENT: u64 = 4096;

/// A writer without a thread of its own whose queue is full, and held by the reader "slow".
fn full_queue(path: &Path) -> QueueWriter {
    let mut config = WriterConfig::default();
    config.segment_size = SEGMENT;
    config.background = false;
    config.retention.max_bytes = Some(SEGMENT);
    config.retention.capacity_bytes = Some(3 * SEGMENT);
    let mut writer = Queue::create(path, config).unwrap();
    drop(Queue::open_subscriber(path, "slow").unwrap());
    while writer.append(TYPE, &[7; 100]).is_ok() {}
    writer
}

fn assert_full_after<T>(result: Result<T, QueueError>, limit: Duration) {
    match result.map(drop).unwrap_err() {
        QueueError::Full { capacity, waited, .. } => {
            assert_eq!(capacity, 3 * SEGMENT);
            assert!(waited >= limit && waited < limit + Duration::from_secs(5), "{waited:?}");
        }
        other => panic!("{other}"),
    }
}

#[test]
fn every_way_to_append_waits_for_as_long_as_it_may() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("queue");
    let mut writer = full_queue(&path);
    let next = writer.next_seq();
    assert_full_after(writer.append(TYPE, &[7; 100]), Duration::ZERO);
    let limit = Duration::from_millis(60);
    writer.set_when_full(WhenFull::Wait(limit));
    assert_full_after(writer.append(TYPE, &[7; 100]), limit);
    assert_full_after(writer.append_quietly(TYPE, &[7; 100]), limit);
    assert_full_after(writer.claim(100), limit);
    assert_eq!(writer.next_seq(), next, "nothing was appended");

    writer.set_when_full(WhenFull::Wait(Duration::from_secs(30)));
    let reader = std::thread::spawn({
        let path = path.clone();
        move || {
            std::thread::sleep(Duration::from_millis(100));
            let mut reader = Queue::open_subscriber(&path, "slow").unwrap();
            while reader.next().unwrap().is_some() {}
            reader.commit().unwrap();
        }
    });
    let started = Instant::now();
    let mut claim = writer.claim(5).unwrap();
    claim.copy_from_slice(b"after");
    assert_eq!(claim.commit(TYPE).unwrap(), next);
    assert!(started.elapsed() >= Duration::from_millis(90));
    reader.join().unwrap();
}

#[test]
fn an_error_that_waiting_cannot_mend_comes_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = full_queue(&directory.path().join("queue"));
    writer.set_when_full(WhenFull::Wait(Duration::from_secs(60)));
    let started = Instant::now();
    writer.append(1, b"an internal type").unwrap_err();
    writer.append(TYPE, &[0; 5000]).unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(10));
}
