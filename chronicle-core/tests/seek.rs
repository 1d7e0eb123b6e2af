//! Going to records by number and by time, with whole, missing and damaged indexes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod support;

use std::fs;

use chronicle_core::{
    Appender, CreateOptions, Error, NoProbe, NoSupply, Sought, Start, TailOptions, Tailer,
    WriteOptions, create,
};
use chronicle_format::{INDEX_STRIDE, IndexEntry, IndexHeader, SegmentId, SegmentSize, layout};
use chronicle_platform_linux::LinuxPlatform;
use chronicle_sync::Platform;
use support::clock::{SetClock, Timed};
use support::{Home, TYPE};

const SIZE: u64 = 256 << 10;
/// Bytes of records of the tests that fill several segments.
const SEVERAL: u64 = 3 * SIZE + SIZE / 2;
const LARGEST: u64 = 1024;
const ENTRIES: u64 = (SIZE - 1) / INDEX_STRIDE;

/// A generator of numbers that look random and are the same every time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }
}

fn index_name(segment: u32) -> String {
    format!("{segment:09}.idx")
}

/// A payload that tells its record from all others.
fn payload(number: u64) -> Vec<u8> {
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.resize(8 + (number * 37 % (LARGEST - 100)) as usize, number as u8);
    bytes
}

fn fill<P: Platform>(appender: &mut Appender<P>, bytes: u64) -> u64
where
    P::Error: std::fmt::Debug,
{
    let begun = absolute(appender);
    while absolute(appender) < begun + bytes {
        let number = appender.next_seq();
        appender.append(TYPE, &payload(number)).unwrap();
    }
    appender.next_seq()
}

fn absolute<P: Platform>(appender: &Appender<P>) -> u64 {
    let position = appender.position();
    u64::from(position.segment.get()) * SIZE + position.offset
}

/// A queue of several segments, and how many records there are.
fn filled() -> (Home, u64) {
    let home = Home::with_queue(SIZE);
    let mut appender = home.appender();
    let count = fill(&mut appender, SEVERAL);
    assert_eq!(appender.position().segment.get(), 3);
    (home, count)
}

/// Seeks a record that is there and reads it.
fn seek(tailer: &mut Tailer<LinuxPlatform>, seq: u64) -> Sought {
    let sought = tailer.seek_seq(seq).unwrap();
    assert!(sought.found);
    assert_eq!(tailer.position().seq, seq);
    let message = tailer.next().unwrap().unwrap();
    assert_eq!((message.seq, message.payload), (seq, &payload(seq)[..]));
    sought
}

fn assert_short(sought: Sought) {
    assert!(sought.passed_bytes <= INDEX_STRIDE + LARGEST, "{sought:?}");
}

/// A queue with a clock that is set by hand.
fn timed(home: &Home) -> (Appender<Timed>, SetClock) {
    let platform = Timed::new(home.platform());
    let clock = platform.set_clock();
    let appender =
        Appender::open_with(platform, WriteOptions::default(), NoProbe, NoSupply).unwrap();
    (appender, clock)
}

#[test]
fn seek_by_seq_finds_every_record_of_several_segments() {
    let (home, count) = filled();
    let mut tailer = home.tailer();
    for seq in 0..count {
        assert_short(seek(&mut tailer, seq));
    }
    for seq in (0..count).rev().step_by(7) {
        assert_short(seek(&mut tailer, seq));
    }
    // Whatever lies between is read as ever.
    tailer.seek_seq(count / 2).unwrap();
    for seq in count / 2..count {
        assert_eq!(tailer.next().unwrap().unwrap().seq, seq);
    }
    assert!(tailer.next().unwrap().is_none());
}

#[test]
fn seek_by_time_finds_the_first_record_by_which_the_time_was_reached() {
    let home = Home::with_queue(SIZE);
    let (mut appender, clock) = timed(&home);
    let mut numbers = Numbers(7);
    let mut stamps = Vec::new();
    let mut now = 1_000_000u64;
    while absolute(&appender) < SEVERAL {
        // Most stand still or go on; some fall back far, over strides and segments.
        now = match numbers.below(40) {
            0 => (now - now.min(numbers.below(60_000))).max(1),
            1..20 => now,
            _ => now + numbers.below(100),
        };
        clock.set(now);
        appender.append(TYPE, &payload(appender.next_seq())).unwrap();
        stamps.push(now);
    }
    let mut wanted: Vec<u64> = stamps.iter().flat_map(|at| [at - 1, *at, at + 1]).collect();
    wanted.extend([0, 1, 999_999]);
    wanted.sort_unstable();
    wanted.dedup();
    let mut tailer = home.tailer();
    let mut last = 0;
    for ns in wanted {
        let expected = stamps.iter().position(|at| *at >= ns);
        let sought = tailer.seek_timestamp(ns).unwrap();
        assert_short(sought);
        assert_eq!(sought.found, expected.is_some(), "at {ns}");
        if let Some(expected) = expected {
            let message = tailer.next().unwrap().unwrap();
            assert_eq!((message.seq, message.timestamp_ns), (expected as u64, stamps[expected]));
            assert!(message.seq >= last, "a later time led to an earlier record");
            last = message.seq;
        }
    }
}

#[test]
fn seek_beyond_the_end_waits_for_the_record() {
    let home = Home::with_queue(SIZE);
    let (mut appender, clock) = timed(&home);
    clock.set(1000);
    for number in 0..100 {
        appender.append(TYPE, &payload(number)).unwrap();
    }
    let mut by_seq = home.tailer();
    let mut by_time = home.tailer();
    assert!(!by_seq.seek_seq(105).unwrap().found);
    assert!(!by_time.seek_timestamp(2000).unwrap().found);
    let mut opened = home.tailer_from(Start::Timestamp(2000)).unwrap();
    for number in 100..110 {
        assert!(by_seq.next().unwrap().is_none() || number > 105);
        clock.set(if number < 107 { 1500 } else { 1900 + 20 * (number - 100) });
        appender.append(TYPE, &payload(number)).unwrap();
        assert_eq!(
            by_time.next().unwrap().map(|message| message.seq),
            (number >= 107).then_some(number)
        );
        assert_eq!(
            opened.next().unwrap().map(|message| message.seq),
            (number >= 107).then_some(number)
        );
        let expected = (number >= 105).then_some(number);
        assert_eq!(by_seq.next().unwrap().map(|message| message.seq), expected);
    }
    assert!(!by_seq.seek_seq(u64::MAX).unwrap().found);
    assert!(!by_time.seek_timestamp(u64::MAX).unwrap().found);
    // Back in what is there.
    assert_eq!(seek(&mut by_seq, 3).passed_records, 4, "an EPOCH record and three others");
}

#[test]
fn seek_before_the_oldest_says_so_and_stays() {
    let home = Home::with_queue(SIZE);
    let (mut appender, clock) = timed(&home);
    while absolute(&appender) < SEVERAL {
        clock.set(1_000_000 + appender.next_seq());
        appender.append(TYPE, &payload(appender.next_seq())).unwrap();
    }
    let mut tailer = home.tailer();
    for file in ["000000000.idx", "000000000.q", "000000001.q"] {
        fs::remove_file(home.file(file)).unwrap();
    }
    let oldest = home.tailer().position().seq;
    assert!(oldest > 0);
    let before = tailer.seek_seq(oldest + 5).map(|_| tailer.position()).unwrap();
    for refused in [
        tailer.seek_seq(0).unwrap_err(),
        tailer.seek_seq(oldest - 1).unwrap_err(),
        tailer.seek_timestamp(0).unwrap_err(),
        tailer.seek_timestamp(1_000_000 + oldest - 1).unwrap_err(),
        home.tailer_from(Start::Timestamp(5)).map(drop).unwrap_err(),
    ] {
        assert!(matches!(refused, Error::FellBehind { oldest: found } if found == oldest));
    }
    assert_eq!(tailer.position(), before);
    assert_eq!(tailer.next().unwrap().unwrap().seq, oldest + 5);
    seek(&mut tailer, oldest);
    assert!(tailer.seek_timestamp(1_000_000 + oldest).unwrap().found);
    assert_eq!(tailer.next().unwrap().unwrap().seq, oldest);
    assert!(tailer.seek_to_start().unwrap().found);
    assert_eq!(tailer.next().unwrap().unwrap().seq, oldest);
}

#[test]
fn seek_to_either_end_and_back() {
    let (home, count) = filled();
    let mut tailer = home.tailer();
    tailer.seek_to_end().unwrap();
    assert_eq!(tailer.position().seq, count);
    assert!(tailer.next().unwrap().is_none());
    assert!(tailer.seek_back(1).unwrap().found);
    assert_eq!(tailer.next().unwrap().unwrap().seq, count - 1);
    for expected in (count - 500..count).rev() {
        assert_short(tailer.seek_back(1).unwrap());
        assert_eq!(tailer.position().seq, expected);
    }
    assert!(tailer.seek_back(count * 2).unwrap().found);
    assert_eq!(tailer.next().unwrap().unwrap().seq, 0);
    tailer.seek_to_end().unwrap();
    tailer.seek_to_start().unwrap();
    assert_eq!(tailer.next().unwrap().unwrap().seq, 0);
    let mut appender = home.appender();
    tailer.seek_to_end().unwrap();
    appender.append(TYPE, &payload(count)).unwrap();
    assert_eq!(tailer.next().unwrap().unwrap().seq, count);
}

/// Seeks in the segment whose index is altered, at both of its ends and in between.
fn assert_seeks(home: &Home, of: &[u64]) {
    let mut tailer = home.tailer();
    for seq in of {
        seek(&mut tailer, *seq);
        tailer.seek_seq(*seq).unwrap();
        let ns = tailer.next().unwrap().unwrap().timestamp_ns;
        tailer.seek_timestamp(ns).unwrap();
        let found = tailer.next().unwrap().unwrap();
        assert!(found.seq <= *seq && found.timestamp_ns == ns, "the first at {ns}");
    }
}

#[test]
fn seek_passes_over_an_index_that_is_missing_or_damaged() {
    // The same records, earlier.
    let (foreign, _) = filled();
    let (home, count) = filled();
    let name = index_name(1);
    let path = home.file(&name);
    let good = fs::read(&path).unwrap();
    assert_eq!(good.len() as u64, 32 + ENTRIES * 32);
    let starts: Vec<u64> = (0..4)
        .map(|id| home.read_at(&format!("{id:09}.q"), layout::segment::FIRST_SEQ as u64, 8))
        .map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap()))
        .collect();
    let middle = (starts[1] + starts[2]) / 2;
    let seqs = [starts[1], starts[1] + 1, middle, starts[2] - 1, starts[2], 0, count - 1];

    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, bad).unwrap();
        assert_seeks(&home, &seqs[1..4]);
    }
    let own = |segment| fs::read(home.file(&index_name(segment))).unwrap();
    let mut shuffled = good.clone();
    let last = good.len() - 32;
    shuffled[32..64].copy_from_slice(&good[last..]);
    shuffled[last..].copy_from_slice(&good[32..64]);
    let mut of_segment_2 = good.clone();
    of_segment_2[32..].copy_from_slice(&own(2)[32..]);
    let mut longer = good.clone();
    longer.extend_from_slice(&good[32..]);
    let variants = [
        Vec::new(),
        vec![0],
        good[..31].to_vec(),
        good[..32].to_vec(),
        good[..96].to_vec(),
        good[..good.len() - 1].to_vec(),
        longer,
        vec![0; good.len()],
        vec![0xff; good.len()],
        shuffled,
        own(0),
        own(2),
        of_segment_2,
        fs::read(foreign.file(&name)).unwrap(),
    ];
    for bad in &variants {
        fs::write(&path, bad).unwrap();
        assert_seeks(&home, &seqs);
    }
    fs::remove_file(&path).unwrap();
    assert_seeks(&home, &seqs);
    fs::create_dir(&path).unwrap();
    assert_seeks(&home, &seqs);
    fs::remove_dir(&path).unwrap();
    std::os::unix::fs::symlink(home.file(&index_name(2)), &path).unwrap();
    assert_seeks(&home, &seqs);
    fs::remove_file(&path).unwrap();
    // A writer makes it whole again, whatever it was.
    let mut appender = home.appender();
    for bad in &variants {
        fs::write(&path, bad).unwrap();
        assert!(appender.rebuild_index(SegmentId::new(1).unwrap()).unwrap());
        assert_eq!(fs::read(&path).unwrap(), good);
    }
    fs::remove_file(&path).unwrap();
    assert!(appender.rebuild_index(SegmentId::new(1).unwrap()).unwrap());
    assert_eq!(fs::read(&path).unwrap(), good);
}

#[test]
fn seek_never_trusts_an_entry_whose_record_is_not_there() {
    let (home, _) = filled();
    let name = index_name(1);
    let good = fs::read(home.file(&name)).unwrap();
    let header = IndexHeader::decode(good[..32].try_into().unwrap()).unwrap();
    let entries: Vec<IndexEntry> = good[32..]
        .chunks(32)
        .map(|bytes| IndexEntry::decode(bytes.try_into().unwrap(), header.salt).unwrap())
        .collect();
    let last = entries[2];
    // Whole entries that lie: made with the segment's own salt.
    let lies = [
        IndexEntry { seq: last.seq - 1, ..last },
        IndexEntry { seq: last.seq - 5, ..entries[1] },
        IndexEntry { epoch: last.epoch + 1, ..last },
        IndexEntry { offset: last.offset + 32, ..last },
        IndexEntry { offset: SIZE - 32, ..last },
        IndexEntry { offset: SIZE, ..last },
        IndexEntry { offset: u64::MAX - 31, ..last },
    ];
    for lie in lies {
        for slot in 0..3 {
            let mut bad = good.clone();
            bad[32 + 32 * slot..][..32].copy_from_slice(&lie.encode(header.salt));
            fs::write(home.file(&name), bad).unwrap();
            assert_seeks(&home, &[last.seq - 2, last.seq - 1, last.seq, last.seq + 1]);
        }
    }
}

#[test]
fn seek_in_a_queue_without_checksums() {
    let home = Home::new();
    let mut options = CreateOptions::default();
    options.segment_size = SegmentSize::new(SIZE).unwrap();
    options.checksums = false;
    create(&home.platform(), &options).unwrap();
    let count = fill(&mut home.appender(), SEVERAL);
    let mut tailer = home.tailer();
    for seq in (0..count).step_by(11) {
        assert_short(seek(&mut tailer, seq));
    }
}

#[test]
fn seek_finds_damage_and_not_what_lies_behind_it() {
    let (home, _) = filled();
    let mut tailer = home.tailer();
    tailer.seek_seq(300).unwrap();
    let damaged = tailer.position();
    home.flip_bit(&format!("{:09}.q", damaged.segment.get()), damaged.offset + 40);
    let refused = tailer.seek_seq(301).unwrap_err();
    assert!(matches!(refused, Error::Damaged(damage) if damage.seq == 300), "{refused:?}");
    assert_eq!(tailer.position(), damaged);
    assert!(matches!(tailer.next().unwrap_err(), Error::Damaged(damage) if damage.seq == 300));
    seek(&mut tailer, 299);
}

#[test]
fn seek_of_a_named_reader_is_a_position_like_any_other() {
    let (home, count) = filled();
    let named = |start| {
        let mut options = TailOptions::default();
        options.name = Some(chronicle_core::ReaderName::new("seeker").unwrap());
        options.start = start;
        Tailer::open(home.platform(), &options).unwrap()
    };
    let tailer = named(Start::Seq(700));
    assert_eq!((tailer.position().seq, tailer.committed().unwrap().seq), (700, 700));
    drop(tailer);
    let mut tailer = named(Start::Earliest);
    assert_eq!(tailer.next().unwrap().unwrap().seq, 700);
    for seq in [900, 17, count - 1] {
        assert!(tailer.seek_seq(seq).unwrap().found);
        tailer.commit().unwrap();
        drop(tailer);
        tailer = named(Start::Seq(3));
        assert_eq!(tailer.next().unwrap().unwrap().seq, seq);
    }
    // Beyond the end: what is passed over later counts as read.
    tailer.seek_seq(count + 10).unwrap();
    let mut appender = home.appender();
    for number in count..count + 5 {
        appender.append(TYPE, &payload(number)).unwrap();
    }
    assert!(tailer.next().unwrap().is_none());
    tailer.commit().unwrap();
    drop(tailer);
    appender.append(TYPE, &payload(count + 5)).unwrap();
    let mut tailer = named(Start::Earliest);
    assert_eq!(tailer.next().unwrap().unwrap().seq, count + 5);
}

#[test]
fn seek_in_a_segment_that_recovery_took_over() {
    let (home, count) = filled();
    let names: Vec<String> = (0..4).map(index_name).collect();
    let good: Vec<Vec<u8>> = names.iter().map(|name| fs::read(home.file(name)).unwrap()).collect();
    // The open segment's index is missing, damaged, or holds entries behind the end.
    let header = IndexHeader::decode(good[3][..32].try_into().unwrap()).unwrap();
    let used = good[3][32..].chunks(32).take_while(|bytes| **bytes != [0; 32]).count();
    assert!((1..ENTRIES as usize).contains(&used), "{used}");
    let ahead = IndexEntry { seq: count + 9, offset: 229_376, time_floor_ns: 0, epoch: 1 };
    let mut behind_the_end = good[3].clone();
    behind_the_end[32 + 32 * used..][..32].copy_from_slice(&ahead.encode(header.salt));
    let mut bad_entry = good[3].clone();
    bad_entry[33] ^= 1;
    for bad in [Some(behind_the_end), Some(bad_entry), Some(Vec::new()), None] {
        match bad {
            Some(bytes) => fs::write(home.file(&names[3]), bytes).unwrap(),
            None => fs::remove_file(home.file(&names[3])).unwrap(),
        }
        drop(home.appender());
        assert_eq!(fs::read(home.file(&names[3])).unwrap(), good[3]);
    }
    // After a reboot, those of all segments that recovery walked through.
    fs::remove_file(home.file(&names[1])).unwrap();
    fs::write(home.file(&names[2]), vec![0xee; good[2].len()]).unwrap();
    home.forget_boot();
    let mut appender = home.appender();
    for (name, good) in names.iter().zip(&good) {
        assert_eq!(fs::read(home.file(name)).unwrap(), *good, "{name}");
    }
    // And it goes on where it was.
    let count = fill(&mut appender, SIZE);
    let mut tailer = home.tailer();
    for seq in (0..count).step_by(13) {
        assert_short(seek(&mut tailer, seq));
    }
}

#[test]
fn seek_goes_without_an_index_where_none_can_be_made() {
    let home = Home::with_queue(SIZE);
    // What has the name cannot be replaced.
    for segment in 0..3 {
        fs::create_dir(home.file(&index_name(segment))).unwrap();
    }
    let mut appender = home.appender();
    let count = fill(&mut appender, SEVERAL);
    let mut tailer = home.tailer();
    for seq in (0..count).step_by(97) {
        seek(&mut tailer, seq);
    }
    assert!(home.file(&index_name(3)).is_file());
    assert_short(seek(&mut tailer, count - 1));
}

#[test]
fn seek_indexes_come_and_go_with_their_segments() {
    let home = Home::with_queue(SIZE);
    let mut appender = home.appender();
    fill(&mut appender, SIZE / 2);
    appender.prepare_next().unwrap();
    assert!(home.file(&index_name(1)).is_file());
    drop(appender);
    assert!(!home.file(&index_name(1)).exists(), "the prepared segment went, its index stayed");
    // Left over from another life of the id.
    let (foreign, _) = filled();
    fs::copy(foreign.file(&index_name(1)), home.file(&index_name(1))).unwrap();
    let mut appender = home.appender();
    let leftover = fs::read(home.file(&index_name(1))).unwrap();
    let inode = |segment| {
        use std::os::unix::fs::MetadataExt;
        fs::metadata(home.file(&index_name(segment))).unwrap().ino()
    };
    fill(&mut appender, SIZE);
    assert_ne!(fs::read(home.file(&index_name(1))).unwrap()[..32], leftover[..32]);
    appender.prepare_next().unwrap();
    let prepared = inode(2);
    let count = fill(&mut appender, SIZE);
    assert_eq!(inode(2), prepared, "the index that was prepared is used");
    let mut tailer = home.tailer();
    for seq in (0..count).step_by(7) {
        assert_short(seek(&mut tailer, seq));
    }
    drop(appender);
    // A power loss takes the last segment's records, and the segment goes.
    home.write_at("000000001.q", 64 + 32, &[0xee; 64]);
    home.forget_boot();
    drop(home.appender());
    assert!(!home.file("000000002.q").exists());
    assert!(!home.file(&index_name(2)).exists());
}

#[test]
fn seek_agrees_with_a_list_of_ten_thousand_records() {
    const RECORDS: u64 = 10_000;
    const LARGE: u64 = 200_000;
    let home = Home::with_queue(1 << 20);
    let mut numbers = Numbers(0x5eed);
    let mut oracle: Vec<(u64, Vec<u8>)> = Vec::new();
    let mut epochs = Vec::new();
    let mut now = 1u64 << 40;
    while (oracle.len() as u64) < RECORDS {
        let (mut appender, clock) = {
            let platform = Timed::new(home.platform());
            let clock = platform.set_clock();
            clock.set(now);
            let options = WriteOptions::default();
            (Appender::open_with(platform, options, NoProbe, NoSupply).unwrap(), clock)
        };
        epochs.push(oracle.len());
        for _ in 0..500 + numbers.below(1500) {
            now = if numbers.below(50) == 0 {
                now - numbers.below(1 << 20)
            } else {
                now + numbers.below(1 << 10)
            };
            clock.set(now);
            let length = match numbers.below(400) {
                0 => numbers.below(LARGE),
                1..20 => numbers.below(16_384),
                _ => numbers.below(400),
            };
            let bytes: Vec<u8> = (0..length).map(|i| (i ^ oracle.len() as u64) as u8).collect();
            match numbers.below(4) {
                0 => {
                    let mut claim = appender.claim(bytes.len()).unwrap();
                    claim.copy_from_slice(&bytes);
                    if numbers.below(3) == 0 {
                        claim.abort();
                        continue;
                    }
                    claim.commit(TYPE).unwrap();
                }
                1 if numbers.below(20) == 0 => {
                    appender.prepare_next().unwrap();
                    continue;
                }
                _ => {
                    appender.append(TYPE, &bytes).unwrap();
                }
            }
            oracle.push((now, bytes));
        }
    }
    // An EPOCH record has the time of the record before it here, and so changes no maximum.
    let most = INDEX_STRIDE + LARGE + 64;
    let mut tailer = home.tailer();
    for round in 0..6000 {
        let sought = if round % 2 == 0 {
            let seq = numbers.below(oracle.len() as u64);
            let sought = tailer.seek_seq(seq).unwrap();
            let message = tailer.next().unwrap().unwrap();
            assert_eq!(message.seq, seq);
            sought
        } else {
            let about = oracle[numbers.below(oracle.len() as u64) as usize].0;
            let ns = about - 500 + numbers.below(1000);
            let sought = tailer.seek_timestamp(ns).unwrap();
            let expected = oracle.iter().position(|(at, _)| *at >= ns);
            let found = tailer.next().unwrap().map(|message| message.seq as usize);
            assert_eq!(found, expected, "at {ns}");
            sought
        };
        assert!(sought.passed_bytes <= most, "{sought:?}");
        let at = tailer.position().seq as usize;
        if let Some(message) = tailer.next().unwrap() {
            let (time, bytes) = &oracle[at];
            assert_eq!((message.timestamp_ns, message.payload), (*time, &bytes[..]));
        }
    }
    assert!(epochs.len() > 3);
}
