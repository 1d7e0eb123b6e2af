//! A writer that waits for room in a queue that is full, beside a slow reader in another process.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod support;

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use support::{Place, Running, lines, run};

const PATIENCE: Duration = Duration::from_secs(30);

/// A queue of at most four segments of 64 KiB, and a durable reader at its first message.
fn small_queue() -> Place {
    let place = Place::new();
    let queue = place.queue();
    let limits = ["--segment-size", "64K", "--retain", "64K", "--capacity", "256K"];
    run(["create", &queue].into_iter().chain(limits), b"").succeeded();
    run(["append", &queue], b"first\n").succeeded();
    run(["tail", &queue, "--reader", "slow"], b"").succeeded();
    place
}

/// Processor time that a process has used so far, in clock ticks (proc_pid_stat(5)).
fn processor_ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// Waits until the queue's head has not moved for a while: the writer is blocked.
fn wait_until_blocked(place: &Place) -> u64 {
    let started = Instant::now();
    let head = || {
        let report = run(["inspect", &place.queue(), "--json"], b"").succeeded().json();
        report["last_seq"].as_u64().unwrap()
    };
    let mut last = head();
    loop {
        thread::sleep(Duration::from_millis(300));
        let now = head();
        if now == last && now > 100 {
            return now;
        }
        last = now;
        assert!(started.elapsed() < PATIENCE, "the writer never comes to the limit");
    }
}

#[test]
fn a_blocked_writer_goes_on_when_the_reader_commits_and_nothing_is_lost() {
    let place = small_queue();
    let queue = place.queue();
    let input = lines(1, 4000);
    let file = place.path("input");
    fs::write(&file, &input).unwrap();
    let writer = Running::start(["append", &queue, &file, "--when-full", "wait:60s"]);
    let blocked_at = wait_until_blocked(&place);
    let before = processor_ticks(writer.pid());
    thread::sleep(Duration::from_secs(1));
    let used = processor_ticks(writer.pid()) - before;
    assert!(used <= 20, "{used} of 100 ticks while it only waits");

    let mut read = Vec::new();
    let started = Instant::now();
    while read.len() < input.len() {
        let options = ["--reader", "slow", "--format", "raw", "--limit", "400"];
        let outcome = run(["tail", &queue].into_iter().chain(options), b"").succeeded();
        read.extend_from_slice(&outcome.output);
        assert!(started.elapsed() < PATIENCE, "the writer does not go on");
    }
    let outcome = writer.finish();
    assert_eq!(outcome.code, Some(0), "{}", outcome.errors);
    assert!(read == input, "every message once and in order");
    assert!(blocked_at < 4000);
}

#[test]
fn when_the_deadline_passes_the_writer_says_so_and_the_queue_is_whole() {
    let place = small_queue();
    let queue = place.queue();
    let input = lines(1, 4000);
    let started = Instant::now();
    let outcome = run(["append", &queue, "--when-full", "wait:700ms"], &input);
    assert_eq!(outcome.code, Some(2));
    assert!(started.elapsed() >= Duration::from_millis(700));
    assert!(outcome.errors.contains("the queue is full"), "{}", outcome.errors);
    assert!(outcome.errors.contains("waited 0.7 s"), "{}", outcome.errors);
    let read = run(["tail", &queue, "--reader", "slow", "--format", "raw"], b"").succeeded();
    assert!(read.output.len() > 100_000 && input.starts_with(&read.output));
    run(["verify", &queue], b"").succeeded();
    // The reader has passed everything, so there is room again without waiting long.
    let rest = &input[read.output.len()..];
    run(["append", &queue, "--when-full", "wait:20s"], &rest[..2000]).succeeded();
}
