//! A bus on a file system that is full: errors that name the file, nothing half-made, and everything
//! works again once there is space.
//!
//! The file system is mounted in a mount namespace of the test's own; where that is not allowed, the test
//! says so and is skipped.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../../chronicle-core/tests/support/child.rs"]
mod child;

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use child::{Body, told};
use chronicle_bus::{
    BusError, BusLayout, Change, Publisher, RouterDiscovery, StrategyChannel, StrategyId,
    Subscriber,
};
use chronicle_std::{QueueError, ReaderConfig, WriterConfig};

chronicle_bus::message! {
    /// Anything.
    pub struct Order = 0x2001 {
        /// Its number.
        pub id: u64,
    }
}

/// Takes all space that there is.
fn fill(disk: &Path) -> PathBuf {
    let path = disk.join("filler");
    let mut file = File::create(&path).unwrap();
    let error = loop {
        if let Err(error) = file.write_all(&[1; 4096]) {
            break error;
        }
    };
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    path
}

/// The file that an error is about, which is that there is no space.
fn no_space(error: &BusError) -> PathBuf {
    let is_full = |source: &io::Error| source.kind() == ErrorKind::StorageFull;
    match error {
        BusError::Io { path, source, .. } if is_full(source) => path.clone(),
        BusError::Queue(QueueError::Io { file, source, .. }) if is_full(source) => file.clone(),
        other => panic!("{other}"),
    }
}

/// The names in a directory.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn small() -> WriterConfig {
    let mut config = WriterConfig::default();
    config.segment_size = 64 << 10;
    config.allocation_step = 4096;
    config.background = false;
    config
}

/// Not a test of its own: on a file system of this size.
#[test]
fn body_fills_the_disk() {
    let Some(disk) = told::<PathBuf>("DISK") else { return };
    let layout = BusLayout::new(disk.join("bus")).unwrap();
    let strategy = layout.strategy(StrategyId::new("a").unwrap());
    let mut discovery = RouterDiscovery::with_rescan(&layout, std::time::Duration::ZERO);
    let mut told = || {
        std::thread::sleep(std::time::Duration::from_millis(20));
        let events = discovery.poll().unwrap();
        events.into_iter().map(|event| event.change).collect::<Vec<_>>()
    };

    // The lease.
    let filler = fill(&disk);
    let error = strategy.write_lease().unwrap_err();
    assert!(no_space(&error).starts_with(layout.root()), "{error}");
    assert_eq!(no_space(&error), strategy.directory().join("LEASE"), "{error}");
    assert!(error.to_string().contains("LEASE"), "{error}");
    assert_eq!((strategy.ready_holder().unwrap(), told().len()), (None, 0));
    fs::remove_file(&filler).unwrap();
    let mut lease = strategy.write_lease().unwrap();
    assert_eq!(lease.epoch(), 1);

    // The mark, by a process that has its lease.
    let filler = fill(&disk);
    for _ in 0..2 {
        let error = lease.mark_ready().unwrap_err();
        assert_eq!(no_space(&error), layout.strategies().join("a.ready"), "{error}");
        assert_eq!(names(&layout.strategies()), ["a"]);
        assert_eq!(names(&strategy.directory()), ["LEASE"]);
        assert_eq!((strategy.ready_holder().unwrap(), told().len()), (None, 0));
    }
    fs::remove_file(&filler).unwrap();
    lease.mark_ready().unwrap();
    assert!(matches!(told()[..], [Change::Added(holder)] if holder.epoch == 1));

    // A strategy that has run before: nothing new is to be written but the mark.
    let filler = fill(&disk);
    drop(lease);
    assert!(matches!(told()[..], [Change::Removed(_)]));
    let mut lease = strategy.write_lease().unwrap();
    assert_eq!(lease.epoch(), 2);
    // The mark of the process before has left a page, which somebody else takes.
    fs::remove_file(&filler).unwrap();
    let filler = fill(&disk);
    lease.mark_ready().unwrap_err();
    assert_eq!(strategy.ready_holder().unwrap(), None);
    fs::remove_file(&filler).unwrap();
    lease.mark_ready().unwrap();
    assert_eq!(strategy.ready_holder().unwrap().unwrap().epoch, 2);
    drop(lease);

    // What a queue says of its messages.
    let queue = layout.live("stream", "feed").unwrap();
    queue.create(small()).unwrap();
    // Opened once, so that all that a writer needs is there.
    drop(queue.open_publisher(small()).unwrap());
    let before = names(&queue.path());
    let filler = fill(&disk);
    let error = Publisher::<Order>::open(&queue, small()).map(drop).unwrap_err();
    assert!(no_space(&error).starts_with(queue.path()), "{error}");
    assert_eq!(names(&queue.path()), before);
    let untyped = Subscriber::<Order>::open(&queue, ReaderConfig::default()).map(drop);
    assert!(matches!(untyped, Err(BusError::NotTyped { .. })));
    fs::remove_file(&filler).unwrap();
    Publisher::<Order>::open(&queue, small()).unwrap().send(&Order { id: 1 }).unwrap();

    // A whole strategy: it is not there until all of it is.
    let strategy = layout.strategy(StrategyId::new("b").unwrap());
    let filler = fill(&disk);
    let mut failures = 0;
    let file = File::options().write(true).open(&filler).unwrap();
    let mut channel = loop {
        match StrategyChannel::<Order, Order>::open(&strategy, small()) {
            Ok(channel) => break channel,
            Err(error) => {
                assert!(no_space(&error).starts_with(strategy.directory()), "{error}");
                assert_eq!(strategy.ready_holder().unwrap(), None);
                failures += 1;
            }
        }
        // One page more for the next try.
        let length = file.metadata().unwrap().len();
        file.set_len(length - 4096).unwrap();
    };
    drop(file);
    fs::remove_file(&filler).unwrap();
    channel.mark_ready().unwrap();
    channel.queues.outgoing.send(&Order { id: 1 }).unwrap();
    println!("attempts {failures}");
}

/// Not a test of its own: runs in a mount namespace.
#[test]
fn body_mounts_a_disk() {
    let Some(disk) = told::<PathBuf>("MOUNT") else { return };
    let run = |command: &mut Command| command.status().unwrap().success();
    // A mount in here is seen nowhere else.
    let mount = ["-t", "tmpfs", "-o", "size=1M,huge=never", "tmpfs"];
    if !run(Command::new("mount").args(["--make-rprivate", "/"]))
        || !run(Command::new("mount").args(mount).arg(&disk))
    {
        println!("skipped: no file system can be mounted");
        return;
    }
    let mut body = Body::named("body_fills_the_disk").tell("DISK", disk.display()).start();
    if let Some(attempts) = body.said("attempts") {
        println!("attempts {attempts}");
    }
    body.succeed();
}

#[test]
fn on_a_full_disk_nothing_is_half_made_and_all_works_once_there_is_space() {
    let directory = tempfile::tempdir().unwrap();
    let mut unshare = Command::new("unshare");
    unshare.args(["--user", "--map-root-user", "--mount"]);
    let allowed = Command::new("unshare").args(unshare.get_args()).arg("true").output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: no namespace can be made");
        return;
    }
    let body = Body::named_through(unshare, "body_mounts_a_disk");
    let mut body = body.tell("MOUNT", directory.path().display()).start();
    let failures = body.said("attempts").map(|failures| failures.parse::<u32>().unwrap());
    body.succeed();
    match failures {
        Some(failures) => {
            println!("{failures} attempts failed before there was space for a strategy");
            assert!(failures > 3, "only {failures} attempts failed");
        }
        None => eprintln!("SKIPPED: no file system can be mounted"),
    }
}
