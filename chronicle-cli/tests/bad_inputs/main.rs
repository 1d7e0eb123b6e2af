//! The catalogue of bad inputs: whatever is in the files of a queue, under their names, or on a command
//! line, every entry point of `chronicle-std` and every command answers within a second of processor
//! time and 64 MiB, with a typed error or a defined result, and changes nothing where it refuses.
//!
//! What readers, writers and a check make of each input is in the table of `docs/verification.md`, which
//! is compared with what happens.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod entries;
mod files;
mod limited;
mod names;
mod queue;
mod records;
mod segments;
mod snapshot;

use std::env;
use std::path::{Path, PathBuf};

use entries::{Report, WRITER, try_all};
use queue::Queue;
use snapshot::{changed, snapshot};

/// Where the queue is, for the process that tries the entry points.
pub(crate) const ROOT: &str = "CHRONICLE_TEST_ROOT";

/// One bad input: its number in the catalogue, what it is, and how it is made out of a good queue.
pub(crate) struct Input {
    number: u32,
    name: String,
    damage: Box<dyn Fn(&Queue)>,
    /// Seconds of processor time that a process may take.
    seconds: u32,
}

pub(crate) fn input(number: u32, name: &str, damage: impl Fn(&Queue) + 'static) -> Input {
    // Ten thousand files are looked at one by one, by each of the entry points.
    let seconds = if number == 57 { 10 } else { 1 };
    Input { number, name: name.to_owned(), damage: Box::new(damage), seconds }
}

/// Not tests of their own: the body of the processes that try the entry points.
#[test]
fn the_entry_points() {
    if let Some(root) = env::var_os(ROOT) {
        try_all(Path::new(&root), false);
    }
}

#[test]
fn the_entry_point_of_writers() {
    if let Some(root) = env::var_os(ROOT) {
        try_all(Path::new(&root), true);
    }
}

impl Input {
    fn queue(&self) -> Queue {
        let queue = Queue::new();
        (self.damage)(&queue);
        queue
    }

    fn try_entries(&self, queue: &Queue, test: &str) -> Vec<Report> {
        let what = format!("{}: {test}", self.name);
        let program = env::current_exe().unwrap();
        let arguments = [test, "--exact", "--nocapture", "--test-threads=1"];
        let ended = limited::run(&what, self.seconds, program, arguments, queue.root());
        assert!(ended.status.success(), "{what}: {} {}", ended.output, ended.errors);
        let reports: Vec<_> = ended.output.lines().filter_map(Report::parse).collect();
        for report in &reports {
            let unchanged = report.changed.is_empty() || !report.is_refusal();
            assert!(unchanged, "{what}: {report:?}");
        }
        reports
    }

    /// Runs a command; whether it worked. One that fails says so in a line and changes nothing.
    fn command(&self, queue: &Queue, command: &[&str]) -> bool {
        let what = format!("{}: {command:?}", self.name);
        let before = snapshot(queue.root());
        let program = env!("CARGO_BIN_EXE_chron-cli");
        let path = queue.path();
        let arguments: Vec<PathBuf> = command
            .iter()
            .map(|word| if *word == "QUEUE" { path.clone() } else { PathBuf::from(word) })
            .collect();
        let ended = limited::run(&what, self.seconds, program, arguments, queue.root());
        if ended.status.success() {
            return true;
        }
        assert_eq!(ended.status.code(), Some(2), "{what}: {}", ended.errors);
        let first = ended.errors.lines().next().unwrap_or_default();
        let told = first.starts_with("chron-cli: ") || command[0] == "verify";
        assert!(told, "{what}: {}", ended.errors);
        let changed = changed(&before, &snapshot(queue.root()));
        assert!(changed.is_empty(), "{what} changed {changed}: {}", ended.errors);
        false
    }

    /// The input's row of the table, as it really is.
    fn row(&self) -> String {
        let reports = self.try_entries(&self.queue(), "the_entry_points");
        let outcome = |entry: &str| {
            let report = reports.iter().find(|report| report.entry == entry);
            report.unwrap_or_else(|| panic!("{}: {entry} is missing", self.name)).outcome.clone()
        };
        let (reader, check) = (outcome("reader"), outcome("verify"));
        let writer = self.try_entries(&self.queue(), "the_entry_point_of_writers");
        let other_boot = self.queue();
        other_boot.forget_boot();
        let rebooted = self.try_entries(&other_boot, "the_entry_point_of_writers");
        assert!(writer[0].entry == WRITER && rebooted[0].entry == WRITER);

        let queue = self.queue();
        assert_eq!(self.command(&queue, &["verify", "QUEUE"]), check == "clean", "{}", self.name);
        for command in [
            &["inspect", "QUEUE"][..],
            &["inspect", "--json", "QUEUE"],
            &["readers", "ls", "QUEUE"],
            &["retention", "why", "QUEUE"],
            &["retention", "plan", "QUEUE"],
            &["tail", "QUEUE", "--durable"],
            &["tail", "QUEUE", "--from", "latest"],
            &["tail", "QUEUE", "--from", "seq:100", "--limit", "3"],
            &["create", "QUEUE"],
        ] {
            self.command(&queue, command);
        }
        let reads = reader.starts_with("reads ") && !reader.contains("then");
        assert_eq!(self.command(&queue, &["tail", "QUEUE"]), reads, "{}", self.name);
        self.command(&queue, &["retention", "apply", "QUEUE"]);
        // One that opens and then fails has noted that it has opened, and what it printed.
        if !outcome("subscriber").starts_with("opens") {
            self.command(&queue, &["tail", "QUEUE", "--reader", "r"]);
        }
        self.command(&queue, &["readers", "rm", "QUEUE", "r"]);
        let appended = self.command(&self.queue(), &["append", "QUEUE"]);
        assert_eq!(appended, !writer[0].is_refusal(), "{}", self.name);

        let (writer, rebooted) = (&writer[0].outcome, &rebooted[0].outcome);
        format!("| {} | {} | {reader} | {writer} | {rebooted} | {check} |", self.number, self.name)
    }
}

/// The rows of the table in `docs/verification.md` whose numbers are in the range.
pub(crate) fn documented(numbers: std::ops::RangeInclusive<u32>) -> Vec<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/verification.md");
    let text = std::fs::read_to_string(file).unwrap();
    let section = text.split("\n## ").find(|part| part.starts_with("Bad inputs\n")).unwrap();
    let number = |line: &&str| {
        let number = line.strip_prefix("| ")?.split(' ').next()?.parse().ok()?;
        numbers.contains(&number).then_some(())
    };
    section.lines().filter(|line| number(line).is_some()).map(str::to_owned).collect()
}

/// Compares what happens with what is written down.
fn check(inputs: &[Input]) {
    let rows: Vec<_> = inputs.iter().map(Input::row).collect();
    let numbers = inputs.iter().map(|input| input.number);
    let range = numbers.clone().min().unwrap()..=numbers.max().unwrap();
    let expected = documented(range);
    let differs = rows != expected;
    assert!(!differs, "docs/verification.md should say\n{}", rows.join("\n"));
    println!("counts: {{\"bad_inputs\": {}}}", rows.len());
}

#[test]
fn segments_that_are_no_segments() {
    check(&segments::inputs());
}

#[test]
fn records_that_nobody_appended() {
    check(&records::inputs());
}

#[test]
fn control_files_that_lie() {
    check(&files::control());
}

#[test]
fn readers_files_that_lie() {
    check(&files::readers());
}

#[test]
fn places_where_something_else_is() {
    check(&files::places());
}
