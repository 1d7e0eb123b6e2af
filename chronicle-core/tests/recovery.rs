//! Reopening after a death, after a power loss, and over damaged files.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};

use chronicle_core::{
    Appender, Damage, Error, Fault, FormatError, NoSupply, SegmentId, SegmentSize, Site, Start,
    WriteOptions,
};
use chronicle_format::layout;
use support::probes::At;
use support::{Home, TYPE, assert_holds, payload};

const FIRST: &str = "000000000.q";

fn filled(segment_size: u64, count: u64) -> Home {
    let home = Home::with_queue(segment_size);
    let mut appender = home.appender();
    for number in 0..count {
        appender.append(TYPE, &payload(number)).unwrap();
    }
    home
}

/// Offset of the record with this number in the first segment.
fn offset_of(home: &Home, number: u64) -> u64 {
    let mut tailer = home.tailer();
    for _ in 0..number {
        tailer.next().unwrap().unwrap();
    }
    // The queue's own records lie in between: the record begins where its number is found.
    let mut offset = tailer.position().offset;
    loop {
        let header = home.read_at(FIRST, offset, 32);
        let type_id = u16::from_le_bytes(header[8..10].try_into().unwrap());
        if type_id >= 0x100 {
            return offset;
        }
        let length = u32::from_le_bytes(header[..4].try_into().unwrap()) - 1;
        offset += 32 + u64::from(length).next_multiple_of(32);
    }
}

#[test]
fn bytes_behind_the_last_record_are_cleared_before_anything_is_appended() {
    let home = filled(65536, 10);
    let end = home.tailer_at_end();
    // What a writer that was killed while filling a claim leaves: payload without a commit word,
    // and in it a copy of a whole old record at a place where a record could be.
    let old = home.read_at(FIRST, offset_of(&home, 3), 96);
    home.write_at(FIRST, end + 32, &[0xab; 64]);
    home.write_at(FIRST, end + 96, &old);
    let mut appender = home.appender();
    assert!(appender.recovery().words_cleared > 0);
    assert_eq!(appender.recovery().cut, None);
    for number in 10..40 {
        appender.append(TYPE, &payload(number)).unwrap();
    }
    assert_holds(&home.read_all(), 40);
}

impl Home {
    /// Offset behind the last record.
    fn tailer_at_end(&self) -> u64 {
        let mut tailer = self.tailer();
        while tailer.next().unwrap().is_some() {}
        tailer.position().offset
    }
}

#[test]
fn damage_above_the_durable_watermark_is_cut_and_reported() {
    let home = filled(65536, 20);
    let offset = offset_of(&home, 12);
    home.flip_bit(FIRST, offset + 40);
    let mut appender = home.appender();
    let cut = appender.recovery().cut.unwrap();
    assert_eq!(cut.at.offset, offset);
    assert_eq!(cut.at.seq, 12);
    assert_eq!(cut.at.fault, Fault::Checksum);
    assert_eq!(cut.records_behind, 7);
    for number in 12..30 {
        assert_eq!(appender.append(TYPE, &payload(number)).unwrap(), number);
    }
    assert_holds(&home.read_all(), 30);
}

#[test]
fn damage_below_the_durable_watermark_is_refused_and_nothing_changes() {
    let home = Home::with_queue(65536);
    let mut appender = home.appender();
    for number in 0..20 {
        appender.append(TYPE, &payload(number)).unwrap();
    }
    appender.flush().unwrap();
    drop(appender);
    let offset = offset_of(&home, 12);
    home.flip_bit(FIRST, offset + 40);
    let before = std::fs::read(home.file(FIRST)).unwrap();
    let refused = home.try_appender().map(drop).unwrap_err();
    let Error::Damaged(Damage { offset: at, seq, fault, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!((at, seq, fault), (offset, 12, Fault::Checksum));
    assert_eq!(std::fs::read(home.file(FIRST)).unwrap(), before);
    let mut tailer = home.tailer();
    for _ in 0..12 {
        tailer.next().unwrap().unwrap();
    }
    for _ in 0..2 {
        let refused = tailer.next().unwrap_err();
        let Error::Damaged(Damage { offset: at, seq, fault, .. }) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!((at, seq, fault), (offset, 12, Fault::Checksum), "a reader stays where it is");
    }
}

#[test]
fn a_tail_that_ends_before_the_durable_watermark_is_refused() {
    let home = Home::with_queue(65536);
    let mut appender = home.appender();
    for number in 0..20 {
        appender.append(TYPE, &payload(number)).unwrap();
    }
    appender.flush().unwrap();
    drop(appender);
    home.write_at(FIRST, offset_of(&home, 15), &[0; 8]);
    assert!(matches!(home.try_appender(), Err(Error::Damaged(_))));
}

#[test]
fn a_damaged_checkpoint_slot_does_not_lower_the_watermark_of_this_boot() {
    let home = Home::with_queue(65536);
    let mut appender = home.appender();
    for number in 0..20 {
        appender.append(TYPE, &payload(number)).unwrap();
    }
    appender.flush().unwrap();
    drop(appender);
    // The flush wrote the second slot.
    home.flip_bit("checkpoint.meta", 4096 + 20);
    home.flip_bit(FIRST, offset_of(&home, 12) + 40);
    assert!(matches!(home.try_appender(), Err(Error::Damaged(_))));
}

#[test]
fn a_writer_that_lost_its_epoch_appends_at_most_the_record_in_flight() {
    let home = filled(65536, 5);
    let mut appender = home.appender();
    let newer = appender.epoch() + 1;
    home.write_at("control.meta", layout::control::EPOCH as u64, &newer.to_le_bytes());
    for _ in 0..3 {
        let refused = appender.append(TYPE, &payload(5)).unwrap_err();
        assert!(
            matches!(refused, Error::Fenced { current, .. } if current == newer),
            "{refused:?}"
        );
    }
    assert!(home.read_all().len() <= 6);
}

#[test]
fn a_payload_that_imitates_headers_does_not_slow_recovery_down() {
    let home = Home::with_queue(1 << 20);
    let mut appender = home.appender();
    appender.append(TYPE, &payload(0)).unwrap();
    let mut claim = appender.claim(1 << 19).unwrap();
    for chunk in claim.chunks_exact_mut(32) {
        // A length of a quarter of a mebibyte, a sequence number to come.
        chunk[..8].copy_from_slice(&0x4_0001u64.to_le_bytes());
        chunk[16..24].copy_from_slice(&1u64.to_le_bytes());
    }
    drop(claim);
    drop(appender);
    let begun = std::time::Instant::now();
    let appender = home.appender();
    assert!(begun.elapsed() < std::time::Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!((appender.next_seq(), appender.recovery().cut), (1, None));
}

/// Write-back in any order: a hole, and whole records of the same life behind it.
#[test]
fn records_behind_a_hole_never_come_back() {
    let home = filled(65536, 20);
    let offset = offset_of(&home, 9);
    home.write_at(FIRST, offset, &[0; 32]);
    home.forget_boot();
    let mut appender = home.appender();
    assert_eq!(appender.next_seq(), 9);
    let cut = appender.recovery().cut.unwrap();
    assert_eq!((cut.at.seq, cut.at.fault, cut.records_behind), (9, Fault::Hole, 10));
    // Records of the same sizes as before, so that every old one lies at a place of a new one.
    for number in 9..12 {
        appender.append(TYPE, &payload(number)).unwrap();
        assert_holds(&home.read_all(), number + 1);
    }
}

/// A batch is published from its last record to its first, so its writer may be killed in between.
#[test]
fn a_batch_that_was_being_published_is_cleared_and_not_reported_as_a_loss() {
    let payloads: Vec<_> = (10..15).map(payload).collect();
    let batch = || payloads.iter().map(Vec::as_slice);
    for published_apart in [false, true] {
        let home = filled(65536, 10);
        let mut appender = home.appender();
        if published_apart {
            for payload in batch() {
                appender.append(TYPE, payload).unwrap();
            }
        } else {
            appender.append_all(TYPE, batch()).unwrap();
        }
        drop(appender);
        // The commit word of the first of the five.
        home.write_at(FIRST, offset_of(&home, 10), &[0; 8]);
        let appender = home.appender();
        assert_eq!(appender.next_seq(), 10);
        assert!(appender.recovery().words_cleared > 0);
        let behind = appender.recovery().cut.map(|cut| (cut.at.fault, cut.records_behind));
        assert_eq!(behind, published_apart.then_some((Fault::Hole, 4)));
        drop(appender);
        assert_holds(&home.read_all(), 10);
    }
}

#[test]
fn a_prepared_next_segment_does_not_end_the_current_one() {
    let home = filled(65536, 10);
    // As a predecessor leaves it that died between the publication and the seal.
    let header = chronicle_format::SegmentHeader {
        id: SegmentId::new(1).unwrap(),
        segment_size: SegmentSize::new(65536).unwrap(),
        checksums: true,
        salt: 77,
    };
    std::fs::File::create(home.file("000000001.q")).unwrap().set_len(65536).unwrap();
    home.write_at("000000001.q", 0, &header.encode());
    let mut appender = home.appender();
    assert_eq!(appender.position().segment.get(), 0);
    for number in 10..2000 {
        assert_eq!(appender.append(TYPE, &payload(number)).unwrap(), number);
    }
    assert_holds(&home.read_all(), 2000);
}

#[test]
fn a_lost_seal_is_restored_where_the_next_segment_carries_on() {
    let home = filled(4096, 200);
    for id in 0..3 {
        home.write_at(&format!("{id:09}.q"), layout::segment::SEAL as u64, &[0; 8]);
    }
    home.forget_boot();
    let appender = home.appender();
    assert_eq!(appender.next_seq(), 200);
    drop(appender);
    assert_holds(&home.read_all(), 200);
}

#[test]
fn segments_behind_lost_records_are_removed_and_reported() {
    let home = filled(4096, 200);
    let segments = std::fs::read_dir(home.path()).unwrap().count();
    // Lost by a power loss: a record in the middle of the third segment.
    home.write_at("000000002.q", 64, &[0; 32]);
    home.forget_boot();
    let mut appender = home.appender();
    let cut = appender.recovery().cut.unwrap();
    assert_eq!(cut.at.segment.get(), 2);
    assert!(cut.segments_removed > 0);
    assert!(std::fs::read_dir(home.path()).unwrap().count() < segments);
    let next = appender.next_seq();
    for number in next..next + 100 {
        appender.append(TYPE, &payload(number)).unwrap();
    }
    assert_holds(&home.read_all(), next + 100);
}

#[test]
fn a_stale_hint_is_never_taken_for_the_end() {
    let home = filled(4096, 300);
    // Two segments behind, as a control file that was not written back; and an odd generation.
    let control = layout::control::CURRENT_SEGMENT as u64;
    home.write_at("control.meta", control, &1u64.to_le_bytes());
    home.write_at("control.meta", control + 8, &64u64.to_le_bytes());
    home.write_at("control.meta", layout::control::SEGMENT_GEN as u64, &7u32.to_le_bytes());
    let mut appender = home.appender();
    assert_eq!(appender.append(TYPE, &payload(300)).unwrap(), 300);
    assert_holds(&home.read_all(), 301);
    let inspection = chronicle_core::Inspection::of(&home.platform()).unwrap();
    assert_eq!(inspection.head.position.seq, 301);
}

#[test]
fn a_torn_hint_stops_no_reader_and_no_inspection() {
    let home = filled(4096, 300);
    home.write_at("control.meta", layout::control::SEGMENT_GEN as u64, &7u32.to_le_bytes());
    let inspection = chronicle_core::Inspection::of(&home.platform()).unwrap();
    assert_eq!(inspection.head.position.seq, 300);
    assert_holds(&home.read_all(), 300);
}

/// The word at a seal may hold what an aborted claim left there: no record begins at a seal.
#[test]
fn bytes_at_a_seal_are_no_record() {
    let home = filled(4096, 100);
    let seal = home.read_at(FIRST, layout::segment::SEAL as u64, 8);
    let end = u64::from_le_bytes(seal.try_into().unwrap()) & !1;
    assert!(end + 32 <= 4096, "the first segment has room for a header");
    let old = home.read_at(FIRST, offset_of(&home, 3), 32);
    for dirt in [old, vec![0xff; 32]] {
        home.write_at(FIRST, end, &dirt);
        assert_holds(&home.read_all(), 100);
    }
    home.forget_boot();
    assert_eq!(home.appender().next_seq(), 100);
}

/// A segment that was removed and came back, because the removal was not written back.
#[test]
fn a_segment_of_an_older_life_does_not_carry_on_the_log() {
    let home = filled(4096, 60);
    let old_life = std::fs::read(home.file("000000001.q")).unwrap();
    let old_start = u64::from_le_bytes(old_life[32..40].try_into().unwrap());
    // A power loss takes the last three records of the first segment and all later segments.
    let lost = offset_of(&home, old_start - 3);
    home.write_at(FIRST, lost, &vec![0; (4096 - lost) as usize]);
    home.write_at(FIRST, layout::segment::SEAL as u64, &[0; 8]);
    for id in 1..9 {
        let _ = std::fs::remove_file(home.file(&format!("{id:09}.q")));
    }
    home.forget_boot();
    let mut appender = home.appender();
    for seq in old_start - 3..old_start {
        assert_eq!(appender.append(TYPE, b"").unwrap(), seq);
    }
    assert_eq!(appender.position().segment.get(), 0);
    drop(appender);
    // It carries on at the very sequence number, under an older epoch.
    home.write_back("000000001.q", &old_life);
    home.forget_boot();
    let mut appender = home.appender();
    assert_eq!(appender.next_seq(), old_start);
    assert_eq!(appender.recovery().cut.unwrap().segments_removed, 1);
    appender.append(TYPE, b"new").unwrap();
    let messages = home.read_all();
    assert_eq!(messages.last().unwrap(), &(old_start, b"new".to_vec()));
    assert_eq!(messages.len() as u64, old_start + 1);
}

#[test]
fn a_missing_segment_below_the_watermark_is_damage_and_not_a_missing_queue() {
    let home = filled(4096, 60);
    let mut appender = home.appender();
    appender.flush().unwrap();
    let durable = appender.position();
    for number in 60..200 {
        appender.append(TYPE, &payload(number)).unwrap();
    }
    drop(appender);
    let lost = durable.segment;
    assert!(lost > SegmentId::FIRST);
    std::fs::remove_file(home.file(&format!("{:09}.q", lost.get()))).unwrap();
    home.forget_boot();
    let error = home.try_appender().map(drop).unwrap_err();
    let (offset, fault) = (64, Fault::NoSegment);
    assert_eq!(error, Error::Damaged(Damage { segment: lost, offset, seq: durable.seq, fault }));
}

impl Home {
    fn write_back(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.file(name), bytes).unwrap();
    }
}

#[test]
fn a_missing_control_file_beside_records_is_refused() {
    let home = filled(65536, 10);
    std::fs::remove_file(home.file("control.meta")).unwrap();
    assert!(matches!(home.try_appender(), Err(Error::ControlMissing)));
    let options = chronicle_core::CreateOptions::default();
    let refused = chronicle_core::create(&home.platform(), &options).unwrap_err();
    assert!(matches!(refused, Error::ControlMissing), "{refused:?}");
}

#[test]
fn a_creation_that_was_cut_off_is_begun_anew() {
    let home = Home::with_queue(65536);
    std::fs::remove_file(home.file("control.meta")).unwrap();
    home.create(4096);
    let mut appender = home.appender();
    appender.append(TYPE, &payload(0)).unwrap();
    assert_holds(&home.read_all(), 1);
}

#[test]
fn control_files_of_other_kinds_are_refused_by_name() {
    type IsExpected = fn(&FormatError) -> bool;
    let expectations: [(&str, u64, &[u8], IsExpected); 5] = [
        ("version 1", 8, &[1], |error| {
            matches!(error, FormatError::UnsupportedVersion { found: 1, supported: 2 })
        }),
        ("magic", 0, &[0], |error| matches!(error, FormatError::BadMagic { .. })),
        ("size 0", 16, &[0; 8], |error| matches!(error, FormatError::SegmentSize { bytes: 0 })),
        ("size 1", 16, &[1, 0, 0, 0, 0], |error| {
            matches!(error, FormatError::SegmentSize { bytes: 1 })
        }),
        ("size 2^63", 16, &[0, 0, 0, 0, 0, 0, 0, 0x80], |error| {
            matches!(error, FormatError::SegmentSize { bytes: 0x8000_0000_0000_0000 })
        }),
    ];
    for (name, offset, bytes, is_expected) in expectations {
        let home = filled(65536, 3);
        home.write_at("control.meta", offset, bytes);
        let before = std::fs::read(home.file("control.meta")).unwrap();
        let as_writer = home.try_appender().map(drop).unwrap_err();
        let as_reader = home.named("a").map(drop).unwrap_err();
        for refused in [as_writer, as_reader] {
            assert!(
                matches!(&refused, Error::Format { source, .. } if is_expected(source)),
                "{name}: {refused:?}"
            );
        }
        assert_eq!(std::fs::read(home.file("control.meta")).unwrap(), before, "{name}");
        assert_eq!(std::fs::read_dir(home.file("readers")).unwrap().count(), 0, "{name}");
    }
}

#[test]
fn files_of_the_wrong_size_are_refused_without_a_signal() {
    for (file, length) in [
        ("control.meta", 0),
        ("control.meta", 64),
        (FIRST, 0),
        (FIRST, 64),
        (FIRST, 65535),
        ("notify.meta", 0),
    ] {
        let home = filled(65536, 3);
        std::fs::OpenOptions::new()
            .write(true)
            .open(home.file(file))
            .unwrap()
            .set_len(length)
            .unwrap();
        let refused = home.try_appender().map(drop).unwrap_err();
        assert!(
            matches!(&refused, Error::Format { source: FormatError::WrongSize { .. }, .. }),
            "{file} {length}: {refused:?}"
        );
    }
}

/// Cut off where it begins to change the segments, and where it has changed them, after a power loss
/// that took a record and left segments behind it.
#[test]
fn a_recovery_that_was_cut_off_comes_to_the_same_end_the_next_time() {
    let after_power_loss = || {
        let home = filled(4096, 200);
        home.write_at("000000002.q", 64, &[0; 32]);
        home.forget_boot();
        home
    };
    let end = after_power_loss().appender().recovery().end;
    for site in [Site::Clearing, Site::TakingOver] {
        let home = after_power_loss();
        let dies = At(site, || panic!("killed"));
        let opened = catch_unwind(AssertUnwindSafe(|| {
            Appender::open_with(home.platform(), WriteOptions::default(), dies, NoSupply).map(drop)
        }));
        assert!(opened.is_err(), "it did not come to {site:?}");
        let mut appender = home.appender();
        let found = appender.recovery().end;
        assert_eq!((found.segment, found.offset, found.seq), (end.segment, end.offset, end.seq));
        for number in end.seq..end.seq + 100 {
            appender.append(TYPE, &payload(number)).unwrap();
        }
        assert_holds(&home.read_all(), end.seq + 100);
    }
}

/// An epoch begins with a record. Before that is there, no hint may speak of the epoch: whoever began at the hint would
/// take the record for one that comes too late.
#[test]
fn a_reader_may_begin_at_every_step_of_an_opening() {
    /// Space that a first segment has.
    const SPACE: u64 = 1 << 20;
    // As much is left as a header takes, and more: in some of these the opening has to make room for its record.
    for left in (32..=192).step_by(32) {
        for site in [Site::Extending, Site::Published] {
            let home = Home::with_queue(4 << 20);
            let mut writer = home.appender();
            let length = SPACE - left - 32 - writer.position().offset;
            writer.append(TYPE, &vec![1; length as usize]).unwrap();
            assert_eq!(writer.position().offset, SPACE - left);
            drop(writer);
            let readers = std::cell::RefCell::new(Vec::new());
            let begin = || {
                let mut reader = home.tailer_from(Start::Latest).unwrap();
                assert!(reader.next().unwrap().is_none(), "{left} bytes left, at {site:?}");
                readers.borrow_mut().push(reader);
            };
            let probe = At(site, begin);
            let opened =
                Appender::open_with(home.platform(), WriteOptions::default(), probe, NoSupply);
            drop(opened.unwrap());
            home.appender().append(TYPE, b"next").unwrap();
            for reader in readers.borrow_mut().iter_mut() {
                assert!(reader.next().unwrap().is_some());
            }
        }
    }
}
