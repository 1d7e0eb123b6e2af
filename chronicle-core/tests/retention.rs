//! Which segments go, which stay, and why.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod support;

use chronicle_core::{
    CreateOptions, Error, Fate, ReaderName, ReaderPolicy, RetentionPolicy, SegmentId, SegmentSize,
    Start, TailOptions, Tailer, apply_retention, apply_retention_while, create, plan_retention,
    remove_reader,
};
use chronicle_format::layout;
use chronicle_platform_linux::LinuxPlatform;
use support::counting::{Calls, Counting};
use support::{Home, TYPE, drain, payload};

const SIZE: u64 = 4096;

/// A queue with records in many segments, which keeps at most so many.
fn filled(policy: RetentionPolicy, count: u64) -> Home {
    let home = Home::new();
    let mut options = CreateOptions::default();
    options.segment_size = SegmentSize::new(SIZE).unwrap();
    options.retention = policy;
    create(&home.platform(), &options).unwrap();
    let mut appender = home.appender();
    for number in 0..count {
        appender.append(TYPE, &payload(number)).unwrap();
    }
    home
}

fn keep(segments: u64) -> RetentionPolicy {
    let mut policy = RetentionPolicy::KEEP_ALL;
    policy.max_segments = Some(segments);
    policy
}

fn id(number: u32) -> SegmentId {
    SegmentId::new(number.into()).unwrap()
}

fn segments(home: &Home) -> Vec<u32> {
    let mut ids: Vec<u32> = std::fs::read_dir(home.path())
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.strip_suffix(".q")?.parse().ok())
        .collect();
    ids.sort_unstable();
    ids
}

fn reader(home: &Home, name: &str, policy: ReaderPolicy) -> Tailer<LinuxPlatform> {
    let mut options = TailOptions::default();
    options.name = Some(ReaderName::new(name).unwrap());
    options.policy = policy;
    Tailer::open(home.platform(), &options).unwrap()
}

/// Reads so many records and commits.
fn read(tailer: &mut Tailer<LinuxPlatform>, count: u64) {
    for _ in 0..count {
        tailer.next().unwrap().unwrap();
    }
    tailer.commit().unwrap();
}

#[test]
fn without_readers_the_limits_hold() {
    let home = filled(keep(3), 300);
    let before = segments(&home);
    let report = apply_retention(&home.platform(), |_| false).unwrap();
    let after = segments(&home);
    assert_eq!(after.len(), 3);
    assert_eq!(after, before[before.len() - 3..]);
    assert_eq!(report.removed as usize, before.len() - 3);
    assert_eq!(apply_retention(&home.platform(), |_| false).unwrap().removed, 0);
    // What is left can be read, and the log goes on.
    let mut tailer = home.tailer();
    let first = tailer.next().unwrap().unwrap().seq;
    assert!(first > 0);
    assert_eq!(drain(&mut tailer).len() as u64, 299 - first);
    assert_eq!(home.appender().append(TYPE, &payload(300)).unwrap(), 300);
}

#[test]
fn removal_stops_between_two_segments_when_it_is_told_to_and_goes_on_later() {
    let home = filled(keep(1), 300);
    let before = segments(&home);
    assert!(before.len() > 6);
    let mut asked = 0;
    let report = apply_retention_while(
        &home.platform(),
        |_| false,
        || {
            asked += 1;
            asked < 4
        },
    );
    let report = report.unwrap();
    assert!(report.interrupted);
    assert_eq!((report.removed, asked), (3, 4));
    assert_eq!(segments(&home), before[3..]);
    assert_eq!(home.read_all()[0].0, home.tailer().position().seq);
    let report = apply_retention(&home.platform(), |_| false).unwrap();
    assert!(!report.interrupted);
    assert_eq!(segments(&home), before[before.len() - 1..]);
}

#[test]
fn the_directory_is_listed_once_however_many_segments_go() {
    let home = filled(keep(1), 2000);
    let calls = Calls::default();
    let platform = Counting::new(home.platform(), &calls);
    let removed = apply_retention(&platform, |_| false).unwrap().removed;
    assert!(removed > 30, "{removed} are too few to tell");
    assert_eq!(calls.take()["visit_segments"], 1);
}

#[test]
fn by_default_a_small_queue_keeps_everything() {
    let home = filled(RetentionPolicy::default(), 300);
    let before = segments(&home);
    assert_eq!(apply_retention(&home.platform(), |_| false).unwrap().removed, 0);
    assert_eq!(segments(&home), before);
}

#[test]
fn a_durable_reader_holds_its_segments_and_is_named() {
    let home = filled(keep(2), 300);
    let mut slow = reader(&home, "slow", ReaderPolicy::Durable);
    let mut fast = reader(&home, "fast", ReaderPolicy::Durable);
    read(&mut slow, 100);
    read(&mut fast, 250);
    let held = slow.position().segment;
    drop((slow, fast));
    let plan = plan_retention(&home.platform(), |_| true).unwrap();
    assert_eq!(plan.keep_from(), held);
    assert_eq!(plan.fate(id(0)), Fate::Removable);
    assert_eq!(plan.fate(held), Fate::HeldBy(ReaderName::new("slow").unwrap()));
    assert_eq!(plan.fate(plan.head), Fate::InUse);
    // Not even a reader whose lease would be over is cut off if it is durable.
    assert_eq!(apply_retention(&home.platform(), |_| true).unwrap().removed, held.get());
    let mut slow = reader(&home, "slow", ReaderPolicy::Durable);
    assert_eq!(slow.next().unwrap().unwrap().seq, 100);
    drop(slow);
    remove_reader(&home.platform(), &ReaderName::new("slow").unwrap()).unwrap();
    let plan = plan_retention(&home.platform(), |_| true).unwrap();
    assert!(plan.keep_from() > held, "freed by the removal of its reader");
}

#[test]
fn a_lease_reader_past_its_time_gets_the_oldest_position() {
    let home = filled(keep(2), 300);
    let mut reader_ = reader(&home, "leased", ReaderPolicy::Lease { ttl_ns: 1 });
    read(&mut reader_, 10);
    assert_eq!(
        apply_retention(&home.platform(), |_| true).unwrap().removed,
        0,
        "an open reader's lease is not over"
    );
    drop(reader_);
    assert!(apply_retention(&home.platform(), |_| true).unwrap().removed > 0);
    let mut options = TailOptions::default();
    options.name = Some(ReaderName::new("leased").unwrap());
    let oldest = home.tailer().position().seq;
    for _ in 0..2 {
        let refused = Tailer::open(home.platform(), &options).map(drop).unwrap_err();
        assert_eq!(refused, Error::FellBehind { oldest }, "and it stays cut off");
    }
}

#[test]
fn a_reader_that_lags_too_much_holds_nothing() {
    let home = filled(keep(2), 300);
    let mut near = reader(&home, "near", ReaderPolicy::MaxLag { bytes: 3 * SIZE });
    let mut far = reader(&home, "far", ReaderPolicy::MaxLag { bytes: 3 * SIZE });
    read(&mut near, 280);
    read(&mut far, 10);
    let plan = plan_retention(&home.platform(), |_| false).unwrap();
    assert!(plan.keep_from() > far.position().segment);
    assert!(plan.keep_from() <= near.position().segment);
}

#[test]
fn a_reader_whose_file_is_damaged_holds_everything_and_is_named() {
    let home = filled(keep(2), 300);
    drop(reader(&home, "broken", ReaderPolicy::Durable));
    home.write_at("readers/broken.meta", 512, &[0xff; 600]);
    let plan = plan_retention(&home.platform(), |_| true).unwrap();
    let broken = ReaderName::new("broken").unwrap();
    assert_eq!(plan.fate(id(0)), Fate::HeldByUnreadable(broken.clone()));
    assert_eq!(apply_retention(&home.platform(), |_| true).unwrap().removed, 0);
    remove_reader(&home.platform(), &broken).unwrap();
    assert!(apply_retention(&home.platform(), |_| true).unwrap().removed > 0);
}

#[test]
fn a_reader_on_a_removed_segment_reads_it_to_the_end_and_then_falls_behind() {
    let home = filled(keep(2), 300);
    let mut passive = home.tailer();
    passive.next().unwrap().unwrap();
    apply_retention(&home.platform(), |_| false).unwrap();
    let oldest = home.tailer().position().seq;
    let mut last = 0;
    let refused = loop {
        match passive.next() {
            Ok(Some(message)) => last = message.seq,
            Ok(None) => panic!("the rest of the log is not nothing"),
            Err(error) => break error,
        }
    };
    assert!(last > 0);
    assert_eq!(refused, Error::FellBehind { oldest });
    assert_eq!(passive.next().unwrap_err(), Error::FellBehind { oldest }, "for good");
    assert_eq!(
        home.tailer_from(Start::Seq(1)).map(drop).unwrap_err(),
        Error::FellBehind { oldest }
    );
}

#[test]
fn a_full_queue_refuses_to_roll_until_a_reader_has_moved_on() {
    let mut policy = keep(2);
    policy.capacity_bytes = Some(5 * SIZE);
    let home = filled(policy, 10);
    let mut slow = reader(&home, "slow", ReaderPolicy::Durable);
    let mut appender = home.appender();
    let mut appended = 10;
    let refused = loop {
        match appender.append(TYPE, &payload(appended)) {
            Ok(_) => appended += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refused, Error::QueueFull { capacity: 5 * SIZE });
    assert_eq!(segments(&home).len(), 5);
    assert_eq!(apply_retention(&home.platform(), |_| false).unwrap().removed, 0);
    appender.append(TYPE, &payload(appended)).unwrap_err();
    read(&mut slow, appended);
    assert_eq!(apply_retention(&home.platform(), |_| false).unwrap().removed, 3);
    assert_eq!(appender.append(TYPE, &payload(appended)).unwrap(), appended);
    let message = slow.next().unwrap().unwrap();
    assert_eq!((message.seq, message.payload), (appended, payload(appended).as_slice()));
}

#[test]
fn readers_that_join_while_segments_go_are_told_the_truth() {
    let home = filled(keep(2), 2000);
    let done = std::sync::OnceLock::new();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut appender = home.appender();
            let mut number = 2000;
            // Bounded, so that a failure on the other side ends it too.
            while done.get().is_none() && number < 400_000 {
                for _ in 0..50 {
                    appender.append(TYPE, &payload(number)).unwrap();
                    number += 1;
                }
                apply_retention(&home.platform(), |_| false).unwrap();
            }
        });
        for round in 0..100 {
            let name = format!("joiner-{round}");
            let mut tailer = reader(&home, &name, ReaderPolicy::Durable);
            let first = tailer.position().seq;
            // It holds what it has not passed, so what follows is there as well.
            for seq in first..first + 40 {
                assert_eq!(tailer.next().unwrap().unwrap().seq, seq);
            }
            drop(tailer);
            remove_reader(&home.platform(), &ReaderName::new(&name).unwrap()).unwrap();
        }
        done.set(()).unwrap();
        writer.join().unwrap();
    });
}

#[test]
fn a_reader_that_joins_while_removal_takes_its_time_begins_further_up() {
    let home = filled(RetentionPolicy::KEEP_ALL, 300);
    // As it is while whoever removes syncs the readers' files: announced, and nothing gone.
    let at = chronicle_format::layout::control::SEGMENT_FLOOR as u64;
    home.write_at("control.meta", at, &3u64.to_le_bytes());
    let mut tailer = reader(&home, "joiner", ReaderPolicy::Durable);
    assert_eq!(tailer.position().segment, id(3));
    let first = tailer.position().seq;
    assert_eq!(tailer.next().unwrap().unwrap().seq, first);
    assert_eq!(segments(&home)[0], 0);
}

#[test]
fn two_removers_are_never_at_work_at_once() {
    use chronicle_core::Object;
    use chronicle_sync::{Platform, Storage};
    let home = filled(keep(2), 300);
    let platform = home.platform();
    let other = platform.storage().lock(&Object::Control).unwrap();
    assert_eq!(apply_retention(&home.platform(), |_| false).unwrap().removed, 0);
    drop(other);
    assert!(apply_retention(&home.platform(), |_| false).unwrap().removed > 0);
}

#[test]
fn a_reader_joins_though_a_remover_died_over_its_work() {
    let home = filled(keep(2), 1000);
    let ids = segments(&home);
    let floor = ids[ids.len() / 2];
    // The remover had announced how far it goes, and removed the first segment only.
    let word = layout::control::SEGMENT_FLOOR as u64;
    home.write_at("control.meta", word, &u64::from(floor).to_le_bytes());
    std::fs::remove_file(home.path().join(format!("{:09}.q", ids[0]))).unwrap();

    let mut tailer = reader(&home, "late", ReaderPolicy::Durable);
    assert_eq!(tailer.position().segment, id(floor));
    assert!(tailer.next().unwrap().is_some());
}
