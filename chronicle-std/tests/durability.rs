//! Group commit, and waiting for durability.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use chronicle_std::{
    CommitSync, Queue, QueueWriter, ReaderConfig, SyncPolicy, Visibility, WaitOutcome, Watermark,
    WriterConfig,
};

const TYPE: u16 = 0x8000;
const PATIENCE: Duration = Duration::from_secs(20);

fn group_writer(path: &Path, interval: Duration) -> QueueWriter {
    let mut config = WriterConfig::default();
    config.segment_size = 256 << 10;
    config.sync = SyncPolicy::Group { interval };
    Queue::create(path, config).unwrap()
}

/// On the disk of the build, not on a tmpfs, where a sync is nothing.
fn on_disk() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

#[test]
fn what_is_appended_becomes_durable_by_itself_in_group_commit() {
    let directory = on_disk();
    let path = directory.path().join("queue");
    let mut writer = group_writer(&path, Duration::from_millis(1));
    let mut watermarks = Queue::open_watermarks(&path).unwrap();
    for round in 1..=20 {
        for _ in 0..50 {
            writer.append(TYPE, &[7; 200]).unwrap();
        }
        let last = round * 50 - 1;
        let outcome = watermarks.wait(Watermark::Durable, last, Some(PATIENCE)).unwrap();
        assert_eq!(outcome, WaitOutcome::Ready);
        assert!(writer.durable_seq() > last);
    }
}

#[test]
fn a_flush_in_group_commit_does_not_wait_for_the_interval() {
    let directory = on_disk();
    let path = directory.path().join("queue");
    // So long that nothing becomes durable unless it is asked for.
    let mut writer = group_writer(&path, Duration::from_secs(3600));
    for _ in 0..3 {
        let seq = writer.append(TYPE, b"flushed").unwrap();
        writer.flush().unwrap();
        assert_eq!(writer.durable_seq(), seq + 1);
    }
    let seq = writer.append(TYPE, b"asked for").unwrap();
    writer.request_flush().unwrap();
    assert!(writer.wait_durable(seq, PATIENCE).unwrap());
}

#[test]
fn a_writer_in_group_commit_leaves_everything_durable_when_it_closes() {
    let directory = on_disk();
    let path = directory.path().join("queue");
    let mut writer = group_writer(&path, Duration::from_secs(3600));
    for _ in 0..5000 {
        writer.append(TYPE, &[7; 200]).unwrap();
    }
    let began = Instant::now();
    drop(writer);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(Queue::open_watermarks(&path).unwrap().durable(), 5000);
}

#[test]
fn a_reader_of_durable_messages_follows_a_group_committing_writer_over_rolls() {
    const COUNT: u64 = 20_000;
    let directory = on_disk();
    let path = directory.path().join("queue");
    let mut writer = group_writer(&path, Duration::ZERO);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut config = ReaderConfig::default();
            config.visibility = Visibility::Durable;
            config.writer_timeout = None;
            let mut reader = Queue::open_reader(&path, config).unwrap();
            let watermarks = Queue::open_watermarks(&path).unwrap();
            let mut expected = 0;
            while expected < COUNT {
                assert_eq!(reader.wait(Some(PATIENCE)).unwrap(), WaitOutcome::Ready);
                while let Some(message) = reader.next().unwrap() {
                    assert_eq!(message.seq, expected);
                    assert!(watermarks.durable() > expected);
                    expected += 1;
                }
            }
        });
        for _ in 0..COUNT {
            writer.append(TYPE, &[7; 200]).unwrap();
        }
        reader.join().unwrap();
    });
}

#[test]
fn group_commit_goes_on_once_what_kept_it_from_it_is_over() {
    let directory = on_disk();
    let path = directory.path().join("queue");
    let mut writer = group_writer(&path, Duration::from_secs(3600));
    let elsewhere = path.join("elsewhere");
    for _ in 0..20 {
        let lost = writer.position().segment.get() + 1;
        let file = path.join(format!("{lost:09}.q"));
        // The thread waits for others to join this message, or has not looked yet.
        let mut seq = writer.append(TYPE, &[7; 2000]).unwrap();
        thread::sleep(Duration::from_millis(20));
        while writer.position().segment.get() < lost + 2 {
            seq = writer.append(TYPE, &[7; 2000]).unwrap();
        }
        std::fs::rename(&file, &elsewhere).unwrap();
        writer.request_flush().unwrap();
        let waited = writer.wait_durable(seq, Duration::from_millis(100));
        std::fs::rename(&elsewhere, &file).unwrap();
        assert!(writer.wait_durable(seq, PATIENCE).unwrap());
        if waited.is_err() {
            return;
        }
        // It was late and had the file open, so it missed nothing.
    }
    panic!("nothing kept it from it");
}

#[test]
fn a_writer_in_group_commit_that_has_nothing_to_do_closes_at_once() {
    let directory = on_disk();
    let path = directory.path().join("queue");
    drop(group_writer(&path, Duration::ZERO));
    let mut config = WriterConfig::default();
    config.sync = SyncPolicy::Group { interval: Duration::ZERO };
    let mut closing = Duration::ZERO;
    for _ in 0..20 {
        let mut writer = Queue::open_publisher_with(&path, config.clone()).unwrap();
        writer.append(TYPE, b"a").unwrap();
        writer.flush().unwrap();
        thread::sleep(Duration::from_millis(5));
        let began = Instant::now();
        drop(writer);
        closing += began.elapsed();
    }
    assert!(closing < Duration::from_secs(1), "{closing:?} for 20 times");
}

#[test]
fn a_position_is_synced_as_the_reader_asks() {
    let directory = on_disk();
    let path = directory.path().join("queue");
    let mut writer = Queue::create(&path, WriterConfig::default()).unwrap();
    writer.append(TYPE, b"one").unwrap();
    writer.append(TYPE, b"two").unwrap();
    for sync_commits in [CommitSync::WhenNeeded, CommitSync::Every(Duration::ZERO)] {
        let mut config = ReaderConfig::default();
        config.name = Some("reader".to_owned());
        config.sync_commits = sync_commits;
        let mut reader = Queue::open_reader(&path, config).unwrap();
        reader.next().unwrap().unwrap();
        reader.commit().unwrap();
        reader.sync_position().unwrap();
    }
    let mut passive = Queue::open_reader(&path, ReaderConfig::default()).unwrap();
    passive.sync_position().unwrap_err();
    assert_eq!(Queue::open_subscriber(&path, "reader").unwrap().position().seq, 2);
}
