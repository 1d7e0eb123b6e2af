//! A writer that is killed at every named step of the protocol, in a process of its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod support;

use std::cell::Cell;
use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use chronicle_core::{
    Appender, NoProbe, NoSupply, Probe, Site, Start, WaitOutcome, WaitStrategy, WriteOptions,
};
use chronicle_sync::{Clock, Platform};
use support::{Home, TYPE, assert_holds, drain, payload, platform};

const QUEUE: &str = "CHRONICLE_TEST_QUEUE";
const SITE: &str = "CHRONICLE_TEST_SITE";
const PASSES: &str = "CHRONICLE_TEST_PASSES";

const SITES: [Site; 10] = [
    Site::Claimed,
    Site::Published,
    Site::Waking,
    Site::Extending,
    Site::Rolling,
    Site::NextPublished,
    Site::HintMoved,
    Site::Sealed,
    Site::Clearing,
    Site::TakingOver,
];

/// Dies at a site, without running a destructor, once it has been passed so many times.
struct DieAt {
    site: Site,
    passes_left: Cell<u32>,
}

impl Probe for DieAt {
    fn at(&self, site: Site) {
        if site == self.site {
            match self.passes_left.get() {
                0 => std::process::abort(),
                left => self.passes_left.set(left - 1),
            }
        }
    }
}

/// Not a test of its own: the body of the process that the tests below start and that dies.
#[test]
fn the_writer_that_dies() {
    let Ok(queue) = env::var(QUEUE) else { return };
    let site = env::var(SITE).unwrap();
    let site = SITES.into_iter().find(|candidate| format!("{candidate:?}") == site).unwrap();
    let passes_left = Cell::new(env::var(PASSES).unwrap().parse().unwrap());
    let probe = DieAt { site, passes_left };
    let platform = platform(Path::new(&queue));
    let mut appender =
        Appender::open_with(platform, WriteOptions::default(), probe, NoSupply).unwrap();
    let mut acknowledged = std::io::stdout().lock();
    for _ in 0..400 {
        let number = appender.next_seq();
        let bytes = payload(number);
        if number % 3 == 0 {
            let mut claim = appender.claim(bytes.len()).unwrap();
            claim.copy_from_slice(&bytes);
            claim.commit(TYPE).unwrap();
        } else {
            appender.append(TYPE, &bytes).unwrap();
        }
        writeln!(acknowledged, "ack {number}").unwrap();
    }
}

/// Runs the writer until it dies or is done; returns how many records it acknowledged in all.
fn run_writer(home: &Home, site: Site, passes: u32) -> Option<u64> {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["the_writer_that_dies", "--exact", "--nocapture", "--test-threads=1"])
        .env(QUEUE, home.path())
        .env(SITE, format!("{site:?}"))
        .env(PASSES, passes.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut last = None;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        // The test runner begins a line of its own before the first one.
        if let Some((_, number)) = line.unwrap().split_once("ack ") {
            last = Some(number.parse::<u64>().unwrap());
        }
    }
    child.wait().unwrap();
    last.map(|last| last + 1)
}

#[test]
fn what_was_acknowledged_survives_a_death_at_every_step() {
    for site in SITES {
        let home = Home::with_queue(4096);
        // A reader that lives through all of it, and sleeps, so that there is someone to wake.
        let mut survivor = home.named("survivor").unwrap();
        let mut seen = Vec::new();
        let mut acknowledged = 0;
        // Readers that began at the newest record while the queue had no writer.
        let mut latest = Vec::new();
        for passes in [0, 1, 2, 7, 30] {
            if let Some(count) = run_writer(&home, site, passes) {
                acknowledged = acknowledged.max(count);
            }
            let messages = home.read_all();
            let count = messages.len() as u64;
            // The record in flight may be there or not; once it is there it stays.
            assert!(
                (acknowledged..=acknowledged + 1).contains(&count),
                "{site:?} after {passes}: {acknowledged} acknowledged, {count} there"
            );
            assert_holds(&messages, count);
            acknowledged = count;
            seen.extend(drain(&mut survivor));
            assert_eq!(seen, messages, "{site:?} after {passes}");
            latest.push((count, home.tailer_from(Start::Latest).unwrap()));
        }
        let mut appender =
            Appender::open_with(home.platform(), WriteOptions::default(), NoProbe, NoSupply)
                .unwrap();
        let next = appender.next_seq();
        assert_eq!(appender.append(TYPE, &payload(next)).unwrap(), next);
        let until = home.platform().clock().now().after(Duration::from_secs(10));
        let outcome = survivor.wait(WaitStrategy::Park, until, None).unwrap();
        assert_eq!(outcome, WaitOutcome::Ready, "{site:?}");
        assert_eq!(survivor.next().unwrap().unwrap().seq, next);
        let messages = home.read_all();
        assert_holds(&messages, next + 1);
        for (begun_at, tailer) in &mut latest {
            assert_eq!(drain(tailer), messages[*begun_at as usize..], "{site:?} from {begun_at}");
        }
    }
}

/// Counts what an appender passes.
#[derive(Default)]
struct Counts {
    waking: Cell<u32>,
    extending: Cell<u32>,
    rolling: Cell<u32>,
}

impl Probe for &Counts {
    fn at(&self, site: Site) {
        let count = match site {
            Site::Waking => &self.waking,
            Site::Extending => &self.extending,
            Site::Rolling => &self.rolling,
            _ => return,
        };
        count.set(count.get() + 1);
    }
}

#[test]
fn an_append_wakes_nobody_while_nobody_sleeps_and_a_killed_sleeper_costs_one_wake() {
    let home = Home::with_queue(1 << 20);
    let counts = Counts::default();
    let mut appender =
        Appender::open_with(home.platform(), WriteOptions::default(), &counts, NoSupply).unwrap();
    let mut tailer = home.tailer();
    for number in 0..1000 {
        appender.append(TYPE, &payload(number)).unwrap();
        tailer.next().unwrap().unwrap();
    }
    assert_eq!(counts.waking.get(), 0);
    // A sleeper that times out leaves the flag raised, exactly as one that was killed.
    let until = home.platform().clock().now().after(Duration::from_millis(5));
    assert_eq!(tailer.wait(WaitStrategy::Park, until, None).unwrap(), WaitOutcome::TimedOut);
    for number in 1000..2000 {
        appender.append(TYPE, &payload(number)).unwrap();
    }
    assert_eq!(counts.waking.get(), 1);
}

#[test]
fn an_append_enters_the_kernel_only_at_the_edge_of_a_step_and_of_a_segment() {
    let home = Home::with_queue(1 << 20);
    let counts = Counts::default();
    let options = WriteOptions::default();
    let mut appender = Appender::open_with(home.platform(), options, &counts, NoSupply).unwrap();
    let count = 40_000;
    for number in 0..count {
        appender.append(TYPE, &payload(number)).unwrap();
    }
    let rolls = appender.position().segment.get();
    assert!(rolls > 2);
    assert_eq!(counts.rolling.get(), rolls);
    // A segment is one step here, so space never has to be extended.
    assert_eq!(counts.extending.get(), 0);
    assert_eq!(counts.waking.get(), 0);
}
