//! Every field of a record's head is covered by its checksum, those too that readers compare with what
//! they expect: there are places where one of them is all that a reader has to go by.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod support;

use chronicle_core::{Appender, Damage, Error, Fault, WriteOptions};
use chronicle_format::layout::record;
use chronicle_format::{
    CommitWord, HEADER_SIZE, Position, RecordFlags, RecordHeader, SegmentHeader, TypeId,
    record_seed,
};
use support::clock::Timed;
use support::{Home, TYPE, payload};

const FIRST: &str = "000000000.q";
const NOW: u64 = 1_780_000_000_000_000_000;

fn salt(home: &Home) -> u32 {
    let bytes = home.read_at(FIRST, 0, SegmentHeader::SIZE).try_into().unwrap();
    SegmentHeader::decode(&bytes).unwrap().salt
}

/// The register, reflected, from which four bytes of zeros lead to this one.
fn four_bytes_before(register: u32) -> u32 {
    // The polynomial of CRC-32C (RFC 3720), reflected.
    (0..32).fold(register, |register, _| match register >> 31 {
        0 => register << 1,
        _ => ((register ^ 0x82f6_3b78) << 1) | 1,
    })
}

/// A payload whose checksum without its last four bytes is the same, so that nothing but the length
/// itself tells the two apart.
fn same_without_its_end(seed: chronicle_format::CrcState, header: &RecordHeader) -> Vec<u8> {
    let mut payload = vec![0x5a; 20];
    let register = seed.update(&header.checksummed_bytes(0)).update(&payload).register();
    payload.extend((register ^ four_bytes_before(register)).to_le_bytes());
    payload
}

#[test]
fn a_record_whose_length_rotted_is_not_given_out_shorter() {
    let home = Home::with_queue(4096);
    let platform = Timed::new(home.platform());
    platform.set_clock().set(NOW);
    let mut appender = Appender::open(&platform, WriteOptions::default()).unwrap();
    let Position { offset, seq, epoch, .. } = appender.position();
    let type_id = TypeId::from_stored(TYPE);
    let flags = RecordFlags::empty();
    let header = RecordHeader { type_id, flags, epoch, seq, timestamp_ns: NOW };
    let seed = record_seed(salt(&home));
    let payload = same_without_its_end(seed, &header);
    let covered = seed.update(&header.checksummed_bytes(0));
    assert_eq!(covered.update(&payload), covered.update(&payload[..20]), "made to be so");

    appender.append(TYPE, &payload).unwrap();
    assert_eq!(home.read_all(), [(0, payload)]);
    home.write_at(FIRST, offset + record::LENGTH_PLUS_ONE as u64, &21u32.to_le_bytes());
    assert_damaged(&home, offset);
}

/// Fails unless a reader from the earliest record on gets to this place and not further.
#[track_caller]
fn assert_damaged(home: &Home, offset: u64) {
    let mut tailer = home.tailer();
    let refused = loop {
        match tailer.next() {
            Ok(Some(message)) => assert_eq!(message.payload, payload(message.seq)),
            Ok(None) => panic!("nothing is wrong"),
            Err(error) => break error,
        }
    };
    let Error::Damaged(Damage { offset: at, fault, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!((at, fault), (offset, Fault::Checksum));
}

/// A queue in which a repair has put a gap in place of the last record, and where that lies.
fn with_a_gap() -> (Home, u64) {
    let home = Home::with_queue(4096);
    let mut appender = home.appender();
    for number in 0..9 {
        appender.append(TYPE, &payload(number)).unwrap();
    }
    let Position { offset, seq, epoch, .. } = appender.position();
    appender.append(TYPE, &payload(9)).unwrap();
    drop(appender);
    let header = RecordHeader {
        type_id: TypeId::GAP,
        flags: RecordFlags::empty(),
        epoch,
        seq: seq + 1,
        timestamp_ns: NOW,
    };
    let length = payload(9).len();
    let crc = header.crc(record_seed(salt(&home)), &vec![0; length]);
    let word = CommitWord::new(length as u32, crc).unwrap();
    let words: Vec<u8> = [[word.bits()].as_slice(), &header.words()]
        .concat()
        .iter()
        .flat_map(|w| w.to_le_bytes())
        .collect();
    home.write_at(FIRST, offset, &words);
    home.write_at(FIRST, offset + HEADER_SIZE, &vec![0; length]);
    (home, offset)
}

/// A gap's own number and epoch are where the log goes on, whatever they are: nothing before it says
/// what they ought to be.
fn assert_covered_in_gaps(field: usize) {
    let (home, offset) = with_a_gap();
    let mut tailer = home.tailer();
    for _ in 0..9 {
        tailer.next().unwrap().unwrap();
    }
    assert_eq!(tailer.next().unwrap_err(), Error::Gap { first: 9, next: 10 });

    let rotten = offset + field as u64;
    let byte = home.read_at(FIRST, rotten, 1)[0];
    home.write_at(FIRST, rotten, &[byte | 0x40]);
    assert_damaged(&home, offset);
}

#[test]
fn a_gap_is_told_once_behind_the_records_that_are_read_many_at_a_time() {
    let (home, _) = with_a_gap();
    let mut tailer = home.tailer();
    let mut seen = 0;
    let gap = tailer.read_all(u64::MAX, |_| seen += 1).unwrap_err();
    assert_eq!((gap, seen), (Error::Gap { first: 9, next: 10 }, 9));
    assert_eq!(tailer.read_all(u64::MAX, |_| ()).unwrap(), 0);
}

#[test]
fn a_gap_whose_number_rotted_is_damage() {
    assert_covered_in_gaps(record::SEQ);
}

#[test]
fn a_gap_whose_epoch_rotted_is_damage() {
    assert_covered_in_gaps(record::EPOCH);
}
