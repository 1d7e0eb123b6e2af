//! The table of logs whose appends survive a power loss.

use crate::bench::{Bench, Scale, say};
use crate::durable::{LOGS, Task};
use crate::results::Results;
use crate::tables::TABLES;

/// Records of one append.
pub const BATCHES: [usize; 3] = [1, 16, 256];

/// The name of a case.
pub fn case(batch: usize) -> String {
    format!("256 B, {batch} at a time")
}

/// Syncs of one run: so many more where they are small that what is made ready ahead hardly counts.
pub fn syncs(scale: &Scale, batch: usize) -> u64 {
    if batch < 256 { 10 * scale.syncs } else { scale.syncs }
}

pub fn durable(bench: &Bench, results: &mut Results) {
    let names = bench.wanted(LOGS.iter().map(|(name, _)| *name), TABLES);
    for batch in BATCHES {
        let case = case(batch);
        say(format_args!("durable, {case}"));
        results.interleave("durable", &case, &names, bench.scale.runs, |name| {
            let scratch = bench.disk_scratch()?;
            let task = Task {
                log: name.to_owned(),
                batch,
                appends: syncs(&bench.scale, batch),
                directory: scratch.path().to_owned(),
                ticks_per_ns: bench.ticks_per_ns,
                cpu: bench.cpus[0],
            };
            bench.single("durable", &task)
        });
    }
}
