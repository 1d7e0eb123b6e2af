//! Going to messages by number and by time, beside a writer whose segments a thread prepares.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use chronicle_std::format::{INDEX_STRIDE, SegmentId};
use chronicle_std::{Queue, QueueError, ReaderConfig, Start, WriterConfig};

const TYPE: u16 = 0x8000;
const STRIDE: u64 = INDEX_STRIDE;

/// The numbers of the files with this extension.
fn files(queue: &Path, extension: &str) -> BTreeSet<String> {
    let names = fs::read_dir(queue).unwrap().map(|entry| entry.unwrap().path());
    names
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect()
}

#[test]
fn seek_beside_a_writer_whose_segments_are_prepared() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("queue");
    let mut config = WriterConfig::default();
    config.segment_size = 1 << 20;
    let mut writer = Queue::create(&path, config).unwrap();
    let mut reader = Queue::open_reader(&path, ReaderConfig::default()).unwrap();
    let mut stamps = Vec::new();
    for number in 0..40_000u64 {
        writer.append(TYPE, &number.to_le_bytes().repeat(8)).unwrap();
        if number % 1000 == 999 {
            let sought = reader.seek_seq(number - 500).unwrap();
            assert!(sought.found && sought.passed_bytes <= STRIDE + 96, "{sought:?}");
            let message = reader.next().unwrap().unwrap();
            assert_eq!(message.payload[..8], (number - 500).to_le_bytes());
            stamps.push((message.timestamp_ns, message.seq));
        }
    }
    for (ns, seq) in stamps {
        let sought = reader.seek_timestamp(ns).unwrap();
        assert!(sought.found && sought.passed_bytes <= STRIDE + 96, "{sought:?}");
        let message = reader.next().unwrap().unwrap();
        assert!(message.seq <= seq && message.timestamp_ns == ns, "the first with this time stamp");
    }
    reader.seek_to_end().unwrap();
    assert!(reader.next().unwrap().is_none());
    reader.seek_back(10).unwrap();
    assert_eq!(reader.next().unwrap().unwrap().seq, 39_990);
    reader.seek_to_start().unwrap();
    assert_eq!(reader.next().unwrap().unwrap().seq, 0);
    assert!(!reader.seek_seq(40_000).unwrap().found);
    assert!(!reader.seek_timestamp(u64::MAX).unwrap().found);
    writer.append(TYPE, b"x").unwrap();
    assert!(reader.next().unwrap().is_none(), "that time has not come");

    fs::remove_file(path.join("000000001.idx")).unwrap();
    assert!(writer.rebuild_index(SegmentId::new(1).unwrap()).unwrap());
    assert!(!writer.rebuild_index(SegmentId::new(3).unwrap()).unwrap(), "it is being written to");
    drop(writer);
    assert_eq!(files(&path, "q").len(), 4);
    assert_eq!(files(&path, "idx"), files(&path, "q"));
}

#[test]
fn seek_to_a_message_that_was_removed_names_the_oldest() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("queue");
    let mut config = WriterConfig::default();
    config.segment_size = 4096;
    let mut writer = Queue::create(&path, config).unwrap();
    for _ in 0..200 {
        writer.append(TYPE, &[1; 100]).unwrap();
    }
    assert!(files(&path, "idx").is_empty(), "segments of a stride or less have no index");
    fs::remove_file(path.join("000000000.q")).unwrap();
    let mut reader = Queue::open_reader(&path, ReaderConfig::default()).unwrap();
    let oldest = reader.position().seq;
    let refused = reader.seek_seq(0).unwrap_err();
    assert!(matches!(refused, QueueError::Queue { .. }), "{refused}");
    assert!(refused.to_string().contains(&format!("seq {oldest}")), "{refused}");
    let mut config = ReaderConfig::default();
    config.start = Start::Timestamp(1);
    let refused = Queue::open_reader(&path, config).map(drop).unwrap_err();
    assert!(refused.to_string().contains(&format!("seq {oldest}")), "{refused}");
    assert_eq!(reader.next().unwrap().unwrap().seq, oldest);
}

/// Files of the queue that are gone and still mapped by this process (`/proc/[pid]/maps`, proc(5)).
#[cfg(target_os = "linux")]
fn gone_and_mapped(queue: &Path) -> Vec<String> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let queue = format!("{}/", queue.canonicalize().unwrap().display());
    let gone = maps.lines().filter(|line| line.contains(&queue) && line.ends_with(" (deleted)"));
    gone.map(str::to_owned).collect()
}

#[cfg(target_os = "linux")]
#[test]
fn seek_keeps_the_space_of_removed_segments_for_no_longer_than_the_reader_stands_still() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("queue");
    let mut config = WriterConfig::default();
    config.segment_size = 1 << 20;
    config.retention = chronicle_std::RetentionPolicy {
        max_segments: Some(3),
        ..chronicle_std::RetentionPolicy::KEEP_ALL
    };
    let mut writer = Queue::create(&path, config).unwrap();
    let mut holds_all = Queue::open_subscriber(&path, "slow").unwrap();
    for _ in 0..40_000 {
        writer.append(TYPE, &[7; 480]).unwrap();
    }
    let mut reader = Queue::open_reader(&path, ReaderConfig::default()).unwrap();
    for seq in (0..40_000).step_by(100).chain([39_999]) {
        assert!(reader.seek_seq(seq).unwrap().found);
    }
    holds_all.seek_to_end().unwrap();
    holds_all.commit().unwrap();
    drop(holds_all);
    while files(&path, "q").len() > 5 {
        writer.apply_retention().unwrap();
        std::thread::yield_now();
    }
    assert!(gone_and_mapped(&path).len() > 10, "nothing was remembered");
    assert_eq!(reader.next().unwrap().unwrap().seq, 39_999);
    assert_eq!(gone_and_mapped(&path), [""; 0]);
}
