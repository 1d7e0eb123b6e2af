//! Reading backwards gives what reading forwards gives, the other way round.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod support;

use std::sync::OnceLock;
use std::thread;

use chronicle_core::{Error, Fault, Start, Tailer, apply_retention};
use chronicle_platform_linux::LinuxPlatform;
use support::{Home, TYPE, drain, payload};

/// Everything before a reader's place, the newest first, and how it ended.
fn backwards(tailer: &mut Tailer<LinuxPlatform>) -> (Vec<(u64, Vec<u8>)>, support::QueueError) {
    let mut reversed = tailer.reversed().unwrap();
    let mut messages = Vec::new();
    loop {
        match reversed.previous() {
            Ok(message) => messages.push((message.seq, message.payload.to_vec())),
            Err(error) => return (messages, error),
        }
    }
}

fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Appends records of random lengths, mostly short and sometimes up to `longest`, under two writers.
fn fill(home: &Home, seed: u64, count: u64, longest: u64) {
    let mut state = seed;
    let mut appender = home.appender();
    for number in 0..count {
        if number == count / 2 {
            drop(appender);
            appender = home.appender();
        }
        let length = match random(&mut state) % 20 {
            0 => random(&mut state) % longest,
            1..5 => 0,
            _ => random(&mut state) % 120,
        };
        appender.append(TYPE, &vec![number as u8; length as usize]).unwrap();
    }
}

fn assert_mirrors(home: &Home) {
    let mut tailer = home.tailer();
    let mut forwards = drain(&mut tailer);
    let (messages, end) = backwards(&mut tailer);
    forwards.reverse();
    assert!(messages == forwards, "{} of {}", messages.len(), forwards.len());
    assert_eq!(end, Error::NothingBefore { oldest: forwards.last().unwrap().0 });
}

#[test]
fn backwards_mirrors_forwards_for_records_of_any_size_over_many_segments() {
    for (seed, size, count, longest) in [
        (3, 4096, 900, 3000),
        (5, 65536, 6000, 20_000),
        (7, 65536, 2000, 65_000),
        (11, 1 << 20, 40_000, 200_000),
        (13, 4 << 20, 100_000, 300),
    ] {
        let home = Home::with_queue(size);
        fill(&home, seed, count, longest);
        assert_mirrors(&home);
    }
}

#[test]
fn backwards_mirrors_forwards_where_indexes_are_missing_or_damaged() {
    let home = Home::with_queue(1 << 20);
    fill(&home, 17, 30_000, 30_000);
    std::fs::remove_file(home.file("000000001.idx")).unwrap();
    home.write_at("000000000.idx", 32, &[0xff; 200]);
    home.write_at("000000002.idx", 0, b"X");
    assert_mirrors(&home);
}

#[test]
fn backwards_from_every_record_begins_with_the_one_before_it() {
    let home = Home::with_queue(65536);
    fill(&home, 19, 3000, 500);
    let all = home.read_all();
    for seq in (1..3000).step_by(37) {
        let mut tailer = home.tailer_from(Start::Seq(seq)).unwrap();
        let mut reversed = tailer.reversed().unwrap();
        let before = reversed.previous().unwrap();
        assert_eq!((before.seq, before.payload), (seq - 1, all[seq as usize - 1].1.as_slice()));
        assert_eq!(reversed.position().seq, seq - 1);
        assert_eq!(tailer.next().unwrap().unwrap().seq, seq, "the reader itself stays");
    }
}

#[test]
fn backwards_ends_at_the_oldest_record_that_was_kept() {
    let home = Home::new();
    let mut options = chronicle_core::CreateOptions::default();
    options.segment_size = chronicle_core::SegmentSize::new(4096).unwrap();
    options.retention.max_segments = Some(3);
    chronicle_core::create(&home.platform(), &options).unwrap();
    fill(&home, 23, 500, 100);
    assert!(apply_retention(&home.platform(), |_| false).unwrap().removed > 0);
    assert_mirrors(&home);
    let mut tailer = home.tailer();
    let oldest = tailer.position().seq;
    assert_eq!(backwards(&mut tailer).1, Error::NothingBefore { oldest });
    tailer.next().unwrap().unwrap();
    let mut reversed = tailer.reversed().unwrap();
    assert_eq!(reversed.previous().unwrap().seq, oldest);
    for _ in 0..2 {
        assert_eq!(reversed.previous().unwrap_err(), Error::NothingBefore { oldest });
    }
}

#[test]
fn backwards_beside_a_writer_that_goes_on_sees_what_was_there() {
    let home = Home::with_queue(65536);
    home.appender().append(TYPE, &payload(0)).unwrap();
    let done = OnceLock::new();
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut appender = home.appender();
            let mut number = 1;
            // Bounded, so that a failure on the other side ends it too.
            while done.get().is_none() && number < 200_000 {
                appender.append(TYPE, &payload(number)).unwrap();
                number += 1;
            }
        });
        for _ in 0..60 {
            let mut tailer = home.tailer_from(Start::Latest).unwrap();
            let mut reversed = tailer.reversed().unwrap();
            let mut expected = reversed.position().seq;
            for _ in 0..expected.min(3000) {
                expected -= 1;
                let message = reversed.previous().unwrap();
                assert_eq!((message.seq, message.payload), (expected, &payload(expected)[..]));
            }
        }
        done.set(()).unwrap();
        writer.join().unwrap();
    });
}

#[test]
fn damage_ends_the_way_back_with_its_place() {
    let home = Home::with_queue(65536);
    let mut appender = home.appender();
    let mut offsets = Vec::new();
    for number in 0..100 {
        offsets.push(appender.position().offset);
        appender.append(TYPE, &payload(number)).unwrap();
    }
    let mut end = home.tailer_from(Start::Latest).unwrap();
    home.flip_bit("000000000.q", offsets[40] + 32);
    let (messages, error) = backwards(&mut end);
    assert!(messages.is_empty());
    let Error::Damaged(damage) = error else { panic!("{error}") };
    assert_eq!((damage.seq, damage.offset, damage.fault), (40, offsets[40], Fault::Checksum));
}
