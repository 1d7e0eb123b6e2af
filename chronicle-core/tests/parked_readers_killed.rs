//! Readers that are killed in their sleep, again and again, beside a writer that rolls and a reader
//! that lives.
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
    Appender, NoSupply, TailOptions, Tailer, WaitOutcome, WaitStrategy, WriteOptions,
};
use chronicle_sync::{Clock, Platform};
use support::child::{Body, Process, seconds, told};
use support::probes::Counts;
use support::stream::Stream;
use support::{Home, TYPE, platform};

const KEY: u64 = 0x6b69_6c6c;
const LONGEST: u64 = 300;
const END: u16 = TYPE + 1;
/// Few enough that readers fall asleep between two of them.
const BATCH: u64 = 200;

/// Not a test of its own: sleeps, reads, sleeps, until it is killed.
#[test]
fn body_sleeps_until_it_is_killed() {
    let Some(queue) = told::<PathBuf>("QUEUE") else { return };
    let mut options = TailOptions::default();
    options.start = chronicle_core::Start::Latest;
    let mut tailer = Tailer::open(platform(&queue), &options).unwrap();
    assert!(tailer.can_be_woken());
    println!("asleep");
    loop {
        while tailer.next().unwrap().is_some() {}
        let until = tailer.platform().clock().now().after(Duration::from_secs(60));
        assert_eq!(tailer.wait(WaitStrategy::Park, until, None).unwrap(), WaitOutcome::Ready);
    }
}

/// Not a test of its own: polls and verifies every record to the end.
#[test]
fn body_polls_to_the_end() {
    let Some(queue) = told::<PathBuf>("QUEUE") else { return };
    let mut tailer = Tailer::open(platform(&queue), &TailOptions::default()).unwrap();
    let mut stream = Stream::new(KEY, LONGEST);
    println!("ready");
    loop {
        match tailer.next().unwrap() {
            Some(message) if message.type_id == TYPE => {
                stream.verify(message.seq, message.payload);
            }
            Some(_) => break,
            None => thread::yield_now(),
        }
    }
    println!("read {}", stream.number());
}

#[test]
fn readers_killed_in_their_sleep_cost_nobody_a_record_and_no_wake_up_afterwards() {
    let home = Home::with_queue(64 << 10);
    let counts = Counts::default();
    let options = WriteOptions::default();
    let mut appender = Appender::open_with(home.platform(), options, &counts, NoSupply).unwrap();
    let start = |body: &str| Body::named(body).tell("QUEUE", home.path().display()).start();
    let mut survivor = start("body_polls_to_the_end");
    survivor.said("ready").unwrap();

    let mut stream = Stream::new(KEY, LONGEST);
    let mut bytes = Vec::new();
    let mut append = |appender: &mut Appender<_, _, _>, count: u64| {
        for _ in 0..count {
            stream.next_into(&mut bytes);
            assert_eq!(appender.append(TYPE, &bytes).unwrap() + 1, stream.number());
        }
        stream.number()
    };
    let until = Instant::now() + seconds(15);
    let mut sleepers: Vec<Process> = Vec::new();
    let mut killed = 0;
    let mut oldest = 0;
    while Instant::now() < until {
        while sleepers.len() < 3 {
            let mut sleeper = start("body_sleeps_until_it_is_killed");
            // The writer does not wait for a process to start.
            append(&mut appender, BATCH);
            sleeper.said("asleep").unwrap();
            sleepers.push(sleeper);
        }
        for pause in [0, 300, 50] {
            append(&mut appender, BATCH);
            thread::sleep(Duration::from_micros(pause));
        }
        // The one that has slept longest, in its sleep, at the wake-up or just behind it.
        sleepers.remove(0).kill();
        killed += 1;
        append(&mut appender, BATCH);
        // Old segments go by hand, well behind the reader that lives.
        let head = appender.position().segment.get();
        while oldest + 2000 < head {
            std::fs::remove_file(home.file(&format!("{oldest:09}.q"))).unwrap();
            oldest += 1;
        }
    }
    for mut sleeper in sleepers.drain(..) {
        sleeper.kill();
        killed += 1;
    }
    // One wake-up for a flag that a dead reader left raised, and then none, over rolls and all.
    let before = counts.waking.get();
    append(&mut appender, 1);
    let first = counts.waking.get() - before;
    let rolled = appender.position().segment.get();
    let written = append(&mut appender, 5000);
    assert!(appender.position().segment.get() > rolled + 3);
    let later = counts.waking.get() - before - first;
    appender.append(END, b"").unwrap();
    survivor.succeed();
    let read: u64 = survivor.said("read ").unwrap().parse().unwrap();
    println!(
        "{killed} readers killed, {written} records in {} segments, {read} of them read, \
         {} wake-ups, {first} for the dead, {later} behind that",
        appender.position().segment.get() + 1,
        before
    );
    assert_eq!(read, written);
    assert!(before > 0, "nobody ever slept");
    assert!(first <= 1 && later == 0, "{first} and {later} wake-ups for nobody");
}
