//! Who runs a strategy, and whether it can be talked to, told in processes of their own.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../../chronicle-core/tests/support/child.rs"]
mod child;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use child::{Body, Process, told};
use chronicle_bus::{BusError, BusLayout, ReaderRegistration, StrategyEndpoints, StrategyId};
use chronicle_std::format::Holder;
use chronicle_std::{Queue, QueueError, ReaderConfig, WriterConfig};

fn strategy(root: &Path) -> StrategyEndpoints {
    BusLayout::new(root).unwrap().strategy(StrategyId::new("momentum").unwrap())
}

/// Not a test of its own: runs the strategy until it is killed.
#[test]
fn body_runs_the_strategy() {
    let Some(root) = told::<PathBuf>("ROOT") else { return };
    let mut lease = strategy(&root).write_lease().unwrap();
    lease.mark_ready().unwrap();
    println!("epoch {}", lease.epoch());
    std::thread::sleep(Duration::from_secs(60));
}

/// Not a test of its own: says who runs the strategy.
#[test]
fn body_looks_at_the_strategy() {
    let Some(root) = told::<PathBuf>("ROOT") else { return };
    println!("holder {:?}", strategy(&root).ready_holder().unwrap().map(|holder| holder.epoch));
}

fn running(root: &Path) -> (Process, u32) {
    let mut process = Body::named("body_runs_the_strategy").tell("ROOT", root.display()).start();
    let epoch = process.said("epoch").unwrap().parse().unwrap();
    (process, epoch)
}

#[test]
fn a_strategy_is_run_by_one_process_and_the_other_is_told_by_whom() {
    let directory = tempfile::tempdir().unwrap();
    let (process, _) = running(directory.path());
    let error = strategy(directory.path()).write_lease().unwrap_err();
    let BusError::StrategyAlreadyActive { lease, holder: Some(holder) } = error else {
        panic!("{error}")
    };
    assert_eq!(lease, strategy(directory.path()).directory().join("LEASE"));
    assert_eq!(holder.pid, process.pid());
    // The file is a line for people, and for whoever reads it without this library.
    let line = fs::read_to_string(&lease).unwrap();
    assert_eq!(Holder::decode(&line), Some(holder), "{line}");
    assert!(holder.boot != 0 && holder.start_time != 0, "{line}");
}

#[test]
fn two_leases_of_one_process_exclude_each_other_too() {
    let directory = tempfile::tempdir().unwrap();
    let lease = strategy(directory.path()).write_lease().unwrap();
    assert!(strategy(directory.path()).write_lease().is_err());
    drop(lease);
    strategy(directory.path()).write_lease().unwrap();
}

#[test]
fn a_killed_strategy_is_not_ready_at_once_and_the_next_one_has_another_epoch() {
    let directory = tempfile::tempdir().unwrap();
    let strategy = strategy(directory.path());
    for expected in 1..=3 {
        let (mut process, epoch) = running(directory.path());
        assert_eq!(epoch, expected);
        let holder = strategy.ready_holder().unwrap().unwrap();
        assert_eq!((holder.pid, holder.epoch), (process.pid(), expected));
        process.kill();
        assert_eq!(strategy.ready_holder().unwrap(), None);
        assert!(strategy.directory().join("READY").exists(), "what the dead leave is still there");
    }
}

#[test]
fn a_mark_that_a_dead_process_left_says_nothing_about_the_next_one() {
    let directory = tempfile::tempdir().unwrap();
    let strategy = strategy(directory.path());
    running(directory.path()).0.kill();
    let mut lease = strategy.write_lease().unwrap();
    assert_eq!(strategy.ready_holder().unwrap(), None, "it has not said so yet");
    lease.mark_ready().unwrap();
    assert_eq!(strategy.ready_holder().unwrap(), lease.holder());
    lease.mark_ready().unwrap();
    lease.withdraw().unwrap();
    assert_eq!(strategy.ready_holder().unwrap(), None);
    lease.mark_ready().unwrap();
    assert_eq!(strategy.ready_holder().unwrap(), lease.holder());
    drop(lease);
    assert_eq!(strategy.ready_holder().unwrap(), None);
    let left: Vec<_> = fs::read_dir(strategy.directory()).unwrap().collect();
    assert_eq!(left.len(), 1, "the lease's file stays: {left:?}");
}

#[test]
fn an_epoch_is_not_used_again_though_one_of_the_files_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let strategy = strategy(directory.path());
    let mut lease = strategy.write_lease().unwrap();
    lease.mark_ready().unwrap();
    // As a power loss may leave it, since it is never synced.
    File::options()
        .write(true)
        .open(strategy.directory().join("LEASE"))
        .unwrap()
        .set_len(0)
        .unwrap();
    let ready = fs::read(strategy.directory().join("READY")).unwrap();
    drop(lease);
    fs::write(strategy.directory().join("READY"), ready).unwrap();
    assert_eq!(strategy.write_lease().unwrap().epoch(), 2);
}

#[test]
fn files_that_are_no_marks_make_no_strategy() {
    let directory = tempfile::tempdir().unwrap();
    let strategy = strategy(directory.path());
    let ready = strategy.directory().join("READY");
    fs::create_dir_all(strategy.directory()).unwrap();
    for bytes in [&b""[..], b"pid=1", &[0xff; 4096]] {
        fs::write(&ready, bytes).unwrap();
        assert_eq!(strategy.ready_holder().unwrap(), None);
        fs::write(strategy.directory().join("LEASE"), bytes).unwrap();
        assert_eq!(strategy.write_lease().unwrap().epoch(), 1);
    }
    fs::create_dir(&ready).unwrap();
    assert_eq!(strategy.ready_holder().unwrap(), None);
    let error = strategy.write_lease().unwrap_err();
    assert!(matches!(&error, BusError::Refused { path } if *path == ready), "{error}");
    fs::remove_dir(&ready).unwrap();
    fs::remove_file(strategy.directory().join("LEASE")).unwrap();
    std::os::unix::fs::symlink("/dev/null", strategy.directory().join("LEASE")).unwrap();
    assert!(matches!(strategy.write_lease(), Err(BusError::Refused { .. })));
}

/// Another PID namespace, with a `/proc` of its own, in which no process of this one has a number.
#[test]
fn a_process_in_another_pid_namespace_judges_the_same() {
    let mut unshare = std::process::Command::new("unshare");
    unshare.args(["--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]);
    let probe = std::process::Command::new("unshare")
        .args(["--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "true"])
        .output();
    if !probe.is_ok_and(|probe| probe.status.success()) {
        println!("SKIPPED: no PID namespaces here");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (mut process, _) = running(directory.path());
    let look = || {
        let mut command = std::process::Command::new("unshare");
        command.args(unshare.get_args());
        let body = Body::named_through(command, "body_looks_at_the_strategy");
        body.tell("ROOT", directory.path().display()).start().said("holder").unwrap()
    };
    assert_eq!(look(), "Some(1)");
    process.kill();
    assert_eq!(look(), "None");
}

#[test]
fn a_registration_that_is_dropped_leaves_no_name_and_one_that_is_kept_does() {
    let directory = tempfile::tempdir().unwrap();
    let queue = strategy(directory.path()).orders_out();
    queue.open_publisher(WriterConfig::default()).unwrap().append(0x8000, b"buy").unwrap();
    let names = || Queue::inspect(queue.path()).unwrap().readers.len();

    let mut registration =
        ReaderRegistration::new(&queue, "router", ReaderConfig::default()).unwrap();
    assert!(registration.next().unwrap().is_some());
    registration.commit().unwrap();
    assert_eq!(names(), 1);
    let second = ReaderRegistration::new(&queue, "router", ReaderConfig::default());
    let error = second.map(drop).unwrap_err();
    assert!(matches!(error, BusError::Queue(QueueError::ReaderAlreadyActive { .. })), "{error}");
    assert_eq!(names(), 1, "the one that was refused has removed nothing");
    drop(registration);
    assert_eq!(names(), 0);

    let registration = ReaderRegistration::new(&queue, "router", ReaderConfig::default()).unwrap();
    drop(registration.keep());
    assert_eq!(names(), 1);
}
