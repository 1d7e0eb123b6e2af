//! Named readers, waiting, and the one writer.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod support;

use std::time::{Duration, Instant};

use chronicle_core::{Error, WaitOutcome, WaitStrategy, WriterStatus};
use chronicle_sync::{Clock, Platform};
use support::{Home, TYPE, assert_holds, drain, payload};

fn in_time(home: &Home, duration: Duration) -> chronicle_sync::Instant {
    home.platform().clock().now().after(duration)
}

#[test]
fn a_named_reader_goes_on_where_it_committed() {
    let home = Home::with_queue(4096);
    let mut appender = home.appender();
    for number in 0..300 {
        appender.append(TYPE, &payload(number)).unwrap();
    }
    let mut expected = 0;
    while expected < 300 {
        let mut tailer = home.named("a").unwrap();
        for _ in 0..13 {
            if let Some(message) = tailer.next().unwrap() {
                assert_eq!(
                    (message.seq, message.payload),
                    (expected, payload(expected).as_slice())
                );
                expected += 1;
            }
        }
        tailer.commit().unwrap();
        // Read and not committed: comes again.
        let _ = tailer.next().unwrap();
    }
    assert!(home.named("a").unwrap().next().unwrap().is_none());
    assert_holds(&drain(&mut home.named("b").unwrap()), 300);
}

#[test]
fn a_name_is_held_by_one_reader_at_a_time() {
    let home = Home::with_queue(4096);
    let held = home.named("a").unwrap();
    let refused = home.named("a").map(drop).unwrap_err();
    let pid = std::process::id();
    assert!(
        matches!(&refused, Error::ReaderAlreadyActive { name, pid: holder } if name.as_str() == "a" && *holder == pid),
        "{refused:?}"
    );
    drop(held);
    home.named("a").unwrap();
}

#[test]
fn a_second_writer_is_refused_and_told_who_holds_the_queue() {
    let home = Home::with_queue(4096);
    let first = home.appender();
    let refused = home.try_appender().map(drop).unwrap_err();
    let Error::WriterAlreadyActive { holder: Some(holder) } = refused else {
        panic!("{refused:?}");
    };
    assert_eq!((holder.pid, holder.epoch), (std::process::id(), first.epoch()));
    drop(first);
    home.appender();
}

#[test]
fn a_reader_at_the_end_of_a_segment_wakes_when_the_writer_rolls() {
    for strategy in [
        WaitStrategy::BusySpin,
        WaitStrategy::Park,
        WaitStrategy::SpinThenPark { spin: Duration::from_micros(50) },
    ] {
        let home = Home::with_queue(4096);
        let mut appender = home.appender();
        let mut number = 0u8;
        // To the very end: the next record of this size does not fit.
        while 4096 - appender.position().offset >= 32 + 512 {
            appender.append(TYPE, &[number; 512]).unwrap();
            number += 1;
        }
        let mut tailer = home.tailer();
        assert_eq!(drain(&mut tailer).len(), usize::from(number));
        let until = in_time(&home, Duration::from_secs(20));
        let waiting = std::thread::spawn(move || {
            let outcome = tailer.wait(strategy, until, None).unwrap();
            let woken = Instant::now();
            (outcome, woken, tailer.next().unwrap().map(|message| message.payload.to_vec()))
        });
        std::thread::sleep(Duration::from_millis(250));
        let appended = Instant::now();
        appender.append(TYPE, &[0xee; 512]).unwrap();
        assert_eq!(appender.position().segment.get(), 1);
        let (outcome, woken, message) = waiting.join().unwrap();
        assert_eq!(outcome, WaitOutcome::Ready);
        assert_eq!(message.unwrap(), [0xee; 512]);
        assert!(woken.duration_since(appended) < Duration::from_secs(5), "{strategy:?}");
    }
}

#[test]
fn a_wait_ends_when_its_time_is_up() {
    let home = Home::with_queue(4096);
    let mut tailer = home.tailer();
    for strategy in [WaitStrategy::BusySpin, WaitStrategy::Park, WaitStrategy::default()] {
        let begun = Instant::now();
        let until = in_time(&home, Duration::from_millis(30));
        assert_eq!(tailer.wait(strategy, until, None).unwrap(), WaitOutcome::TimedOut);
        assert!(begun.elapsed() >= Duration::from_millis(30));
    }
}

#[test]
fn a_dead_and_a_stalled_writer_are_reported_after_the_limit() {
    let home = Home::with_queue(4096);
    let mut tailer = home.tailer();
    let limit = Some(Duration::from_millis(40));
    for strategy in [WaitStrategy::BusySpin, WaitStrategy::Park] {
        let until = in_time(&home, Duration::from_secs(20));
        let outcome = tailer.wait(strategy, until, limit).unwrap();
        assert_eq!(outcome, WaitOutcome::Writer(WriterStatus::Dead));
    }
    let mut appender = home.appender();
    let claim = appender.claim(100).unwrap();
    std::thread::sleep(Duration::from_millis(60));
    let until = in_time(&home, Duration::from_secs(20));
    let outcome = tailer.wait(WaitStrategy::Park, until, limit).unwrap();
    assert_eq!(outcome, WaitOutcome::Writer(WriterStatus::Stalled));
    drop(claim);
    let until = in_time(&home, Duration::from_millis(150));
    let outcome = tailer.wait(WaitStrategy::Park, until, limit).unwrap();
    assert_eq!(outcome, WaitOutcome::TimedOut, "an idle writer is not a dead one");
}

#[test]
fn a_position_that_a_power_loss_took_is_diverged() {
    let home = Home::with_queue(65536);
    let mut appender = home.appender();
    for number in 0..20 {
        appender.append(TYPE, &payload(number)).unwrap();
    }
    let mut tailer = home.named("a").unwrap();
    for _ in 0..15 {
        tailer.next().unwrap().unwrap();
    }
    tailer.commit().unwrap();
    let offset = home.tailer_from(chronicle_core::Start::Seq(10)).unwrap();
    drop((tailer, offset, appender));
    // The last ten records never reached the disk.
    let end = {
        let mut tailer = home.tailer();
        for _ in 0..10 {
            tailer.next().unwrap().unwrap();
        }
        tailer.position().offset
    };
    home.write_at("000000000.q", end, &vec![0; (65536 - end) as usize]);
    home.forget_boot();
    let mut appender = home.appender();
    for number in 10..40 {
        appender.append(TYPE, &payload(number + 1000)).unwrap();
    }
    let refused = home.named("a").map(drop).unwrap_err();
    assert!(matches!(refused, Error::Diverged { seq: 15, .. }), "{refused:?}");
}

#[test]
fn inspection_gives_exact_lags_across_segments() {
    let home = Home::with_queue(4096);
    let mut appender = home.appender();
    for number in 0..200 {
        appender.append(TYPE, &payload(number)).unwrap();
    }
    let mut tailer = home.named("slow").unwrap();
    for _ in 0..42 {
        tailer.next().unwrap().unwrap();
    }
    tailer.commit().unwrap();
    let inspection = chronicle_core::Inspection::of(&home.platform()).unwrap();
    assert_eq!(inspection.head.position, appender.position());
    let mut reports = Vec::new();
    inspection.readers(&home.platform(), |report| reports.push(report.unwrap())).unwrap();
    assert_eq!(reports.len(), 1);
    assert_eq!((reports[0].name.as_str(), reports[0].active), ("slow", true));
    assert_eq!(reports[0].lag_messages, 158);
    let expected: u64 =
        (42..200).map(|n| 32 + (payload(n).len() as u64).next_multiple_of(32)).sum();
    assert_eq!(reports[0].lag_bytes, expected);
}

#[test]
fn a_position_behind_the_epoch_record_of_a_segment_that_a_power_loss_took_is_diverged() {
    let home = Home::with_queue(4096);
    let mut appender = home.appender();
    // So full that not even an EPOCH record fits behind the second one.
    appender.append(TYPE, &[1; 3800]).unwrap();
    let second = appender.position().offset;
    appender.append(TYPE, &[2; 64]).unwrap();
    appender.append(TYPE, &[3; 64]).unwrap();
    assert_eq!(appender.position().segment.get(), 1);
    drop(appender);
    // The third record is lost, so that the next segment begins with an EPOCH record.
    home.write_at("000000001.q", 64, &[0; 200]);
    drop(home.appender());
    let mut reader = home.named("r").unwrap();
    while reader.next().unwrap().is_some() {}
    reader.commit().unwrap();
    assert_eq!((reader.position().segment.get(), reader.position().seq), (1, 2));
    drop(reader);
    drop(home.named("r").unwrap());

    home.write_at("000000000.q", second, &[0; 96]);
    home.forget_boot();
    let mut appender = home.appender();
    assert_eq!(appender.next_seq(), 1);
    for _ in 0..20 {
        appender.append(TYPE, &[4; 200]).unwrap();
    }
    assert!(matches!(home.named("r").map(drop), Err(Error::Diverged { seq: 2, .. })));
}

/// A reader that has seen its writer die knows nothing of the next one, which may be at work already.
#[test]
fn a_reader_whose_writer_died_leaves_the_log_to_the_next_one() {
    let home = Home::with_queue(4096);
    let mut appender = home.appender();
    for number in 0..5 {
        appender.append(TYPE, &payload(number)).unwrap();
    }
    drop(appender);
    let before = std::fs::read(home.file("000000000.q")).unwrap();
    let mut tailer = home.tailer();
    assert_eq!(drain(&mut tailer).len(), 5);
    let until = in_time(&home, Duration::from_secs(20));
    let outcome = tailer.wait(WaitStrategy::Park, until, Some(Duration::from_millis(10))).unwrap();
    assert_eq!(outcome, WaitOutcome::Writer(WriterStatus::Dead));
    let after = std::fs::read(home.file("000000000.q")).unwrap();
    assert!(after == before, "the reader stored to the segment");
    home.appender().append(TYPE, &payload(5)).unwrap();
    assert_eq!(tailer.next().unwrap().unwrap().seq, 5);
}
