//! What a queue keeps, and how an operator finds out why.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod support;

use std::time::{Duration, Instant};

use support::{Place, lines, run};

fn segments(place: &Place) -> usize {
    let files = std::fs::read_dir(place.queue()).unwrap();
    files.filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|e| e == "q")).count()
}

#[test]
fn a_writer_removes_what_readers_have_passed_and_why_names_who_holds_the_rest() {
    let place = Place::new();
    let queue = place.queue();
    let limits = ["--segment-size", "64K", "--retain", "256K"];
    run(["create", &queue].into_iter().chain(limits), b"").succeeded();
    run(["append", &queue], &lines(1, 100)).succeeded();
    run(["tail", &queue, "--reader", "slow", "--limit", "5"], b"").succeeded();
    run(["append", &queue], &lines(2, 5000)).succeeded();
    let grown = segments(&place);
    assert!(grown > 8, "{grown}");

    let why = run(["retention", "why", &queue], b"").succeeded();
    assert!(why.text().lines().next().unwrap().contains("reader 'slow' has not passed it"));
    assert!(why.text().contains("it is being written to"));
    let plan = run(["retention", "plan", &queue], b"").succeeded();
    assert_eq!(plan.text(), "nothing may go\n");

    run(["readers", "rm", &queue, "slow"], b"").succeeded();
    let plan = run(["retention", "plan", &queue, "--json"], b"").succeeded().json();
    let removable = plan["segments"].as_array().unwrap().len();
    assert_eq!(removable, grown - 4);
    let applied = run(["retention", "apply", &queue], b"").succeeded();
    assert_eq!(applied.text(), format!("removed {removable} segments\n"));
    assert_eq!(segments(&place), 4);

    // From now on a writer does it by itself.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(20) {
        run(["append", &queue], &lines(3, 5000)).succeeded();
        if segments(&place) < 30 {
            break;
        }
    }
    assert!(segments(&place) < 30, "{}", segments(&place));
    run(["tail", &queue, "--format", "raw"], b"").succeeded();
}

#[test]
fn a_queue_with_a_limit_refuses_to_grow_and_says_why() {
    let place = Place::new();
    let queue = place.queue();
    let limits = ["--segment-size", "64K", "--retain", "0", "--capacity", "256K"];
    run(["create", &queue].into_iter().chain(limits), b"").succeeded();
    let outcome = run(["append", &queue], &lines(1, 5000));
    assert_eq!(outcome.code, Some(2));
    assert!(outcome.errors.contains("the queue is full"), "{}", outcome.errors);
    let kept = place.contents();
    assert!(!kept.is_empty() && lines(1, 5000).starts_with(&kept));
}

#[test]
fn segments_older_than_the_age_limit_go_and_why_says_so() {
    let place = Place::new();
    let queue = place.queue();
    let limits = ["--segment-size", "64K", "--retain", "0", "--retain-age", "1500ms"];
    run(["create", &queue].into_iter().chain(limits), b"").succeeded();
    let mut writer = support::Running::start(["append", &queue]);
    writer.write(&lines(1, 3000));
    let started = Instant::now();
    let wait_until = |there: &dyn Fn(usize) -> bool| {
        while !there(segments(&place)) {
            assert!(started.elapsed() < Duration::from_secs(30), "{} segments", segments(&place));
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    wait_until(&|count| count > 5);
    // The one that is being written to stays, and the one that is prepared behind it.
    wait_until(&|count| count <= 2);
    assert!(started.elapsed() > Duration::from_millis(1400), "{:?}", started.elapsed());
    assert_eq!(writer.finish().code, Some(0));

    let tail = ["tail", &queue, "--reader", "slow", "--limit", "1"];
    run(tail, b"").succeeded();
    let mut writer = support::Running::start(["append", &queue]);
    writer.write(&lines(2, 1000));
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(writer.finish().code, Some(0));
    let why = run(["retention", "why", &queue], b"").succeeded();
    assert!(why.text().contains("reader 'slow' has not passed it"), "{}", why.text());
    run(["readers", "rm", &queue, "slow"], b"").succeeded();
    let why = run(["retention", "why", &queue], b"").succeeded();
    assert!(why.text().contains("all of it is older than the age limit"), "{}", why.text());
    run(["retention", "apply", &queue], b"").succeeded();
    assert_eq!(segments(&place), 1);
}

#[test]
fn an_active_reader_is_not_removed() {
    let place = Place::new();
    let queue = place.queue();
    place.append(b"a\n");
    let mut active = support::Running::start(["tail", &queue, "-f", "--reader", "r"]);
    assert!(!active.line().is_empty());
    let outcome = run(["readers", "rm", &queue, "r"], b"");
    assert_eq!(outcome.code, Some(2));
    assert!(outcome.errors.contains("reader 'r' is active"), "{}", outcome.errors);
    let outcome = run(["readers", "rm", &queue, "nobody"], b"");
    assert_eq!(outcome.code, Some(2));
}
