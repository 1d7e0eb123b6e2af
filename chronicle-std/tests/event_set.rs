//! A descriptor that announces messages, whose writer is a process of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod support;

use std::os::fd::AsFd;
use std::thread;
use std::time::Duration;

use chronicle_std::{EventSet, Queue, ReaderConfig, WaitOutcome};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use support::{TYPE, await_line, given_queue, make_queues, queue, small, start, wall_ns};

const MESSAGES: usize = 200;
const SECOND: Duration = Duration::from_secs(1);

/// Not a test of its own: appends to two queues in turn, with pauses.
#[test]
fn body_appends_to_two_queues() {
    let Some(directory) = given_queue() else { return };
    let mut writers = [0, 1]
        .map(|number| Queue::open_publisher_with(queue(&directory, number), small()).unwrap());
    println!("writing");
    for _ in 0..MESSAGES / 2 {
        for writer in &mut writers {
            thread::sleep(Duration::from_millis(3));
            writer.append(TYPE, &wall_ns().to_le_bytes()).unwrap();
        }
    }
}

/// Whether the set's descriptor becomes readable within the time.
fn is_readable(set: &EventSet, within: Duration) -> bool {
    let timeout = Timespec::try_from(within).unwrap();
    poll(&mut [PollFd::from_borrowed_fd(set.as_fd(), PollFlags::IN)], Some(&timeout)).unwrap() == 1
}

fn set_over_two(directory: &std::path::Path) -> EventSet {
    make_queues(directory, 2);
    let mut set = EventSet::new().unwrap();
    for number in 0..2 {
        let mut config = ReaderConfig::default();
        config.writer_timeout = None;
        set.add(Queue::open_reader(queue(directory, number), config).unwrap()).unwrap();
    }
    set
}

#[test]
#[cfg_attr(
    any(target_os = "macos", chronicle_darwin_shim),
    ignore = "macOS sleeps on one word only, so a set looks every 10 ms"
)]
fn a_descriptor_announces_the_messages_of_another_process() {
    let directory = tempfile::tempdir().unwrap();
    let mut set = set_over_two(directory.path());
    let mut writer = start("body_appends_to_two_queues", directory.path());
    await_line(&mut writer, "writing");
    let mut events = Vec::new();
    let mut latencies = Vec::new();
    while latencies.len() < MESSAGES {
        set.poll(&mut events);
        if events.is_empty() {
            assert!(is_readable(&set, 20 * SECOND));
        }
        for event in events.drain(..) {
            assert_eq!(event.outcome.unwrap(), WaitOutcome::Ready);
            let reader = set.reader_mut(event.member).unwrap();
            let message = reader.next().unwrap().unwrap();
            let sent = u64::from_le_bytes(message.payload.try_into().unwrap());
            latencies.push(wall_ns().saturating_sub(sent) / 1000);
        }
    }
    assert!(writer.wait().unwrap().success());
    latencies.sort_unstable();
    let [half, most] = [50, 99].map(|percent| latencies.get(MESSAGES * percent / 100).copied());
    println!("measured: p50 {half:?} us, p99 {most:?} us");
    assert!(half.unwrap() < 5_000, "half of the messages came later than 5 ms");
}

#[test]
#[cfg_attr(
    any(target_os = "macos", chronicle_darwin_shim),
    ignore = "macOS sleeps on one word only, so a set looks every 10 ms"
)]
fn a_descriptor_without_news_is_readable_at_the_end_of_a_slice_and_no_earlier() {
    let directory = tempfile::tempdir().unwrap();
    let mut set = set_over_two(directory.path());
    let mut events = Vec::new();
    let mut spurious = 0;
    let begun = std::time::Instant::now();
    while begun.elapsed() < SECOND {
        set.poll(&mut events);
        assert!(events.is_empty());
        spurious += usize::from(is_readable(&set, 2 * SECOND));
    }
    assert!((4..=14).contains(&spurious), "{spurious} in a second");
}

#[test]
fn what_was_appended_while_nobody_waited_is_found_by_the_next_poll() {
    let directory = tempfile::tempdir().unwrap();
    let mut set = set_over_two(directory.path());
    let mut events = Vec::new();
    set.poll(&mut events);
    let mut writer = Queue::open_publisher_with(queue(directory.path(), 1), small()).unwrap();
    writer.append(TYPE, b"x").unwrap();
    assert!(is_readable(&set, 20 * SECOND));
    set.poll(&mut events);
    assert_eq!(events.len(), 1);
    let reader = set.reader_mut(events.pop().unwrap().member).unwrap();
    assert!(reader.next().unwrap().is_some());
    assert!(reader.next().unwrap().is_none());
}
