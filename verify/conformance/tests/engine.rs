//! The engine on the heap: small enough for Miri and for the thread sanitizer, which run it too.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::thread;
use std::time::Duration;

use chronicle_conformance::memory::Memory;
use chronicle_core::{
    Appender, CreateOptions, Inspection, ReaderName, SegmentSize, Start, TailOptions, Tailer,
    WaitOutcome, WaitStrategy, WriteOptions, apply_retention, create, verify,
};
use chronicle_sync::format::{RecordFlags, RecordHeader, SegmentId, TypeId};
use chronicle_sync::record::{self, Slot};
use chronicle_sync::seal::{self, EmptySlot};
use chronicle_sync::{
    Clock, Exactly, Object, Region, RegionExt, RegionMut, RegionMutExt, Stage, Storage, WriteCursor,
};

const TYPE: u16 = 0x8000;

fn queue(checksums: bool) -> Memory {
    let memory = Memory::durable();
    let mut options = CreateOptions::default();
    options.segment_size = SegmentSize::new(4096).unwrap();
    options.checksums = checksums;
    options.retention.max_segments = Some(4);
    create(&memory, &options).unwrap();
    memory
}

fn payload(number: u64) -> Vec<u8> {
    vec![number as u8; number as usize % 50 + 1]
}

#[test]
#[cfg_attr(miri, ignore = "Miri does not come to its end in five minutes")]
fn records_come_back_over_rolls_lives_and_a_power_loss() {
    for checksums in [true, false] {
        let memory = queue(checksums);
        let mut named = TailOptions::default();
        named.name = Some(ReaderName::new("a").unwrap());
        let mut seq = 0;
        for life in 0..3 {
            let mut writer = Appender::open(&memory, WriteOptions::default()).unwrap();
            let mut reader = Tailer::open(&memory, &named).unwrap();
            // A position that was not synced goes back, and some records are read again.
            while reader.next().unwrap().is_some() {}
            for _ in 0..60 {
                assert_eq!(writer.append(TYPE, &payload(seq)).unwrap(), seq);
                let message = reader.next().unwrap().unwrap();
                assert_eq!((message.seq, message.payload), (seq, &payload(seq)[..]));
                reader.commit().unwrap();
                seq += 1;
            }
            // Given up with bytes in it, and another record in its place.
            let mut claim = writer.claim(40).unwrap();
            claim.fill(0xff);
            drop(claim);
            let mut claim = writer.claim(8).unwrap();
            claim.copy_from_slice(&seq.to_le_bytes());
            assert_eq!(claim.commit(TYPE).unwrap(), seq);
            assert_eq!(reader.next().unwrap().unwrap().payload, seq.to_le_bytes());
            reader.commit().unwrap();
            seq += 1;
            writer.flush().unwrap();
            apply_retention(&memory, |_| false).unwrap();
            assert_eq!(verify(&memory, |error| panic!("{error}")).unwrap().faults, 0);
            assert_eq!(Inspection::of(&memory).unwrap().durable_seq, seq);
            drop((writer, reader));
            if life == 1 && checksums {
                memory.lose_power();
            }
        }
        let mut options = TailOptions::default();
        options.start = Start::Seq(seq - 1);
        let mut reader = Tailer::open(&memory, &options).unwrap();
        assert_eq!(reader.next().unwrap().unwrap().seq, seq - 1);
    }
}

#[test]
fn a_reader_in_another_thread_sleeps_and_gets_every_record() {
    const COUNT: u64 = if cfg!(miri) { 60 } else { 2000 };
    let memory = queue(true);
    let mut writer = Appender::open(memory.clone(), WriteOptions::default()).unwrap();
    thread::scope(|scope| {
        for strategy in [WaitStrategy::Park, WaitStrategy::BusySpin] {
            let memory = memory.clone();
            scope.spawn(move || {
                let mut reader = Tailer::open(memory, &TailOptions::default()).unwrap();
                for expected in 0..COUNT {
                    let until = reader.platform().now().after(Duration::from_secs(20));
                    assert_eq!(reader.wait(strategy, until, None).unwrap(), WaitOutcome::Ready);
                    let message = reader.next().unwrap().unwrap();
                    assert_eq!(message.seq, expected);
                    assert_eq!(message.payload, payload(expected));
                }
            });
        }
        scope.spawn(|| {
            for number in 0..COUNT {
                writer.append(TYPE, &payload(number)).unwrap();
                if number % 8 == 0 {
                    thread::yield_now();
                }
            }
        });
    });
}

/// A head that is damaged below the durable watermark is refused after a reboot as it is before one:
/// an open that succeeds must not be followed by one that is refused for what was there all the time.
#[test]
fn a_damaged_head_of_an_old_segment_is_refused_in_every_boot() {
    let memory = queue(true);
    let mut writer = Appender::open(&memory, WriteOptions::default()).unwrap();
    for number in 0..200 {
        writer.append(TYPE, &payload(number)).unwrap();
    }
    writer.flush().unwrap();
    drop(writer);
    let first = Object::Segment(SegmentId::FIRST);
    let mut bytes = memory.get(&first).unwrap();
    bytes.truncate(2714);
    memory.put(&first, &bytes);
    let refused = |memory: &Memory| {
        Appender::open(memory, WriteOptions::default()).map(drop).unwrap_err().to_string()
    };
    let before = refused(&memory);
    memory.reboot();
    assert_eq!(refused(&memory), before);
    assert_eq!(refused(&memory), before);
}

/// A power loss may bring the name of a removed segment back and not the one behind it.
#[test]
fn a_removed_segment_whose_name_came_back_stops_no_writer() {
    let memory = queue(true);
    let mut writer = Appender::open(&memory, WriteOptions::default()).unwrap();
    for number in 0..200 {
        writer.append(TYPE, &payload(number)).unwrap();
    }
    writer.flush().unwrap();
    drop(writer);
    let second = Object::Segment(SegmentId::new(1).unwrap());
    memory.remove(&second).unwrap();
    memory.reboot();
    for _ in 0..2 {
        let mut writer = Appender::open(&memory, WriteOptions::default()).unwrap();
        writer.append(TYPE, b"goes on").unwrap();
    }
}

/// Also one that ends before the record, or in the middle of one that begins alike: nothing behind its end is
/// read.
#[test]
fn a_payload_is_given_out_of_no_other_segment() {
    let mut segment = WriteCursor::new(region(4096), 1024);
    segment.set_limit(4096);
    segment.append(&a_header(), &[5; 100], None).unwrap();
    let end = segment.offset();
    let Slot::Record(record) = record::look(&segment, 1024) else { panic!("there is no record") };
    assert_eq!(record.payload(&segment), Some(&[5; 100][..]));
    let begin: [u64; 1] = segment.copy_words(1024).unwrap();
    for length in [64, 1024, 1024 + 32, end - 32, 4096] {
        let other = region(length);
        if length < 4096 {
            let _ = other.store_words(1024, &begin);
        }
        assert_eq!(record.payload(&other), None, "{length} bytes");
    }
}

/// A region of so many bytes.
fn region(length: u64) -> impl RegionMut {
    let memory = Memory::new();
    let object = Object::Segment(SegmentId::new(0).unwrap());
    let stage = Stage { length, reserved: length, group_readable: false };
    memory.publish(memory.stage(&object, &stage).unwrap()).unwrap()
}

fn a_header() -> RecordHeader {
    RecordHeader {
        type_id: TypeId::user(TYPE).unwrap(),
        flags: RecordFlags::empty(),
        epoch: 1,
        seq: 7,
        timestamp_ns: 8,
    }
}

#[test]
fn a_payload_of_any_length_is_stored_as_it_is_and_nothing_behind_it() {
    let payload: Vec<u8> = (0..=255).cycle().skip(1).take(300).collect();
    for length in 0..=payload.len() {
        let payload = &payload[..length];
        let mut cursor = WriteCursor::new(region(4096), 1024);
        cursor.set_limit(4096);
        cursor.append(&a_header(), payload, None).unwrap();
        let Slot::Record(record) = record::look(&cursor, 1024) else { panic!("nothing is there") };
        assert_eq!(record.payload(&cursor), Some(payload));
        assert_eq!(record.end(), cursor.offset());
        let behind = 1024 + 32 + length as u64;
        for at in (behind.next_multiple_of(8)..4096).step_by(8) {
            assert_eq!(cursor.read_u64(at).unwrap().load_relaxed(), 0, "{length} bytes, at {at}");
        }
    }
}

#[test]
fn a_record_goes_no_further_than_the_limit_and_begins_nowhere_but_at_a_multiple_of_32() {
    let mut cursor = WriteCursor::new(region(4096), 1024);
    assert_eq!(cursor.append(&a_header(), &[], None), None, "there is no limit yet");
    cursor.set_limit(1024 + 96);
    assert_eq!(cursor.append(&a_header(), &[5; 65], None), None);
    assert_eq!(cursor.claim(65), None);
    assert_eq!(cursor.stage(1024, &a_header(), &[5; 65], None), None);
    for offset in [992, 1025, 1024 + 32, 1 << 40, u64::MAX] {
        assert_eq!(cursor.stage(offset, &a_header(), &[5; 64], None), None, "{offset}");
    }
    assert!(matches!(record::look(&cursor, 1024), Slot::Empty));
    cursor.append(&a_header(), &[5; 64], None).unwrap();
    assert_eq!(cursor.offset(), 1024 + 96);
    cursor.set_limit(u64::MAX);
    assert_eq!(cursor.limit(), 4096, "the region ends there");
    for offset in [1, 1025, 4097, u64::MAX - 31, u64::MAX] {
        let mut cursor = WriteCursor::new(region(4096), offset);
        cursor.set_limit(u64::MAX);
        assert_eq!(cursor.append(&a_header(), &[], None), None, "at {offset}");
    }
}

#[test]
fn asking_for_lines_ahead_stores_nothing_and_may_be_done_at_the_end() {
    for offset in [0, 1024, 4064, 4096, u64::MAX] {
        let cursor = WriteCursor::new(region(4096), offset);
        cursor.prefetch();
        for at in (0..4096).step_by(8) {
            assert_eq!(cursor.read_u64(at).unwrap().load_relaxed(), 0, "from {offset}, at {at}");
        }
    }
}

#[test]
fn a_segment_is_open_exactly_where_its_seal_says_that_there_is_nothing_yet() {
    let region = region(4096);
    let word = || region.read_u64(56).unwrap();
    let is_nothing = || {
        let size = SegmentSize::new(4096).unwrap();
        matches!(seal::classify(word(), 1024, size, || false), Ok(EmptySlot::Nothing))
    };
    assert!(seal::is_open(word()) && is_nothing());
    // The last three are what no writer stores.
    for end in [1024, 96, 2048, 0, 8192, u64::MAX] {
        seal::seal(region.word_u64(56).unwrap(), end);
        assert!(!seal::is_open(word()) && !is_nothing(), "sealed at {end}");
    }
}

#[test]
fn a_cursor_is_never_in_front_of_what_is_committed() {
    let mut cursor = WriteCursor::new(region(4096), 64);
    cursor.set_limit(4096);
    let (end, word) = cursor.stage(64, &a_header(), &[1; 32], None).unwrap();
    cursor.set_limit(0);
    cursor.publish_staged([(64, word)].into_iter(), end);
    assert_eq!(cursor.offset(), end, "the limit says where the next record may end");
    for before in [0, 64, end - 32] {
        cursor.publish_staged(std::iter::empty(), before);
        assert_eq!(cursor.offset(), end);
    }
    cursor.set_limit(4096);
    assert_eq!(cursor.claim(u32::MAX), None);
}

#[test]
fn a_region_is_taken_for_one_of_a_size_only_where_it_has_it() {
    assert_eq!(Exactly::<_, 4096>::new(region(4096)).map(|region| region.size()).ok(), Some(4096));
    assert_eq!(Exactly::<_, 4096>::new(region(4095)).err(), Some(4095));
    assert_eq!(Exactly::<_, 4096>::new(region(8192)).err(), Some(8192));
}
