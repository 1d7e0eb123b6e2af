//! Processes that may have few descriptors, little memory, small files or no threads.

use crate::launch::Limit;
use crate::run::Bench;
use crate::scenarios::ALL;

/// Somebody whom no other process belongs to: limits on threads do not count for the administrator.
const NOBODY_ELSE: u32 = 1_640_971_332;

/// The limits that are tried, from what nothing works with to what everything works with.
fn limits() -> impl Iterator<Item = (Limit, u64)> {
    let descriptors = (8..=16).chain([20, 24, 32, 64]).map(|count| (Limit::Descriptors, count));
    let memory = [16, 32, 64, 256].map(|mib| (Limit::Memory, mib << 20));
    let sizes = [0, 57, 512, 4095, 4096, 8192, 1 << 20].map(|size| (Limit::FileSize, size));
    let threads = [1, 2, 3, 8].map(|count| (Limit::Threads, count));
    descriptors.chain(memory).chain(sizes).chain(threads)
}

/// Runs every scenario under every limit. Returns how many, and what went wrong.
pub(crate) fn all(bench: &mut Bench) -> Result<(u64, Vec<String>), String> {
    let mut failures = Vec::new();
    let mut tried = 0;
    let mut refused = 0;
    for scenario in ALL {
        let usual = bench.usual(scenario)?;
        for (limit, to) in limits() {
            let outcome = bench.trial(scenario, &usual, false, |task| {
                task.limit = Some((limit, to));
                task.user = (limit == Limit::Threads).then_some(NOBODY_ELSE);
            })?;
            tried += 1;
            refused += u64::from(!outcome.succeeded);
            if let Err(fault) = outcome.verdict {
                failures.push(format!("{}, {limit:?} {to}: {fault}", scenario.name));
            }
        }
    }
    println!("{tried} processes under limits, {refused} of them refused");
    Ok((tried, failures))
}
