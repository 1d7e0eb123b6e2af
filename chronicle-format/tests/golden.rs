//! The bytes of version 2, held against files that were written once.
//!
//! `CHRONICLE_WRITE_GOLDEN=1 cargo test -p chronicle-format --test golden` writes them anew, which
//! is right only together with a new version of the format.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test"
)]

use std::path::PathBuf;
use std::{env, fs};

use chronicle_format::layout::{self, control, record, segment};
use chronicle_format::*;

const SALT: u32 = 0x5a17_c0de;

/// Compares bytes with a golden file and returns what the file holds.
fn golden<const N: usize>(name: &str, bytes: [u8; N]) -> [u8; N] {
    let directory: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", "golden", "v2"].iter().collect();
    let path = directory.join(name).with_extension("bin");
    if env::var_os("CHRONICLE_WRITE_GOLDEN").is_some_and(|value| value == "1") {
        fs::create_dir_all(&directory).unwrap();
        fs::write(&path, bytes).unwrap();
    }
    let stored = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let stored: [u8; N] = stored.try_into().unwrap_or_else(|stored: Vec<u8>| {
        panic!("{name}: {} bytes in the file, {N} from the code", stored.len())
    });
    if let Some(at) = (0..N).find(|&at| stored[at] != bytes[at]) {
        let (stored, coded) = (stored[at], bytes[at]);
        panic!("{name}: byte {at} is {stored:#04x} in the file and {coded:#04x} from the code");
    }
    stored
}

fn put(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

fn segment_header() -> SegmentHeader {
    SegmentHeader {
        id: SegmentId::new(7).unwrap(),
        segment_size: SegmentSize::new(1 << 20).unwrap(),
        checksums: true,
        salt: SALT,
    }
}

fn segment_start() -> SegmentStart {
    SegmentStart { first_seq: 1_000_000, time_floor_ns: 1_723_075_200_000_000_123, epoch: 3 }
}

fn started_segment() -> [u8; SegmentHeader::SIZE] {
    let mut head = segment_header().encode();
    for (i, word) in segment_start().words(&segment_header()).into_iter().enumerate() {
        put(&mut head, segment::FIRST_SEQ + 8 * i, word);
    }
    head
}

/// A record as it lies in a segment with [`SALT`]; bytes behind the payload are zero.
fn whole_record<const N: usize>(header: &RecordHeader, payload: &[u8]) -> [u8; N] {
    let length = u32::try_from(payload.len()).unwrap();
    assert_eq!(record_size(length), N as u64);
    let commit = CommitWord::new(length, header.crc(record_seed(SALT), payload)).unwrap();
    let mut bytes = [0; N];
    put(&mut bytes, 0, commit.bits());
    for (i, word) in header.words().into_iter().enumerate() {
        put(&mut bytes, 8 + 8 * i, word);
    }
    bytes[HEADER_SIZE as usize..][..payload.len()].copy_from_slice(payload);
    bytes
}

/// Reads a record back and checks its checksum by the words of `docs/format.md`.
fn read_record(bytes: &[u8]) -> (RecordHeader, &[u8]) {
    let words: Vec<u64> =
        bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect();
    let commit = CommitWord::from_bits(words[0]);
    let length = commit.payload_length().unwrap() as usize;
    let payload = &bytes[HEADER_SIZE as usize..][..length];

    let mut covered = SALT.to_le_bytes().to_vec();
    covered.extend_from_slice(&bytes[..HEADER_SIZE as usize]);
    covered[4 + record::CRC..][..4].fill(0);
    covered.extend_from_slice(payload);
    assert_eq!(commit.crc(), crc32c(&covered));

    (RecordHeader::from_words([words[1], words[2], words[3]]), payload)
}

#[test]
fn a_control_header_keeps_its_bytes() {
    let header = ControlHeader {
        flags: ControlFlags::CHECKSUMS | ControlFlags::GROUP_READABLE,
        segment_size: SegmentSize::default(),
        queue_id: 0x0123_4567_89ab_cdef,
        created_ns: 1_723_075_200_000_000_000,
    };
    let stored = golden("control", header.encode());
    assert_eq!(ControlHeader::decode(&stored), Ok(header));
    assert_eq!(stored[control::INIT_STATE], InitState::Ready as u8);
}

#[test]
fn limits_and_the_age_clock_keep_their_bytes() {
    let policy = RetentionPolicy {
        max_bytes: Some(1 << 30),
        max_segments: Some(12),
        max_age_ns: Some(604_800_000_000_000),
        capacity_bytes: Some(1 << 34),
    };
    assert_eq!(RetentionPolicy::decode(&golden("retention_policy", policy.encode())), Ok(policy));
    let clock =
        AgeClock { clock_ns: 1_723_075_200_000_000_000, monotonic_ns: 99, boot: 0x0b00_7001 };
    assert_eq!(AgeClock::decode(&golden("age_clock", clock.encode())), Some(clock));
    let sample = AgeSample { age_ns: clock.clock_ns, segment: SegmentId::new(7).unwrap() };
    assert_eq!(AgeSample::decode(&golden("age_sample", sample.encode())), Some(sample));
}

#[test]
fn counters_keep_their_bytes() {
    let header = CountersHeader { kind: CountersKind::Reader };
    assert_eq!(CountersHeader::decode(&golden("counters", header.encode())), Ok(header));
    // Each word is another number, so that each is seen to be in its place.
    let words = WriterCounters::from_words(std::array::from_fn(|i| 0x0101 * (i as u64 + 1)));
    let bytes = words.words().map(u64::to_le_bytes);
    let stored = golden::<{ 8 * WriterCounters::WORDS }>(
        "writer_counters",
        *bytes.as_flattened().first_chunk().unwrap(),
    );
    assert_eq!(stored[layout::writer_counters::SEQ - 8..][..8], words.seq.to_le_bytes());
    let words = KeeperCounters::from_words(std::array::from_fn(|i| 0x0101 * (i as u64 + 1)));
    let bytes = words.words().map(u64::to_le_bytes);
    let stored = golden::<{ 8 * KeeperCounters::WORDS }>(
        "keeper_counters",
        *bytes.as_flattened().first_chunk().unwrap(),
    );
    assert_eq!(stored[layout::keeper_counters::SEQ - 8..][..8], words.seq.to_le_bytes());
    let words = ReaderCounters::from_words(std::array::from_fn(|i| 0x0101 * (i as u64 + 1)));
    let bytes = words.words().map(u64::to_le_bytes);
    let stored = golden::<{ 8 * ReaderCounters::WORDS }>(
        "reader_counters",
        *bytes.as_flattened().first_chunk().unwrap(),
    );
    assert_eq!(stored[layout::reader_counters::SEQ - 8..][..8], words.seq.to_le_bytes());
}

#[test]
fn a_gap_keeps_its_bytes() {
    let header = RecordHeader {
        type_id: TypeId::GAP,
        flags: RecordFlags::empty(),
        epoch: 3,
        seq: 1_000_007,
        timestamp_ns: 1_723_075_200_000_000_456,
    };
    let stored = golden("record_gap", whole_record::<96>(&header, &[0; 64]));
    assert_eq!(read_record(&stored), (header, &[0; 64][..]));
}

#[test]
fn a_segment_head_keeps_its_bytes_in_every_state() {
    let unstarted = golden("segment_unstarted", segment_header().encode());
    assert_eq!(SegmentHeader::decode(&unstarted), Ok(segment_header()));
    assert_eq!(SegmentStart::decode(&unstarted), Ok(None));

    let started = golden("segment_started", started_segment());
    assert_eq!(SegmentHeader::decode(&started), Ok(segment_header()));
    assert_eq!(SegmentStart::decode(&started), Ok(Some(segment_start())));

    let end = Seal::At(65_536);
    let mut sealed = started_segment();
    put(&mut sealed, segment::SEAL, end.bits());
    let sealed = golden("segment_sealed", sealed);
    assert_eq!(SegmentHeader::decode(&sealed), Ok(segment_header()));
    assert_eq!(SegmentStart::decode(&sealed), Ok(Some(segment_start())));
    let word = u64::from_le_bytes(sealed[segment::SEAL..].try_into().unwrap());
    assert_eq!(Seal::from_bits(word, segment_header().segment_size), Ok(end));
}

#[test]
fn a_notify_header_keeps_its_bytes() {
    let stored = golden("notify", NotifyHeader.encode());
    assert_eq!(NotifyHeader::decode(&stored), Ok(NotifyHeader));
}

#[test]
fn a_checkpoint_slot_keeps_its_bytes() {
    let checkpoint = Checkpoint {
        generation: 42,
        queue_id: 0x0123_4567_89ab_cdef,
        durable: Position {
            segment: SegmentId::new(7).unwrap(),
            offset: 4096,
            seq: 1_000_031,
            epoch: 3,
        },
        first: SegmentId::FIRST,
    };
    let stored = golden("checkpoint", checkpoint.encode());
    assert_eq!(Checkpoint::decode(&stored), Ok(checkpoint));
    let checkpoint = Checkpoint { first: SegmentId::new(5).unwrap(), ..checkpoint };
    let stored = golden("checkpoint_first", checkpoint.encode());
    assert_eq!(Checkpoint::decode(&stored), Ok(checkpoint));
}

#[test]
fn a_checkpoint_slot_of_which_a_part_is_older_is_not_whole() {
    let durable = Position::start_of(SegmentId::new(7).unwrap(), 1_000_000, 3);
    let slot = |generation: u64, first: u64| Checkpoint {
        generation,
        queue_id: 1,
        durable,
        first: SegmentId::new(first).unwrap(),
    };
    let (older, newer) = (slot(4, 5).encode(), slot(6, 6).encode());
    // Magic, version and epoch are the same.
    for cut in (24..Checkpoint::SIZE).step_by(8) {
        let mut torn = older;
        torn[..cut].copy_from_slice(&newer[..cut]);
        assert!(Checkpoint::decode(&torn).is_err(), "the first {cut} bytes are newer");
    }
}

#[test]
fn a_reader_header_keeps_its_bytes_under_every_policy() {
    for (name, policy) in [
        ("reader_durable", ReaderPolicy::Durable),
        ("reader_lease", ReaderPolicy::Lease { ttl_ns: 30_000_000_000 }),
        ("reader_max_lag", ReaderPolicy::MaxLag { bytes: 1 << 30 }),
    ] {
        let header = ReaderHeader { queue_id: 0x0123_4567_89ab_cdef, policy };
        let stored = golden(name, header.encode());
        assert_eq!(ReaderHeader::decode(&stored), Ok(header));
    }
}

#[test]
fn a_reader_slot_keeps_its_bytes() {
    let slot = ReaderSlot {
        generation: 9,
        next: Position {
            segment: SegmentId::new(7).unwrap(),
            offset: 224,
            seq: 1_000_002,
            epoch: 3,
        },
        last_offset: 128,
        last_timestamp_ns: 1_723_075_200_000_000_456,
        last_crc: 0xfeed_f00d,
    };
    let mut words = slot.words();
    words[ReaderSlot::WORDS - 1] |= u64::from(ReaderSlot::crc(&words)) << 32;
    let mut bytes = [0; 64];
    for (i, word) in words.into_iter().enumerate() {
        put(&mut bytes, 8 * i, word);
    }
    let stored = golden("reader_slot", bytes);
    let words =
        core::array::from_fn(|i| u64::from_le_bytes(stored[8 * i..][..8].try_into().unwrap()));
    assert_eq!(ReaderSlot::decode(&words), Ok(Some(slot)));
}

#[test]
fn records_keep_their_bytes() {
    let header = RecordHeader {
        type_id: TypeId::user(0x1234).unwrap(),
        flags: RecordFlags::empty(),
        epoch: 3,
        seq: 1_000_000,
        timestamp_ns: 1_723_075_200_000_000_456,
    };
    let payload = b"Thirty-three bytes of a payload.\n";
    let stored: [u8; 96] = golden("record_user", whole_record(&header, payload));
    assert_eq!(read_record(&stored), (header, &payload[..]));

    let takeover = EpochRecord {
        epoch: 4,
        previous_epoch: 3,
        next_seq: 1_000_001,
        durable_seq: 999_000,
        wall_ns: 1_723_075_260_000_000_000,
    };
    let payload = golden("epoch_record", takeover.encode());
    assert_eq!(EpochRecord::decode(&payload), Some(takeover));

    let header = RecordHeader {
        type_id: TypeId::EPOCH,
        epoch: takeover.epoch,
        seq: takeover.next_seq,
        timestamp_ns: takeover.wall_ns,
        ..header
    };
    let stored: [u8; 64] = golden("record_epoch", whole_record(&header, &payload));
    let (read, payload) = read_record(&stored);
    assert_eq!(read, header);
    assert_eq!(EpochRecord::decode(payload), Some(takeover));
}

#[test]
fn a_watermark_record_keeps_its_bytes() {
    let record = WatermarkRecord { durable_seq: 1_000_031 };
    let payload = golden("watermark_record", record.encode());
    assert_eq!(WatermarkRecord::decode(&payload), Some(record));
}

#[test]
fn a_replicated_header_keeps_its_bytes() {
    let header = ReplicatedHeader { queue_id: 0x0123_4567_89ab_cdef };
    let stored = golden("replicated", header.encode());
    assert_eq!(ReplicatedHeader::decode(&stored), Ok(header));
}

#[test]
fn an_index_keeps_its_bytes() {
    let header = segment_header();
    // Another stride than that of indexes that are made now: readers go by what the head says.
    let header = IndexHeader { segment: header.id, salt: header.salt, stride: 64 << 10 };
    let stored = golden("index", header.encode());
    assert_eq!(IndexHeader::decode(&stored), Ok(header));

    let entry = IndexEntry {
        seq: 1_000_512,
        offset: 65_568,
        time_floor_ns: 1_723_075_200_000_000_456,
        epoch: 3,
    };
    let stored = golden("index_entry", entry.encode(SALT));
    assert_eq!(IndexEntry::decode(&stored, SALT), Some(entry));
}
