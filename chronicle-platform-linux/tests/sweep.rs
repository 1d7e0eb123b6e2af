//! What dead processes leave behind goes, and nothing else.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use chronicle_sync::{Object, Platform, Storage};
use support::{
    Process, Queue, given_directory, names, platform, reader, segment, stage, tell, until_told,
};

#[test]
#[ignore = "other tests run it as a process of its own"]
fn process_that_stages() {
    let Some(directory) = given_directory() else { return };
    let platform = platform(&directory);
    let _segment = platform.storage().stage(&segment(0), &stage(4096)).unwrap();
    let _reader = platform.storage().stage(&reader("a"), &stage(4096)).unwrap();
    tell(&directory, "staged");
    until_told(&directory, "never");
}

#[test]
fn what_a_live_process_stages_stays_until_it_is_killed() {
    let queue = Queue::new();
    let mut process = Process::run("process_that_stages", queue.directory.path());
    until_told(queue.directory.path(), "staged");
    queue.storage().sweep();
    assert_eq!(queue.names().len(), 3, "{:?}", queue.names());
    assert_eq!(names(&queue.path("readers")).len(), 1);
    process.kill();
    assert_eq!(queue.names().len(), 3);
    queue.storage().sweep();
    assert_eq!(queue.names(), ["readers", "staged"]);
    assert!(names(&queue.path("readers")).is_empty());
}

#[test]
fn only_temporary_names_of_objects_are_swept() {
    let queue = Queue::new();
    queue.make(&reader("a"), 0);
    let swept = [
        "000000001.q.0123456789abcdef.tmp",
        "000000001.idx.0123456789abcdef.tmp",
        "control.meta.0123456789abcdef.tmp",
        "notify.meta.0123456789abcdef.tmp",
        "checkpoint.meta.0123456789abcdef.tmp",
        "readers/b.meta.0123456789abcdef.tmp",
    ];
    let kept = [
        "000000001.q",
        "000000001.q.tmp",
        "000000001.q.0123456789abcde.tmp",
        "000000001.q.0123456789abcdef0.tmp",
        "000000001.q.0123456789ABCDEF.tmp",
        "000000001.q.0123456789abcdef.tmp.tmp",
        "1.q.0123456789abcdef.tmp",
        "a.meta.0123456789abcdef.tmp",
        "notes.0123456789abcdef.tmp",
        "writer.lock.0123456789abcdef.tmp",
        ".0123456789abcdef.tmp",
        "readers/000000001.q.0123456789abcdef.tmp",
    ];
    for name in swept.iter().chain(&kept) {
        std::fs::write(queue.path(name), "x").unwrap();
    }
    // The name counts only if it is a file's.
    let directory = "000000002.q.0123456789abcdef.tmp";
    std::fs::create_dir(queue.path(directory)).unwrap();
    let link = "000000003.q.0123456789abcdef.tmp";
    std::os::unix::fs::symlink("000000001.q", queue.path(link)).unwrap();
    queue.storage().sweep();
    for name in swept {
        assert!(!queue.path(name).exists(), "{name}");
    }
    for name in kept.iter().chain(&[directory, link]) {
        assert!(queue.path(name).exists(), "{name}");
    }
}

#[test]
fn a_second_name_left_by_a_publisher_that_died_goes_and_the_object_stays() {
    let queue = Queue::new();
    let _map = queue.make(&segment(0), 4096);
    let _guard = queue.storage().lock(&segment(0)).unwrap();
    let second = queue.path("000000000.q.0123456789abcdef.tmp");
    std::fs::hard_link(queue.path("000000000.q"), second).unwrap();
    queue.storage().sweep();
    assert_eq!(queue.names(), ["000000000.q"]);
}

#[test]
fn sweeping_all_the_time_does_not_disturb_who_stages_and_locks() {
    let queue = Queue::new();
    std::thread::scope(|scope| {
        let publisher = scope.spawn(|| {
            for id in 0..1000 {
                queue.make(&segment(id), 4096);
                queue.storage().lock(&segment(id)).unwrap();
                queue.storage().remove(&segment(id)).unwrap();
                queue.make(&reader("a"), 4096);
                queue.storage().remove(&reader("a")).unwrap();
            }
        });
        while !publisher.is_finished() {
            queue.storage().sweep();
        }
    });
    assert_eq!(queue.names(), ["readers"]);
}

#[test]
fn sweeping_an_empty_queue_does_nothing() {
    let queue = Queue::new();
    queue.storage().sweep();
    let _guard = queue.storage().lock(&Object::WriterLock).unwrap();
    queue.storage().sweep();
    assert_eq!(queue.names(), ["writer.lock"]);
}
