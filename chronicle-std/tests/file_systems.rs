//! A queue on a file system that other hosts may share is refused, unless it is forced.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

use std::ffi::OsStr;
use std::time::{Duration, UNIX_EPOCH};

use chronicle_std::{Queue, QueueError, ReaderConfig, WriterConfig};
use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, INodeNo,
    ReplyAttr, ReplyEntry, Request,
};
use tempfile::TempDir;

/// A FUSE file system with nothing in it, in a directory of its own; `None` and a word about it where
/// there is no FUSE.
fn nothing_by_fuse() -> Option<(TempDir, BackgroundSession)> {
    let directory = tempfile::tempdir().unwrap();
    match fuser::spawn_mount(Nothing, directory.path(), &Config::default()) {
        Ok(session) => Some((directory, session)),
        Err(error) => {
            println!("SKIPPED: no FUSE here (root and fusermount3 are needed): {error}");
            None
        }
    }
}

struct Nothing;

impl Filesystem for Nothing {
    fn getattr(&self, _: &Request, node: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let attributes = FileAttr {
            ino: node,
            size: 0,
            blocks: 0,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: FileType::Directory,
            perm: 0o700,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        };
        reply.attr(&Duration::ZERO, &attributes);
    }

    fn lookup(&self, _: &Request, _: INodeNo, _: &OsStr, reply: ReplyEntry) {
        reply.error(Errno::ENOENT);
    }
}

fn is_refused<T>(opened: Result<T, QueueError>) -> bool {
    match opened.map(drop).unwrap_err() {
        QueueError::ForeignFileSystem { file_system, .. } => {
            assert!(file_system.contains("FUSE"), "{file_system}");
            true
        }
        // An empty file system that can make no files has other things to say.
        _ => false,
    }
}

#[test]
fn a_queue_on_a_file_system_of_another_host_is_refused_unless_it_is_forced() {
    let Some((directory, _session)) = nothing_by_fuse() else { return };
    let mut writer = WriterConfig::default();
    let mut reader = ReaderConfig::default();
    for forced in [false, true] {
        writer.any_file_system = forced;
        reader.any_file_system = forced;
        // In the directory itself, and in one that would have to be made first.
        let path = directory.path();
        for queue in [path.to_owned(), path.join("above").join("queue")] {
            assert_eq!(is_refused(Queue::create(&queue, writer.clone())), !forced);
            assert_eq!(is_refused(Queue::open_publisher_with(&queue, writer.clone())), !forced);
        }
        assert_eq!(is_refused(Queue::open_reader(path, reader.clone())), !forced);
    }
    assert!(is_refused(Queue::open_publisher(directory.path())));
    assert!(is_refused(Queue::open_subscriber(directory.path(), "reader")));
}
