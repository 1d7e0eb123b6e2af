//! A damaged queue is repaired, in place and as a copy: what is whole can be read and has its number,
//! what is lost is told, and the queue can be written to again.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use support::{Place, Running, lines, patch, run, settled, snapshot};

const COUNT: usize = 3000;

/// A queue of a dozen segments, flushed, with a reader "a" behind message 9.
struct Damaged {
    place: Place,
    input: Vec<u8>,
}

impl Damaged {
    fn new() -> Self {
        Self::with_segments("64KiB")
    }

    fn with_segments(size: &str) -> Self {
        let place = Place::new();
        let input = lines(1, COUNT);
        let (first, rest) = input
            .split_at(100_000 + input[100_000..].iter().position(|b| *b == b'\n').unwrap() + 1);
        let append = ["append", &place.queue(), "--segment-size", size, "--flush"];
        run(append, first).succeeded();
        // A second writer, so that there is an EPOCH record in the middle.
        run(append, rest).succeeded();
        run(["tail", &place.queue(), "--reader", "a", "--limit", "10"], b"").succeeded();
        Self { place, input }
    }

    fn file(&self, name: &str) -> PathBuf {
        Path::new(&self.place.queue()).join(name)
    }

    fn messages(&self) -> Vec<&[u8]> {
        self.input.split_inclusive(|byte| *byte == b'\n').collect()
    }

    /// Where a message lies: segment file, offset, and size with header and padding.
    fn place_of(&self, seq: usize) -> (String, u64, u64) {
        let text = self.messages()[seq];
        let text = &text[..text.len() - 1];
        for id in 0.. {
            let name = format!("{id:09}.q");
            let bytes = fs::read(self.file(&name)).unwrap();
            // Every message begins with its number and differs from all others.
            if let Some(at) = bytes.windows(text.len()).position(|window| window == text) {
                return (name, at as u64 - 32, 32 + (text.len() as u64).div_ceil(32) * 32);
            }
        }
        unreachable!()
    }

    /// Repairs a copy and then the queue itself, and holds both against what must be there: all
    /// messages but those that are lost, each under its own number. Gives the report.
    fn repaired(&self, lost: std::ops::Range<usize>) -> Value {
        let queue = self.place.queue();
        let before = snapshot(Path::new(&queue));
        let plan = run(["repair", &queue, "--json"], b"").succeeded().json();
        assert_eq!(plan["applied"], false);
        let copy = self.place.path("copy");
        let copied = run(["repair", &queue, "--into", &copy, "--json"], b"").succeeded().json();
        assert!(
            snapshot(Path::new(&queue)) == before,
            "neither a plan nor a copy changes anything"
        );
        assert_eq!(plan["repairs"], copied["repairs"]);
        self.assert_right(&copy, &lost);

        let applied = run(["repair", &queue, "--apply", "--json"], b"").succeeded().json();
        assert_eq!(plan["repairs"], applied["repairs"]);
        assert_eq!(applied["messages_lost"], lost.len());
        self.assert_quarantined(&before, &applied);
        self.assert_right(&queue, &lost);
        let again = run(["repair", &queue, "--json"], b"").succeeded().json();
        assert_eq!(again["repairs"].as_array().unwrap().len(), 0, "{again}");
        applied
    }

    /// Every file that is not as it was is in the quarantine as it was.
    fn assert_quarantined(&self, before: &BTreeMap<PathBuf, (u32, Vec<u8>)>, report: &Value) {
        let quarantine = report["quarantine"].as_str().unwrap_or_else(|| panic!("{report}"));
        let quarantine = PathBuf::from(quarantine);
        let listed = fs::read_to_string(quarantine.join("repairs.txt")).unwrap();
        assert_eq!(listed.lines().count(), report["repairs"].as_array().unwrap().len());
        let mut kept = 0;
        for (file, (mode, bytes)) in before {
            if mode & 0o170_000 == 0o040_000 || fs::read(file).is_ok_and(|now| now == *bytes) {
                continue;
            }
            let relative = file.strip_prefix(self.place.queue()).unwrap();
            assert!(fs::read(quarantine.join(relative)).unwrap() == *bytes, "{relative:?}");
            assert!(
                listed.contains(relative.to_str().unwrap())
                    || relative.ends_with("control.meta")
                    || relative.ends_with("checkpoint.meta"),
                "{relative:?} is not listed"
            );
            kept += 1;
        }
        assert!(
            kept > 0
                || report["repairs"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .all(|it| { it["reason"].as_str().unwrap().contains("it is not there") })
        );
    }

    fn assert_right(&self, queue: &str, lost: &std::ops::Range<usize>) {
        run(["verify", queue], b"").succeeded();
        let outcome = run(["tail", queue, "--format", "json"], b"").succeeded();
        let messages = self.messages();
        let mut expected = (0..messages.len()).filter(|seq| !lost.contains(seq));
        for line in outcome.text().lines() {
            let message: Value = serde_json::from_str(line).unwrap();
            let seq = expected.next().unwrap();
            assert_eq!(message["seq"], seq);
            let text = String::from_utf8_lossy(messages[seq]);
            assert_eq!(message["payload"].as_str().unwrap(), text.trim_end_matches('\n'));
        }
        assert_eq!(expected.next(), None, "{}", outcome.errors);
        assert_eq!(outcome.errors.contains("were lost"), !lost.is_empty(), "{}", outcome.errors);
        // Backwards and by number as well.
        let last = run(["tail", queue, "--reverse", "--format", "raw"], b"").succeeded();
        assert_eq!(
            last.output.iter().filter(|byte| **byte == b'\n').count(),
            messages.len() - lost.len()
        );
        let some = COUNT / 2;
        if !lost.contains(&some) {
            let from = format!("seq:{some}");
            let one = ["tail", queue, "--from", &from, "--limit", "1", "--format", "raw"];
            assert_eq!(run(one, b"").succeeded().output, messages[some]);
        }
        // The next writer goes on with the next number, and a reader with a position where it was.
        let copy = format!("{queue}-written");
        copy_queue(Path::new(queue), Path::new(&copy));
        let appended = run(["append", &copy, "--ack", "--flush"], b"after\n").succeeded();
        assert_eq!(appended.text(), format!("{}\n", messages.len()));
        let tail = run(["tail", &copy, "--reader", "a", "--format", "raw"], b"").succeeded();
        assert!(tail.output.ends_with(b"after\n"), "{}", tail.errors);
        run(["verify", &copy], b"").succeeded();
        fs::remove_dir_all(copy).unwrap();
    }
}

fn copy_queue(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        if name.to_str().unwrap().starts_with("quarantine") {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            copy_queue(&entry.path(), &to.join(name));
        } else {
            fs::copy(entry.path(), to.join(name)).unwrap();
        }
    }
}

fn repairs_of<'r>(report: &'r Value, file: &str) -> Vec<&'r Value> {
    report["repairs"].as_array().unwrap().iter().filter(|it| it["file"] == file).collect()
}

#[test]
fn a_queue_that_is_whole_stays_as_it_is() {
    let damaged = Damaged::new();
    let before = snapshot(damaged.place.root());
    for options in [&["repair"][..], &["repair", "--apply"]] {
        let outcome = run(options.iter().copied().chain([damaged.place.queue().as_str()]), b"");
        assert_eq!(outcome.succeeded().text(), "nothing is wrong\n");
    }
    assert!(snapshot(damaged.place.root()) == before);
}

#[test]
fn a_queue_whose_writer_was_killed_is_not_taken_for_a_damaged_one() {
    let place = Place::new();
    let queue = place.queue();
    for round in 0..12u64 {
        let mut writer = Running::start(["append", &queue, "--segment-size", "64KiB", "--ack"]);
        writer.write(&lines(round + 1, 150 + 37 * round as usize));
        for _ in 0..100 + 17 * round {
            writer.line();
        }
        writer.kill();
        if round == 3 {
            run(["tail", &queue, "--reader", "a"], b"").succeeded();
        }
        let report = run(["repair", &queue], b"").succeeded();
        assert_eq!(report.text(), "nothing is wrong\n");
    }
}

#[test]
fn a_damaged_record_in_the_middle_becomes_a_gap_and_everything_else_stays() {
    let damaged = Damaged::new();
    let (file, offset, size) = damaged.place_of(1000);
    patch(&damaged.file(&file), offset + 40, b"\xff\x00\xff");
    let report = damaged.repaired(1000..1001);
    let gap = repairs_of(&report, &file)[0];
    assert_eq!((gap["remedy"].as_str(), gap["first_lost"].as_u64()), (Some("gap"), Some(1000)));
    assert_eq!((gap["from"].as_u64(), gap["to"].as_u64()), (Some(offset), Some(offset + size)));
}

#[test]
fn a_run_of_damaged_records_over_their_headers_becomes_one_gap() {
    let damaged = Damaged::new();
    let (file, offset, _) = damaged.place_of(1500);
    let (last_file, last, size) = damaged.place_of(1505);
    assert_eq!(file, last_file);
    patch(&damaged.file(&file), offset, &vec![0xa5; (last + size - offset - 7) as usize]);
    let report = damaged.repaired(1500..1506);
    assert_eq!(repairs_of(&report, &file).len(), 1);
}

#[test]
fn a_reader_inside_the_damage_goes_on_behind_it() {
    let damaged = Damaged::new();
    let (file, offset, _) = damaged.place_of(9);
    let (_, next, size) = damaged.place_of(10);
    patch(&damaged.file(&file), offset, &vec![0xa5; (next + size - offset) as usize]);
    let report = damaged.repaired(9..11);
    assert_eq!(repairs_of(&report, "readers/a.meta")[0]["remedy"], "moved");
    let queue = damaged.place.queue();
    let tail = run(["tail", &queue, "--reader", "a", "--limit", "1", "--format", "raw"], b"");
    assert_eq!(tail.succeeded().output, damaged.messages()[11]);
}

#[test]
fn a_control_file_that_is_missing_or_damaged_is_rebuilt_from_the_segments() {
    for damage in [None, Some(&b"XXXX"[..])] {
        let damaged = Damaged::new();
        let control = damaged.file("control.meta");
        match damage {
            None => fs::remove_file(control).unwrap(),
            Some(bytes) => patch(&control, 16, bytes),
        }
        let report = damaged.repaired(0..0);
        assert_eq!(repairs_of(&report, "control.meta")[0]["remedy"], "rebuilt");
        assert!(repairs_of(&report, "readers/a.meta").is_empty(), "its queue is known");
    }
}

#[test]
fn checkpoint_notify_and_reader_files_are_rebuilt() {
    let damaged = Damaged::new();
    patch(&damaged.file("checkpoint.meta"), 0, &[7; 8192]);
    fs::remove_file(damaged.file("notify.meta")).unwrap();
    patch(&damaged.file("readers/a.meta"), 0, &[7; 4096]);
    let report = damaged.repaired(0..0);
    for (file, remedy) in [
        ("checkpoint.meta", "rebuilt"),
        ("notify.meta", "rebuilt"),
        ("readers/a.meta", "restarted"),
    ] {
        assert_eq!(repairs_of(&report, file)[0]["remedy"], remedy, "{file}");
    }
    let queue = damaged.place.queue();
    let first = run(["tail", &queue, "--reader", "a", "--limit", "1", "--format", "raw"], b"");
    assert_eq!(first.succeeded().output, damaged.messages()[0], "again rather than not at all");
}

#[test]
fn an_index_is_rebuilt() {
    let damaged = Damaged::with_segments("256KiB");
    fs::remove_file(damaged.file("000000000.idx")).unwrap();
    patch(&damaged.file("000000001.idx"), 40, b"\xff\xff");
    let report = damaged.repaired(0..0);
    for file in ["000000000.idx", "000000001.idx"] {
        assert_eq!(repairs_of(&report, file)[0]["remedy"], "rebuilt");
        assert!(damaged.file(file).exists());
    }
}

#[test]
fn a_missing_segment_becomes_a_gap() {
    let damaged = Damaged::new();
    let bounds = |id: usize| {
        let bytes = fs::read(damaged.file(&format!("{id:09}.q"))).unwrap();
        u64::from_le_bytes(bytes[32..40].try_into().unwrap()) as usize
    };
    let lost = bounds(3)..bounds(5);
    for id in [3, 4] {
        fs::remove_file(damaged.file(&format!("{id:09}.q"))).unwrap();
    }
    let report = damaged.repaired(lost);
    assert_eq!(repairs_of(&report, "000000003.q")[0]["remedy"], "replaced");
}

#[test]
fn heads_starts_and_seals_are_put_right() {
    // A seal that no seal can be, none, and one that is too early.
    for (at, bytes) in
        [(56, &[2u8][..]), (56, &[0; 8]), (57, &[1]), (32, &[9; 20]), (0, b"X"), (12, &[77])]
    {
        let damaged = Damaged::with_segments("256KiB");
        patch(&damaged.file("000000001.q"), at, bytes);
        let report = damaged.repaired(0..0);
        assert_eq!(repairs_of(&report, "000000001.q")[0]["remedy"], "mended", "{at}");
    }
}

#[test]
fn the_salt_of_a_segment_is_found_in_its_index() {
    let damaged = Damaged::with_segments("256KiB");
    patch(&damaged.file("000000001.q"), 0, &[0xee; 64]);
    let report = damaged.repaired(0..0);
    assert_eq!(repairs_of(&report, "000000001.q")[0]["remedy"], "mended");
}

#[test]
fn a_segment_of_which_nothing_can_be_read_becomes_a_gap() {
    let damaged = Damaged::new();
    let first = |id: usize| {
        let bytes = fs::read(damaged.file(&format!("{id:09}.q"))).unwrap();
        u64::from_le_bytes(bytes[32..40].try_into().unwrap()) as usize
    };
    let lost = first(2)..first(3);
    patch(&damaged.file("000000002.q"), 0, &[0; 65536]);
    damaged.repaired(lost);
}

#[test]
fn a_segment_that_was_cut_short_keeps_what_is_left_of_it() {
    let damaged = Damaged::new();
    let (file, offset, _) = damaged.place_of(1200);
    let next_segment = format!("{:09}.q", file[..9].parse::<u32>().unwrap() + 1);
    let next = fs::read(damaged.file(&next_segment)).unwrap();
    let next = u64::from_le_bytes(next[32..40].try_into().unwrap()) as usize;
    let cut = fs::OpenOptions::new().write(true).open(damaged.file(&file)).unwrap();
    cut.set_len(offset + 50).unwrap();
    damaged.repaired(1200..next);
}

#[test]
fn the_durable_end_of_the_log_becomes_a_gap_and_no_number_comes_again() {
    let damaged = Damaged::new();
    let (file, offset, _) = damaged.place_of(COUNT - 3);
    let size = fs::metadata(damaged.file(&file)).unwrap().len();
    patch(&damaged.file(&file), offset, &vec![0; (size - offset) as usize]);
    damaged.repaired(COUNT - 3..COUNT);
}

#[test]
fn the_newest_segments_are_missing() {
    let damaged = Damaged::new();
    let (file, ..) = damaged.place_of(COUNT - 1);
    let last: u32 = file[..9].parse().unwrap();
    let bytes = fs::read(damaged.file(&format!("{:09}.q", last - 1))).unwrap();
    let first = u64::from_le_bytes(bytes[32..40].try_into().unwrap()) as usize;
    fs::remove_file(damaged.file(&file)).unwrap();
    fs::remove_file(damaged.file(&format!("{:09}.q", last - 1))).unwrap();
    damaged.repaired(first..COUNT);
}

#[test]
fn a_torn_tail_behind_the_watermark_is_cut() {
    let damaged = Damaged::new();
    let queue = damaged.place.queue();
    run(["append", &queue], b"not durable\n").succeeded();
    let (file, _, _) = damaged.place_of(COUNT - 1);
    let bytes = fs::read(damaged.file(&file)).unwrap();
    let text = b"not durable";
    let at = bytes.windows(text.len()).position(|window| window == text).unwrap() as u64;
    patch(&damaged.file(&file), at, b"X");
    let report = damaged.repaired(0..0);
    let cut = repairs_of(&report, &file)[0];
    assert_eq!((cut["remedy"].as_str(), cut["from"].as_u64()), (Some("cut"), Some(at - 32)));
}

#[test]
fn everything_at_once() {
    let damaged = Damaged::new();
    fs::remove_file(damaged.file("control.meta")).unwrap();
    fs::remove_file(damaged.file("checkpoint.meta")).unwrap();
    fs::remove_file(damaged.file("notify.meta")).unwrap();
    patch(&damaged.file("000000001.q"), 32, &[9; 20]);
    let (file, offset, _) = damaged.place_of(700);
    patch(&damaged.file(&file), offset + 8, b"\xff");
    damaged.repaired(700..701);
}

#[test]
fn beside_a_writer_or_a_reader_nothing_is_repaired() {
    let damaged = Damaged::new();
    let queue = damaged.place.queue();
    let mut reader =
        Running::start(["tail", &queue, "-f", "--reader", "busy", "--from", "seq:2990"]);
    assert!(!reader.line().is_empty());
    let (file, offset, _) = damaged.place_of(1000);
    patch(&damaged.file(&file), offset + 40, b"\xff\x00\xff");
    // The reader commits what it has printed.
    let before = settled(Path::new(&queue));
    let outcome = run(["repair", &queue, "--apply"], b"");
    assert_eq!(outcome.code, Some(2));
    assert!(outcome.errors.contains("reader 'busy' is active"), "{}", outcome.errors);
    assert!(snapshot(Path::new(&queue)) == before);
    reader.kill();

    let mut writer = Running::start(["append", &queue, "--ack"]);
    writer.write(b"one\n");
    assert_eq!(writer.line(), format!("{COUNT}\n"));
    for options in [&["--apply"][..], &["--into", &damaged.place.path("copy")]] {
        let outcome = run(["repair", &queue].iter().chain(options), b"");
        assert_eq!(outcome.code, Some(2));
        assert!(outcome.errors.contains("WriterAlreadyActive"), "{}", outcome.errors);
    }
    assert_eq!(writer.finish().code, Some(0));
    run(["repair", &queue, "--apply"], b"").succeeded();
}

#[test]
fn a_quarantine_can_be_elsewhere_and_a_place_that_is_taken_is_refused() {
    let damaged = Damaged::new();
    let queue = damaged.place.queue();
    let (file, offset, _) = damaged.place_of(1000);
    patch(&damaged.file(&file), offset + 40, b"\xff\x00\xff");
    let taken = damaged.place.root().to_str().unwrap();
    for options in [["--into", taken], ["--quarantine", taken]] {
        let apply = (options[0] == "--quarantine").then_some("--apply");
        let outcome = run(["repair", &queue].into_iter().chain(options).chain(apply), b"");
        assert_eq!(outcome.code, Some(2), "{}", outcome.errors);
    }
    let elsewhere = damaged.place.path("kept");
    run(["repair", &queue, "--apply", "--quarantine", &elsewhere], b"").succeeded();
    assert!(Path::new(&elsewhere).join(&file).exists());
    run(["verify", &queue], b"").succeeded();
    let nothing = run(["repair", &damaged.place.path("nowhere")], b"");
    assert_eq!(nothing.code, Some(2));
}
