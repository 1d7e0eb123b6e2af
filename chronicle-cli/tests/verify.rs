//! Checking a queue changes nothing and finds everything.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod support;

use std::path::Path;

use support::{Place, lines, patch, run, snapshot};

#[test]
fn a_whole_queue_passes_and_nothing_changes() {
    let place = Place::new();
    place.append(&lines(1, 3000));
    run(["tail", &place.queue(), "--reader", "a", "--limit", "10"], b"").succeeded();
    place.append(&lines(2, 10));
    let before = snapshot(place.root());
    let report = run(["verify", &place.queue(), "--json"], b"").succeeded().json();
    // Each of the two writers began with a record of the queue's own.
    assert_eq!(report["records"], 3012);
    assert_eq!(report["readers"], 1);
    assert_eq!(report["faults"].as_array().unwrap().len(), 0);
    assert!(snapshot(place.root()) == before);
}

#[test]
fn every_fault_is_named_with_its_place_and_the_rest_is_counted() {
    let place = Place::new();
    place.append(&lines(1, 3000));
    run(["tail", &place.queue(), "--reader", "a", "--limit", "10"], b"").succeeded();
    let file = |name: &str| Path::new(&place.queue()).join(name);
    patch(&file("000000000.q"), 1000, b"\xff\x00\xff");
    patch(&file("000000002.q"), 0, b"X");
    patch(&file("000000003.q"), 56, &[0x41]);
    patch(&file("readers/a.meta"), 520, &[7; 600]);
    patch(&file("checkpoint.meta"), 0, b"X");
    let before = snapshot(place.root());
    let outcome = run(["verify", &place.queue()], b"");
    assert_eq!(outcome.code, Some(2));
    for part in [
        "000000000.q: damaged at offset ",
        "000000002.q: wrong magic",
        "000000003.q: ",
        "readers/a.meta: ",
        "checkpoint.meta: wrong magic",
        " are whole",
    ] {
        assert!(outcome.text().contains(part), "{part}: {}", outcome.text());
    }
    assert!(outcome.errors.contains("nothing was changed"), "{}", outcome.errors);
    assert!(snapshot(place.root()) == before);
}

#[test]
fn a_missing_segment_and_a_missing_queue_are_told_apart() {
    let place = Place::new();
    assert_eq!(run(["verify", &place.queue()], b"").code, Some(2));
    place.append(&lines(1, 3000));
    std::fs::remove_file(Path::new(&place.queue()).join("000000001.q")).unwrap();
    let outcome = run(["verify", &place.queue()], b"");
    assert_eq!(outcome.code, Some(2));
    assert!(outcome.text().contains("000000001.q"), "{}", outcome.text());
    assert!(outcome.text().contains("the segment is not there"), "{}", outcome.text());
}
