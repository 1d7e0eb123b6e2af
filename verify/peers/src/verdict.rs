//! What is demanded of Chronicle, as ratios inside one run, and whether it is met.

use chronicle_format::WatermarkRecord;
use serde::Serialize;

use crate::job::Drive;
use crate::results::Results;
use crate::tables::durable;
use crate::tables::singles::{READERS, ROLL_RATE};
use crate::tables::streams::case;

/// The engine's two kinds of queue beside the ideal one with the same features.
const KINDS: [(&str, &str, &str); 2] =
    [("no checksum", "chronicle", "ideal full"), ("CRC-32C", "chronicle crc", "ideal full crc")];
const AERON: [&str; 2] = ["aeron offer", "aeron claim"];
const FLUSHED: [&str; 2] = ["chronicle flush", "chronicle group"];
/// Bytes of a record with a payload of 256 bytes.
const DURABLE_RECORD: f64 = chronicle_format::record_size(256) as f64;
/// And of the one by which a flush says what is durable.
const FLUSH_RECORD: f64 = chronicle_format::record_size(WatermarkRecord::SIZE as u32) as f64;
const PAGE: f64 = 4096.0;

/// A demand, and what was measured.
#[derive(Serialize)]
pub struct Row {
    pub what: String,
    pub measured: Option<f64>,
    pub bound: Bound,
    /// Wished for and not demanded.
    pub stretch: bool,
    pub met: Option<bool>,
}

/// How far a figure may go.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

use Bound::{AtLeast, AtMost};

impl Bound {
    fn holds(self, measured: f64) -> bool {
        match self {
            AtLeast(bound) => measured >= bound,
            AtMost(bound) => measured <= bound,
        }
    }
}

/// Collects rows.
struct Demands<'r> {
    results: &'r Results,
    rows: Vec<Row>,
}

impl Demands<'_> {
    fn row(&mut self, what: impl Into<String>, bound: Bound, measured: Option<f64>) {
        let met = measured.map(|measured| bound.holds(measured));
        self.rows.push(Row { what: what.into(), measured, bound, stretch: false, met });
    }

    fn stretch(&mut self, what: impl Into<String>, bound: Bound, measured: Option<f64>) {
        self.row(what, bound, measured);
        if let Some(row) = self.rows.last_mut() {
            row.stretch = true;
        }
    }

    /// Of systems of which the best one counts, that one.
    fn best<'s>(&self, table: &str, case: &str, of: [&'s str; 2], value: &str) -> &'s str {
        let [first, second] = of.map(|system| self.results.median(table, case, system, value));
        let less_is_better = !value.ends_with("per_second");
        match (first, second) {
            (Some(first), Some(second)) if (second < first) == less_is_better => of[1],
            (None, Some(_)) => of[1],
            _ => of[0],
        }
    }

    fn ratio(&self, table: &str, case: &str, pair: [&str; 2], value: &str) -> Option<f64> {
        self.results.ratio(table, case, pair, value)
    }

    /// The median of a value.
    fn value(&self, table: &str, case: &str, system: &str, value: &str) -> Option<f64> {
        self.results.median(table, case, system, value)
    }

    fn throughput(&mut self) {
        let table = "throughput";
        let value = "per_second";
        for size in [64, 256, 1024] {
            let case = case(Drive::Behind, size);
            let aeron = self.best(table, &case, AERON, value);
            for (kind, chronicle, ideal) in KINDS {
                let what = |other: &str| format!("{case}, {kind}: to {other}");
                let checked = kind == "CRC-32C";
                let (to_ideal, to_aeron, wish) = match (size, checked) {
                    (64, false) => (Some(0.85), None, Some(2.0)),
                    (64, true) => (Some(0.9), Some(1.0), Some(1.3)),
                    (_, false) => (None, Some(1.4), None),
                    (_, true) => (None, Some(1.0), None),
                };
                if let Some(bound) = to_ideal {
                    let ratio = self.ratio(table, &case, [chronicle, ideal], value);
                    self.row(what("the ideal queue with the same features"), AtLeast(bound), ratio);
                }
                let ratio = self.ratio(table, &case, [chronicle, aeron], value);
                if let Some(bound) = to_aeron {
                    self.row(what("Aeron IPC"), AtLeast(bound), ratio);
                }
                if let Some(bound) = wish {
                    self.stretch(what("Aeron IPC"), AtLeast(bound), ratio);
                }
                if size == 64 && !checked {
                    let ratio = self.ratio(table, &case, [chronicle, "iceoryx2 copy"], value);
                    self.row(what("iceoryx2, copied in"), AtLeast(10.0), ratio);
                }
                if size == 1024 && !checked {
                    let ratio = self.ratio(table, &case, [chronicle, "memcpy"], value);
                    self.row(what("memcpy into a warm mapping"), AtLeast(0.9), ratio);
                }
            }
        }
        for size in [64, 256, 1024] {
            let case = case_of_caught_up(size);
            for (kind, chronicle, ideal) in KINDS {
                let ratio = self.ratio(table, &case, [chronicle, ideal], value);
                let what = format!("{case}, {kind}: to the ideal queue with the same features");
                self.row(what, AtLeast(0.9), ratio);
            }
        }
    }

    fn round_trip(&mut self) {
        let (table, case) = ("round-trip", case(Drive::RoundTrip, 64));
        let aeron = self.best(table, &case, AERON, "p50");
        let limits = [
            ("chronicle timed", "cache line", "p50", 1.2, "times given, p50: to a cache line's"),
            ("chronicle timed", aeron, "p50", 0.9, "times given, p50: to Aeron IPC"),
            ("chronicle crc", "ideal full crc", "p50", 1.1, "CRC-32C, p50: to the ideal queue"),
            ("chronicle crc", aeron, "p50", 1.2, "CRC-32C, p50: to Aeron IPC"),
            ("chronicle", "ideal full", "p99", 1.3, "no checksum, p99: to the ideal queue"),
            ("chronicle crc", "ideal full crc", "p99", 1.3, "CRC-32C, p99: to the ideal queue"),
        ];
        for (chronicle, other, value, bound, what) in limits {
            let ratio = self.ratio(table, &case, [chronicle, other], value);
            self.row(format!("round trip / 2, {case}, {what}"), AtMost(bound), ratio);
        }
    }

    fn rolls(&mut self) {
        let pair = ["chronicle rolling", "chronicle"];
        let ratio = self.ratio("rolls", "one way", pair, "p99.99");
        let what =
            format!("one way at {ROLL_RATE}/s over rolls, p99.99: to the same without rolls");
        self.row(what, AtMost(1.5), ratio);
        for (name, bound) in [("p99", 1000.0), ("max", 25_000.0)] {
            let with = self.value("rolls", "one append", "chronicle", &format!("roll_{name}"));
            let without = self.value("rolls", "one append", "chronicle", "append_p50");
            let adds = with.zip(without).map(|(with, without)| with - without);
            self.row(format!("what a roll adds to an append, {name}, ns"), AtMost(bound), adds);
        }
    }

    fn single_operations(&mut self) {
        let pair = ["chronicle parked", "futex"];
        let ratio = self.ratio("wake", "64 B", pair, "p50");
        self.row("waking a reader that sleeps, p50: to a bare futex", AtMost(1.2), ratio);
        // A set sleeps on two words, its own bell and the queue's, which costs more than on one.
        let ratio = self.ratio("wake", "64 B", ["chronicle bus", "futex"], "p50");
        self.row("an order wakes a router in its set, p50: to a bare futex", AtMost(1.3), ratio);
        for (case, value) in [
            ("in memory", "calls_per_million"),
            ("in memory", "faults_per_million"),
            ("on disk", "calls_per_million"),
        ] {
            let measured = self.value("append", case, "chronicle crc", value);
            let value = value.replace('_', " ");
            self.row(format!("append {case}, over rolls: {value}"), AtMost(0.0), measured);
        }
        for (system, kind, append, next) in
            [("chronicle", "no checksum", 20.0, 10.0), ("chronicle crc", "CRC-32C", 40.0, 30.0)]
        {
            for (name, bound) in [("append_ns", append), ("next_ns", next), ("commit_ns", 20.0)] {
                let measured = self.value("scan", "64 B", system, name);
                let name = name.replace("_ns", "");
                self.row(
                    format!("{name}, 64 B, {kind}: processor time, ns"),
                    AtMost(bound),
                    measured,
                );
            }
        }
        for (kind, chronicle, ideal) in KINDS {
            let ratio = self.ratio("scan", "64 B", [ideal, chronicle], "replay_ns");
            let what = format!("replay, 64 B, {kind}, warm: to the ideal queue's");
            self.row(what, AtLeast(0.8), ratio);
            for size in [256, 1024] {
                let case = format!("{size} B");
                let measured = self.value("scan", &case, chronicle, "replay_bytes_per_second");
                let what = format!("replay, {case}, {kind}, warm: bytes a second");
                self.row(what, AtLeast(4e9), measured);
            }
        }
    }

    fn durable(&mut self) {
        for (batch, bound) in durable::BATCHES.into_iter().zip([1.15, 1.15, 1.3]) {
            let case = durable::case(batch);
            let best = self.best("durable", &case, FLUSHED, "p50");
            let ratio = self.ratio("durable", &case, [best, "raw"], "p50");
            let what = format!("durable, {case}, p50: to pwrite and fdatasync");
            self.row(what, AtMost(bound), ratio);
            let written = self.value("durable", &case, FLUSHED[0], "bytes_per_append");
            let log = batch as f64 * DURABLE_RECORD + FLUSH_RECORD;
            let more = written.map(|written| written - log);
            let what = format!("durable, {case}: bytes written beyond those of the log");
            self.row(what, AtMost(PAGE), more);
        }
        let case = durable::case(256);
        let best = self.best("durable", &case, FLUSHED, "per_second");
        for (other, bound) in [("raft-engine", 1.25), ("sqlite", 4.0)] {
            let ratio = self.ratio("durable", &case, [best, other], "per_second");
            self.row(format!("durable, {case}, throughput: to {other}"), AtLeast(bound), ratio);
        }
    }

    fn whole_queues(&mut self) {
        let cases = |table: &str| -> Vec<String> {
            let cells = self.results.cells.iter().filter(|cell| cell.table == table);
            cells.map(|cell| cell.case.clone()).collect()
        };
        for case in cases("seek") {
            for by in ["seq", "time"] {
                for (value, bound) in [("warm_p50", 1e4), ("warm_p99", 3e4), ("cold_p50", 5e6)] {
                    let name = format!("{by}_{value}");
                    let measured = self.value("seek", &case, "chronicle crc", &name);
                    let value = value.replace('_', ", ");
                    self.row(
                        format!("seek by {by} in {case}, {value}, ns"),
                        AtMost(bound),
                        measured,
                    );
                }
            }
        }
        for case in cases("reopen") {
            let measured = self.value("reopen", &case, "chronicle crc", "ms");
            self.row(format!("open after kill -9, {case}, ms"), AtMost(100.0), measured);
        }
        let [one, .., most] = READERS.map(|count| count.to_string());
        let ratio = self.ratio("readers", "64 B", [&most, &one], "per_second");
        self.row(format!("writer's throughput with {most} readers: to {one}"), AtLeast(0.9), ratio);
    }
}

fn case_of_caught_up(size: usize) -> String {
    case(Drive::CaughtUp, size)
}

/// Every demand, beside what was measured.
pub fn judge(results: &Results) -> Vec<Row> {
    let mut demands = Demands { results, rows: Vec::new() };
    demands.throughput();
    demands.round_trip();
    demands.rolls();
    demands.single_operations();
    demands.durable();
    demands.whole_queues();
    demands.rows
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::job::Values;

    #[test]
    fn demands_are_judged_by_the_better_of_two_rivals() {
        let mut results = Results::new(BTreeMap::new(), &[]);
        let case = case(Drive::Behind, 256);
        let systems = ["chronicle", "aeron offer", "aeron claim"];
        results.interleave("throughput", &case, &systems, 1, |system| {
            let value = match system {
                "chronicle" => 15.0,
                "aeron offer" => 10.0,
                _ => 12.0,
            };
            Ok(Values::from([("per_second".to_owned(), value)]))
        });
        let rows = judge(&results);
        let row = rows.iter().find(|row| row.what.contains("256 B, reader behind, no checksum"));
        let row = row.unwrap();
        assert_eq!((row.measured, row.met), (Some(1.25), Some(false)));
        let judged = rows.iter().filter(|row| row.met.is_some()).count();
        assert_eq!(judged, 1, "nothing is said of what was not measured");
    }
}
