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
    CreateOptions, Error, Fate, Fault, ReaderName, ReaderPolicy, Remover, RetentionPolicy,
    SegmentId, SegmentSize, Start, TailOptions, Tailer, apply_retention, create, plan_retention,
    remove_reader, verify,
};
use chronicle_format::{CHECKPOINT_SLOTS, Checkpoint, layout};
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
    let platform = home.platform();
    let mut remover = Remover::open(&platform).unwrap();
    // Asked before anything is done at all, and then before each file.
    let mut asked = 0;
    let go_on = |_| {
        asked += 1;
        asked < 5
    };
    let report = remover.apply(&platform, |_| false, go_on).unwrap();
    assert!(report.unfinished);
    assert_eq!((report.removed, asked), (3, 5));
    assert_eq!(segments(&home), before[3..]);
    let last = before[before.len() - 1];
    assert_eq!(home.tailer().position().segment, id(last), "the log begins there all the same");
    let report = remover.apply(&platform, |_| false, |_| true).unwrap();
    assert!(!report.unfinished);
    assert_eq!(report.removed as usize, before.len() - 4);
    assert_eq!(segments(&home), [last]);
}

#[test]
fn what_removal_costs_does_not_depend_on_how_many_segments_go() {
    let home = filled(keep(3), 2000);
    let calls = Calls::default();
    let platform = Counting::new(home.platform(), &calls);
    let mut remover = Remover::open(&platform).unwrap();
    calls.take();
    let removed = remover.apply(&platform, |_| false, |_| true).unwrap().removed;
    assert!(removed > 30, "{removed} are too few to tell");
    let first = calls.take();
    assert_eq!(first["remove"], removed, "segments of this size have no index");
    // The head of the first segment that stays, and the checkpoint before and after.
    assert_eq!((first["sync"], first["sync_names"]), (3, 1));
    assert!(!first.contains_key("sync_object"));
    assert_eq!(first["visit_segments"], 1);

    // From then on what is there is known, and the names of the three that were kept are safe.
    let mut appender = home.appender();
    let until = appender.position().segment.get() + 2;
    while appender.position().segment.get() < until {
        appender.append(TYPE, &[7; 200]).unwrap();
    }
    calls.take();
    assert_eq!(remover.apply(&platform, |_| false, |_| true).unwrap().removed, 2);
    let second = calls.take();
    assert_eq!(second["sync"], 2);
    assert!(!second.contains_key("sync_names") && !second.contains_key("visit_segments"));
}

#[test]
fn what_is_left_of_removed_segments_is_never_read_and_goes_with_the_next_ones() {
    let home = filled(keep(2), 300);
    let mut late = reader(&home, "late", ReaderPolicy::Lease { ttl_ns: 1 });
    read(&mut late, 10);
    drop(late);
    let before = segments(&home);
    let (garbage, whole) = (before[1], before[before.len() - 3]);
    let kept = std::fs::read(home.file(&format!("{whole:09}.q"))).unwrap();
    apply_retention(&home.platform(), |_| true).unwrap();
    let oldest = home.tailer().position();

    // A power loss took some of the removals back: one segment whole, of another nothing but its name.
    std::fs::write(home.file(&format!("{whole:09}.q")), kept).unwrap();
    std::fs::write(home.file(&format!("{garbage:09}.q")), vec![0xa5; SIZE as usize]).unwrap();
    home.forget_boot();
    let as_it_should_be = |home: &Home| {
        assert_eq!(home.tailer().position(), oldest);
        assert_eq!(home.read_all().len() as u64, 300 - oldest.seq);
        for start in [Start::Seq(oldest.seq - 1), Start::Timestamp(1)] {
            let refused = home.tailer_from(start).map(drop).unwrap_err();
            assert_eq!(refused, Error::FellBehind { oldest: oldest.seq });
        }
        assert_eq!(
            home.named("late").map(drop).unwrap_err(),
            Error::FellBehind { oldest: oldest.seq },
            "whether its segment came back or not"
        );
        let mut tailer = home.tailer();
        let mut reversed = tailer.reversed().unwrap();
        let nothing = reversed.previous().map(drop).unwrap_err();
        assert_eq!(nothing, Error::NothingBefore { oldest: oldest.seq });
        let found = verify(&home.platform(), |fault| panic!("{fault}")).unwrap();
        assert_eq!(found.faults, 0);
    };
    as_it_should_be(&home);
    drop(home.appender());
    as_it_should_be(&home);
    let plan = plan_retention(&home.platform(), |_| true).unwrap();
    assert_eq!(plan.oldest, oldest.segment);
    assert_eq!(apply_retention(&home.platform(), |_| true).unwrap().removed, 2);
    assert_eq!(segments(&home)[0], oldest.segment.get());
    as_it_should_be(&home);
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
    // That the next segment is there already makes no room in the queue.
    appender.prepare_next().unwrap();
    appender.append(TYPE, &payload(appended)).unwrap_err();
    assert_eq!(appender.stats().refused_rolls, 2);
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

/// The newest slot of the checkpoint.
fn checkpoint(home: &Home) -> Checkpoint {
    let slot = |at: usize| {
        let bytes = home.read_at("checkpoint.meta", at as u64, Checkpoint::SIZE);
        Checkpoint::decode(&bytes.try_into().unwrap()).ok()
    };
    let slots = CHECKPOINT_SLOTS.into_iter().filter_map(slot);
    slots.max_by_key(|slot| slot.generation).unwrap()
}

#[test]
fn whoever_finds_the_checkpoint_being_stored_comes_back_to_it() {
    use chronicle_core::Object;
    use chronicle_sync::{Platform, Storage};
    let home = filled(keep(2), 100);
    let mut appender = home.appender();
    appender.flush().unwrap();
    let before = checkpoint(&home);
    let files = segments(&home);
    let platform = home.platform();
    let other = platform.storage().lock(&Object::Checkpoint).unwrap();
    let report = apply_retention(&home.platform(), |_| false).unwrap();
    assert!(report.unfinished);
    assert_eq!(segments(&home), files, "nothing goes that the checkpoint does not know of");
    for number in 100..200 {
        appender.append(TYPE, &payload(number)).unwrap();
    }
    appender.flush().unwrap();
    assert_eq!(appender.durable_seq(), 200, "a flush does not wait for it");
    assert_eq!(checkpoint(&home), before);
    drop(other);
    appender.append(TYPE, &payload(200)).unwrap();
    appender.flush().unwrap();
    assert_eq!(checkpoint(&home).durable.seq, 201, "though the log has entered no other segment");
    assert!(apply_retention(&home.platform(), |_| false).unwrap().removed > 0);
    // Each of both leaves what is the other one's.
    let kept = checkpoint(&home);
    assert_eq!((kept.durable.seq, kept.first), (201, home.tailer().position().segment));
    for number in 201..300 {
        appender.append(TYPE, &payload(number)).unwrap();
    }
    appender.flush().unwrap();
    assert_eq!((checkpoint(&home).durable.seq, checkpoint(&home).first), (300, kept.first));
}

#[test]
fn a_log_that_is_said_to_begin_behind_its_end_is_damage_and_nothing_goes() {
    let home = filled(keep(2), 300);
    let files = segments(&home);
    let old = checkpoint(&home);
    let first = id(files[files.len() - 1] + 5);
    let slot = Checkpoint { generation: old.generation + 2, first, ..old };
    let at = CHECKPOINT_SLOTS[(slot.generation % 2) as usize] as u64;
    home.write_at("checkpoint.meta", at, &slot.encode());
    let damage = |error| match error {
        Error::Damaged(damage) => assert_eq!(damage.fault, Fault::NoSegment),
        other => panic!("{other}"),
    };
    damage(home.try_appender().map(drop).unwrap_err());
    damage(home.tailer_from(Start::Earliest).map(drop).unwrap_err());
    damage(apply_retention(&home.platform(), |_| false).map(drop).unwrap_err());
    plan_retention(&home.platform(), |_| false).unwrap();
    assert_eq!(segments(&home), files);
}
