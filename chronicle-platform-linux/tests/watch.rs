//! Hints that names came and went.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use core::time::Duration;

use chronicle_sync::{Clock, Instant, Platform, Storage, Wake, Watch};
use support::{Queue, segment, stage};

fn after(queue: &Queue, milliseconds: u64) -> Instant {
    queue.platform.clock().now().after(Duration::from_millis(milliseconds))
}

#[test]
fn names_that_come_and_go_wake_and_nothing_else_does() {
    let queue = Queue::new();
    queue.make(&segment(0), 4096);
    let mut watch = queue.platform.watch().unwrap();
    let mut wait = |time| watch.wait(after(&queue, time)).unwrap();
    assert_eq!(wait(20), Wake::TimedOut);
    assert_eq!(wait(0), Wake::TimedOut);

    let map = queue.make(&segment(1), 4096);
    assert_eq!(wait(20_000), Wake::Woken);
    assert_eq!(wait(20), Wake::TimedOut, "all hints are thrown away at once");

    queue.storage().sync(&map, 0..4096, chronicle_sync::Durability::Durable).unwrap();
    drop(queue.storage().view(&segment(1)).unwrap());
    assert_eq!(wait(20), Wake::TimedOut);

    queue.storage().remove(&segment(1)).unwrap();
    assert_eq!(wait(20_000), Wake::Woken);
    assert_eq!(wait(20), Wake::TimedOut);
}

#[test]
fn a_sleeper_is_woken_by_a_publisher() {
    let queue = Queue::new();
    let staged = queue.storage().stage(&segment(0), &stage(4096)).unwrap();
    let mut watch = queue.platform.watch().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(50));
            queue.storage().publish(staged).unwrap();
        });
        assert_eq!(watch.wait(Instant::NEVER), Ok(Wake::Woken));
        queue.storage().view(&segment(0)).unwrap();
    });
}

#[test]
fn a_directory_that_is_removed_wakes_once_when_nobody_has_it_open() {
    let Queue { directory, platform } = Queue::new();
    let mut watch = platform.watch().unwrap();
    let clock = *platform.clock();
    let mut wait = |time| watch.wait(clock.now().after(Duration::from_millis(time))).unwrap();
    std::fs::remove_dir(directory.path()).unwrap();
    assert_eq!(wait(20), Wake::TimedOut);
    drop(platform);
    assert_eq!(wait(20_000), Wake::Woken);
    assert_eq!(wait(20), Wake::TimedOut);
}

#[test]
fn more_hints_than_the_kernel_keeps_are_one_change() {
    let queue = Queue::new();
    let mut watch = queue.platform.watch().unwrap();
    let limit = std::fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let limit: u64 = limit.trim().parse().unwrap();
    if limit > 50_000 {
        return eprintln!("SKIPPED: the kernel keeps {limit} hints");
    }
    for _ in 0..limit {
        std::fs::write(queue.path("x"), "").unwrap();
        std::fs::remove_file(queue.path("x")).unwrap();
    }
    assert_eq!(watch.wait(Instant::NEVER), Ok(Wake::Woken));
    // One wait takes a bounded number of them; a few more and it is quiet.
    let mut waits = 0;
    while watch.wait(after(&queue, 20)).unwrap() == Wake::Woken {
        waits += 1;
        assert!(waits < 100);
    }
}
