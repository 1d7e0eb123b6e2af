//! Short messages take a way of their own through a writer, with the same wake-ups and counters.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod support;

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, TryRecvError};
use std::thread;
use std::time::Duration;

use chronicle_format::{CountersKind, WriterCounters};
use chronicle_std::{
    CountersFile, CountersValues, Queue, QueueError, QueueWriter, ReaderConfig, Start,
    WaitStrategy, WriterConfig,
};
use support::{TYPE, small};
use tempfile::TempDir;

const SHORT: [u8; 64] = [7; 64];
/// So few that none of them gets an entry of the index, which is made on the long way.
const MOST: usize = 100;

struct Home {
    directory: TempDir,
    config: WriterConfig,
}

impl Home {
    /// A queue whose first two messages are there already: the first goes the long way.
    fn new(checksums: bool) -> (Self, QueueWriter) {
        let mut config = small();
        config.checksums = checksums;
        config.allocation_step = config.segment_size;
        let home = Self { directory: tempfile::tempdir().unwrap(), config };
        let mut writer = Queue::create(home.queue(), home.config.clone()).unwrap();
        writer.append(TYPE, &SHORT).unwrap();
        writer.append(TYPE, &SHORT).unwrap();
        writer.count_in(home.counters()).unwrap();
        (home, writer)
    }

    fn queue(&self) -> PathBuf {
        self.directory.path().join("q")
    }

    fn counted(&self) -> PathBuf {
        self.directory.path().join("counters")
    }

    fn counters(&self) -> CountersFile {
        let mut options = OpenOptions::new();
        let path = self.counted();
        let file = options.read(true).write(true).create(true).truncate(false).open(&path);
        CountersFile::take(&path, file.unwrap(), CountersKind::Writer).unwrap().unwrap()
    }
}

fn published(path: &Path) -> WriterCounters {
    let report = CountersFile::look(path, &File::open(path).unwrap()).unwrap().unwrap();
    let CountersValues::Writer { writer, .. } = report.values else { panic!("{report:?}") };
    writer
}

#[test]
fn a_short_message_wakes_who_sleeps() {
    for checksums in [false, true] {
        let (home, mut writer) = Home::new(checksums);
        let mut config = ReaderConfig::default();
        config.start = Start::Latest;
        config.wait_strategy = WaitStrategy::Park;
        let mut reader = Queue::open_reader(home.queue(), config).unwrap();
        let (reading, until_here) = mpsc::channel::<()>();
        let woken = thread::scope(|scope| {
            scope.spawn(move || {
                while until_here.try_recv() == Err(TryRecvError::Empty) {
                    reader.wait(Some(Duration::from_millis(500))).unwrap();
                    while reader.next().unwrap().is_some() {}
                }
            });
            // The reader sleeps at one of these, if not at the first.
            let woken = (0..MOST).any(|_| {
                thread::sleep(Duration::from_millis(10));
                writer.append_at(TYPE, 1, &SHORT).unwrap();
                writer.publish_counters();
                published(&home.counted()).wakes > 0
            });
            drop(reading);
            woken
        });
        assert!(woken, "checksums: {checksums}");
    }
}

#[test]
fn short_messages_are_counted_as_they_come() {
    for checksums in [false, true] {
        let (home, mut writer) = Home::new(checksums);
        let before = published(&home.counted()).messages;
        let counted = (0..MOST).any(|_| {
            thread::sleep(Duration::from_millis(2));
            writer.append_at(TYPE, 1, &SHORT).unwrap();
            published(&home.counted()).messages > before
        });
        assert!(counted, "checksums: {checksums}");
    }
}

#[test]
fn a_writer_that_lost_the_queue_is_told_at_a_short_message() {
    for checksums in [false, true] {
        let (home, mut writer) = Home::new(checksums);
        fs::remove_file(home.queue().join("writer.lock")).unwrap();
        let mut successor = Queue::open_publisher_with(home.queue(), home.config.clone()).unwrap();
        successor.append_at(TYPE, 1, &[4; 64]).unwrap();
        let error = writer.append_at(TYPE, 1, &SHORT);
        assert!(matches!(error, Err(QueueError::Queue { .. })), "{error:?}");
        assert_eq!(published(&home.counted()).errors, 1);
        let mut reader = Queue::open_subscriber(home.queue(), "reader").unwrap();
        let mut last = Vec::new();
        while let Some(message) = reader.next().unwrap() {
            last = message.payload.to_vec();
        }
        assert_eq!(last, [4; 64]);
    }
}
