//! Bad input is refused quickly, by name, and changes nothing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod support;

use std::fs;
use std::path::Path;
use std::time::Duration;

use chronicle_std::format::crc32c;
use support::{Place, Running, lines, patch, run, snapshot};

/// A command fails within two seconds, with one line that contains `named`.
fn assert_fails(command: &[&str], place: &Place, named: &str) {
    let queue = place.queue();
    let (name, options) = command.split_first().unwrap();
    let arguments = [*name, queue.as_str()].into_iter().chain(options.iter().copied());
    let outcome = run(arguments, b"message\n");
    assert_eq!(outcome.code, Some(2), "{command:?}: {}", outcome.errors);
    assert!(outcome.errors.contains(named), "{command:?} {named}: {}", outcome.errors);
    assert!(outcome.errors.starts_with("chron-cli: "), "{}", outcome.errors);
    assert_eq!(outcome.errors.lines().count(), 1, "{}", outcome.errors);
    assert!(outcome.took < Duration::from_secs(2), "{command:?} took {:?}", outcome.took);
}

/// These commands fail, naming `named`, and change nothing.
fn assert_refused_by(commands: &[&[&str]], place: &Place, named: &str) {
    for command in commands {
        let before = snapshot(place.root());
        assert_fails(command, place, named);
        let after = snapshot(place.root());
        let changed: Vec<_> = before
            .keys()
            .chain(after.keys())
            .filter(|path| before.get(*path) != after.get(*path))
            .collect();
        assert!(changed.is_empty(), "{command:?} changed {changed:?}");
    }
}

const READERS: [&[&str]; 3] = [&["tail"], &["tail", "--reader", "r"], &["inspect"]];

fn assert_refused(place: &Place, named: &str) {
    assert_refused_by(&[&["append"]], place, named);
    assert_refused_by(&READERS, place, named);
}

fn queue_with_messages() -> Place {
    let place = Place::new();
    place.append(&lines(9, 600));
    place
}

fn control(place: &Place) -> std::path::PathBuf {
    Path::new(&place.queue()).join("control.meta")
}

#[test]
fn a_missing_queue() {
    let place = Place::new();
    assert_refused_by(&READERS, &place, &place.queue());
}

#[test]
fn a_directory_without_a_queue() {
    let place = Place::new();
    fs::create_dir(place.queue()).unwrap();
    assert_refused_by(&READERS, &place, &place.queue());
}

#[test]
fn a_path_that_is_a_file() {
    let place = Place::new();
    fs::write(place.queue(), "a file").unwrap();
    assert_refused(&place, &place.queue());
    assert_refused_by(&[&["tail", "-f"], &["create"]], &place, &place.queue());
}

#[test]
fn a_control_file_of_zero_length() {
    let place = queue_with_messages();
    fs::write(control(&place), "").unwrap();
    assert_refused(&place, "control.meta");
}

#[test]
fn a_control_file_with_the_wrong_magic() {
    let place = queue_with_messages();
    patch(&control(&place), 0, b"NOTACTRL");
    assert_refused(&place, "control.meta");
}

#[test]
fn a_queue_of_version_1() {
    let place = queue_with_messages();
    patch(&control(&place), 8, &1u32.to_le_bytes());
    assert_refused(&place, "UnsupportedVersion");
    assert_refused(&place, "control.meta");
}

#[test]
fn a_segment_size_that_cannot_be_with_and_without_a_right_checksum() {
    for size in [0, 1, 1 << 63] {
        let place = queue_with_messages();
        patch(&control(&place), 16, &u64::to_le_bytes(size));
        assert_refused(&place, "control.meta");
        let head = fs::read(control(&place)).unwrap();
        patch(&control(&place), 40, &crc32c(&head[..40]).to_le_bytes());
        assert_refused(&place, "control.meta");
    }
}

#[test]
fn a_control_file_that_is_missing_although_messages_are_there() {
    let place = queue_with_messages();
    fs::remove_file(control(&place)).unwrap();
    assert_refused(&place, "control.meta");
}

#[test]
fn a_truncated_segment() {
    for length in [0, 10, 4096, 65_535] {
        let place = queue_with_messages();
        let newest = newest_segment(&place);
        let file = fs::OpenOptions::new().write(true).open(&newest).unwrap();
        file.set_len(length).unwrap();
        let name = newest.file_name().unwrap().to_str().unwrap();
        assert_refused_by(&[&["append"], &["tail"], &["inspect"]], &place, name);
    }
}

#[test]
fn a_first_segment_that_is_truncated() {
    for length in [0, 10, 4096, 65_535] {
        let place = queue_with_messages();
        let first = Path::new(&place.queue()).join("000000000.q");
        fs::OpenOptions::new().write(true).open(first).unwrap().set_len(length).unwrap();
        assert_refused_by(&READERS, &place, "000000000.q");
    }
}

#[test]
fn a_segment_that_is_a_symbolic_link() {
    let place = queue_with_messages();
    let newest = newest_segment(&place);
    let elsewhere = place.path("elsewhere");
    fs::rename(&newest, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &newest).unwrap();
    let name = newest.file_name().unwrap().to_str().unwrap();
    assert_refused_by(&[&["append"], &["tail"], &["inspect"]], &place, name);
}

#[test]
fn a_damaged_message() {
    let place = queue_with_messages();
    patch(&Path::new(&place.queue()).join("000000000.q"), 200, b"\xff\xff\xff");
    let outcome = run(["tail", &place.queue(), "--format", "raw"], b"");
    assert_eq!(outcome.code, Some(2));
    assert!(outcome.errors.contains("000000000.q: damaged at offset "), "{}", outcome.errors);
}

#[test]
fn a_second_writer_while_one_is_active() {
    let place = Place::new();
    let mut first = Running::start(["append", &place.queue(), "--ack", "--segment-size", "64M"]);
    first.write(b"a\n");
    assert_eq!(first.line(), "0\n");
    // The first writer prepares its next segment all the while, so only its messages are compared.
    let segment = Path::new(&place.queue()).join("000000000.q");
    let before = fs::read(&segment).unwrap();
    assert_fails(&["append"], &place, "WriterAlreadyActive");
    assert_fails(&["append"], &place, &format!("process {} ", first.pid()));
    assert!(fs::read(&segment).unwrap() == before);
    first.write(b"b\n");
    assert_eq!(first.line(), "1\n");
    first.finish().succeeded();
    assert_eq!(place.contents(), b"a\nb\n");
}

#[test]
fn a_second_reader_of_a_name_while_one_is_active() {
    let place = queue_with_messages();
    let mut first = Running::start(["tail", &place.queue(), "-f", "--reader", "r"]);
    assert!(!first.line().is_empty());
    // The first may still be committing, so only what is said is compared.
    let outcome = run(["tail", &place.queue(), "--reader", "r"], b"");
    assert_eq!(outcome.code, Some(2));
    assert!(outcome.errors.contains(&first.pid().to_string()), "{}", outcome.errors);
}

#[test]
fn a_reader_name_that_leaves_the_directory() {
    let place = queue_with_messages();
    for name in ["../x", "", ".", "a/b", "/tmp/x", "a b"] {
        let before = snapshot(place.root());
        let outcome = run(["tail", &place.queue(), "--reader", name], b"");
        assert_eq!(outcome.code, Some(2), "{name:?}");
        assert!(outcome.errors.contains(name), "{}", outcome.errors);
        assert!(snapshot(place.root()) == before);
    }
}

#[test]
fn options_that_cannot_be_make_no_queue() {
    let place = Place::new();
    let missing = place.path("missing-input");
    for (options, named) in [
        (vec!["--segment-size", "0"], "--segment-size"),
        (vec!["--segment-size", "1"], "--segment-size"),
        (vec!["--segment-size", "9223372036854775808"], "--segment-size"),
        (vec!["--segment-size", "99999999999999999999"], "--segment-size"),
        (vec!["--segment-size", "4MB"], "--segment-size"),
        (vec!["--type-id", "0"], "--type-id"),
        (vec!["--type-id", "0xFFFF"], "--type-id"),
        (vec!["--batch", "0"], "--batch"),
        (vec!["--ack=never"], "--ack"),
        (vec![missing.as_str()], "missing-input"),
        (vec!["/"], "/: a directory"),
    ] {
        let queue = place.queue();
        let outcome = run(["append", &queue].into_iter().chain(options.iter().copied()), b"a\n");
        assert_eq!(outcome.code, Some(2), "{options:?}");
        assert!(outcome.errors.contains(named), "{options:?}: {}", outcome.errors);
        assert!(outcome.took < Duration::from_secs(2));
        assert_eq!(snapshot(place.root()).len(), 1, "{options:?}");
    }
}

#[test]
fn a_usage_error_has_exit_code_2_and_help_has_0() {
    assert_eq!(run(["no-such-command"], b"").code, Some(2));
    assert_eq!(run(["tail"], b"").code, Some(2));
    assert_eq!(run(["tail", "q", "--from", "nowhere"], b"").code, Some(2));
    assert_eq!(run(["tail", "q", "--reader", "a", "--no-commit"], b"").code, Some(2));
    let help = run(["--help"], b"").succeeded();
    assert!(help.text().contains("append") && !help.text().contains("demo-child"));
}

/// The segment in which the messages end. One behind it may have been prepared.
fn newest_segment(place: &Place) -> std::path::PathBuf {
    let inspection = run(["inspect", &place.queue(), "--json"], b"").succeeded().json();
    let id = inspection["head"]["segment"].as_u64().unwrap();
    Path::new(&place.queue()).join(format!("{id:09}.q"))
}

#[test]
fn a_directory_that_holds_other_things_does_not_become_a_queue() {
    let place = Place::new();
    std::fs::write(place.root().join("letter.txt"), b"dear all").unwrap();
    let before = snapshot(place.root());
    let home = place.root().to_str().unwrap();
    let outcome = run(["append", home], b"a\n");
    assert_eq!(outcome.code, Some(2));
    assert!(outcome.errors.contains("letter.txt"), "{}", outcome.errors);
    assert!(snapshot(place.root()) == before);
}
