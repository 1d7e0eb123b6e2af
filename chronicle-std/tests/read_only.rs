//! A reader in a queue that it may not write to, for each of the ways in which that comes about: it
//! is another user, the files are not writable, or the file system is mounted read-only.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

#[path = "../../chronicle-core/tests/support/child.rs"]
mod child;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, SystemTime};

use child::{Body, Process, told};
use chronicle_std::{
    Queue, QueueError, QueueWriter, ReaderConfig, WaitOutcome, WaitStrategy, WriterConfig,
};

const TYPE: u16 = 0x8000;
const NOBODY: u32 = 65534;
const RECORDS: u64 = 4000;
const SLOWLY: u64 = 100;

/// Nanoseconds since 1970.
fn wall_ns() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64
}

/// Not a test of its own: reads all records without the right to write anything.
#[test]
fn body_may_not_write() {
    let Some(queue) = told::<PathBuf>("QUEUE") else { return };
    let mount: Option<PathBuf> = told("MOUNT");
    if let Some(target) = mount {
        // In a mount namespace of its own: the same directory once more, without the right to write.
        let run = |arguments: &[&str]| {
            Command::new("mount").args(arguments).status().is_ok_and(|status| status.success())
        };
        let (from, to) = (queue.to_str().unwrap(), target.to_str().unwrap());
        let mounted = run(&["--make-rprivate", "/"])
            && run(&["--bind", from, to])
            && run(&["-o", "remount,bind,ro", to]);
        if !mounted {
            println!("the queue is skipped");
            return;
        }
        read_all(&target);
    } else {
        read_all(&queue);
    }
}

fn read_all(queue: &Path) {
    assert!(fs::write(queue.join("probe"), b"").is_err(), "it may write here after all");
    let named = Queue::open_subscriber(queue, "named").map(drop).unwrap_err();
    assert!(matches!(named, QueueError::Io { .. }), "{named}");
    let mut config = ReaderConfig::default();
    config.wait_strategy = WaitStrategy::Park;
    let mut reader = Queue::open_reader(queue, config).unwrap();
    assert!(!reader.can_be_woken());
    println!("the queue is open");
    let mut lags = Vec::new();
    let mut expected = 0;
    while expected < RECORDS + SLOWLY {
        match reader.next().unwrap() {
            Some(message) => {
                assert_eq!(message.seq, expected);
                assert_eq!(message.payload[..8], expected.to_le_bytes());
                if expected >= RECORDS {
                    lags.push(wall_ns().saturating_sub(message.timestamp_ns));
                }
                expected += 1;
            }
            None => {
                let outcome = reader.wait(Some(Duration::from_secs(60))).unwrap();
                assert_eq!(outcome, WaitOutcome::Ready);
            }
        }
    }
    lags.sort_unstable();
    println!("read, late by {} and {}", lags[lags.len() / 2] / 1000, lags[lags.len() - 1] / 1000);
}

/// The names in the queue that no writer makes or removes as it rolls.
fn lasting_names(queue: &Path) -> BTreeSet<PathBuf> {
    let mut names = BTreeSet::new();
    for directory in [queue.to_owned(), queue.join("readers")] {
        let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        names.extend(entries.filter(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            !name.ends_with(".q") && !name.ends_with(".idx") && !name.contains(".tmp")
        }));
    }
    names
}

/// Lets everybody read what there is, as the queue's group may read it without this.
fn let_all_read(queue: &Path) {
    for entry in fs::read_dir(queue).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() && !path.ends_with("writer.lock") {
            // One that is prepared may get its name, or lose it, just now.
            let _ = fs::set_permissions(&path, fs::Permissions::from_mode(0o644));
        }
    }
}

struct Case {
    _directory: tempfile::TempDir,
    queue: PathBuf,
    mount: PathBuf,
    writer: QueueWriter,
}

impl Case {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (queue, mount) = (directory.path().join("q"), directory.path().join("mount"));
        fs::create_dir(&mount).unwrap();
        let mut config = WriterConfig::default();
        config.segment_size = 64 << 10;
        config.group_readable = true;
        // Segments are made by this thread, so that they can be opened to all as they come.
        config.background = false;
        let writer = Queue::create(&queue, config).unwrap();
        for path in [directory.path(), &queue, &queue.join("readers")] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let_all_read(&queue);
        Self { _directory: directory, queue, mount, writer }
    }

    fn append(&mut self) {
        let number = self.writer.next_seq();
        let mut bytes = number.to_le_bytes().to_vec();
        bytes.resize(200, number as u8);
        let segment = self.writer.position().segment;
        // Open to all before anybody is led there: prepared by hand, then taken at the roll.
        if number.is_multiple_of(50) {
            self.writer.prepare_next().unwrap();
            let_all_read(&self.queue);
        }
        self.writer.append(TYPE, &bytes).unwrap();
        if self.writer.position().segment != segment {
            let_all_read(&self.queue);
        }
    }

    /// Appends beside the reader, over rolls, then slowly; checks what became of the reader.
    fn follow(mut self, what: &str, mut reader: Process) {
        let mut lines = std::iter::from_fn(|| reader.said("the queue is "));
        match lines.next().as_deref() {
            Some("skipped") => {
                eprintln!("SKIPPED, {what}: not to be had here");
                return;
            }
            Some(_) => {}
            None => panic!("{what}: the reader ended with {}", reader.end()),
        }
        let before = lasting_names(&self.queue);
        for _ in 0..RECORDS {
            self.append();
        }
        assert!(self.writer.position().segment.get() > 10);
        for _ in 0..SLOWLY {
            thread::sleep(Duration::from_millis(3));
            self.append();
        }
        let lags = reader.said("late by ").unwrap();
        reader.succeed();
        println!("{what}: half of the records within, and all within, microseconds: {lags}");
        let (half, _) = lags.split_once(" and ").unwrap();
        // It looks every ten milliseconds. The slowest is up to the machine; half of them are not.
        assert!(half.parse::<u64>().unwrap() < 20_000, "{what}: {lags}");
        assert_eq!(lasting_names(&self.queue), before, "{what}: something was made or removed");
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn skipped(what: &str) {
    eprintln!("SKIPPED, {what}: only root can try this");
}

#[test]
fn another_user_reads_across_rolls_and_changes_nothing() {
    if !is_root() {
        return skipped("another user");
    }
    let case = Case::new();
    let mut body = Body::named("body_may_not_write").tell("QUEUE", case.queue.display());
    body.command().uid(NOBODY).gid(NOBODY);
    case.follow("another user", body.start());
}

#[test]
fn a_reader_of_a_read_only_mount_reads_across_rolls_and_changes_nothing() {
    let case = Case::new();
    let mut unshare = Command::new("unshare");
    unshare.arg("--mount");
    if !is_root() {
        unshare.args(["--user", "--map-root-user"]);
    }
    let allowed = Command::new(unshare.get_program()).args(unshare.get_args()).arg("true").output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED, a read-only mount: no mount namespace is to be had here");
        return;
    }
    let body = Body::named_through(unshare, "body_may_not_write");
    let body = body.tell("QUEUE", case.queue.display()).tell("MOUNT", case.mount.display());
    case.follow("a read-only mount", body.start());
}

#[test]
fn a_reader_whose_own_files_were_made_read_only_reads_across_rolls_and_changes_nothing() {
    if is_root() {
        // Modes do not bind root: the owner is somebody else, who has no rights to write either.
        let case = Case::new();
        for name in [".", "readers", "notify.meta"] {
            let path = case.queue.join(name);
            std::os::unix::fs::chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
            let mode = if path.is_dir() { 0o555 } else { 0o444 };
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        let mut body = Body::named("body_may_not_write").tell("QUEUE", case.queue.display());
        body.command().uid(NOBODY).gid(NOBODY);
        case.follow("files made read-only", body.start());
    } else {
        skipped("files made read-only");
    }
}
