//! Whatever happens to the bytes of a queue, a repair gives one that is whole, in which every message
//! is the one that was appended under its number.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chronicle_std::format::ReaderName;
use chronicle_std::{
    FanIn, FromSource, Merged, Patience, Queue, QueueError, QueueReader, ReaderConfig,
    RepairOptions, SourceId, WaitOutcome, WriterConfig,
};

const TYPE: u16 = 0x8000;
const COUNT: u64 = 1500;

fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// What the message with this number holds: no two are alike.
fn payload(seq: u64) -> Vec<u8> {
    let mut state = seq + 1;
    let length = if seq.is_multiple_of(50) { 3000 } else { random(&mut state) % 150 };
    let mut bytes = seq.to_le_bytes().to_vec();
    bytes.extend((0..length).map(|_| random(&mut state) as u8));
    bytes
}

/// A queue of many small segments with two readers and three writers, the last not flushed.
fn make(path: &Path, segment_size: u64) {
    let mut config = WriterConfig::default();
    config.segment_size = segment_size;
    config.background = false;
    let mut writer = Queue::create(path, config.clone()).unwrap();
    for seq in 0..COUNT {
        if seq == 500 || seq == 1200 {
            writer.flush().unwrap();
            drop(writer);
            writer = Queue::open_publisher_with(path, config.clone()).unwrap();
        }
        assert_eq!(writer.append(TYPE, &payload(seq)).unwrap(), seq);
    }
    drop(writer);
    for (name, count) in [("near", 1400), ("far", 20)] {
        let mut reader = Queue::open_subscriber(path, name).unwrap();
        for _ in 0..count {
            reader.next().unwrap().unwrap();
        }
        reader.commit().unwrap();
    }
}

fn files(path: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).unwrap() {
        let entry = entry.unwrap().path();
        if entry.is_dir() {
            found.extend(files(&entry));
        } else if entry.file_name().is_some_and(|name| name != "writer.lock") {
            found.push(entry);
        }
    }
    found.sort();
    found
}

/// Damages some files: flipped bits, bytes of zeros and of noise, files that are cut or gone.
fn damage(path: &Path, state: &mut u64) -> String {
    let mut done = String::new();
    for _ in 0..=random(state) % 4 {
        let files = files(path);
        let file = &files[random(state) as usize % files.len()];
        let length = fs::metadata(file).unwrap().len();
        let open = || OpenOptions::new().read(true).write(true).open(file).unwrap();
        let at = if random(state).is_multiple_of(4) {
            random(state) % 128
        } else {
            random(state) % length.max(1)
        };
        let kind = random(state) % 8;
        done += &format!("{kind} at {at} of {}; ", file.display());
        match kind {
            0 => fs::remove_file(file).unwrap(),
            1 => open().set_len(at).unwrap(),
            2 | 3 => {
                let size = (random(state) % 700).min(length.saturating_sub(at));
                let noise = kind == 3;
                let bytes: Vec<u8> =
                    (0..size).map(|_| if noise { random(state) as u8 } else { 0 }).collect();
                open().write_all_at(&bytes, at).unwrap();
            }
            _ => {
                let mut byte = [0];
                let file = open();
                if file.read_at(&mut byte, at).unwrap() == 1 {
                    file.write_all_at(&[byte[0] ^ (1 << (random(state) % 8))], at).unwrap();
                }
            }
        }
    }
    done
}

/// Reads to the end; every message must be the right one. Gives how many there were, and how many
/// were told to be lost.
fn read_all(reader: &mut QueueReader, from: u64, hint: &str) -> (u64, u64) {
    let (mut read, mut lost, mut expected) = (0, 0, from);
    loop {
        match reader.next() {
            Ok(Some(message)) => {
                assert_eq!(message.seq, expected, "{hint}");
                assert!(message.payload == payload(message.seq), "seq {}: {hint}", message.seq);
                expected += 1;
                read += 1;
            }
            Ok(None) => return (read, lost),
            Err(QueueError::Gap { first, next, .. }) => {
                assert_eq!(first, expected, "{hint}");
                lost += next - first;
                expected = next;
            }
            Err(error) => panic!("{error}: {hint}"),
        }
    }
}

fn assert_right(path: &Path, hint: &str) -> (u64, u64) {
    let (_, faults) = Queue::verify(path).unwrap();
    assert!(faults.is_empty(), "{faults:?}: {hint}");
    let again = Queue::repair_plan(path).unwrap();
    assert!(again.repairs.is_empty(), "{:?}: {hint}", again.repairs);
    let mut reader = Queue::open_reader(path, ReaderConfig::default()).unwrap();
    let first = reader.position().seq;
    let found = read_all(&mut reader, first, hint);
    for name in ["near", "far"] {
        let file = path.join("readers").join(format!("{name}.meta"));
        assert!(ReaderName::new(name).is_ok());
        match Queue::open_subscriber(path, name) {
            Ok(mut reader) => {
                let from = reader.position().seq;
                read_all(&mut reader, from, hint);
            }
            // What lies before the oldest message is not the repair's to invent.
            Err(error) => assert!(error.to_string().contains("were removed"), "{error}: {hint}"),
        }
        assert!(file.exists());
    }
    let mut config = WriterConfig::default();
    config.background = false;
    let mut writer =
        Queue::open_publisher_with(path, config).unwrap_or_else(|e| panic!("{e}: {hint}"));
    let next = writer.next_seq();
    assert_eq!(next, first + found.0 + found.1, "{hint}");
    writer.append(TYPE, &payload(next)).unwrap();
    writer.flush().unwrap();
    drop(writer);
    let (_, faults) = Queue::verify(path).unwrap();
    assert!(faults.is_empty(), "{faults:?}: {hint}");
    found
}

#[test]
fn a_queue_with_damage_anywhere_is_repaired_into_one_that_is_whole() {
    let home = tempfile::tempdir().unwrap();
    let mut saved = 0;
    for round in 0..25u64 {
        let seed = round.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut state = seed;
        let queue = home.path().join("queue");
        make(&queue, if round % 2 == 0 { 4096 } else { 128 << 10 });
        let hint = format!("round {round}: {}", damage(&queue, &mut state));
        let copy = home.path().join("copy");
        let mut options = RepairOptions::default();
        options.into = Some(copy.clone());
        match Queue::repair(&queue, &options) {
            Ok(_) => {
                let (read, _) = assert_right(&copy, &hint);
                saved += read;
                Queue::repair(&queue, &RepairOptions::default())
                    .unwrap_or_else(|error| panic!("{error}: {hint}"));
                assert_eq!(assert_right(&queue, &hint).0, read, "{hint}");
                fs::remove_dir_all(copy).unwrap();
            }
            // A version word that rotted in the control file cannot be told from another version.
            Err(QueueError::UnsupportedVersion { .. }) => {}
            Err(error) => panic!("{error}: {hint}"),
        }
        fs::remove_dir_all(queue).unwrap();
    }
    assert!(saved > 15 * COUNT, "{saved} messages in 25 rounds");
}

#[test]
fn a_repair_that_was_cut_off_can_be_made_again() {
    let home = tempfile::tempdir().unwrap();
    let queue = home.path().join("queue");
    make(&queue, 4096);
    fs::write(queue.join("000000003.q"), [0; 4096]).unwrap();
    fs::remove_file(queue.join("control.meta")).unwrap();
    // As it is cut off behind the segments: everything is done in a copy, and the control file is not.
    let mut options = RepairOptions::default();
    options.into = Some(home.path().join("copy"));
    Queue::repair(&queue, &options).unwrap();
    for entry in fs::read_dir(home.path().join("copy")).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        if name.to_str().unwrap().ends_with(".q") {
            fs::copy(entry.path(), queue.join(name)).unwrap();
        }
    }
    let report = Queue::repair(&queue, &RepairOptions::default()).unwrap();
    assert!(report.messages_lost == 0, "they were known to be lost already");
    let (read, lost) = assert_right(&queue, "cut off");
    assert!(lost > 0 && read + lost == COUNT);
}

#[test]
fn a_gap_is_told_once_by_a_reader_that_waits_and_by_a_merge_of_queues() {
    let home = tempfile::tempdir().unwrap();
    let queue = home.path().join("queue");
    make(&queue, 4096);
    fs::write(queue.join("000000003.q"), [0; 4096]).unwrap();
    let report = Queue::repair(&queue, &RepairOptions::default()).unwrap();
    let lost = report.messages_lost;
    assert!(lost > 0);

    let mut reader = Queue::open_reader(&queue, ReaderConfig::default()).unwrap();
    let (mut read, mut gaps) = (0, 0);
    while reader.position().seq < COUNT {
        assert_eq!(reader.wait(None).unwrap(), WaitOutcome::Ready);
        match reader.next() {
            Ok(message) => read += u64::from(message.is_some()),
            Err(QueueError::Gap { first, next, .. }) => gaps += next - first,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!((read, gaps), (COUNT - lost, lost));

    let mut merge = FanIn::<2>::new(Patience::Lateness(Duration::ZERO));
    let reader = Queue::open_reader(&queue, ReaderConfig::default()).unwrap();
    merge.add(SourceId(1), reader).unwrap();
    let (mut read, mut gaps) = (0, 0);
    loop {
        match merge.next() {
            Ok(Merged::InOrder(FromSource { message, .. })) => {
                assert!(message.payload == payload(message.seq));
                read += 1;
            }
            Ok(Merged::Nothing(_)) => break,
            Ok(late) => panic!("{late:?}"),
            Err(QueueError::Gap { first, next, .. }) => gaps += next - first,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!((read, gaps), (COUNT - lost, lost));
}

#[test]
fn repairs_of_the_same_second_have_a_quarantine_each() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("queue");
    make(&path, 64 << 10);
    let mut quarantines = Vec::new();
    // Not all of them begin in seconds of their own.
    for _ in 0..4 {
        let reader = OpenOptions::new().write(true).open(path.join("readers/far.meta")).unwrap();
        reader.write_all_at(&[0; 64], 0).unwrap();
        let report = Queue::repair(&path, &RepairOptions::default()).unwrap();
        quarantines.push(report.quarantine.unwrap());
    }
    quarantines.sort();
    quarantines.dedup();
    assert_eq!(quarantines.len(), 4, "{quarantines:?}");
}
