//! Locks on files beside queues, and hints that names in a directory changed.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs::{self, File};
use std::path::Path;
use std::thread;
use std::time::Duration;

use chronicle_std::{DirectoryWatch, FileLock, LockState, QueueError};

fn open(path: &Path) -> File {
    File::options().read(true).write(true).create(true).truncate(false).open(path).unwrap()
}

#[test]
fn a_file_is_locked_once_and_says_by_whom_until_it_is_let_go() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lock");
    let lock = FileLock::try_acquire(open(&path)).unwrap().unwrap();
    assert_eq!(lock.holder(), None, "it is new");
    lock.inscribe(7).unwrap();
    let holder = lock.holder().unwrap();
    assert_eq!((holder.epoch, holder.pid), (7, std::process::id()));
    assert!(FileLock::try_acquire(open(&path)).unwrap().is_none());
    let state = || FileLock::state(&File::open(&path).unwrap()).unwrap();
    assert_eq!(state(), LockState::Held(Some(holder)));
    drop(lock);
    assert_eq!(state(), LockState::Free);
    let next = FileLock::try_acquire(open(&path)).unwrap().unwrap();
    assert_eq!(next.holder(), Some(holder), "what the one before has written");
}

#[test]
fn a_watch_hears_of_names_and_else_sleeps_for_its_time() {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("not/there");
    let mut watch = DirectoryWatch::nearest(&target).unwrap();
    assert_eq!(watch.path(), directory.path());
    assert!(!watch.wait(Duration::from_millis(50)).unwrap());
    let maker = thread::spawn(move || fs::create_dir_all(target).unwrap());
    assert!(watch.wait(Duration::from_secs(60)).unwrap());
    maker.join().unwrap();
}

#[test]
fn a_path_below_a_file_is_watched_from_above_it() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let watched: Result<_, QueueError> = DirectoryWatch::nearest(file.join("below"));
    assert_eq!(watched.unwrap().path(), directory.path());
}
