//! The demo runs, measures everything that it promises, and leaves nothing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod support;

use support::{Place, run, snapshot};

#[test]
fn the_demo_measures_everything_and_leaves_nothing() {
    let place = Place::new();
    let directory = place.root().to_str().unwrap();
    let report = run(["demo", "--json", "--quick", "--dir", directory], b"").succeeded().json();
    for index in 0..3 {
        assert!(report["append"][index]["nanoseconds_per_message"].as_f64().unwrap() > 0.0);
        assert!(report["throughput"][index]["messages_per_second"].as_f64().unwrap() > 0.0);
    }
    for latency in ["half_round_trip", "one_way", "wake_up"] {
        assert!(report[latency]["p50_ns"].as_u64().unwrap() > 0, "{latency}");
    }
    assert!(report["kill"]["acknowledged"].as_u64().unwrap() > 0);
    assert_eq!(report["kill"]["missing"], 0);
    assert_eq!(snapshot(place.root()).len(), 1);
}
