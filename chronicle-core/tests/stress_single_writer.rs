//! A single writer under stress: every way of appending, every length, small segments, reopened and
//! killed in between, and then every record verified by another process.
//!
//! `CHRONICLE_TEST_SECONDS` sets how long it writes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod support;

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use chronicle_core::{Appender, TailOptions, Tailer, WriteOptions};
use chronicle_platform_linux::LinuxPlatform;
use support::child::{Body, seconds, told};
use support::stream::Stream;
use support::{Home, TYPE, platform};

const KEY: u64 = 0x7374_7265_7373;
const LONGEST: u64 = 3000;

/// The stream behind the queue's last record, by reading all of it.
fn read_stream(queue: &std::path::Path) -> Stream {
    let mut tailer = Tailer::open(platform(queue), &TailOptions::default()).unwrap();
    let mut stream = Stream::new(KEY, LONGEST);
    while let Some(message) = tailer.next().unwrap() {
        assert_eq!(message.type_id, TYPE);
        stream.verify(message.seq, message.payload);
    }
    stream
}

/// Appends the stream's next record in one of all the ways.
fn append(appender: &mut Appender<LinuxPlatform>, stream: &mut Stream, bytes: &mut Vec<u8>) {
    stream.next_into(bytes);
    let number = stream.number() - 1;
    if number % 7 == 3 {
        // Given up, with bytes in it that look like anything.
        let mut claim = appender.claim(bytes.len() + 100).unwrap();
        claim.fill(number as u8 | 1);
        claim.abort();
    }
    let seq = match number % 5 {
        0 => {
            let mut claim = appender.claim(bytes.len()).unwrap();
            claim.copy_from_slice(bytes);
            claim.commit(TYPE).unwrap()
        }
        1 | 2 => appender.append_quietly(TYPE, bytes).unwrap(),
        _ => appender.append(TYPE, bytes).unwrap(),
    };
    assert_eq!(seq, number);
    if number % 500_000 == 499_999 {
        appender.flush().unwrap();
    }
    if number.is_multiple_of(1000) {
        appender.prepare_next().unwrap();
    }
}

/// Not a test of its own: goes on with the stream for so many milliseconds; closes the queue, or
/// goes on until it is killed.
#[test]
fn body_writes_under_stress() {
    let Some(queue) = told::<PathBuf>("QUEUE") else { return };
    let milliseconds: Option<u64> = told("MILLISECONDS").filter(|limit| *limit > 0);
    let until = milliseconds.map(|limit| Instant::now() + Duration::from_millis(limit));
    let mut appender = Appender::open(platform(&queue), WriteOptions::default()).unwrap();
    let mut stream = read_stream(&queue);
    assert_eq!(appender.next_seq(), stream.number());
    let mut bytes = Vec::new();
    let first = stream.number();
    println!("writing");
    while until.is_none_or(|until| Instant::now() < until) {
        for _ in 0..256 {
            append(&mut appender, &mut stream, &mut bytes);
        }
    }
    println!("wrote {}", stream.number() - first);
}

/// Not a test of its own: verifies everything.
#[test]
fn body_verifies_everything() {
    let Some(queue) = told::<PathBuf>("QUEUE") else { return };
    println!("verified {}", read_stream(&queue).number());
}

#[test]
fn stress_single_writer() {
    let home = Home::with_queue(64 << 10);
    let body = |name: &str, milliseconds: u64| {
        let body = Body::named(name).tell("QUEUE", home.path().display());
        body.tell("MILLISECONDS", milliseconds).start()
    };
    let verified = || {
        let mut verifier = body("body_verifies_everything", 0);
        let count: u64 = verifier.said("verified ").unwrap().parse().unwrap();
        verifier.succeed();
        count
    };
    let rounds = 6;
    let length = seconds(3) / rounds;
    let (mut closed, mut killed, mut before) = (0, 0, 0);
    for round in 0..rounds {
        if round % 2 == 0 {
            let mut writer = body("body_writes_under_stress", length.as_millis() as u64);
            let count: u64 = writer.said("wrote ").unwrap().parse().unwrap();
            writer.succeed();
            let now = verified();
            assert_eq!(now, before + count, "round {round}");
            before = now;
            closed += 1;
        } else {
            let mut writer = body("body_writes_under_stress", 0);
            writer.said("writing").unwrap();
            thread::sleep(length);
            writer.kill();
            let now = verified();
            assert!(now > before, "round {round}: nothing of what was written is there");
            before = now;
            killed += 1;
        }
    }
    let segments = home.tailer_from(chronicle_core::Start::Latest).unwrap().position().segment;
    println!(
        "{before} records in {} segments, by {closed} writers that closed and {killed} killed ones",
        segments.get() + 1
    );
    assert!(before > 0);
}
