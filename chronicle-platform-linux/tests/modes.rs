//! Who may do what with a queue's files does not depend on the umask.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use chronicle_sync::format::SegmentId;
use chronicle_sync::{Object, Platform, Stage, Storage};
use rustix::fs::Mode;
use support::{Process, Queue, given_directory, platform, reader, segment};

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().mode() & 0o7777
}

fn modes_are_exact(umask: u32) {
    let Some(directory) = given_directory() else { return };
    // The umask is the process's, which is why this test has one of its own.
    rustix::process::umask(Mode::from_raw_mode(umask));
    for (group_readable, plain, shared, readers) in
        [(false, 0o600, 0o600, 0o700), (true, 0o640, 0o660, 0o770)]
    {
        let directory = directory.join(group_readable.to_string());
        std::fs::create_dir(&directory).unwrap();
        let platform = platform(&directory);
        let storage = platform.storage();
        for (object, expected) in [
            (segment(0), plain),
            (Object::Index(SegmentId::FIRST), plain),
            (Object::Control, plain),
            (Object::Checkpoint, plain),
            (Object::Notify, shared),
            (reader("a"), shared),
        ] {
            let stage = Stage { length: 4096, reserved: 4096, group_readable };
            storage.publish(storage.stage(&object, &stage).unwrap()).unwrap();
            let path = directory.join(object.to_string());
            assert_eq!(mode(&path), expected, "{object} with umask {umask:o}");
        }
        assert_eq!(mode(&directory.join("readers")), readers);
        storage.lock(&Object::WriterLock).unwrap();
        assert_eq!(mode(&directory.join("writer.lock")), 0o600);
    }
}

#[test]
#[ignore = "other tests run it as a process of its own"]
fn process_with_the_strictest_umask() {
    modes_are_exact(0o077);
}

#[test]
#[ignore = "other tests run it as a process of its own"]
fn process_without_a_umask() {
    modes_are_exact(0);
}

#[test]
fn modes_are_exact_under_any_umask() {
    for process in ["process_with_the_strictest_umask", "process_without_a_umask"] {
        let queue = Queue::new();
        Process::run(process, queue.directory.path()).succeeds();
    }
}

#[test]
fn the_readers_directory_inherits_the_group_and_keeps_the_mode_it_has() {
    let queue = Queue::new();
    let queue_mode = std::fs::Permissions::from_mode(0o2770);
    std::fs::set_permissions(queue.directory.path(), queue_mode).unwrap();
    let stage = Stage { length: 0, reserved: 0, group_readable: true };
    drop(queue.storage().stage(&reader("a"), &stage).unwrap());
    assert_eq!(mode(&queue.path("readers")), 0o2770);
    std::fs::set_permissions(queue.path("readers"), std::fs::Permissions::from_mode(0o750))
        .unwrap();
    drop(queue.storage().stage(&reader("a"), &stage).unwrap());
    assert_eq!(mode(&queue.path("readers")), 0o750);
}
