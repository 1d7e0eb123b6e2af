//! Storage that breaks its word must make the explorer fail: else it would see nothing at all.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test reports by panicking")]

use chronicle_sim::{Failure, NameOrder, Seen, Setup, Space, Worker, Workload};

const SETUP: Setup =
    Setup { segment_size: 8192, sector: 512, names: NameOrder::Ordered, space: Space::Zero };

fn failure(workload: &Workload) -> Box<Failure> {
    let seen = Seen::default();
    match Worker::new(&seen, 1).explore(workload, false) {
        Err(failure) => failure,
        Ok(()) => panic!("nothing was found in {workload}"),
    }
}

#[test]
fn a_sync_that_does_nothing_is_found() {
    let mut workload = Workload::new(SETUP, &Workload::ops("sf").unwrap());
    workload.faults.lying_sync = true;
    let failure = failure(&workload);
    assert!(failure.why.starts_with("A3"), "{failure}");
}

#[test]
fn a_sync_of_names_that_does_nothing_is_found() {
    let mut workload = Workload::new(SETUP, &Workload::ops("sof").unwrap());
    workload.faults.lying_names = true;
    let failure = failure(&workload);
    assert!(failure.why.starts_with("A3"), "{failure}");
}

#[test]
fn a_failure_is_minimal_and_can_be_replayed() {
    let mut workload = Workload::new(SETUP, &Workload::ops("ssf").unwrap());
    workload.faults.lying_sync = true;
    let failure = failure(&workload);
    assert_eq!(failure.lost.len(), 1, "{failure}");
    assert_eq!(failure.replay(), Err(failure.why.clone()));
    assert!(failure.to_string().contains("replay --seed 1 --setup 8192/512/ordered --ops ssf"));
}
