//! A writer that is killed at every named step of the protocol, in a process of its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod support;

use std::io::Write;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use chronicle_core::{
    Appender, NoProbe, NoSupply, SegmentId, Site, Space, Start, WaitOutcome, WaitStrategy,
    WriteOptions, prepare_segment_with,
};
use chronicle_sync::{Clock, Platform};
use support::child::{Body, told};
use support::probes::{Counts, DieAt, SITES};
use support::{Home, TYPE, assert_holds, drain, payload, platform};

/// Not a test of its own: the writer that the tests below start and that dies.
#[test]
fn the_writer_that_dies() {
    let Some(queue) = told::<PathBuf>("QUEUE") else { return };
    let site: String = told("SITE").unwrap();
    let probe = DieAt::new(&site, told("PASSES").unwrap());
    let mut appender =
        Appender::open_with(platform(&queue), WriteOptions::default(), probe, NoSupply).unwrap();
    // Only where it is to die of it: otherwise the rolls make their segments themselves.
    let prepares = [Site::Staged, Site::Named, Site::Prepared].map(|site| format!("{site:?}"));
    let prepares = prepares.contains(&site);
    let mut acknowledged = std::io::stdout().lock();
    for _ in 0..400 {
        let number = appender.next_seq();
        let bytes = payload(number);
        if prepares && number % 11 == 0 {
            appender.prepare_next().unwrap();
        }
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

/// Not a test of its own: a writer whose process dies in the thread that prepares its segments.
#[test]
fn the_writer_whose_helper_dies() {
    let Some(queue) = told::<PathBuf>("QUEUE") else { return };
    let (site, passes): (String, _) = (told("SITE").unwrap(), told("PASSES").unwrap());
    let mut appender = Appender::open(platform(&queue), WriteOptions::default()).unwrap();
    let (wanted, wants) = mpsc::channel::<SegmentId>();
    thread::spawn(move || {
        let platform = platform(&queue);
        let probe = DieAt::new(&site, passes);
        for id in wants {
            drop(
                prepare_segment_with(&platform, id, Space::Written, &probe, || Some(1 << 14))
                    .unwrap(),
            );
        }
    });
    let mut acknowledged = std::io::stdout().lock();
    let mut segment = None;
    // Until the other thread ends the process, which is asked for every segment long before.
    for _ in 0..50_000 {
        let here = appender.position().segment;
        if segment.replace(here) != Some(here) {
            wanted.send(here.next().unwrap()).unwrap();
        }
        let number = appender.next_seq();
        appender.append(TYPE, &payload(number)).unwrap();
        writeln!(acknowledged, "ack {number}").unwrap();
    }
}

/// Runs a writer until it dies or is done; returns how many records it acknowledged in all.
fn run_writer(body: &str, home: &Home, site: Site, passes: u32) -> Option<u64> {
    let body = Body::named(body).tell("QUEUE", home.path().display());
    let body = body.tell("SITE", format!("{site:?}")).tell("PASSES", passes);
    let mut writer = body.quietly().start();
    let last = writer.numbers("ack ").last();
    writer.end();
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
            if let Some(count) = run_writer("the_writer_that_dies", &home, site, passes) {
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

#[test]
fn what_was_acknowledged_survives_a_death_of_the_thread_that_prepares_segments() {
    for site in [Site::Staged, Site::Named, Site::Prepared] {
        let home = Home::with_queue(64 << 10);
        let mut survivor = home.named("survivor").unwrap();
        let mut seen = Vec::new();
        let mut before = 0;
        for passes in [0, 1, 5, 13] {
            let count = run_writer("the_writer_whose_helper_dies", &home, site, passes);
            let messages = home.read_all();
            let found = messages.len() as u64;
            // The line about the last record may not have been written when the process ended.
            let acknowledged = count.unwrap_or(before);
            assert!(
                (acknowledged..=acknowledged + 1).contains(&found),
                "{site:?} after {passes}: {acknowledged} acknowledged, {found} there"
            );
            assert_holds(&messages, found);
            seen.extend(drain(&mut survivor));
            assert_eq!(seen, messages, "{site:?} after {passes}");
            before = found;
        }
        drop(home.appender());
        assert_holds(&home.read_all(), before);
        // What the dead had under way is gone: no temporary file, and nothing behind the head.
        let names = std::fs::read_dir(home.path()).unwrap();
        for name in names.map(|entry| entry.unwrap().file_name().into_string().unwrap()) {
            assert!(!name.ends_with(".tmp"), "{site:?}: {name}");
        }
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
