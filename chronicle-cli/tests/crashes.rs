//! A writer that dies, by a signal or with its machine, takes nothing acknowledged with it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod support;

use std::io::{Read, Write};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use support::{Place, Running, patch, run};

#[test]
fn a_killed_writer_is_followed_at_once_and_loses_nothing_acknowledged() {
    let place = Place::new();
    let queue = place.queue();
    let mut follower = Running::start(["tail", &queue, "-f", "--format", "raw"]);
    let mut acknowledged = Vec::new();
    for round in 0..6 {
        let mut writer = Running::start(["append", &queue, "--ack", "--segment-size", "64K"]);
        let mut input = writer.input.take().unwrap();
        let feeder = thread::spawn(move || {
            let mut index = 0u64;
            while writeln!(input, "{round} {index} some more bytes").is_ok() {
                index += 1;
            }
        });
        let started = Instant::now();
        let mut count = 0;
        while count == 0 || started.elapsed() < Duration::from_millis(60) {
            assert!(!writer.line().is_empty());
            count += 1;
        }
        let rest = writer.kill();
        count += rest.iter().filter(|byte| **byte == b'\n').count();
        feeder.join().unwrap();
        acknowledged.push(count);

        let next = run(["append", &queue, "--ack"], format!("end {round}\n").as_bytes());
        assert!(next.took < Duration::from_secs(5), "{:?}", next.took);
        next.succeeded();
    }

    let contents = place.contents();
    let mut followed = vec![0; contents.len()];
    follower.take_output().read_exact(&mut followed).unwrap();
    assert!(followed == contents, "who followed all writers saw something else");

    let contents = String::from_utf8(contents).unwrap();
    let mut lines = contents.lines();
    for (round, acknowledged) in acknowledged.into_iter().enumerate() {
        let mut index = 0;
        loop {
            let line = lines.next().unwrap();
            if line == format!("end {round}") {
                break;
            }
            assert_eq!(line, format!("{round} {index} some more bytes"));
            index += 1;
        }
        assert!(index >= acknowledged, "round {round}: {index} of {acknowledged}");
    }
    assert_eq!(lines.next(), None);
}

#[test]
fn a_reader_that_follows_is_told_that_the_writer_died_and_goes_on_with_the_next() {
    let place = Place::new();
    let queue = place.queue();
    let mut writer = Running::start(["append", &queue, "--ack", "--segment-size", "64K"]);
    let mut tail = Running::start(["tail", &queue, "-f", "--format", "raw", "--limit", "2"]);
    writer.write(b"one\n");
    assert_eq!(tail.line(), "one\n");
    writer.kill();
    // It looks at the writer after five seconds without a message.
    thread::sleep(Duration::from_millis(5800));
    run(["append", &queue], b"two\n").succeeded();
    assert_eq!(tail.line(), "two\n");
    let outcome = tail.finish().succeeded();
    assert_eq!(outcome.errors.matches("no writer is active").count(), 1, "{}", outcome.errors);
    assert_eq!(outcome.errors.lines().count(), 1, "{}", outcome.errors);
}

/// The boot in which the queue was last written to, in `control.meta`.
const WRITER_BOOT: u64 = 280;

#[test]
fn records_lost_with_the_power_are_reported_when_the_queue_is_opened() {
    let place = Place::new();
    place.append(b"0\n1\n2\n3\n4\n");
    let segment = Path::new(&place.queue()).join("000000000.q");
    let control = Path::new(&place.queue()).join("control.meta");
    patch(&control, WRITER_BOOT, &1u64.to_le_bytes());
    patch(&segment, place_of_payload(&segment, b"3"), b"x");

    let outcome = run(["append", &place.queue()], b"new\n").succeeded();
    let warning = outcome.errors.lines().next().unwrap();
    for part in ["warning", "000000000.q", "offset ", "(seq 3)", "1 whole record"] {
        assert!(warning.contains(part), "{part}: {warning}");
    }
    assert_eq!(place.contents(), b"0\n1\n2\nnew\n");
}

/// Where the payload with this one byte lies, behind a record's header of 32 bytes.
fn place_of_payload(segment: &Path, payload: &[u8; 1]) -> u64 {
    let bytes = std::fs::read(segment).unwrap();
    let header = 32;
    let mut offset = 64;
    loop {
        let length = u32::from_le_bytes(bytes[offset..offset + 4].try_into().unwrap()) as usize;
        let begin = offset + header;
        if bytes[begin..begin + length - 1] == payload[..] {
            return begin as u64;
        }
        offset = (begin + length - 1).next_multiple_of(32);
    }
}
