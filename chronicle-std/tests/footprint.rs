//! What a queue costs before anything is in it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use chronicle_std::{Queue, ReaderConfig};

/// What `du` says: space that is really taken, in bytes.
fn taken(directory: &Path) -> u64 {
    let metadata = fs::metadata(directory).unwrap();
    let own = metadata.blocks() * 512;
    if !metadata.is_dir() {
        return own;
    }
    let entries = fs::read_dir(directory).unwrap();
    own + entries.map(|entry| taken(&entry.unwrap().path())).sum::<u64>()
}

/// The shortest of several, since a busy machine makes any single one long.
fn shortest(mut what: impl FnMut()) -> Duration {
    let mut time = || {
        let begun = Instant::now();
        what();
        begun.elapsed()
    };
    (0..5).map(|_| time()).min().unwrap()
}

#[test]
fn an_empty_queue_of_the_default_size_is_small_and_opens_in_milliseconds() {
    let directory = tempfile::tempdir().unwrap();
    let queue = directory.path().join("q");
    let begun = Instant::now();
    let mut writer = Queue::open_publisher(&queue).unwrap();
    let made = begun.elapsed();
    // Long enough for a thread that would prepare something nobody asked for.
    thread::sleep(Duration::from_millis(100));
    let open = taken(&queue);
    writer.append(0x8000, b"one").unwrap();
    thread::sleep(Duration::from_millis(100));
    let used = taken(&queue);
    drop(writer);
    let closed = taken(&queue);
    let to_write = shortest(|| drop(Queue::open_publisher(&queue).unwrap()));
    let config = ReaderConfig::default;
    let to_read = shortest(|| drop(Queue::open_reader(&queue, config()).unwrap()));
    println!(
        "{open} bytes open, {used} used, {closed} closed; made in {made:?}, opened to write in \
         {to_write:?}, to read in {to_read:?}"
    );
    for bytes in [open, used, closed] {
        assert!(bytes <= 8 << 20, "{bytes} bytes");
    }
    assert!(to_write < Duration::from_millis(50), "{to_write:?} to open a writer");
    assert!(to_read < Duration::from_millis(10), "{to_read:?} to open a reader");
}

#[test]
fn a_queue_that_is_there_is_not_made_again_whatever_its_writer_has_added() {
    let directory = tempfile::tempdir().unwrap();
    let queue = directory.path().join("queue");
    let config = chronicle_std::WriterConfig::default;
    let mut writer = Queue::create(&queue, config()).unwrap();
    writer.append(0x8000, b"kept").unwrap();
    // The index, which comes with the writer, and a program's own file beside it.
    assert!(queue.join("000000000.idx").exists());
    fs::write(queue.join("message.type"), "").unwrap();
    let refused = Queue::create(&queue, config()).map(drop).unwrap_err();
    assert!(matches!(refused, chronicle_std::QueueError::AlreadyExists { .. }), "{refused}");
    assert_eq!(writer.append(0x8000, b"and gone on").unwrap(), 1);
}
