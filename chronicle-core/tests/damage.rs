//! Damaged words and files in a queue: an error with a place, or no effect; never a silent loss.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod support;

use std::time::{Duration, Instant};

use chronicle_core::{Appender, Damage, Error, Fault, Inspection, Start, WriteOptions, verify};
use chronicle_format::layout::{control, segment};
use chronicle_format::{
    CommitWord, Position, READER_SLOTS, ReaderSlot, RecordFlags, RecordHeader, SEG_DATA_OFFSET,
    SegmentHeader, SegmentStart, TypeId, record_seed,
};
use support::{Home, TYPE, assert_holds, payload, platform};

const FIRST: &str = "000000000.q";

fn filled(count: u64) -> Home {
    let home = Home::with_queue(65536);
    let mut appender = home.appender();
    for number in 0..count {
        appender.append(TYPE, &payload(number)).unwrap();
    }
    home
}

#[test]
fn a_damaged_frontier_hides_no_record_from_the_next_writer() {
    for frontier in [0u64, 1, 2, 3, u64::MAX] {
        let home = filled(500);
        home.write_at("control.meta", control::FRONTIER as u64, &frontier.to_le_bytes());
        let mut appender = home.appender();
        assert_eq!(appender.append(TYPE, &payload(500)).unwrap(), 500, "{frontier:#x}");
        assert_holds(&home.read_all(), 501);
    }
}

#[test]
fn a_damaged_hint_misleads_neither_readers_nor_inspection() {
    for (offset, value) in [
        (control::WRITE_OFFSET, 60001u64),
        (control::WRITE_OFFSET, u64::MAX),
        (control::CURRENT_SEGMENT, 77),
        (control::CURRENT_SEGMENT, u64::MAX),
        (control::HINT_EPOCH, u64::MAX),
    ] {
        let home = filled(300);
        home.write_at("control.meta", offset as u64, &value.to_le_bytes());
        let inspection = Inspection::of(&home.platform()).unwrap();
        assert_eq!(inspection.head.position.seq, 300, "{offset} {value:#x}");
        let mut latest = home.tailer_from(Start::Latest).unwrap();
        assert!(latest.next().unwrap().is_none());
        let mut appender = home.appender();
        appender.append(TYPE, &payload(300)).unwrap();
        assert_eq!(latest.next().unwrap().unwrap().seq, 300);
    }
}

/// Somebody removed the lock file, so that two writers have one: the first one is fenced.
#[test]
fn a_writer_whose_queue_was_taken_stores_nothing_over_its_successor() {
    let home = filled(2);
    let mut first = home.appender();
    first.append(TYPE, &payload(2)).unwrap();
    std::fs::remove_file(home.file("writer.lock")).unwrap();
    let mut second = Appender::open(platform(home.path()), WriteOptions::default()).unwrap();
    for number in 3..8 {
        assert_eq!(second.append(TYPE, &payload(number)).unwrap(), number);
    }
    let before = std::fs::read(home.file(FIRST)).unwrap();
    for _ in 0..2 {
        assert!(matches!(first.append(TYPE, b"late"), Err(Error::Fenced { .. })));
        assert!(matches!(
            first.claim(4).and_then(|claim| claim.commit(TYPE)),
            Err(Error::Fenced { .. })
        ));
    }
    assert_eq!(std::fs::read(home.file(FIRST)).unwrap(), before);
    assert_holds(&home.read_all(), 8);
}

#[test]
fn a_reader_takes_no_hole_in_durable_records_for_the_end() {
    let home = Home::with_queue(65536);
    let mut appender = home.appender();
    let mut places = Vec::new();
    for number in 0..100 {
        places.push(appender.position().offset);
        appender.append(TYPE, &payload(number)).unwrap();
    }
    appender.flush().unwrap();
    // One that reads to the end while all is well waits there and sees nothing wrong.
    assert_holds(&home.read_all(), 100);
    home.write_at(FIRST, places[49], &[0; 32]);
    let mut tailer = home.tailer();
    for _ in 0..49 {
        tailer.next().unwrap().unwrap();
    }
    let refused = tailer.next().unwrap_err();
    let Error::Damaged(Damage { offset, seq, fault, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!((offset, seq, fault), (places[49], 49, Fault::NotThere));
    drop(appender);
    assert!(matches!(home.try_appender(), Err(Error::Damaged(_))));
}

#[test]
fn a_stray_segment_far_ahead_holds_nobody_up() {
    let home = filled(10);
    std::fs::copy(home.file(FIRST), home.file("999999999.q")).unwrap();
    let begun = Instant::now();
    let refused = home.try_appender().map(drop).unwrap_err();
    assert!(matches!(refused, Error::Format { .. } | Error::Damaged(_)), "{refused:?}");
    home.forget_boot();
    // In another boot it is what a power loss left, or is refused; at once in any case.
    let _ = home.try_appender();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_holds(&home.read_all(), 10);
}

#[test]
fn a_truncated_earlier_segment_is_refused_by_the_next_writer() {
    let home = filled(3000);
    let file = std::fs::OpenOptions::new().write(true).open(home.file(FIRST)).unwrap();
    file.set_len(4096).unwrap();
    let refused = home.try_appender().map(drop).unwrap_err();
    let named = matches!(&refused, Error::Format { object, .. } if object.to_string() == FIRST);
    assert!(named, "{refused:?}");
}

/// The word is read by every reader that registers; no value of it may hold one up.
#[test]
fn a_damaged_segment_floor_holds_no_joining_reader_up() {
    let home = filled(10);
    home.write_at("control.meta", control::SEGMENT_FLOOR as u64, &u64::MAX.to_le_bytes());
    let path = home.path().to_owned();
    let (told, heard) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut options = chronicle_core::TailOptions::default();
        options.name = Some(chronicle_core::ReaderName::new("joiner").unwrap());
        let _ = told.send(chronicle_core::Tailer::open(platform(&path), &options).map(drop));
    });
    let refused = heard.recv_timeout(Duration::from_secs(10)).unwrap().unwrap_err();
    assert!(matches!(refused, Error::Format { .. }), "{refused:?}");
    // The next writer knows where the log begins.
    drop(home.appender());
    home.named("joiner").unwrap();
}

#[test]
fn a_position_outside_of_the_records_gives_none_of_them_out() {
    let home = Home::with_queue(8192);
    let mut appender = home.appender();
    for number in 0..40 {
        appender.append(TYPE, &payload(number)).unwrap();
    }
    let mut reader = home.named("forged").unwrap();
    for number in 0..10 {
        assert_eq!(reader.next().unwrap().unwrap().seq, number);
    }
    reader.commit().unwrap();
    drop(reader);
    let name = "readers/forged.meta";
    let slot = |at: usize| {
        let bytes = home.read_at(name, at as u64, ReaderSlot::WORDS * 8);
        ReaderSlot::decode_bytes(&bytes.try_into().unwrap()).unwrap()
    };
    let newest = READER_SLOTS.map(slot).into_iter().flatten().max_by_key(|slot| slot.generation);
    let good = newest.unwrap();
    let forge = |slot: &ReaderSlot| {
        let mut words = slot.words();
        words[ReaderSlot::WORDS - 1] |= u64::from(ReaderSlot::crc(&words)) << 32;
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        for at in READER_SLOTS {
            home.write_at(name, at as u64, &bytes);
        }
    };
    let size = 8192;
    for offset in [0, 63, 65, good.next.offset + 8, size - 32, size, size + 32, 1 << 40, !31u64] {
        for last_offset in [0, good.last_offset] {
            let next = Position { offset, ..good.next };
            forge(&ReaderSlot { next, last_offset, ..good });
            // Behind the segment's end nothing will ever come: an error that says so, not a wait.
            match home.named("forged") {
                Ok(mut reader) => {
                    assert!(offset <= size, "{offset} after {last_offset} is a place to wait at");
                    let given = reader.next().map(|message| message.map(|message| message.seq));
                    assert!(
                        !matches!(given, Ok(Some(_))),
                        "{offset} after {last_offset}: {given:?}"
                    );
                }
                Err(Error::Diverged { .. } | Error::Format { .. }) => {}
                Err(error) => panic!("{offset} after {last_offset}: {error}"),
            }
        }
    }
    forge(&good);
    assert_eq!(home.named("forged").unwrap().next().unwrap().unwrap().seq, 10);
}

#[test]
fn the_last_number_there_is_ends_a_log_as_a_bad_record() {
    let home = Home::with_queue(8192);
    let head: [u8; SegmentHeader::SIZE] =
        home.read_at(FIRST, 0, SegmentHeader::SIZE).try_into().unwrap();
    let segment_header = SegmentHeader::decode(&head).unwrap();
    let start = SegmentStart { first_seq: u64::MAX, time_floor_ns: 0, epoch: 0 };
    let header = RecordHeader {
        type_id: TypeId::user(TYPE).unwrap(),
        flags: RecordFlags::empty(),
        epoch: 0,
        seq: u64::MAX,
        timestamp_ns: 0,
    };
    let crc = header.crc(record_seed(segment_header.salt), b"");
    let record = [CommitWord::new(0, crc).unwrap().bits()].into_iter().chain(header.words());
    let bytes = |words: &mut dyn Iterator<Item = u64>| -> Vec<u8> {
        words.flat_map(u64::to_le_bytes).collect()
    };
    let first_seq = segment::FIRST_SEQ as u64;
    home.write_at(FIRST, first_seq, &bytes(&mut start.words(&segment_header).into_iter()));
    home.write_at(FIRST, SEG_DATA_OFFSET, &bytes(&mut record.into_iter()));

    // There is no number that a record behind it could have.
    assert!(home.tailer().next().unwrap().is_none());
    assert_eq!(Inspection::of(&home.platform()).unwrap().head.position.seq, u64::MAX);
    let mut faults = Vec::new();
    verify(&home.platform(), |fault| faults.push(fault)).unwrap();
    assert!(
        matches!(
            faults.as_slice(),
            [Error::Damaged(Damage { fault: Fault::Seq { found: u64::MAX }, .. })]
        ),
        "{faults:?}"
    );
    let refused = Appender::open(home.platform(), WriteOptions::default()).map(drop);
    assert!(
        matches!(
            refused,
            Err(Error::Damaged(Damage { fault: Fault::Seq { found: u64::MAX }, .. }))
        ),
        "{refused:?}"
    );
}

/// As a writer leaves it that was killed in the middle of it, and nobody has opened the queue since.
#[test]
fn a_hint_that_stays_torn_holds_nobody_up() {
    let home = filled(300);
    home.write_at("control.meta", control::SEGMENT_GEN as u64, &7u32.to_le_bytes());
    let path = home.path().to_owned();
    let (told, heard) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let platform = || platform(&path);
        let inspected = Inspection::of(&platform()).unwrap().head.position.seq;
        let opened = Appender::open(platform(), WriteOptions::default()).unwrap().next_seq();
        let _ = told.send((inspected, opened));
    });
    assert_eq!(heard.recv_timeout(Duration::from_secs(10)).unwrap(), (300, 300));
}
