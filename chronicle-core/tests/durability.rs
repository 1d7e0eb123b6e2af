//! What is durable when, who is told, and what happens when a sync fails.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod support;

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use chronicle_core::{
    Appender, CreateOptions, Error, Fault, Object, Platform, ReplicaReporter, RetentionPolicy,
    SegmentSize, TailOptions, Tailer, Visibility, WaitOutcome, WaitStrategy, Watermark, Watermarks,
    WriteOptions, apply_retention, create,
};
use chronicle_format::layout::control;
use chronicle_format::{CHECKPOINT_FILE_SIZE, CHECKPOINT_SLOTS, Checkpoint};
use chronicle_platform_linux::LinuxPlatform;
use chronicle_sync::{Clock, ErrorKind, Instant};
use support::faulty::{Call, Faults, Faulty, FaultyError};
use support::{Home, TYPE, assert_holds, drain, payload};

const SIZE: u64 = 65536;

fn append<P: Platform>(appender: &mut Appender<P>, from: u64, to: u64) {
    for number in from..to {
        appender.append(TYPE, &payload(number)).unwrap();
    }
}

fn durable_tailer(home: &Home) -> Tailer<LinuxPlatform> {
    let mut options = TailOptions::default();
    options.visibility = Visibility::Durable;
    Tailer::open(home.platform(), &options).unwrap()
}

fn faulty(home: &Home, faults: &Faults) -> Appender<Faulty> {
    Appender::open(Faulty::new(|| home.platform(), faults), WriteOptions::default()).unwrap()
}

fn soon(home: &Home) -> Instant {
    home.platform().clock().now().after(Duration::from_secs(20))
}

#[test]
fn a_reader_of_durable_records_gets_what_was_flushed_and_no_more() {
    let home = Home::with_queue(SIZE);
    let mut appender = home.appender();
    let mut tailer = durable_tailer(&home);
    append(&mut appender, 0, 5);
    assert!(tailer.next().unwrap().is_none());
    assert_eq!(home.read_all().len(), 5);

    appender.flush().unwrap();
    append(&mut appender, 5, 9);
    assert_holds(&drain(&mut tailer), 5);
    appender.flush().unwrap();
    let seqs: Vec<u64> = drain(&mut tailer).iter().map(|(seq, _)| *seq).collect();
    assert_eq!(seqs, [5, 6, 7, 8]);
}

#[test]
fn a_reader_of_durable_records_sleeps_until_a_flush_and_over_rolls() {
    let home = Home::with_queue(4096);
    let mut appender = home.appender();
    let (ready, wait) = mpsc::channel();
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut tailer = durable_tailer(&home);
            ready.send(()).unwrap();
            let mut messages = Vec::new();
            while messages.len() < 300 {
                let outcome = tailer.wait(WaitStrategy::Park, soon(&home), None).unwrap();
                assert_eq!(outcome, WaitOutcome::Ready);
                messages.extend(drain(&mut tailer));
            }
            messages
        });
        wait.recv().unwrap();
        for batch in 0..30 {
            append(&mut appender, batch * 10, batch * 10 + 10);
            thread::sleep(Duration::from_millis(1));
            appender.flush().unwrap();
        }
        assert_holds(&reader.join().unwrap(), 300);
    });
}

#[test]
fn every_watermark_can_be_read_and_awaited() {
    let home = Home::with_queue(SIZE);
    let mut appender = home.appender();
    let mut marks = Watermarks::open(home.platform()).unwrap();
    assert_eq!((marks.visible().unwrap(), marks.durable()), (0, 0));
    assert_eq!(marks.replicated().unwrap(), None);

    append(&mut appender, 0, 10);
    assert_eq!((marks.visible().unwrap(), marks.durable()), (10, 0));
    appender.flush().unwrap();
    assert_eq!(marks.durable(), 10);

    let mut replica = ReplicaReporter::open(home.platform()).unwrap();
    assert!(matches!(
        ReplicaReporter::open(home.platform()).map(drop),
        Err(Error::Platform { source, .. }) if chronicle_sync::Error::kind(&source) == ErrorKind::Locked
    ));
    replica.advance(7);
    replica.advance(3);
    assert_eq!(marks.replicated().unwrap(), Some(7));

    thread::scope(|scope| {
        let waits = [Watermark::Visible, Watermark::Durable, Watermark::Replicated].map(|mark| {
            let home = &home;
            scope.spawn(move || {
                let mut marks = Watermarks::open(home.platform()).unwrap();
                marks.wait(mark, 19, soon(home), None).unwrap()
            })
        });
        thread::sleep(Duration::from_millis(20));
        append(&mut appender, 10, 20);
        appender.flush().unwrap();
        replica.advance(20);
        for wait in waits {
            assert_eq!(wait.join().unwrap(), WaitOutcome::Ready);
        }
    });
    let at_once = home.platform().clock().now();
    assert_eq!(marks.wait(Watermark::Durable, 20, at_once, None).unwrap(), WaitOutcome::TimedOut);
}

#[test]
fn a_flush_is_one_sync_and_a_flush_of_nothing_is_none() {
    let home = Home::with_queue(SIZE);
    let faults = Faults::default();
    let mut appender = faulty(&home, &faults);
    append(&mut appender, 0, 3);
    appender.flush().unwrap();
    let before = faults.total();
    for number in 3..100 {
        append(&mut appender, number, number + 1);
        appender.flush().unwrap();
        appender.flush().unwrap();
    }
    assert_eq!(faults.count(Call::SyncNames), 1, "the directory, once for the segment");
    assert_eq!(faults.total() - before, 97, "one sync for each of 97 flushes");
}

#[test]
fn a_flush_over_rolls_syncs_every_segment_before_the_watermark_moves() {
    let home = Home::with_queue(4096);
    let faults = Faults::default();
    let mut appender = faulty(&home, &faults);
    append(&mut appender, 0, 1);
    appender.flush().unwrap();
    append(&mut appender, 1, 400);
    let segments = u64::from(appender.position().segment.get()) + 1;
    assert!(segments > 8, "{segments} segments");
    let before = faults.count(Call::Sync);
    appender.flush().unwrap();
    // Each segment, and the checkpoint because the segment is a new one.
    assert_eq!(faults.count(Call::Sync) - before, segments + 1);
    assert_eq!(Watermarks::open(home.platform()).unwrap().durable(), 400);
}

#[test]
fn a_detached_syncer_syncs_beside_the_appender() {
    let home = Home::with_queue(SIZE);
    let mut appender = home.appender();
    let mut syncer = appender.detach_syncer().unwrap();
    assert!(appender.detach_syncer().is_none());
    assert!(matches!(appender.flush(), Err(Error::SyncerDetached)));
    thread::scope(|scope| {
        let (stop, stopped) = mpsc::channel::<()>();
        let home = &home;
        let thread = scope.spawn(move || {
            let platform = home.platform();
            while stopped.try_recv().is_err() {
                syncer.sync(&platform).unwrap();
            }
            syncer.sync(&platform).unwrap();
            syncer.durable_seq()
        });
        append(&mut appender, 0, 20_000);
        stop.send(()).unwrap();
        assert_eq!(thread.join().unwrap(), 20_000);
    });
    assert_eq!(Watermarks::open(home.platform()).unwrap().durable(), 20_000);
}

/// A queue with flushes after 10, 20 and 30 records as a power loss may leave it: what was synced is
/// there, and other files are as they were made. Also gives the offsets of all records.
fn after_power_loss() -> (Home, Vec<u64>) {
    let home = Home::with_queue(SIZE);
    let checkpoint = home.read_at("checkpoint.meta", 0, CHECKPOINT_FILE_SIZE as usize);
    let watermark = home.read_at("control.meta", control::DURABLE_SEQ as u64, 16);
    let mut appender = home.appender();
    let mut offsets = Vec::new();
    for number in 0..30 {
        offsets.push(appender.position().offset);
        append(&mut appender, number, number + 1);
        if number % 10 == 9 {
            appender.flush().unwrap();
        }
    }
    drop(appender);
    home.forget_boot();
    home.write_at("checkpoint.meta", 0, &checkpoint);
    home.write_at("control.meta", control::DURABLE_SEQ as u64, &watermark);
    (home, offsets)
}

#[test]
fn the_log_itself_says_what_was_durable_before_its_last_batch() {
    let (home, _) = after_power_loss();
    let appender = home.appender();
    assert_eq!(appender.recovery().durable_seq, 20);
    assert_eq!((appender.recovery().end.seq, appender.recovery().cut), (30, None));
}

/// Killed between the two words, over a flush of which neither log nor checkpoint knows.
#[test]
fn a_watermark_never_moves_back_because_a_writer_died_while_it_moved_it() {
    for (value, complement) in [(25, 30), (30, 25)] {
        let (home, _) = after_power_loss();
        drop(home.appender());
        let words: [(usize, u64); 2] =
            [(control::DURABLE_SEQ, value), (control::DURABLE_COMPLEMENT, !complement)];
        for (offset, word) in words {
            home.write_at("control.meta", offset as u64, &word.to_le_bytes());
        }
        assert_eq!(home.appender().recovery().durable_seq, 25);
    }
}

#[test]
fn damage_before_a_watermark_that_only_the_log_knows_is_refused() {
    for seq in [3, 12] {
        let (home, offsets) = after_power_loss();
        home.flip_bit("000000000.q", offsets[seq] + 40);
        match home.try_appender().map(drop) {
            Err(Error::Damaged(damage)) => {
                assert_eq!((damage.seq, damage.fault), (seq as u64, Fault::Checksum));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn damage_in_the_last_batch_is_a_torn_tail_where_the_checkpoint_is_older() {
    let (home, offsets) = after_power_loss();
    home.flip_bit("000000000.q", offsets[25] + 40);
    let appender = home.appender();
    let cut = appender.recovery().cut.unwrap();
    // Four of the user's, and the one that says that 20 were durable.
    assert_eq!((cut.at.seq, cut.at.fault, cut.records_behind), (25, Fault::Checksum, 5));
    assert_holds(&home.read_all(), 25);
}

#[test]
fn a_failed_sync_poisons_at_once_and_the_watermark_never_moves_again() {
    for call in [Call::Sync, Call::SyncNames] {
        let home = Home::with_queue(SIZE);
        let faults = Faults::default();
        let mut appender = faulty(&home, &faults);
        append(&mut appender, 0, 5);
        if call == Call::Sync {
            appender.flush().unwrap();
        }
        let durable = Watermarks::open(home.platform()).unwrap().durable();
        append(&mut appender, 5, 8);
        let mut count = 8;
        // Names are synced when the queue is opened, and again once there is another segment.
        while call == Call::SyncNames && appender.position().segment.get() == 0 {
            append(&mut appender, count, count + 1);
            count += 1;
        }
        faults.fail(call, 0, ErrorKind::Io);
        assert!(matches!(
            appender.flush(),
            Err(Error::Platform { source: FaultyError::Injected(..), .. })
        ));
        assert!(matches!(appender.append(TYPE, b"x"), Err(Error::Poisoned)));
        assert!(matches!(appender.flush(), Err(Error::Poisoned)));
        let mut marks = Watermarks::open(home.platform()).unwrap();
        assert_eq!(marks.durable(), durable);
        assert!(matches!(
            marks.wait(Watermark::Durable, 7, soon(&home), None),
            Err(Error::Poisoned)
        ));
        // Everything is still there to be read.
        assert_holds(&home.read_all(), count);
    }
}

/// A queue of three segments whose last sync failed.
fn poisoned(home: &Home) {
    let faults = Faults::default();
    let mut appender = faulty(home, &faults);
    append(&mut appender, 0, 20);
    appender.flush().unwrap();
    append(&mut appender, 20, 120);
    faults.fail(Call::Sync, 0, ErrorKind::Io);
    assert!(appender.flush().is_err());
}

#[test]
fn a_poisoned_queue_is_written_to_again_once_the_medium_was_seen_to_hold_it() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let home = Home::at(directory);
    home.create(4096);
    poisoned(&home);
    match home.try_appender() {
        Ok(mut appender) => {
            assert_eq!((appender.recovery().cut, appender.recovery().end.seq), (None, 120));
            append(&mut appender, 120, 130);
            appender.flush().unwrap();
            assert_holds(&home.read_all(), 130);
        }
        Err(Error::Poisoned) => println!("skipped: no direct reads on this file system"),
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn a_poisoned_queue_takes_no_writer_while_its_medium_fails() {
    let home = Home::with_queue(4096);
    poisoned(&home);
    for (call, kind) in [(Call::Rescue, ErrorKind::Io), (Call::SyncNames, ErrorKind::Io)] {
        let faults = Faults::default();
        faults.fail(call, 0, kind);
        let platform = Faulty::new(|| home.platform(), &faults);
        let opened = Appender::open(platform, WriteOptions::default());
        assert!(matches!(opened.map(drop), Err(Error::Poisoned)), "{call:?}");
        assert_holds(&home.read_all(), 120);
    }
}

#[test]
fn a_sync_that_fails_in_a_detached_syncer_stops_the_appender() {
    let home = Home::with_queue(SIZE);
    let faults = Faults::default();
    let mut appender = faulty(&home, &faults);
    let mut syncer = appender.detach_syncer().unwrap();
    append(&mut appender, 0, 5);
    syncer.sync(appender.platform()).unwrap();
    append(&mut appender, 5, 8);
    faults.fail(Call::Sync, 0, ErrorKind::Io);
    assert!(matches!(syncer.sync(appender.platform()), Err(Error::Platform { .. })));
    assert!(matches!(appender.append(TYPE, b"x"), Err(Error::Poisoned)));
    assert!(matches!(appender.begin_flush(), Err(Error::Poisoned)));
    assert!(matches!(syncer.sync(appender.platform()), Err(Error::Poisoned)));
    assert_eq!((syncer.durable_seq(), home.read_all().len()), (5, 8));
}

#[test]
fn without_a_descriptor_a_flush_fails_and_the_next_one_may_work() {
    let home = Home::with_queue(4096);
    let faults = Faults::default();
    let mut appender = faulty(&home, &faults);
    append(&mut appender, 0, 200);
    for call in [Call::Open, Call::Sync] {
        faults.fail(call, 0, ErrorKind::Exhausted);
        assert!(matches!(appender.flush(), Err(Error::Platform { .. })));
        append(&mut appender, 200, 201);
    }
    appender.flush().unwrap();
    assert_eq!(Watermarks::open(home.platform()).unwrap().durable(), 202);
}

#[test]
fn a_damaged_watermark_is_no_promise_and_no_damage() {
    let home = Home::with_queue(SIZE);
    let mut appender = home.appender();
    append(&mut appender, 0, 10);
    appender.flush().unwrap();
    append(&mut appender, 10, 20);
    let mut tailer = durable_tailer(&home);
    home.write_at("control.meta", control::DURABLE_SEQ as u64, &15u64.to_le_bytes());
    assert!(tailer.next().unwrap().is_none(), "nobody stored this number");
    drop(appender);
    // The next writer makes it true again.
    let mut appender = home.appender();
    assert_eq!(appender.recovery().durable_seq, 10);
    assert_eq!(drain(&mut tailer).len(), 10);
    appender.flush().unwrap();
    assert_eq!(drain(&mut tailer).len(), 10);
}

#[test]
fn a_sync_to_a_place_whose_segment_was_removed_meanwhile_is_no_error() {
    let (home, mut appender) = keeping_two();
    let mut syncer = appender.detach_syncer().unwrap();
    append(&mut appender, 0, 60);
    let then = appender.begin_flush().unwrap();
    append(&mut appender, 60, 400);
    assert!(apply_retention(&home.platform(), |_| false).unwrap().removed > 0);
    assert!(!home.file(&Object::Segment(then.segment).to_string()).exists());
    syncer.sync_to(appender.platform(), &then).unwrap();
    assert_eq!(syncer.durable_seq(), 60);
    syncer.sync(appender.platform()).unwrap();
    assert_eq!(Watermarks::open(home.platform()).unwrap().durable(), 400);
}

#[test]
fn a_syncer_finds_the_head_though_the_hint_is_torn_and_its_own_segment_was_removed() {
    let (home, mut appender) = keeping_two();
    let mut syncer = appender.detach_syncer().unwrap();
    append(&mut appender, 0, 400);
    apply_retention(&home.platform(), |_| false).unwrap();
    home.write_at("control.meta", control::SEGMENT_GEN as u64, &1u32.to_le_bytes());
    syncer.sync(appender.platform()).unwrap();
    assert_eq!(syncer.durable_seq(), 400);
}

#[test]
fn a_segment_that_is_lost_from_between_others_is_missed_by_a_flush() {
    let home = Home::with_queue(4096);
    let mut appender = home.appender();
    append(&mut appender, 0, 200);
    std::fs::rename(home.file("000000001.q"), home.file("elsewhere")).unwrap();
    assert_eq!(appender.flush().map_err(|error| error.kind()), Err(Some(ErrorKind::NotFound)));
    assert_eq!(appender.durable_seq(), 0);
    std::fs::rename(home.file("elsewhere"), home.file("000000001.q")).unwrap();
    appender.flush().unwrap();
    assert_eq!(appender.durable_seq(), 200);
}

#[test]
fn a_claim_that_is_open_while_a_sync_fails_is_not_committed() {
    let home = Home::with_queue(SIZE);
    let faults = Faults::default();
    let mut appender = faulty(&home, &faults);
    let mut syncer = appender.detach_syncer().unwrap();
    append(&mut appender, 0, 5);
    let platform = Faulty::new(|| home.platform(), &faults);
    let mut claim = appender.claim(8).unwrap();
    claim.copy_from_slice(b"too late");
    faults.fail(Call::Sync, 0, ErrorKind::Io);
    assert!(syncer.sync(&platform).is_err() && syncer.has_failed());
    assert!(matches!(claim.commit(TYPE), Err(Error::Poisoned)));
    assert!(matches!(appender.begin_flush(), Err(Error::Poisoned)));
    let segments = appender.position().segment;
    assert!(matches!(appender.append(TYPE, &[0; 60_000]), Err(Error::Poisoned)));
    assert_eq!(appender.position().segment, segments, "a poisoned writer does not roll");
    drop(appender);
    assert_holds(&home.read_all(), 5);
}

/// A queue of small segments that keeps two of them, and its writer.
fn keeping_two() -> (Home, Appender<LinuxPlatform>) {
    let home = Home::new();
    let mut options = CreateOptions::default();
    options.segment_size = SegmentSize::new(4096).unwrap();
    options.retention = RetentionPolicy::KEEP_ALL;
    options.retention.max_segments = Some(2);
    create(&home.platform(), &options).unwrap();
    let appender = home.appender();
    (home, appender)
}

#[test]
fn names_that_cannot_be_synced_because_their_directory_is_none_poison_nothing() {
    let home = Home::with_queue(4096);
    let mut appender = home.appender();
    // Over rolls, so that there are names to be synced.
    append(&mut appender, 0, 100);
    std::fs::rename(home.file("readers"), home.file("elsewhere")).unwrap();
    std::os::unix::fs::symlink(home.file("elsewhere"), home.file("readers")).unwrap();
    assert!(matches!(appender.flush(), Err(Error::Platform { .. })));
    assert_eq!(appender.durable_seq(), 0);
    append(&mut appender, 100, 101);
    std::fs::remove_file(home.file("readers")).unwrap();
    std::fs::rename(home.file("elsewhere"), home.file("readers")).unwrap();
    appender.flush().unwrap();
    assert_eq!(appender.durable_seq(), 101);
}

#[test]
fn a_position_is_brought_to_the_medium_by_one_sync_and_only_where_there_is_one() {
    let home = Home::with_queue(SIZE);
    append(&mut home.appender(), 0, 3);
    let faults = Faults::default();
    let mut options = TailOptions::default();
    options.name = Some(chronicle_core::ReaderName::new("reader").unwrap());
    let platform = Faulty::new(|| home.platform(), &faults);
    let mut tailer = Tailer::open(platform, &options).unwrap();
    tailer.next().unwrap().unwrap();
    tailer.commit().unwrap();
    let before = faults.total();
    tailer.sync_position().unwrap();
    assert_eq!((faults.total() - before, faults.count(Call::Sync)), (1, 1));
    faults.fail(Call::Sync, 0, ErrorKind::Io);
    assert!(matches!(tailer.sync_position(), Err(Error::Platform { .. })));
    assert!(matches!(home.tailer().sync_position(), Err(Error::NotRegistered)));
}

/// A slot lies in one sector, which media write whole as a rule: but nothing here rests on that.
#[test]
fn a_checkpoint_that_was_torn_while_it_was_stored_leaves_the_one_before() {
    let home = Home::with_queue(4096);
    let mut count = 0;
    for _ in 0..4 {
        let mut appender = home.appender();
        let segment = appender.position().segment;
        while appender.position().segment == segment {
            append(&mut appender, count, count + 1);
            count += 1;
        }
        // Stores the checkpoint, because the segment is another one.
        appender.flush().unwrap();
        drop(appender);
        let slot = |at: usize| {
            let bytes = home.read_at("checkpoint.meta", at as u64, Checkpoint::SIZE);
            Checkpoint::decode(&bytes.try_into().unwrap()).ok().map(|slot| (slot.generation, at))
        };
        let (_, newest) = CHECKPOINT_SLOTS.map(slot).into_iter().flatten().max().unwrap();
        home.write_at("checkpoint.meta", newest as u64 + 16, &[0xff; 16]);
        home.forget_boot();
    }
    drop(home.appender());
    assert_holds(&home.read_all(), count);
}

/// The system tells of a write that failed whoever had the file open then, and perhaps nobody else.
#[test]
fn a_flush_over_rolls_syncs_what_was_open_all_the_time() {
    let home = Home::with_queue(4096);
    let faults = Faults::default();
    let mut appender = faulty(&home, &faults);
    append(&mut appender, 0, 1);
    appender.flush().unwrap();
    let mut count = 1;
    while appender.position().segment.get() < 3 {
        append(&mut appender, count, count + 1);
        count += 1;
    }
    let before = faults.count(Call::Open);
    appender.flush().unwrap();
    assert_eq!(faults.count(Call::Open) - before, 1, "the one that is being written to");
}
