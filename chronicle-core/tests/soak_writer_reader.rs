//! A writer and readers in processes of their own for a while: all of them keep up, nothing is lost,
//! and the rate at the end is not that of a system that is silting up.
//!
//! `CHRONICLE_TEST_SECONDS` sets how long.
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

use chronicle_core::{
    Appender, CreateOptions, ReaderName, RetentionPolicy, SegmentSize, TailOptions, Tailer,
    WaitOutcome, WaitStrategy, WriteOptions, apply_retention, create,
};
use chronicle_sync::{Clock, Platform};
use support::child::{Body, seconds, told};
use support::stream::Stream;
use support::{Home, TYPE, platform};

const KEY: u64 = 0x73_6f61_6b21;
const LONGEST: u64 = 500;
const END: u16 = TYPE + 1;
/// How far ahead of the slowest reader the writer gets before it waits for it: 256 segments.
const CAPACITY: u64 = 16 << 20;

/// Not a test of its own: writes for the time, and says every so often how fast.
#[test]
fn body_soaks() {
    let Some(queue) = told::<PathBuf>("QUEUE") else { return };
    let platform = platform(&queue);
    let mut appender = Appender::open(&platform, WriteOptions::default()).unwrap();
    let mut stream = Stream::new(KEY, LONGEST);
    let mut bytes = Vec::new();
    let length = Duration::from_millis(told("MILLISECONDS").unwrap());
    let tenths = 10;
    let mut looked_at = 0;
    for _ in 0..tenths {
        let (begun, first) = (Instant::now(), stream.number());
        while begun.elapsed() < length / tenths {
            for _ in 0..64 {
                stream.next_into(&mut bytes);
                while let Err(error) = appender.append(TYPE, &bytes) {
                    assert!(matches!(error, chronicle_core::Error::QueueFull { .. }), "{error}");
                    thread::sleep(Duration::from_micros(500));
                    apply_retention(&platform, |_| false).unwrap();
                }
            }
            let here = appender.position().segment.get();
            if here >= looked_at + 32 {
                apply_retention(&platform, |_| false).unwrap();
                looked_at = here;
            }
        }
        println!("rate {}", (stream.number() - first) * 1000 / begun.elapsed().as_millis() as u64);
    }
    appender.append(END, b"").unwrap();
    println!("wrote {} in {} segments", stream.number(), appender.position().segment.get() + 1);
}

/// Not a test of its own: reads on from where its name stopped, so many records or to the end.
#[test]
fn body_reads_on() {
    let Some(queue) = told::<PathBuf>("QUEUE") else { return };
    let mut options = TailOptions::default();
    options.name = Some(ReaderName::new(&told::<String>("NAME").unwrap()).unwrap());
    let mut tailer = Tailer::open(platform(&queue), &options).unwrap();
    let limit: u64 = told("LIMIT").unwrap();
    let mut left = if limit == 0 { u64::MAX } else { limit };
    let mut stream = Stream::new(KEY, LONGEST);
    let mut first = true;
    println!("ready");
    while left > 0 {
        match tailer.next().unwrap() {
            Some(message) if message.type_id == TYPE => {
                if first && message.seq > 0 {
                    // The chain goes on from the first payload of this life.
                    assert_eq!(message.payload[..8], message.seq.to_le_bytes());
                    stream = stream.behind(message.seq + 1, message.payload);
                } else {
                    stream.verify(message.seq, message.payload);
                }
                first = false;
                left -= 1;
                if left.is_multiple_of(128) {
                    tailer.commit().unwrap();
                }
            }
            Some(end) => {
                println!("end at {}", end.seq);
                tailer.commit().unwrap();
                return;
            }
            None => {
                let until = tailer.platform().clock().now().after(Duration::from_secs(60));
                let outcome = tailer.wait(WaitStrategy::default(), until, None).unwrap();
                assert_eq!(outcome, WaitOutcome::Ready);
            }
        }
    }
    tailer.commit().unwrap();
    println!("stopped at {}", stream.number());
}

#[test]
fn soak_writer_reader() {
    let home = Home::new();
    let mut options = CreateOptions::default();
    options.segment_size = SegmentSize::new(64 << 10).unwrap();
    options.retention = RetentionPolicy {
        max_bytes: Some(1 << 20),
        capacity_bytes: Some(CAPACITY),
        ..RetentionPolicy::KEEP_ALL
    };
    create(&home.platform(), &options).unwrap();
    let reader = |name: &str, limit: u64| {
        let body = Body::named("body_reads_on").tell("QUEUE", home.path().display());
        body.tell("NAME", name).tell("LIMIT", limit).start()
    };
    let mut steady = reader("steady", 0);
    steady.said("ready").unwrap();
    let mut again = reader("again", 20_000);
    again.said("ready").unwrap();
    let length = seconds(5).as_millis();
    let writer = Body::named("body_soaks").tell("QUEUE", home.path().display());
    let mut writer = writer.tell("MILLISECONDS", length).start();
    // One reader ends and comes back under its name, again and again, exactly where it was.
    let (mut lives, mut stopped_at) = (1, 0);
    let end = loop {
        let line = again.said("at ").unwrap();
        again.succeed();
        let at: u64 = line.parse().unwrap();
        if at < stopped_at + 20_000 {
            break at;
        }
        assert_eq!(at, stopped_at + 20_000, "life {lives}");
        stopped_at = at;
        lives += 1;
        again = reader("again", 20_000);
    };
    let rates: Vec<u64> = (0..10).map(|_| writer.said("rate ").unwrap().parse().unwrap()).collect();
    let wrote = writer.said("wrote ").unwrap();
    writer.succeed();
    let count: u64 = wrote.split_once(' ').unwrap().0.parse().unwrap();
    assert_eq!(end, count);
    assert_eq!(steady.said("end at ").unwrap().parse::<u64>().unwrap(), count);
    steady.succeed();
    println!("{wrote}; a reader of {lives} lives and a steady one; records a second {rates:?}");
    // A machine that others use is not steady: this finds only what grows worse and worse.
    let (early, late) = (rates[..5].iter().max().unwrap(), rates[5..].iter().max().unwrap());
    assert!(late * 10 > *early, "{rates:?}");
}
