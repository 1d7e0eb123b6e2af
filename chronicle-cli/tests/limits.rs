//! Processes that may have few descriptors, small files or little memory: they say so and end, no
//! signal ends them, and what they acknowledged is there. But for the last few bytes of memory: where Rust's
//! library gets none for a path, a message or the start of a thread, it ends the process by itself.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod support;

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use chronicle_std::format::layout::control::{POISONED_BOOT, WRITER_BOOT};
use support::{Place, run};

/// Segments so small that there are many rolls, and so large that one is more than the memory that the
/// last test gives.
const SMALL: &str = "4KiB";
const LARGE: &str = "64MiB";
const LINES: u64 = 300;
/// Where the commands ask for more than this at once, they are told that there is none.
const SMALL_ALLOCATION: u64 = 16 << 10;
/// signal(7), on every architecture.
const SIGABRT: i32 = 6;

fn line(number: u64) -> String {
    format!("message {number} {}\n", "x".repeat(number as usize % 100))
}

fn input(from: u64) -> Vec<u8> {
    (from..from + LINES).map(line).collect::<String>().into_bytes()
}

/// What a command under a limit came to: its exit code and its output.
fn limited(limit: &str, arguments: &[&str], input: &[u8]) -> (i32, String, String) {
    let script = format!("ulimit -c 0; ulimit {limit}; exec \"$@\"");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), input).unwrap();
    let output = Command::new("sh")
        .args(["-c", &script, "sh", env!("CARGO_BIN_EXE_chron-cli")])
        .args(arguments)
        // To print one takes memory, and without any the library waits for itself forever.
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::from(file.reopen().unwrap()))
        .output()
        .unwrap();
    let mut errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let signal = output.status.signal();
    if signal == Some(SIGABRT) && library_has_no_memory(&errors) {
        errors.insert_str(0, "chron-cli: ");
        return (1, String::from_utf8_lossy(&output.stdout).into_owned(), errors);
    }
    assert_eq!(signal, None, "{limit} {arguments:?}: {errors}");
    let code = output.status.code().unwrap();
    (code, String::from_utf8_lossy(&output.stdout).into_owned(), errors)
}

/// Whether Rust's library ended the process because there was not even this little memory.
fn library_has_no_memory(errors: &str) -> bool {
    let size = errors.lines().find_map(|line| {
        line.strip_prefix("memory allocation of ")?.split(' ').next()?.parse::<u64>().ok()
    });
    size.is_some_and(|size| size <= SMALL_ALLOCATION)
        || errors.contains("failed to allocate an alternative stack")
}

/// Uses a queue under a limit, and then without: everything that was acknowledged is there, in order.
/// Returns how many commands were refused.
fn use_queue(limit: &str, segment_size: &str, is_there: bool) -> u32 {
    let place = Place::new();
    let queue = place.queue();
    if is_there {
        run(["create", &queue, "--segment-size", segment_size], b"").succeeded();
    }
    let mut refused = 0;
    let mut acknowledged = 0;
    for options in [&["--ack"][..], &["--ack=durable"], &["--ack", "--sync-every", "0"]] {
        let mut arguments = vec!["append", &queue, "--segment-size", segment_size];
        arguments.extend_from_slice(options);
        let before = acknowledged;
        let (code, output, errors) = limited(limit, &arguments, &input(acknowledged));
        // 1 where there is no descriptor left for the command's own output.
        assert!([0, 1, 2].contains(&code), "{limit}: exit code {code}: {errors}");
        assert_eq!(
            code != 0,
            errors.lines().any(|line| line.starts_with("chron-cli: ")),
            "{errors}"
        );
        refused += u32::from(code != 0);
        for number in output.lines() {
            assert_eq!(number, acknowledged.to_string(), "{limit}");
            acknowledged += 1;
        }
        assert!(code != 0 || acknowledged == before + LINES, "{limit}: {errors}");
        for command in
            [&["tail", &queue][..], &["tail", &queue, "--reader", "r"], &["inspect", &queue]]
        {
            let (code, _, errors) = limited(limit, command, b"");
            assert!([0, 1, 2].contains(&code), "{limit} {command:?}: {code}: {errors}");
            refused += u32::from(code != 0);
        }
        // One record may be there that nobody was told of.
        if std::path::Path::new(&queue).join("control.meta").exists() {
            let outcome = run(["tail", &queue, "--format", "raw"], b"").succeeded();
            let there = outcome.output.split(|byte| *byte == b'\n').count() as u64 - 1;
            assert!(there >= acknowledged, "{limit}: {there} of {acknowledged}");
            acknowledged = there;
        }
    }
    run(["append", &queue, "--segment-size", segment_size], &input(acknowledged)).succeeded();
    let expected: String = (0..acknowledged + LINES).map(line).collect();
    assert!(place.contents() == expected.into_bytes(), "{limit}");
    run(["verify", &queue], b"").succeeded();
    let names = std::fs::read_dir(&queue).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = names.filter(|name| name.to_str().unwrap().ends_with(".tmp")).collect();
    assert!(left.is_empty(), "{limit}: {left:?}");
    refused
}

/// Tries limits one after the other, and sees that some were too small and the last was not.
fn sweep(limits: impl IntoIterator<Item = String>, segment_size: &str) {
    let mut refusals = Vec::new();
    for (index, limit) in limits.into_iter().enumerate() {
        // Every other queue is there already; the first one is tried both ways.
        refusals.push(use_queue(&limit, segment_size, index % 2 == 1));
        if index == 0 {
            refusals.push(use_queue(&limit, segment_size, true));
        }
    }
    println!("{} queues, {} refusals", refusals.len(), refusals.iter().sum::<u32>());
    assert!(refusals[0] > 0 && refusals.last() == Some(&0), "{refusals:?}");
}

#[test]
fn without_descriptors() {
    sweep((8..=24).chain([32, 64]).map(|count| format!("-n {count}")), SMALL);
}

#[test]
fn with_small_files() {
    // In blocks of 512 bytes: none at all, below a page, below a segment.
    sweep([0, 1, 7, 8, 9, 15, 16, 1000].map(|blocks| format!("-f {blocks}")), SMALL);
}

#[test]
fn with_little_memory() {
    // In KiB, from what the program needs to start to more than a few segments.
    let megabytes = (0..14).map(|step| 16 + step * 32);
    sweep(megabytes.map(|megabytes| format!("-v {}", megabytes << 10)), LARGE);
}

#[test]
fn a_repair_with_small_files_is_refused_and_can_be_made_again() {
    let place = Place::new();
    let queue = place.queue();
    run(["append", &queue, "--segment-size", SMALL, "--flush"], &input(0)).succeeded();
    run(["tail", &queue, "--reader", "r"], b"").succeeded();
    let segment = std::path::Path::new(&queue).join("000000001.q");
    support::patch(&segment, 1000, &[0xff; 40]);
    support::patch(&std::path::Path::new(&queue).join("readers/r.meta"), 0, &[0; 64]);
    // In blocks of 512 bytes, up to the size of the largest file.
    for blocks in [0, 1, 7] {
        let limit = format!("-f {blocks}");
        let copy = place.path(&format!("copy-{blocks}"));
        for arguments in [&["repair", &queue, "--apply"][..], &["repair", &queue, "--into", &copy]]
        {
            let (code, _, errors) = limited(&limit, arguments, b"");
            assert_eq!(code, 2, "{blocks}: {errors}");
            assert!(errors.contains("RLIMIT_FSIZE"), "{blocks}: {errors}");
        }
    }
    let (code, _, errors) = limited("-f 16", &["repair", &queue, "--apply"], b"");
    assert_eq!(code, 0, "{errors}");
    run(["verify", &queue], b"").succeeded();
}

#[test]
fn a_poisoned_queue_is_refused_with_small_files_and_opened_without() {
    let place = Place::new();
    let queue = place.queue();
    run(["append", &queue, "--segment-size", SMALL], &input(0)).succeeded();
    // What a failed sync leaves: a mark of the boot that the queue was written to in.
    let control = std::path::Path::new(&queue).join("control.meta");
    let boot = std::fs::read(&control).unwrap()[WRITER_BOOT..][..8].to_owned();
    support::patch(&control, POISONED_BOOT as u64, &boot);
    let (code, _, errors) = limited("-f 0", &["append", &queue], &input(LINES));
    assert_eq!(code, 2, "{errors}");
    assert!(errors.contains("a sync failed"), "{errors}");
    run(["append", &queue], &input(LINES)).succeeded();
    assert_eq!(place.contents().split_inclusive(|byte| *byte == b'\n').count() as u64, 2 * LINES);
}
