//! The tables, and how each is filled.

mod streams;

pub use streams::{LATENCY_SIZES, RATES, case};

use crate::bench::Bench;
use crate::results::Results;

/// The names of all tables, in the order in which they are filled.
pub const TABLES: &[&str] = &["throughput", "round-trip", "one-way"];

/// Fills the tables that are wanted.
pub fn fill(bench: &Bench, results: &mut Results) {
    let fillers: [(&str, fn(&Bench, &mut Results)); 3] = [
        ("throughput", streams::throughput),
        ("round-trip", streams::round_trip),
        ("one-way", streams::one_way),
    ];
    for (name, fill) in fillers {
        if bench.wants_table(name, TABLES) {
            fill(bench, results);
        }
    }
}
