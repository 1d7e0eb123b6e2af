//! What is no object is refused, without waiting for it and without touching it.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::process::Command;

use chronicle_platform_linux::LinuxError;
use chronicle_sync::{Error, ErrorKind, Object, ObjectKind, Platform, Storage};
use support::{Queue, reader, segment, stage, without_hanging};

/// All ways to open what lies under the name of an object.
fn refused(queue: &Queue, object: &Object) {
    let directory = queue.directory.path().to_owned();
    let object = object.clone();
    let errors: [Option<LinuxError>; 4] = without_hanging(move || {
        let platform = support::platform(&directory);
        let storage = platform.storage();
        [
            storage.open(&object).err(),
            storage.view(&object).err(),
            storage.lock(&object).err(),
            storage.lock_state(&object).err(),
        ]
    });
    for error in errors {
        let error = error.unwrap();
        assert_eq!(error.kind(), ErrorKind::NotRegular, "{error}");
    }
}

#[test]
fn a_symbolic_link_is_refused() {
    let queue = Queue::new();
    queue.make(&segment(0), 4096);
    for (target, object) in [
        ("000000000.q", segment(1)),
        ("nowhere", segment(2)),
        ("/dev/null", segment(3)),
        ("nowhere", Object::WriterLock),
    ] {
        symlink(target, queue.path(&object.to_string())).unwrap();
        refused(&queue, &object);
        let staged = queue.storage().stage(&object, &stage(4096)).unwrap();
        let error = queue.storage().publish(staged).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    }
    assert!(!queue.path("nowhere").exists());
}

#[test]
fn a_fifo_is_refused_without_waiting_for_its_other_end() {
    let queue = Queue::new();
    for object in [segment(0), Object::WriterLock] {
        let path = queue.path(&object.to_string());
        assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
        refused(&queue, &object);
    }
}

#[test]
fn a_directory_is_refused() {
    let queue = Queue::new();
    for object in [segment(0), Object::WriterLock] {
        std::fs::create_dir(queue.path(&object.to_string())).unwrap();
        refused(&queue, &object);
        assert_eq!(queue.storage().remove(&object).unwrap_err().kind(), ErrorKind::NotRegular);
    }
}

#[test]
fn a_socket_is_refused() {
    let queue = Queue::new();
    let _listener = UnixListener::bind(queue.path("000000000.q")).unwrap();
    refused(&queue, &segment(0));
}

#[test]
fn a_device_is_refused() {
    let queue = Queue::new();
    let path = queue.path("000000000.q");
    let made = Command::new("mknod").arg(&path).args(["c", "1", "5"]).status();
    if !made.is_ok_and(|status| status.success()) || std::fs::File::open(&path).is_err() {
        return eprintln!("SKIPPED: no right to make a device");
    }
    refused(&queue, &segment(0));
}

#[test]
fn a_linked_directory_of_readers_is_refused() {
    let queue = Queue::new();
    std::fs::create_dir(queue.path("elsewhere")).unwrap();
    std::fs::write(queue.path("elsewhere/a.meta"), [0; 4096]).unwrap();
    symlink("elsewhere", queue.path("readers")).unwrap();
    refused(&queue, &reader("a"));
    let error = queue.storage().stage(&reader("b"), &stage(4096)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotRegular);
    let error = queue.storage().visit(ObjectKind::Readers, |_| {}).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotRegular);
    queue.storage().sweep();
    assert_eq!(support::names(&queue.path("elsewhere")), ["a.meta"]);
}

#[test]
fn what_is_not_there_is_not_found() {
    let queue = Queue::new();
    for object in [segment(0), reader("a"), Object::Control] {
        assert_eq!(queue.storage().open(&object).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(queue.storage().view(&object).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(queue.storage().remove(&object).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
