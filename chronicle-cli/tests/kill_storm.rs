//! `kill -9` of the writer at random instants, again and again: what was acknowledged is there, once
//! and in order, and readers go on.
//!
//! `CHRONICLE_TEST_KILLS` sets how many kills, `CHRONICLE_TEST_SEED` repeats a run.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod support;

use std::io::Write;
use std::thread;
use std::time::{Duration, SystemTime};

use chronicle_std::{Queue, QueueReader};
use support::{Place, Running};

const KILLS: u64 = 200;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Checks that the next records are the lines of this round from its beginning, and returns how many
/// there are.
fn drain(reader: &mut QueueReader, round: u64, next_seq: &mut u64) -> u64 {
    let mut index = 0;
    while let Some(message) = reader.next().unwrap() {
        assert_eq!(message.seq, *next_seq, "round {round}: a gap or a double");
        let line = format!("{round} {index} {}", "x".repeat((index * 37 % 300) as usize));
        assert_eq!(message.payload, line.as_bytes(), "round {round}, line {index}");
        *next_seq += 1;
        index += 1;
    }
    reader.commit().unwrap();
    index
}

#[test]
fn two_hundred_kills_at_random_instants_lose_nothing_acknowledged() {
    let kills = setting("CHRONICLE_TEST_KILLS").unwrap_or(KILLS);
    let seed = setting("CHRONICLE_TEST_SEED")
        .unwrap_or_else(|| SystemTime::UNIX_EPOCH.elapsed().unwrap().subsec_nanos().into());
    println!("CHRONICLE_TEST_SEED={seed}");
    let mut state = seed | 1;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };

    let place = Place::new();
    let queue = place.queue();
    drop(Queue::create(&queue, {
        let mut config = chronicle_std::WriterConfig::default();
        config.segment_size = 16384;
        config
    }));
    // A follower that lives through all of it, and a named reader that is opened anew each time.
    let mut survivor = Queue::open_subscriber(&queue, "survivor").unwrap();
    let (mut survivor_seq, mut reopened_seq) = (0, 0);
    let (mut acknowledged_in_all, mut in_flight) = (0u64, 0u64);
    for round in 0..kills {
        let mut writer = Running::start(["append", &queue, "--ack"]);
        let mut input = writer.input.take().unwrap();
        let feeder = thread::spawn(move || {
            let mut index = 0u64;
            loop {
                let line = format!("{round} {index} {}", "x".repeat((index * 37 % 300) as usize));
                if writeln!(input, "{line}").is_err() {
                    break;
                }
                index += 1;
            }
        });
        // Sometimes while it opens and recovers, sometimes far into appending and rolling.
        thread::sleep(Duration::from_micros(random() % 40_000));
        let output = writer.kill();
        feeder.join().unwrap();
        let text = String::from_utf8(output).unwrap();
        // A line without its end was not acknowledged.
        let acknowledged: Vec<u64> = text
            .split_inclusive('\n')
            .filter_map(|line| line.strip_suffix('\n'))
            .map(|line| line.parse().unwrap())
            .collect();
        let expected: Vec<u64> = (survivor_seq..).take(acknowledged.len()).collect();
        assert_eq!(acknowledged, expected, "round {round}");

        let found = drain(&mut survivor, round, &mut survivor_seq);
        let count = acknowledged.len() as u64;
        assert!(
            (count..=count + 1).contains(&found),
            "round {round}: {count} acknowledged, {found} found"
        );
        let mut reopened = Queue::open_subscriber(&queue, "reopened").unwrap();
        assert_eq!(drain(&mut reopened, round, &mut reopened_seq), found);
        acknowledged_in_all += count;
        in_flight += found - count;
    }
    assert!(acknowledged_in_all > 0);
    let segments = survivor.position().segment.get() + 1;
    println!(
        "{kills} kills: {acknowledged_in_all} acknowledged messages all there, {in_flight} in flight kept, {segments} segments"
    );
}
