//! What the thread beside a writer does, and that it ends with the writer.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use chronicle_std::{
    Queue, QueueError, QueueReader, QueueWriter, ReaderConfig, ReaderPolicy, RetentionPolicy,
    WriterConfig,
};

const TYPE: u16 = 0x8000;

fn is_full(error: &QueueError) -> bool {
    matches!(error, QueueError::Full { .. })
}

fn keeps_one_segment(capacity_bytes: Option<u64>) -> WriterConfig {
    let mut config = WriterConfig::default();
    config.segment_size = 64 << 10;
    config.retention =
        RetentionPolicy { max_segments: Some(1), capacity_bytes, ..RetentionPolicy::KEEP_ALL };
    config
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
    let mut writer = Queue::create(&queue, keeps_one_segment(Some(256 << 10))).unwrap();
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

/// Appends until so many segments have been rolled out of.
fn roll(writer: &mut QueueWriter, times: u32) {
    let until = writer.position().segment.get() + times;
    while writer.position().segment.get() < until {
        writer.append(TYPE, &[7; 200]).unwrap();
    }
}

fn names(directory: &Path) -> BTreeSet<OsString> {
    fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name()).collect()
}

/// Waits until a segment is not there any more; whether that happened in time.
fn goes(queue: &Path, segment: &str) -> bool {
    let until = Instant::now() + Duration::from_secs(10);
    while names(queue).contains(&OsString::from(segment)) {
        if Instant::now() > until {
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
    true
}

#[test]
fn what_the_limits_ask_for_goes_behind_a_roll_that_no_message_follows() {
    let directory = tempfile::tempdir().unwrap();
    let queue = directory.path().join("q");
    let mut writer = Queue::create(&queue, keeps_one_segment(None)).unwrap();
    for segment in ["000000000.q", "000000001.q"] {
        // The thread beside the writer sleeps for as long as it ever does.
        thread::sleep(Duration::from_millis(100));
        roll(&mut writer, 1);
        assert!(goes(&queue, segment), "{segment} is kept until the next message");
    }
}

fn open_leased(queue: &Path) -> QueueReader {
    let mut config = ReaderConfig::default();
    config.name = Some("leased".to_owned());
    config.policy = ReaderPolicy::Lease { ttl_ns: 50_000_000 };
    Queue::open_reader(queue, config).unwrap()
}

#[test]
fn a_leased_reader_that_is_open_holds_its_segments_however_long_it_is_silent() {
    let directory = tempfile::tempdir().unwrap();
    let queue = directory.path().join("q");
    let mut writer = Queue::create(&queue, keeps_one_segment(None)).unwrap();
    let mut reader = open_leased(&queue);
    for _ in 0..8 {
        roll(&mut writer, 2);
        // Longer than its time to live in all, and longer than removal waits between two looks.
        thread::sleep(Duration::from_millis(40));
    }
    let mut read = 0;
    while let Some(message) = reader.next().unwrap() {
        assert_eq!(message.seq, read);
        read += 1;
    }
    assert_eq!(read, writer.next_seq());
    // Closed for longer than that, it holds nothing any more.
    drop(reader);
    roll(&mut writer, 2);
    assert!(goes(&queue, "000000000.q"), "a lease that ran out still holds its segments");
}

#[test]
#[cfg_attr(target_os = "macos", ignore = "looks into /proc")]
fn a_writer_that_is_dropped_leaves_no_thread_and_makes_no_file_afterwards() {
    let directory = tempfile::tempdir().unwrap();
    let queue = directory.path().join("q");
    let mut writer = Queue::create(&queue, keeps_one_segment(None)).unwrap();
    for round in 0..20 {
        // Asked for a segment just now, so that the thread is in the middle of its work.
        roll(&mut writer, 1);
        drop(writer);
        let before = names(&queue);
        // What the thread works with, it has open.
        let open = fs::read_dir("/proc/self/fd").unwrap().flatten();
        let targets = open.filter_map(|descriptor| fs::read_link(descriptor.path()).ok());
        let ours: Vec<_> = targets.filter(|target| target.starts_with(&queue)).collect();
        assert!(ours.is_empty(), "round {round}: {ours:?} are still open");
        thread::sleep(Duration::from_millis(5));
        assert_eq!(names(&queue), before, "round {round}");
        assert!(!before.iter().any(|name| name.to_string_lossy().ends_with(".tmp")));
        writer = Queue::open_publisher(&queue).unwrap();
    }
}

#[test]
fn a_writer_closes_at_once_whatever_is_still_to_be_removed() {
    let directory = tempfile::tempdir().unwrap();
    let queue = directory.path().join("q");
    let mut config = keeps_one_segment(None);
    config.segment_size = 4096;
    config.background = false;
    let mut writer = Queue::create(&queue, config).unwrap();
    roll(&mut writer, 4000);
    drop(writer);
    let count = || names(&queue).iter().filter(|name| is_segment(name)).count();
    let before = count();
    let writer = Queue::open_publisher(&queue).unwrap();
    assert!(goes(&queue, "000000000.q"));
    drop(writer);
    let left = count();
    assert!(left < before && left > 2, "{left} of {before} segments are left");
    // The next writer's thread goes on with it.
    let _writer = Queue::open_publisher(&queue).unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    while count() >= left && Instant::now() < until {
        thread::sleep(Duration::from_millis(10));
    }
    assert!(count() < left);
}

fn is_segment(name: &OsString) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "q")
}

#[test]
fn removal_keeps_up_with_a_writer_that_does_nothing_but_roll() {
    let directory = tempfile::tempdir().unwrap();
    let queue = directory.path().join("q");
    let mut config = keeps_one_segment(None);
    config.segment_size = 4096;
    let mut writer = Queue::create(&queue, config).unwrap();
    // What is rolled out of while the checkpoint is brought to the medium comes on top of what is kept, and
    // that takes long where others use the disk: so it is looked at again and again.
    let mut rolled = 0;
    loop {
        roll(&mut writer, 3000);
        rolled += 3000;
        let left = names(&queue).iter().filter(|name| is_segment(name)).count();
        if left * 6 < rolled * 5 {
            break;
        }
        assert!(rolled < 60_000, "{left} of {rolled} segments are still there");
    }
}
