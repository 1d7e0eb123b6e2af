//! What is appended comes out of `tail`, in other processes and while it is being appended.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod support;

use std::fs;
use std::io::Read;
use std::process::Stdio;
use std::time::{Duration, Instant};

use support::{Place, Running, lines, program, run};

#[test]
fn a_following_process_gets_every_byte_across_segments_while_they_are_appended() {
    let place = Place::new();
    let input = lines(1, 3000);
    let tail = Running::start([
        "tail",
        &place.queue(),
        "-f",
        "--reader",
        "a",
        "--format",
        "raw",
        "--limit",
        "3000",
    ]);
    let appended = place.append(&input);
    assert!(appended.errors.contains("appended 3000 messages"), "{}", appended.errors);
    assert!(appended.errors.contains("seq 0..2999"), "{}", appended.errors);
    let segments = fs::read_dir(place.queue())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|e| e == "q"))
        .count();
    assert!(segments > 8, "{segments}");
    assert!(tail.finish().succeeded().output == input);
    assert!(place.contents() == input);
}

#[test]
fn lines_of_any_bytes_come_back_and_the_last_needs_no_newline() {
    let place = Place::new();
    place.append(b"\n\xff\xfe\0\r\n\nlast");
    assert_eq!(place.contents(), b"\n\xff\xfe\0\r\n\nlast\n");
    let json = run(["tail", &place.queue(), "--format", "json"], b"").succeeded();
    let objects: Vec<serde_json::Value> =
        json.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(objects.len(), 4);
    assert_eq!((&objects[0]["len"], &objects[0]["payload"]), (&0.into(), &"".into()));
    assert_eq!(objects[1]["payload_hex"], "fffe000d");
    assert_eq!((&objects[3]["seq"], &objects[3]["payload"]), (&3.into(), &"last".into()));
    assert_eq!(objects[3]["type_id"], 0x8000);
}

#[test]
fn frames_with_lengths_are_copied_as_they_are() {
    let place = Place::new();
    let mut input = Vec::new();
    for length in [0u32, 1, 7, 300, 60_000, 2] {
        input.extend_from_slice(&length.to_le_bytes());
        input.extend((0..length).map(|i| (i * 7) as u8));
    }
    let queue = place.queue();
    run(
        ["append", &queue, "--framing", "len32", "--segment-size", "65536", "--type-id", "0x0100"],
        &input,
    )
    .succeeded();
    let tail = run(["tail", &queue, "--format", "len32"], b"").succeeded();
    assert!(tail.output == input);
    let text = run(["tail", &queue, "--from", "seq:5"], b"").succeeded();
    assert!(text.text().contains("0x0100"), "{}", text.text());
    assert_eq!(text.text().lines().count(), 1);
}

#[test]
fn a_truncated_frame_is_named_and_what_came_before_stays() {
    let place = Place::new();
    let file = place.path("frames");
    fs::write(&file, b"\x01\0\0\0a\x01\0\0\0b\x05\0\0\0cd").unwrap();
    let outcome = run(["append", &place.queue(), &file, "--framing", "len32"], b"");
    assert_eq!(outcome.code, Some(2));
    assert!(outcome.errors.contains(&file), "{}", outcome.errors);
    assert!(outcome.errors.contains("byte 10"), "{}", outcome.errors);
    assert!(outcome.errors.contains("appended 2 messages"), "{}", outcome.errors);
    assert_eq!(place.contents(), b"a\nb\n");
}

#[test]
fn a_line_longer_than_the_largest_message_is_named_and_what_came_before_stays() {
    let place = Place::new();
    let largest = 65_536 - 96;
    let mut input = vec![b'x'; largest];
    input.push(b'\n');
    input.extend(vec![b'y'; largest + 1]);
    input.extend_from_slice(b"\nlater\n");
    let outcome = run(["append", &place.queue(), "--segment-size", "64K"], &input);
    assert_eq!(outcome.code, Some(2));
    assert!(outcome.errors.contains("standard input: line 2"), "{}", outcome.errors);
    assert!(outcome.errors.contains(&largest.to_string()), "{}", outcome.errors);
    assert!(place.contents() == input[..=largest]);
}

#[test]
fn several_files_are_appended_in_their_order() {
    let place = Place::new();
    let (one, two) = (place.path("one"), place.path("two"));
    fs::write(&one, "1\n2").unwrap();
    fs::write(&two, "3\n").unwrap();
    run(["append", &place.queue(), &one, "-", &two], b"input\n").succeeded();
    assert_eq!(place.contents(), b"1\n2\ninput\n3\n");
}

#[test]
fn a_named_reader_goes_on_where_it_committed() {
    let place = Place::new();
    let queue = place.queue();
    let reader = ["tail", &queue, "--reader", "a", "--format", "raw"];
    place.append(b"0\n1\n2\n");
    assert_eq!(run(reader, b"").succeeded().output, b"0\n1\n2\n");
    assert_eq!(run(reader, b"").succeeded().output, b"");
    place.append(b"3\n4\n");
    assert_eq!(run(reader, b"").succeeded().output, b"3\n4\n");
}

#[test]
fn a_limit_commits_exactly_what_was_printed() {
    let place = Place::new();
    let input = lines(2, 1000);
    let queue = place.queue();
    place.append(&input);
    let mut printed = Vec::new();
    for limit in ["0", "1", "2", "300", "697", "5"] {
        let reader = ["tail", &queue, "--reader", "a", "--format", "raw", "--limit", limit];
        printed.extend(run(reader, b"").succeeded().output);
    }
    assert!(printed == input);
}

#[test]
fn two_named_readers_go_their_own_ways() {
    let place = Place::new();
    let input = lines(3, 500);
    let queue = place.queue();
    let follow = |name: &str| {
        Running::start([
            "tail", &queue, "-f", "--reader", name, "--format", "raw", "--limit", "500",
        ])
    };
    let (a, b) = (follow("a"), follow("b"));
    place.append(&input);
    assert!(a.finish().succeeded().output == input);
    assert!(b.finish().succeeded().output == input);
    place.append(b"more\n");
    let a = run(["tail", &queue, "--reader", "a", "--format", "raw"], b"").succeeded();
    assert_eq!(a.output, b"more\n");
    let readers = run(["readers", "ls", &queue, "--json"], b"").succeeded().json();
    assert_eq!((&readers[0]["name"], &readers[0]["lag_messages"]), (&"a".into(), &0.into()));
    assert_eq!((&readers[1]["name"], &readers[1]["lag_messages"]), (&"b".into(), &1.into()));
}

#[test]
fn a_passive_reader_leaves_nothing_behind() {
    let place = Place::new();
    place.append(b"0\n1\n");
    let before = support::snapshot(place.root());
    for arguments in [&["tail"][..], &["tail", "--no-commit"], &["inspect"], &["readers", "ls"]] {
        let queue = place.queue();
        run(arguments.iter().copied().chain([queue.as_str()]), b"").succeeded();
        assert!(support::snapshot(place.root()) == before, "{arguments:?}");
    }
}

#[test]
fn a_reader_begins_where_it_is_told() {
    let place = Place::new();
    let input = lines(4, 2000);
    let queue = place.queue();
    place.append(&input);
    let from = |place: &str| {
        run(["tail", &queue, "--format", "raw", "--from", place], b"").succeeded().output
    };
    let line_ends: Vec<usize> =
        input.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(i, _)| i + 1).collect();
    assert!(from("earliest") == input);
    for seq in [1, 199, 1000, 1999] {
        assert!(from(&format!("seq:{seq}")) == input[line_ends[seq - 1]..], "{seq}");
    }
    assert_eq!(from("seq:2000"), b"");
    assert_eq!(from("latest"), b"");
}

#[test]
fn a_new_reader_from_latest_gets_only_what_comes_later() {
    let place = Place::new();
    let queue = place.queue();
    let mut append = Running::start(["append", &queue, "--ack", "--segment-size", "64K"]);
    for seq in 0..10 {
        append.write(b"old\n");
        assert_eq!(append.line(), format!("{seq}\n"));
    }
    let reader = ["tail", &queue, "--reader", "late", "--from", "latest", "--format", "raw"];
    assert_eq!(run(reader, b"").succeeded().text(), "");
    append.write(b"new\n");
    assert_eq!(append.line(), "10\n");
    assert_eq!(run(reader, b"").succeeded().text(), "new\n");
}

#[test]
fn a_place_to_begin_means_nothing_to_a_reader_that_has_a_position() {
    let place = Place::new();
    let queue = place.queue();
    place.append(&lines(7, 100));
    let read = |options: &[&str]| {
        let reader = ["tail", &queue, "--reader", "a", "--format", "json"];
        run(reader.iter().chain(options), b"").succeeded().text().lines().count()
    };
    assert_eq!(read(&["--limit", "10"]), 10);
    assert_eq!(read(&["--from", "seq:90"]), 90);
}

#[test]
fn a_new_reader_from_a_message_keeps_that_place_from_the_beginning() {
    let place = Place::new();
    let queue = place.queue();
    place.append(&lines(8, 100));
    run(["tail", &queue, "--reader", "a", "--from", "seq:90", "--limit", "0"], b"").succeeded();
    let readers = run(["readers", "ls", &queue, "--json"], b"").succeeded().json();
    assert_eq!(readers[0]["lag_messages"], 10);
    let later = run(["tail", &queue, "--reader", "a", "--format", "raw"], b"").succeeded();
    assert_eq!(later.text().lines().count(), 10);
}

#[test]
fn acknowledgements_are_the_sequence_numbers() {
    for ack in ["--ack", "--ack=visible", "--ack=durable"] {
        let place = Place::new();
        let queue = place.queue();
        let acknowledge = ["append", &queue, "--segment-size", "64K", ack];
        let outcome = run(acknowledge, b"a\nb\n\nc").succeeded();
        assert_eq!(outcome.text(), "0\n1\n2\n3\n", "{ack}");
        let outcome =
            run(acknowledge.into_iter().chain(["--batch", "3"]), b"d\ne\nf\ng").succeeded();
        assert_eq!(outcome.text(), "4\n5\n6\n7\n", "{ack}");
        let durable =
            run(["inspect", &queue, "--json"], b"").succeeded().json()["durable_seq"].clone();
        assert_eq!(durable, if ack == "--ack=durable" { 8 } else { 0 }, "{ack}");
    }
    let place = Place::new();
    run(["append", &place.queue(), "--flush"], b"a\nb\n").succeeded();
    let inspection = run(["inspect", &place.queue(), "--json"], b"").succeeded().json();
    assert_eq!(inspection["durable_seq"], 2);
}

#[test]
fn an_acknowledged_message_of_an_open_pipe_is_there_for_others() {
    let place = Place::new();
    let queue = place.queue();
    let mut append = Running::start(["append", &queue, "--ack", "--segment-size", "64K"]);
    for seq in 0..5 {
        append.write(format!("message {seq}\n").as_bytes());
        assert_eq!(append.line(), format!("{seq}\n"));
        let tail = run(["tail", &queue, "--format", "raw", "--from", &format!("seq:{seq}")], b"");
        assert_eq!(tail.succeeded().text(), format!("message {seq}\n"));
    }
    assert!(append.finish().succeeded().errors.contains("appended 5 messages"));
}

#[test]
fn a_slow_producer_is_seen_at_once() {
    let place = Place::new();
    let queue = place.queue();
    let mut append = Running::start(["append", &queue, "--segment-size", "64K"]);
    let mut tail = Running::start(["tail", &queue, "-f", "--format", "raw"]);
    append.write(b"first\n");
    assert_eq!(tail.line(), "first\n");
    let mut took = Vec::new();
    for message in 0..40 {
        std::thread::sleep(Duration::from_millis(5));
        let line = format!("message {message}\n");
        let started = Instant::now();
        append.write(line.as_bytes());
        assert_eq!(tail.line(), line);
        took.push(started.elapsed());
    }
    took.sort();
    // A reader that nobody wakes looks every 100 ms.
    assert!(took[took.len() / 2] < Duration::from_millis(30), "{took:?}");
    append.finish().succeeded();
}

#[test]
fn output_that_nobody_reads_is_not_committed_and_no_error() {
    let place = Place::new();
    let queue = place.queue();
    place.append(&lines(5, 4000));
    let mut tail = Running::start(["tail", &queue, "--reader", "a", "--format", "raw"]);
    let mut head = [0; 10];
    let mut output = tail.take_output();
    output.read_exact(&mut head).unwrap();
    drop(output);
    let outcome = tail.finish();
    assert_eq!((outcome.code, outcome.errors.as_str()), (Some(0), ""));
    let readers = run(["readers", "ls", &queue, "--json"], b"").succeeded().json();
    let committed = readers[0]["committed"]["seq"].as_u64().unwrap();
    assert!(committed < 4000, "{committed}");
}

#[test]
fn output_that_cannot_be_written_is_an_error_and_not_committed() {
    let full = std::path::Path::new("/dev/full");
    if !full.exists() {
        return;
    }
    let place = Place::new();
    let queue = place.queue();
    place.append(b"0\n1\n");
    let output = program()
        .args(["tail", &queue, "--reader", "a"])
        .stdout(Stdio::from(fs::OpenOptions::new().write(true).open(full).unwrap()))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.starts_with("chron-cli: standard output: "), "{errors}");
    let readers = run(["readers", "ls", &queue, "--json"], b"").succeeded().json();
    assert_eq!(readers[0]["committed"]["seq"], 0);
}

#[test]
fn another_segment_size_for_a_queue_that_exists_is_ignored_with_a_warning() {
    let place = Place::new();
    place.append(b"a\n");
    let outcome = run(["append", &place.queue(), "--segment-size", "4MiB"], b"b\n").succeeded();
    let warning = outcome.errors.lines().next().unwrap();
    assert!(warning.contains("warning") && warning.contains("65536"), "{warning}");
    let outcome = place.append(b"c\n");
    assert_eq!(outcome.errors.lines().count(), 1, "{}", outcome.errors);
    assert_eq!(place.contents(), b"a\nb\nc\n");
}

#[test]
fn the_summary_can_be_json() {
    let place = Place::new();
    let outcome = run(["append", &place.queue(), "--json"], b"a\nbcd\n").succeeded();
    let summary: serde_json::Value = serde_json::from_str(&outcome.errors).unwrap();
    assert_eq!((&summary["messages"], &summary["bytes"]), (&2.into(), &4.into()));
    assert_eq!((&summary["first_seq"], &summary["last_seq"]), (&0.into(), &1.into()));
}

#[test]
fn a_queue_can_be_made_once() {
    let place = Place::new();
    let create = ["create", &place.queue(), "--segment-size", "12K", "--no-checksums"];
    run(create, b"").succeeded();
    let inspection = run(["inspect", &place.queue(), "--json"], b"").succeeded().json();
    assert_eq!(inspection["segment_size"], 12288);
    assert_eq!(inspection["checksums"], false);
    let before = support::snapshot(place.root());
    let again = run(create, b"");
    assert_eq!(again.code, Some(2));
    assert!(again.errors.contains(&place.queue()), "{}", again.errors);
    assert!(support::snapshot(place.root()) == before);
}

#[test]
fn a_reader_may_begin_at_a_time() {
    let place = Place::new();
    place.append(&lines(5, 2000));
    let read = |from: &str| {
        let tail = ["tail", &place.queue(), "--format", "json", "--from", from];
        let outcome = run(tail, b"").succeeded();
        let first = outcome.text().lines().next().unwrap_or("null").to_owned();
        serde_json::from_str::<serde_json::Value>(&first).unwrap()
    };
    let middle = read("seq:1000");
    let time = middle["timestamp_ns"].as_u64().unwrap();
    let found = read(&format!("time:{time}"));
    assert_eq!(found["timestamp_ns"].as_u64(), Some(time));
    assert!(found["seq"].as_u64().unwrap() <= 1000);
    assert_eq!(read("time:1970-01-01T00:00:00Z")["seq"], 0);
    assert!(read("time:2200-01-01T00:00:00Z").is_null());
}

#[test]
fn a_tail_of_durable_messages_prints_what_group_commit_has_synced() {
    let home = tempfile::tempdir().unwrap();
    let queue = home.path().join("q").display().to_string();
    run(["append", &queue], b"visible\n").succeeded();
    assert_eq!(run(["tail", &queue, "--durable", "--format", "raw"], b"").succeeded().output, b"");

    run(["append", &queue, "--sync-every", "0"], b"one\ntwo\n").succeeded();
    let tailed = run(["tail", &queue, "--durable", "--format", "raw"], b"").succeeded();
    assert_eq!(tailed.output, b"visible\none\ntwo\n");
    let inspection = run(["inspect", &queue, "--json"], b"").succeeded().json();
    assert_eq!(inspection["durable_seq"], 3);
    assert!(inspection["replicated_seq"].is_null());
}
