//! What a subscriber is told of a queue that others make, write, leave and remove.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../../chronicle-core/tests/support/child.rs"]
mod child;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use child::{Body, Process, told};
use chronicle_bus::{BusLayout, Connection, QueueEndpoint, Reason, SubscriberDiscovery};
use chronicle_std::{ReaderConfig, WriterConfig};

const PATIENCE: Option<Duration> = Some(Duration::from_secs(60));
const A_WHILE: Option<Duration> = Some(Duration::from_millis(200));
const OFTEN: Duration = Duration::from_millis(20);

fn feed(root: &Path) -> QueueEndpoint {
    BusLayout::new(root).unwrap().live("stream", "feed").unwrap()
}

/// Not a test of its own: publishes until it is killed.
#[test]
fn body_publishes() {
    let Some(root) = told::<PathBuf>("ROOT") else { return };
    let mut writer = feed(&root).open_publisher(WriterConfig::default()).unwrap();
    writer.append(0x8000, b"a trade").unwrap();
    println!("published {}", writer.next_seq());
    std::thread::sleep(Duration::from_secs(60));
}

fn publishing(root: &Path) -> Process {
    let mut process = Body::named("body_publishes").tell("ROOT", root.display()).start();
    process.said("published").unwrap();
    process
}

#[test]
fn a_publisher_that_comes_dies_and_comes_back_is_told_three_times() {
    let directory = tempfile::tempdir().unwrap();
    let queue = feed(directory.path());
    let mut discovery = SubscriberDiscovery::with_rescan(queue, ReaderConfig::default(), OFTEN);
    assert_eq!(discovery.wait(A_WHILE).unwrap(), None);
    assert_eq!(discovery.connection(), Connection::Waiting);
    assert!(discovery.reader().is_none());

    let mut process = publishing(directory.path());
    assert_eq!(discovery.wait(PATIENCE).unwrap(), Some(Connection::Connected));
    assert_eq!(discovery.wait(A_WHILE).unwrap(), None);
    process.kill();
    let gone = Connection::Disconnected(Reason::WriterGone);
    assert_eq!(discovery.wait(PATIENCE).unwrap(), Some(gone));
    assert_eq!(discovery.wait(A_WHILE).unwrap(), None);
    let _again = publishing(directory.path());
    assert_eq!(discovery.wait(PATIENCE).unwrap(), Some(Connection::Connected));

    let reader = discovery.reader().unwrap();
    let mut seqs = Vec::new();
    while let Some(message) = reader.next().unwrap() {
        seqs.push(message.seq);
    }
    assert_eq!(seqs, [0, 1], "it is the same queue, and nothing was lost");
}

#[test]
fn a_queue_that_nobody_writes_is_waited_for_until_somebody_does() {
    let directory = tempfile::tempdir().unwrap();
    let queue = feed(directory.path());
    queue.create(WriterConfig::default()).unwrap();
    let mut discovery =
        SubscriberDiscovery::with_rescan(queue.clone(), ReaderConfig::default(), OFTEN);
    assert_eq!(discovery.wait(A_WHILE).unwrap(), None);
    assert!(discovery.reader().is_some(), "what is in it can be read");
    let _writer = queue.open_publisher(WriterConfig::default()).unwrap();
    assert_eq!(discovery.wait(PATIENCE).unwrap(), Some(Connection::Connected));
}

#[test]
fn a_queue_that_is_removed_and_made_again_is_another_one() {
    let directory = tempfile::tempdir().unwrap();
    let queue = feed(directory.path());
    let mut discovery =
        SubscriberDiscovery::with_rescan(queue.clone(), ReaderConfig::default(), OFTEN);
    let mut process = publishing(directory.path());
    assert_eq!(discovery.wait(PATIENCE).unwrap(), Some(Connection::Connected));
    process.kill();
    assert!(matches!(discovery.wait(PATIENCE).unwrap(), Some(Connection::Disconnected(_))));
    fs::remove_dir_all(queue.path()).unwrap();
    let gone = Connection::Disconnected(Reason::QueueGone);
    assert_eq!(discovery.wait(PATIENCE).unwrap(), Some(gone));
    assert!(discovery.reader().is_none());

    let _again = publishing(directory.path());
    assert_eq!(discovery.wait(PATIENCE).unwrap(), Some(Connection::Connected));
    let reader = discovery.reader().unwrap();
    assert_eq!(reader.next().unwrap().map(|message| message.seq), Some(0));
    assert!(reader.next().unwrap().is_none());
}
