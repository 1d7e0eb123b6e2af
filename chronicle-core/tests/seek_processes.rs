//! Seeking beside a writer in another process, and after its death.
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

use chronicle_core::{Appender, NoSupply, Site, Tailer, WriteOptions};
use chronicle_format::INDEX_STRIDE;
use chronicle_platform_linux::LinuxPlatform;
use support::child::{Body, Process, told};
use support::probes::DieAt;
use support::{Home, TYPE, payload, platform};

const SIZE: u64 = 256 << 10;
const LARGEST: u64 = 160;

const SITES: [Site; 8] = [
    Site::Claimed,
    Site::Published,
    Site::Rolling,
    Site::NextPublished,
    Site::HintMoved,
    Site::Sealed,
    Site::Clearing,
    Site::TakingOver,
];

/// Not a test of its own: the writer that the tests below start and that dies.
#[test]
fn the_seek_writer_that_dies() {
    let Some(queue) = told::<PathBuf>("QUEUE") else { return };
    let probe = DieAt::new(&told::<String>("SITE").unwrap(), told("PASSES").unwrap());
    let mut appender =
        Appender::open_with(platform(&queue), WriteOptions::default(), probe, NoSupply).unwrap();
    let mut acknowledged = std::io::stdout().lock();
    for _ in 0..20_000 {
        let number = appender.next_seq();
        let bytes = payload(number);
        if number % 3 == 0 {
            let mut claim = appender.claim(bytes.len()).unwrap();
            claim.copy_from_slice(&bytes);
            claim.commit(TYPE).unwrap();
        } else {
            appender.append(TYPE, &bytes).unwrap();
        }
        if number % 100 == 0 {
            writeln!(acknowledged, "ack {number}").unwrap();
        }
    }
}

fn start_writer(home: &Home, site: Option<Site>, passes: u32) -> Process {
    let name = site.map_or_else(String::new, |site| format!("{site:?}"));
    let body = Body::named("the_seek_writer_that_dies").tell("QUEUE", home.path().display());
    let body = body.tell("SITE", name).tell("PASSES", passes);
    if site.is_some() { body.quietly().start() } else { body.start() }
}

fn assert_seek(tailer: &mut Tailer<LinuxPlatform>, seq: u64, what: &str) {
    let sought = tailer.seek_seq(seq).unwrap();
    assert!(sought.found, "{what}: seq {seq}");
    assert!(sought.passed_bytes <= INDEX_STRIDE + LARGEST, "{what}: seq {seq}: {sought:?}");
    let message = tailer.next().unwrap().unwrap();
    assert_eq!((message.seq, message.payload), (seq, &payload(seq)[..]), "{what}");
}

/// Seeks all over the queue, and by time to one record of each strides' worth.
fn assert_seeks(home: &Home, count: u64, what: &str) {
    let mut tailer = home.tailer();
    for seq in (0..count).step_by(251).chain(count.saturating_sub(300)..count) {
        assert_seek(&mut tailer, seq, what);
    }
    let mut stamps = Vec::new();
    tailer.seek_to_start().unwrap();
    while let Some(message) = tailer.next().unwrap() {
        stamps.push(message.timestamp_ns);
    }
    assert_eq!(stamps.len() as u64, count);
    for ns in stamps.iter().step_by(1009) {
        let sought = tailer.seek_timestamp(*ns).unwrap();
        assert!(sought.passed_bytes <= INDEX_STRIDE + LARGEST, "{what}: {sought:?}");
        let expected = stamps.iter().position(|at| at >= ns).unwrap() as u64;
        // An EPOCH record may have had that time already.
        let found = tailer.next().unwrap().unwrap().seq;
        assert!(found <= expected && expected - found <= 1, "{what}: {found} for {expected}");
    }
}

#[test]
fn seek_is_as_short_after_the_writer_was_killed_at_any_step() {
    for site in SITES {
        let home = Home::with_queue(SIZE);
        let mut alive = home.tailer();
        for passes in [0, 1, 3] {
            // Enough records that the death is somewhere between two entries or at one.
            let passes = match site {
                Site::Published => 2000 * passes + 1213,
                Site::Claimed => 700 * passes + 557,
                _ => passes,
            };
            let mut writer = start_writer(&home, Some(site), passes);
            let last = writer.numbers("ack ").last();
            writer.end();
            let count = home.read_all().len() as u64;
            assert!(last.is_none_or(|last| last < count));
            let what = format!("{site:?} after {passes}");
            // As it was left, then as the next writer took it over, then a little further.
            assert_seeks(&home, count, &what);
            let mut appender = home.appender();
            assert_seeks(&home, count, &what);
            for number in count..count + 1500 {
                appender.append(TYPE, &payload(number)).unwrap();
            }
            assert_seeks(&home, count + 1500, &what);
            for seq in (0..count + 1500).rev().step_by(101) {
                assert_seek(&mut alive, seq, &what);
            }
        }
    }
}

#[test]
fn seek_finds_what_a_writer_in_another_process_appends() {
    let home = Home::with_queue(SIZE);
    let mut tailer = home.tailer();
    let mut writer = start_writer(&home, None, 0);
    let mut seen = 0;
    for number in writer.numbers("ack ") {
        for seq in [number, number / 2, number.saturating_sub(1)] {
            assert_seek(&mut tailer, seq, "beside the writer");
        }
        seen = number;
        if seen > 15_000 {
            break;
        }
    }
    let status = writer.kill();
    assert!(seen > 15_000, "the writer ended at {seen}: {status}");
    let count = home.read_all().len() as u64;
    assert_seeks(&home, count, "killed");
    drop(home.appender());
    assert_seeks(&home, count, "taken over");
}
