//! Processes of one machine take their steps one after the other, on a clock of its own.
#![allow(clippy::unwrap_used, reason = "a test reports by panicking")]

use std::rc::Rc;
use std::time::Duration;

use chronicle_core::{
    Appender, CreateOptions, SegmentSize, TailOptions, Tailer, WaitOutcome, WaitStrategy,
    WriteOptions, create,
};
use chronicle_sim::SimPlatform;
use chronicle_sync::{Clock, Platform};

/// A machine with a queue, for as long as the test lasts.
fn machine() -> &'static SimPlatform {
    let platform = Box::leak(Box::new(SimPlatform::new(1)));
    let mut options = CreateOptions::default();
    options.segment_size = SegmentSize::new(8192).unwrap();
    create(&&*platform, &options).unwrap();
    platform
}

#[test]
fn a_writer_that_steps_while_a_reader_sleeps_wakes_it() {
    let platform = machine();
    let mut appender = Appender::open(platform, WriteOptions::default()).unwrap();
    let mut reader = Tailer::open(platform, &TailOptions::default()).unwrap();
    let seen = Rc::new(std::cell::Cell::new(false));
    let done = Rc::clone(&seen);
    platform.while_asleep(move || {
        appender.append(0x8000, b"while you slept").unwrap();
        done.set(true);
    });
    let until = platform.clock().now().after(Duration::from_secs(3600));
    assert_eq!(reader.wait(WaitStrategy::Park, until, None).unwrap(), WaitOutcome::Ready);
    assert!(seen.get());
    assert_eq!(reader.next().unwrap().unwrap().payload, b"while you slept");
}

#[test]
fn a_wait_in_which_nothing_happens_ends_on_the_simulated_clock() {
    let platform = machine();
    let mut reader = Tailer::open(platform, &TailOptions::default()).unwrap();
    let begun = platform.clock().now();
    let until = begun.after(Duration::from_secs(3600));
    assert_eq!(reader.wait(WaitStrategy::Park, until, None).unwrap(), WaitOutcome::TimedOut);
    assert!(platform.clock().now() >= until);
}
