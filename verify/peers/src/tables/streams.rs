//! The tables of everything that has two sides: throughput, round trips, one way at a fixed rate.

use crate::bench::{Bench, say};
use crate::job::Drive;
use crate::results::Results;
use crate::systems::taking_part;
use crate::tables::TABLES;

/// Rates in messages a second.
pub const RATES: [u64; 3] = [10_000, 100_000, 1_000_000];
/// The size at which latencies are measured, and one where a copy begins to count.
pub const LATENCY_SIZES: [usize; 2] = [64, 1024];

/// The name of a case.
pub fn case(drive: Drive, size: usize) -> String {
    match drive {
        Drive::Behind => format!("{size} B, reader behind"),
        Drive::CaughtUp => format!("{size} B, reader caught up"),
        Drive::RoundTrip => format!("{size} B"),
        Drive::OneWay { rate } | Drive::Woken { rate } => format!("{size} B at {rate}/s"),
    }
}

pub fn throughput(bench: &Bench, results: &mut Results) {
    for &size in bench.scale.sizes {
        for drive in [Drive::Behind, Drive::CaughtUp] {
            measure(bench, results, "throughput", drive, size);
        }
    }
}

pub fn round_trip(bench: &Bench, results: &mut Results) {
    for size in LATENCY_SIZES {
        measure(bench, results, "round-trip", Drive::RoundTrip, size);
    }
}

pub fn one_way(bench: &Bench, results: &mut Results) {
    for rate in RATES {
        measure(bench, results, "one-way", Drive::OneWay { rate }, 64);
    }
}

fn measure(bench: &Bench, results: &mut Results, table: &str, drive: Drive, size: usize) {
    let entries: Vec<_> = taking_part(drive, size).collect();
    let names = bench.wanted(entries.iter().map(|entry| entry.name), TABLES);
    let case = case(drive, size);
    say(format_args!("{table}, {case}"));
    results.interleave(table, &case, &names, bench.scale.runs, |name| {
        let entry = entries.iter().find(|entry| entry.name == name);
        bench.drive(entry.ok_or_else(|| anyhow::anyhow!("no {name}"))?, drive, size)
    });
}
