//! Reading a queue that somebody else stores to as he likes, while it is being read.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod support;

use std::thread;
use std::time::{Duration, Instant};

use chronicle_core::{Error, Start};
use support::{Home, TYPE, payload};

const SEGMENT: u64 = 16384;
const RECORDS: u64 = 400;

fn filled() -> Home {
    let home = Home::with_queue(SEGMENT);
    let mut appender = home.appender();
    for number in 0..RECORDS {
        appender.append(TYPE, &payload(number)).unwrap();
    }
    home
}

#[test]
fn copies_are_the_records_over_rolls_and_commits() {
    let home = filled();
    let mut buffer = vec![0; 4096];
    let mut next = 0;
    for stop in [RECORDS / 3, RECORDS] {
        let mut reader = home.named("copying").unwrap();
        while next < stop {
            let message = reader.next_copied(&mut buffer).unwrap().unwrap();
            assert_eq!((message.seq, message.payload), (next, &payload(next)[..]));
            next += 1;
        }
        reader.commit().unwrap();
    }
    assert!(home.named("copying").unwrap().next_copied(&mut buffer).unwrap().is_none());
}

#[test]
fn a_buffer_that_is_too_small_takes_nothing_from_the_reader() {
    let home = filled();
    let mut reader = home.tailer();
    for number in 0..RECORDS {
        let expected = payload(number);
        let place = reader.position();
        let length = reader.next_length().unwrap().unwrap();
        assert_eq!(length as usize, expected.len());
        let mut small = vec![0; expected.len() - 1];
        let refused = reader.next_copied(&mut small).map(|message| message.is_some());
        assert!(matches!(refused, Err(Error::BufferTooSmall { needed }) if needed == length));
        assert_eq!(reader.position().seq, place.seq);
        let mut exact = vec![0; expected.len()];
        assert_eq!(reader.next_copied(&mut exact).unwrap().unwrap().payload, expected);
    }
    assert_eq!(reader.next_length().unwrap(), None);
}

/// A payload that is long enough for somebody to get between one look at it and the next.
fn long_payload(number: u64) -> Vec<u8> {
    payload(number).into_iter().cycle().take(100_000).collect()
}

/// Somebody flips bytes and puts them back, at random places and as fast as he can: a copy is what was
/// appended, or there is an error.
#[test]
fn what_is_given_out_is_what_was_appended_whoever_stores_to_the_files_meanwhile() {
    const LONG_SEGMENT: u64 = 256 << 10;
    let home = Home::in_memory();
    home.create(LONG_SEGMENT);
    let mut appender = home.appender();
    for number in 0..6 {
        appender.append(TYPE, &long_payload(number)).unwrap();
    }
    let segments = appender.position().segment.get() + 1;
    assert!(segments > 2);
    drop(appender);
    let until = Instant::now() + Duration::from_secs(2);
    let (mut given, mut refused) = (0u64, 0u64);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = 0x9e37_79b9_7f4a_7c15u64;
            while Instant::now() < until {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let name = format!("{:09}.q", (random >> 32) as u32 % segments);
                let at = 64 + random % (LONG_SEGMENT - 64 - 8);
                let good = home.read_at(&name, at, 8);
                home.write_at(&name, at, &random.to_le_bytes());
                home.write_at(&name, at, &good);
            }
        });
        let mut buffer = vec![0; LONG_SEGMENT as usize];
        let expected: Vec<_> = (0..6).map(long_payload).collect();
        while Instant::now() < until {
            let Ok(mut reader) = home.tailer_from(Start::Earliest) else {
                refused += 1;
                continue;
            };
            // One that is refused stays where it is, and may go on when the bytes are back.
            for _ in 0..100 {
                match reader.next_copied(&mut buffer) {
                    Ok(Some(message)) => {
                        assert_eq!(message.payload, expected[message.seq as usize]);
                        given += 1;
                    }
                    Ok(None) => break,
                    Err(_) => refused += 1,
                }
            }
        }
    });
    println!("{given} records given out, {refused} times refused");
    assert!(given > 0 && refused > 0, "{given} given out, {refused} refused");
}
