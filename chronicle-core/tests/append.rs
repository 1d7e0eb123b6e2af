//! Appending, claiming, rolling and reading back, on real files.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod support;

use std::cell::Cell;
use std::rc::Rc;

use chronicle_core::{Appender, Error, NoSupply, Site, Start, WriteOptions};
use chronicle_format::SegmentStart;
use support::clock::Timed;
use support::faulty::{Call, Faults, Faulty};
use support::probes::At;
use support::{Home, TYPE, assert_holds, drain, payload};

#[test]
fn append_two_messages_and_recover() {
    let home = Home::with_queue(65536);
    let mut appender = home.appender();
    assert_eq!(appender.append(TYPE, b"first").unwrap(), 0);
    assert_eq!(appender.append(TYPE, b"second").unwrap(), 1);
    drop(appender);

    let mut appender = home.appender();
    assert_eq!(appender.recovery().end.seq, 2);
    assert_eq!(appender.append(TYPE, b"third").unwrap(), 2);
    let messages = home.read_all();
    let payloads: Vec<_> = messages.iter().map(|(_, bytes)| bytes.as_slice()).collect();
    assert_eq!(payloads, [&b"first"[..], b"second", b"third"]);
}

#[test]
fn segment_rollover_and_read_across() {
    let home = Home::with_queue(4096);
    let mut appender = home.appender();
    let mut tailer = home.tailer();
    for number in 0..2000 {
        assert_eq!(appender.append(TYPE, &payload(number)).unwrap(), number);
    }
    assert!(appender.position().segment.get() > 30);
    assert_holds(&drain(&mut tailer), 2000);
    assert_holds(&home.read_all(), 2000);
}

#[test]
fn seq_goes_on_across_restarts_and_rolls() {
    let home = Home::with_queue(4096);
    for round in 0..50 {
        let mut appender = home.appender();
        assert_eq!(appender.epoch(), round + 1);
        for number in 0..7 {
            let seq = u64::from(round) * 7 + number;
            assert_eq!(appender.append(TYPE, &payload(seq)).unwrap(), seq);
        }
    }
    assert_holds(&home.read_all(), 350);
}

#[test]
fn payloads_of_every_size_up_to_the_largest_come_back() {
    let home = Home::with_queue(4096);
    let mut appender = home.appender();
    let largest = appender.segment_size().max_payload() as usize;
    assert_eq!(largest, 4000);
    let sizes: Vec<usize> = (0..200).chain(largest - 70..=largest).collect();
    for (number, size) in sizes.iter().enumerate() {
        assert_eq!(appender.append(TYPE, &vec![number as u8; *size]).unwrap(), number as u64);
    }
    let messages = home.read_all();
    assert_eq!(messages.len(), sizes.len());
    for ((number, bytes), size) in messages.iter().zip(&sizes) {
        assert_eq!(*bytes, vec![*number as u8; *size]);
    }
}

#[test]
fn a_payload_that_does_not_fit_is_refused_and_nothing_is_lost() {
    let home = Home::with_queue(4096);
    let mut appender = home.appender();
    let refused = appender.append(TYPE, &[0; 4001]).unwrap_err();
    assert!(matches!(refused, Error::PayloadTooLarge { length: 4001, max: 4000 }), "{refused:?}");
    assert!(matches!(appender.claim(4001), Err(Error::PayloadTooLarge { .. })));
    assert_eq!(appender.append(TYPE, &payload(0)).unwrap(), 0);
    assert_holds(&home.read_all(), 1);
}

#[test]
fn internal_type_ids_are_refused_from_users() {
    let home = Home::with_queue(4096);
    let mut appender = home.appender();
    for internal in [0, 1, 2, 0xff, 0xffff] {
        let refused = appender.append(internal, b"x").unwrap_err();
        assert!(matches!(refused, Error::InvalidTypeId { .. }), "{refused:?}");
        assert!(appender.claim(1).unwrap().commit(internal).is_err());
    }
    for user in [0x100, 0xfffe] {
        appender.append(user, b"x").unwrap();
    }
    assert_eq!(home.read_all().len(), 2);
}

#[test]
fn a_claim_is_visible_once_committed_and_never_when_dropped() {
    let home = Home::with_queue(65536);
    let mut appender = home.appender();
    let mut tailer = home.tailer();
    let mut claim = appender.claim(11).unwrap();
    claim.copy_from_slice(b"in progress");
    assert_eq!(&claim[..2], b"in");
    drop(claim);
    assert!(tailer.next().unwrap().is_none());
    appender.claim(300).unwrap().fill(0xff);
    let mut claim = appender.claim(4).unwrap();
    claim.copy_from_slice(b"done");
    assert_eq!(claim.commit(TYPE).unwrap(), 0);
    let message = tailer.next().unwrap().unwrap();
    assert_eq!((message.seq, message.type_id, message.payload), (0, TYPE, &b"done"[..]));
    assert!(tailer.next().unwrap().is_none());
}

/// What an aborted claim leaves must not be taken for a record once a shorter one precedes it.
#[test]
fn an_aborted_claim_full_of_forged_records_poisons_nothing() {
    let home = Home::with_queue(65536);
    let mut appender = home.appender();
    let mut tailer = home.tailer();
    appender.append(TYPE, &payload(0)).unwrap();
    let segment = home.read_at("000000000.q", 0, 1024);
    let mut claim = appender.claim(8192).unwrap();
    // Copies of real records, headers and checksums included, at every place that a record can have.
    for chunk in claim.chunks_mut(32) {
        chunk.copy_from_slice(&segment[64..64 + chunk.len()]);
    }
    drop(claim);
    for number in 1..40 {
        appender.append(TYPE, &payload(number)).unwrap();
        assert_eq!(drain(&mut tailer).len(), if number == 1 { 2 } else { 1 });
    }
    assert_holds(&home.read_all(), 40);
    drop(appender);
    home.appender();
    assert_holds(&home.read_all(), 40);
}

#[test]
fn a_batch_is_visible_record_by_record_without_an_announcement() {
    let home = Home::with_queue(65536);
    let mut appender = home.appender();
    let mut tailer = home.tailer();
    for number in 0..10 {
        appender.append_quietly(TYPE, &payload(number)).unwrap();
    }
    assert_holds(&drain(&mut tailer), 10);
    appender.announce();
}

#[test]
fn readers_start_at_the_earliest_the_latest_or_a_seq() {
    let home = Home::with_queue(4096);
    let mut appender = home.appender();
    for number in 0..500 {
        appender.append(TYPE, &payload(number)).unwrap();
    }
    for seq in [0, 1, 17, 250, 499] {
        let mut tailer = home.tailer_from(Start::Seq(seq)).unwrap();
        let message = tailer.next().unwrap().unwrap();
        assert_eq!((message.seq, message.payload), (seq, payload(seq).as_slice()));
    }
    let mut latest = home.tailer_from(Start::Latest).unwrap();
    let mut future = home.tailer_from(Start::Seq(501)).unwrap();
    assert!(latest.next().unwrap().is_none());
    assert!(future.next().unwrap().is_none());
    appender.append(TYPE, &payload(500)).unwrap();
    appender.append(TYPE, &payload(501)).unwrap();
    assert_eq!(latest.next().unwrap().unwrap().seq, 500);
    assert_eq!(future.next().unwrap().unwrap().seq, 501);
}

#[test]
fn time_stamps_are_stored_with_each_record() {
    let home = Home::with_queue(65536);
    let before = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    home.appender().append(TYPE, b"x").unwrap();
    let after = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    let mut tailer = home.tailer();
    let timestamp = tailer.next().unwrap().unwrap().timestamp_ns;
    assert!((before..=after).contains(&timestamp));
}

#[test]
fn an_empty_queue_of_default_geometry_takes_little_space() {
    let home = Home::with_queue(128 << 20);
    drop(home.appender());
    let blocks: u64 = std::fs::read_dir(home.path())
        .unwrap()
        .map(|entry| std::os::unix::fs::MetadataExt::blocks(&entry.unwrap().metadata().unwrap()))
        .sum();
    assert!(blocks * 512 <= 8 << 20, "{} bytes", blocks * 512);
}

#[test]
fn many_records_are_appended_at_once_over_rolls_and_whatever_was_there_before() {
    for size in [4096, 65536, 1 << 20] {
        let home = Home::with_queue(size);
        let mut appender = home.appender();
        let payloads: Vec<Vec<u8>> = (0..3000).map(payload).collect();
        // An aborted claim leaves bytes behind that look like nothing.
        appender.claim(2000).unwrap().fill(0xff);
        let mut done = 0;
        for count in [0, 1, 2, 255, 256, 257, 1000, 1229] {
            let batch = payloads[done..done + count].iter().map(Vec::as_slice);
            done += count;
            assert_eq!(appender.append_all(TYPE, batch).unwrap(), done as u64);
        }
        assert_holds(&home.read_all(), 3000);
        drop(appender);
        assert_eq!(home.appender().recovery().end.seq, 3000);
    }
}

#[test]
fn many_records_become_visible_together_and_under_one_time() {
    let home = Home::with_queue(1 << 20);
    let mut appender = home.appender();
    let mut tailer = home.tailer();
    let payloads = [b"a".as_slice(), b"bc", b""];
    let mut looks = payloads.into_iter().inspect(|_| assert!(tailer.next().unwrap().is_none()));
    appender.append_all(TYPE, &mut looks).unwrap();
    let mut seen = Vec::new();
    let read = tailer.read_all(u64::MAX, |message| {
        seen.push((message.payload.to_vec(), message.timestamp_ns));
    });
    assert_eq!(read.unwrap(), 3);
    assert!(seen.iter().all(|(_, time)| *time == seen[0].1));
    assert!(seen.iter().map(|(bytes, _)| bytes.as_slice()).eq(payloads));
}

#[test]
fn a_payload_that_is_too_large_ends_a_batch_and_what_came_before_stays() {
    let home = Home::with_queue(4096);
    let mut appender = home.appender();
    let large = vec![0; 5000];
    let batch = [b"one".as_slice(), b"two", &large, b"three"];
    assert!(matches!(appender.append_all(TYPE, batch), Err(Error::PayloadTooLarge { .. })));
    assert_eq!(appender.next_seq(), 2);
    appender.append(TYPE, b"three").unwrap();
    let texts: Vec<Vec<u8>> = home.read_all().into_iter().map(|(_, bytes)| bytes).collect();
    assert_eq!(texts, [b"one".to_vec(), b"two".to_vec(), b"three".to_vec()]);
}

#[test]
fn the_time_of_a_batch_belongs_to_its_records_and_not_to_what_came_before_a_roll() {
    let home = Home::with_queue(4096);
    let platform = Timed::new(home.platform());
    let clock = platform.set_clock();
    clock.set(10);
    let mut appender = Appender::open(platform, WriteOptions::default()).unwrap();
    appender.append(TYPE, &[1; 3800]).unwrap();
    clock.set(20);
    // Does not fit behind the first one.
    appender.append_all(TYPE, [[2; 500].as_slice()]).unwrap();
    assert_eq!(appender.position().segment.get(), 1);
    std::fs::remove_file(home.file("000000000.q")).unwrap();
    let mut tailer = home.tailer();
    assert!(tailer.seek_timestamp(20).unwrap().found);
    assert_eq!(tailer.next().unwrap().map(|message| message.seq), Some(1));
    assert_eq!(tailer.seek_timestamp(10).unwrap_err(), Error::FellBehind { oldest: 1 });
}

/// Whoever sees a seal goes on behind it and never comes back.
#[test]
fn at_a_seal_every_record_before_it_is_there() {
    let home = Home::with_queue(4096);
    let seen = Cell::new(0);
    let look = || {
        let messages = home.read_all();
        assert_eq!(messages.last().map(|(seq, _)| seq + 1), Some(messages.len() as u64));
        seen.set(messages.len());
    };
    let mut appender = Appender::open_with(
        home.platform(),
        WriteOptions::default(),
        At(Site::Sealed, look),
        NoSupply,
    )
    .unwrap();
    let payloads: Vec<_> = (0..200).map(payload).collect();
    for batch in payloads.chunks(50) {
        appender.append_all(TYPE, batch.iter().map(Vec::as_slice)).unwrap();
    }
    assert!(seen.get() > 100, "{} seen at the last seal", seen.get());
    assert_holds(&home.read_all(), 200);
}

#[test]
fn a_segment_that_has_its_name_is_started() {
    let home = Home::with_queue(4096);
    let faults = Faults::default();
    let platform = Faulty::new(|| home.platform(), &faults);
    let mut appender = Appender::open(platform, WriteOptions::default()).unwrap();
    let path = home.path().to_owned();
    let named = Rc::new(Cell::new(0));
    let count = Rc::clone(&named);
    faults.watch(Call::Publish, move || {
        count.set(count.get() + 1);
        let bytes = std::fs::read(path.join(format!("{:09}.q", count.get()))).unwrap();
        let start = SegmentStart::decode(bytes.first_chunk().unwrap()).unwrap();
        assert!(start.is_some_and(|start| start.first_seq > 0), "segment {}", count.get());
    });
    for number in 0..200 {
        appender.append(TYPE, &payload(number)).unwrap();
    }
    assert!(named.get() > 2);
    assert_eq!(named.get(), appender.position().segment.get());
}

#[test]
fn a_record_has_the_time_that_its_program_gives_and_is_found_by_it() {
    let home = Home::with_queue(128 << 10);
    let mut appender = home.appender();
    // Another queue's records, from times when this one was not there, one of them out of order.
    let time = |number: u64| match number {
        700 => 5_000,
        number => 1_000_000 + number * 10,
    };
    for number in 0..5_000 {
        assert_eq!(appender.append_at(TYPE, time(number), &payload(number)).unwrap(), number);
    }
    assert!(appender.position().segment.get() > 2);
    let before = appender.append(TYPE, b"now").unwrap();

    let mut tailer = home.tailer();
    for number in 0..5_000 {
        let message = tailer.next().unwrap().unwrap();
        assert_eq!((message.seq, message.timestamp_ns), (number, time(number)));
        assert_eq!(message.payload, payload(number));
    }
    let now = tailer.next().unwrap().unwrap();
    assert!(now.seq == before && now.timestamp_ns > 1_700_000_000_000_000_000);
    for number in [0, 1, 699, 701, 2_500, 4_999] {
        assert!(tailer.seek_timestamp(time(number)).unwrap().found);
        assert_eq!(tailer.next().unwrap().unwrap().seq, number);
    }
}
