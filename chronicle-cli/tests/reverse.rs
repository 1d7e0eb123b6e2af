//! The last messages of a queue, the newest first.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod support;

use support::{Place, lines, run};

fn reversed(bytes: &[u8]) -> Vec<u8> {
    let mut lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    lines.reverse();
    lines.concat()
}

#[test]
fn the_newest_messages_come_first_and_a_limit_ends_them() {
    let place = Place::new();
    let queue = place.queue();
    let input = lines(3, 3000);
    place.append(&input);
    let tail = |options: &[&str]| {
        let arguments = ["tail", &queue, "--reverse", "--format", "raw"];
        run(arguments.iter().chain(options), b"").succeeded().output
    };
    assert!(tail(&[]) == reversed(&input));
    let last: Vec<&[u8]> = input.split_inclusive(|byte| *byte == b'\n').rev().take(20).collect();
    assert!(tail(&["--limit", "20"]) == last.concat());
    let before: Vec<&[u8]> = input.split_inclusive(|byte| *byte == b'\n').take(500).collect();
    assert!(tail(&["--from", "seq:500"]) == reversed(&before.concat()));
    assert_eq!(tail(&["--from", "earliest"]), b"");
    let refused = run(["tail", &queue, "--reverse", "-f"], b"");
    assert_eq!(refused.code, Some(2));
}
