//! The tables, and how each is filled.

pub mod durable;
pub mod singles;
pub mod streams;

use crate::bench::Bench;
use crate::results::Results;

/// How a table is filled.
type Filler = (&'static str, fn(&Bench, &mut Results));

const FILLERS: &[Filler] = &[
    ("throughput", streams::throughput),
    ("round-trip", streams::round_trip),
    ("one-way", streams::one_way),
    ("rolls", singles::rolls),
    ("wake", singles::wake),
    ("append", singles::append),
    ("durable", durable::durable),
    ("scan", singles::scan),
    ("seek", singles::seek),
    ("reopen", singles::reopen),
    ("readers", singles::readers),
];

/// The names of all tables, in the order in which they are filled.
pub const TABLES: &[&str] = &[
    "throughput",
    "round-trip",
    "one-way",
    "rolls",
    "wake",
    "append",
    "durable",
    "scan",
    "seek",
    "reopen",
    "readers",
];

/// Fills the tables that are wanted.
pub fn fill(bench: &Bench, results: &mut Results) {
    for (name, fill) in FILLERS {
        if bench.wants_table(name, TABLES) {
            fill(bench, results);
        }
    }
}
