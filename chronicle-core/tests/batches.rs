//! Records read many at a time are those that are read one by one, and so are errors.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};

use chronicle_core::{Start, TailOptions, Tailer, Visibility};
use chronicle_format::SEG_DATA_OFFSET;
use chronicle_platform_linux::LinuxPlatform;
use support::{Home, QueueError, TYPE, payload};

/// What a reader finds up to its first error: messages, their places, and the error.
type Found = (Vec<(u64, Vec<u8>)>, Result<(), QueueError>);

/// Records over several segments, a part of which an earlier writer appended and a part of which is flushed.
fn queue(segment_size: u64) -> Home {
    let home = Home::with_queue(segment_size);
    for (from, to, flush) in
        [(0, 300, true), (300, 301, false), (301, 900, true), (900, 1000, false)]
    {
        let mut appender = home.appender();
        for number in from..to {
            appender.append(TYPE, &payload(number)).unwrap();
        }
        if flush {
            appender.flush().unwrap();
        }
    }
    home
}

fn open(home: &Home, start: Start, visibility: Visibility) -> Tailer<LinuxPlatform> {
    let mut options = TailOptions::default();
    (options.start, options.visibility) = (start, visibility);
    Tailer::open(home.platform(), &options).unwrap()
}

fn one_by_one(tailer: &mut Tailer<LinuxPlatform>) -> Found {
    let mut messages = Vec::new();
    let outcome = loop {
        match tailer.next() {
            Ok(Some(message)) => messages.push((message.seq, message.payload.to_vec())),
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    (messages, outcome)
}

fn many_at_once(tailer: &mut Tailer<LinuxPlatform>, limit: u64) -> Found {
    let mut messages = Vec::new();
    let outcome = loop {
        let before = messages.len() as u64;
        let read = tailer.read_all(limit, |message| {
            messages.push((message.seq, message.payload.to_vec()));
        });
        let more = messages.len() as u64 - before;
        assert!(more <= limit);
        match read {
            Ok(read) => assert_eq!(read, more),
            Err(error) => break Err(error),
        }
        if more == 0 {
            break Ok(());
        }
    };
    (messages, outcome)
}

fn assert_same(home: &Home, start: Start, visibility: Visibility) -> Found {
    let mut single = open(home, start, visibility);
    let expected = one_by_one(&mut single);
    for limit in [1, 2, 7, 100, u64::MAX] {
        let mut batched = open(home, start, visibility);
        assert_eq!(many_at_once(&mut batched, limit), expected, "{start:?}, {limit} at a time");
        assert_eq!(batched.position(), single.position());
        assert_eq!(batched.last_timestamp_ns(), single.last_timestamp_ns());
    }
    expected
}

#[test]
fn records_are_the_same_read_many_at_a_time() {
    for segment_size in [4096, 65536] {
        let home = queue(segment_size);
        let (messages, outcome) = assert_same(&home, Start::Earliest, Visibility::Visible);
        outcome.unwrap();
        support::assert_holds(&messages, 1000);
        for first in [1, 299, 300, 302, 999, 1000] {
            let (messages, _) = assert_same(&home, Start::Seq(first), Visibility::Visible);
            assert_eq!(messages.len() as u64, 1000 - first);
        }
        let (messages, _) = assert_same(&home, Start::Latest, Visibility::Visible);
        assert!(messages.is_empty());
    }
}

#[test]
fn no_more_is_read_at_once_than_is_durable() {
    let home = queue(4096);
    let (messages, outcome) = assert_same(&home, Start::Earliest, Visibility::Durable);
    outcome.unwrap();
    support::assert_holds(&messages, 900);
}

#[test]
fn what_is_appended_meanwhile_is_read_too() {
    let home = Home::with_queue(4096);
    let mut appender = home.appender();
    let mut tailer = home.tailer();
    appender.append(TYPE, &payload(0)).unwrap();
    let mut seen = 0;
    let read = tailer.read_all(200, |message| {
        assert_eq!((message.seq, message.payload), (seen, payload(seen).as_slice()));
        seen += 1;
        appender.append(TYPE, &payload(seen)).unwrap();
    });
    assert_eq!(read.unwrap(), 200);
    assert_eq!(tailer.next().unwrap().unwrap().seq, 200);
}

#[test]
fn damage_is_told_behind_the_records_before_it_and_again() {
    let home = queue(65536);
    let mut tailer = home.tailer();
    for _ in 0..500 {
        tailer.next().unwrap().unwrap();
    }
    let damaged = tailer.position();
    assert!(damaged.segment.get() == 0 && damaged.offset > SEG_DATA_OFFSET);
    home.flip_bit("000000000.q", damaged.offset + 40);
    let (messages, outcome) = assert_same(&home, Start::Earliest, Visibility::Visible);
    assert_eq!(messages.len(), 500);
    assert!(outcome.is_err());

    let mut tailer = home.tailer();
    for read in [500, 0, 0] {
        let mut seen = 0;
        tailer.read_all(u64::MAX, |_| seen += 1).unwrap_err();
        assert_eq!(seen, read);
    }
    assert_eq!(tailer.position(), damaged);
}

#[test]
fn a_record_in_whose_handling_the_program_panicked_counts_as_read() {
    let home = queue(65536);
    let mut tailer = home.named("panics").unwrap();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        tailer.read_all(u64::MAX, |message| assert_ne!(message.seq, 41, "on purpose"))
    }));
    assert!(panicked.is_err());
    assert_eq!(tailer.position().seq, 42);
    tailer.commit().unwrap();
    drop(tailer);
    assert_eq!(home.named("panics").unwrap().next().unwrap().unwrap().seq, 42);
}
