//! Seeking with what earlier seeks have found out.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod support;

use std::collections::BTreeMap;

use chronicle_core::{
    Appender, CreateOptions, Error, SeekCache, Sought, TailOptions, Tailer, WriteOptions,
    apply_retention, create,
};
use chronicle_format::{RetentionPolicy, SegmentSize};
use chronicle_platform_linux::LinuxPlatform;
use support::counting::{Calls, Counting};
use support::{Home, TYPE, payload};

const SIZE: u64 = 128 << 10;

fn fill(appender: &mut Appender<LinuxPlatform>, segments: u32) {
    let last = appender.position().segment.get() + segments;
    while appender.position().segment.get() < last {
        appender.append(TYPE, &payload(appender.next_seq())).unwrap();
    }
}

/// A number below `end`, by turns from all over.
fn somewhere(turn: u64, end: u64) -> u64 {
    turn.wrapping_mul(0x9e37_79b9_7f4a_7c15) % end
}

#[test]
fn a_seek_leads_where_it_would_lead_without_while_segments_come_and_go() {
    let home = Home::new();
    let mut options = CreateOptions::default();
    options.segment_size = SegmentSize::new(SIZE).unwrap();
    options.retention = RetentionPolicy { max_segments: Some(8), ..RetentionPolicy::KEEP_ALL };
    create(&home.platform(), &options).unwrap();
    let mut appender = home.appender();
    let mut with = home.tailer();
    let mut without = home.tailer();
    // Fewer than there are segments, so that some are forgotten.
    let mut cache = SeekCache::<_, 5>::new();
    let mut first = 0;
    for round in 0..12 {
        fill(&mut appender, 1 + round % 3);
        if round % 4 == 3 {
            let removed = apply_retention(&home.platform(), |_| true).unwrap().removed;
            assert!(removed > 0 || round < 6);
        }
        for turn in 0..300 {
            let seq = somewhere(turn, appender.next_seq() + 20);
            match (with.seek_seq_with(seq, &mut cache), without.seek_seq(seq)) {
                (Ok(one), Ok(other)) => assert_eq!(one, other, "{seq}"),
                (Err(Error::FellBehind { oldest }), Err(Error::FellBehind { oldest: other })) => {
                    assert_eq!(oldest, other);
                    first = oldest;
                    continue;
                }
                (one, other) => panic!("{seq}: {one:?} and {other:?}"),
            }
            assert_eq!(with.position(), without.position());
            let message = with.next().unwrap().map(|message| (message.seq, message.timestamp_ns));
            let other = without.next().unwrap().map(|message| (message.seq, message.timestamp_ns));
            assert_eq!(message, other);
            let Some((_, time)) = message else { continue };
            let one = with.seek_timestamp_with(time, &mut cache).unwrap();
            assert_eq!(one, without.seek_timestamp(time).unwrap());
            assert_eq!(with.position(), without.position());
        }
    }
    assert!(first > 0, "nothing was removed");
}

#[test]
fn a_seek_in_a_queue_that_is_known_makes_no_system_call() {
    let home = Home::with_queue(SIZE);
    let mut appender = home.appender();
    fill(&mut appender, 20);
    let calls = Calls::default();
    let platform = Counting::new(home.platform(), &calls);
    let mut tailer = Tailer::open(platform, &TailOptions::default()).unwrap();
    let mut cache = SeekCache::<_, 32>::new();
    let end = appender.next_seq();
    let seek = |tailer: &mut Tailer<Counting>, cache: &mut SeekCache<_, 32>, seq| {
        let sought: Sought = tailer.seek_seq_with(seq, cache).unwrap();
        assert!(sought.found && tailer.next().unwrap().unwrap().seq == seq);
    };
    for turn in 0..400 {
        seek(&mut tailer, &mut cache, somewhere(turn, end));
    }
    calls.take();
    for turn in 400..800 {
        seek(&mut tailer, &mut cache, somewhere(turn, end));
        // At the end of a segment the next record is that of the next one.
        tailer.seek_seq_with(somewhere(turn, end), &mut cache).unwrap();
    }
    let calls = calls.take();
    assert!(calls.is_empty(), "{calls:?}");
}

#[test]
fn a_time_between_two_segments_is_found_in_known_ones_without_a_system_call() {
    let home = Home::with_queue(SIZE);
    let mut appender = home.appender();
    // The last time of each segment; the next one begins ten later.
    let (mut ends, mut ns) = (Vec::new(), 1_000_u64);
    while ends.len() < 8 {
        let segment = appender.position().segment;
        appender.append_at(TYPE, ns, &payload(appender.next_seq())).unwrap();
        if appender.position().segment != segment {
            ends.push(ns - 10);
        }
        ns += 10;
    }
    let calls = Calls::default();
    let platform = Counting::new(home.platform(), &calls);
    let mut tailer = Tailer::open(platform, &TailOptions::default()).unwrap();
    let mut cache = SeekCache::<_, 16>::new();
    for turn in 0..3 {
        for end in &ends {
            calls.take();
            assert!(tailer.seek_timestamp_with(end + 5, &mut cache).unwrap().found);
            assert_eq!(tailer.next().unwrap().unwrap().timestamp_ns, end + 10);
            let calls = calls.take();
            assert!(turn == 0 || calls.is_empty(), "behind {end}: {calls:?}");
        }
    }
}

#[test]
fn a_log_that_was_cut_and_goes_on_otherwise_is_looked_at_anew() {
    let home = Home::with_queue(SIZE);
    let mut appender = home.appender();
    fill(&mut appender, 6);
    let mut tailer = home.tailer();
    let mut cache = SeekCache::<_, 16>::new();
    let mut starts = BTreeMap::new();
    for seq in (0..appender.next_seq()).step_by(10) {
        tailer.seek_seq_with(seq, &mut cache).unwrap();
        starts.insert(seq, tailer.position());
    }
    let last = appender.position().segment.get();
    drop(appender);
    // The last segments come back as others, which begin elsewhere.
    for id in last - 1..=last {
        for kind in ["q", "idx"] {
            std::fs::remove_file(home.file(&format!("{id:09}.{kind}"))).unwrap();
        }
    }
    home.forget_boot();
    let mut appender = Appender::open(home.platform(), WriteOptions::default()).unwrap();
    assert!(appender.position().segment.get() < last - 1);
    while appender.position().segment.get() < last {
        let seq = appender.next_seq();
        appender.append(TYPE, &[&payload(seq)[..], &[7; 100]].concat()).unwrap();
    }
    for turn in 0..200 {
        let seq = somewhere(turn, appender.next_seq());
        let sought = tailer.seek_seq_with(seq, &mut cache).unwrap();
        let mut fresh = home.tailer();
        assert_eq!(sought, fresh.seek_seq(seq).unwrap());
        assert_eq!(tailer.position(), fresh.position(), "{seq}");
    }
}

#[test]
fn a_cache_of_another_queue_misleads_nobody() {
    let homes = [Home::with_queue(SIZE), Home::with_queue(SIZE)];
    let ends = homes.each_ref().map(|home| {
        let mut appender = home.appender();
        fill(&mut appender, 6);
        appender.next_seq()
    });
    let mut tailers = homes.each_ref().map(Home::tailer);
    let mut cache = SeekCache::<_, 16>::new();
    for turn in 0..400 {
        // Not in turns: each queue is known for a while.
        let queue = (turn / 7 % 2) as usize;
        let seq = somewhere(turn, ends[queue]);
        tailers[queue].seek_seq_with(seq, &mut cache).unwrap();
        let mut fresh = homes[queue].tailer();
        fresh.seek_seq(seq).unwrap();
        assert_eq!(tailers[queue].position(), fresh.position(), "{seq} of queue {queue}");
        let found = tailers[queue].next().unwrap().unwrap().timestamp_ns;
        assert_eq!(found, fresh.next().unwrap().unwrap().timestamp_ns, "{seq} of queue {queue}");
    }
}
