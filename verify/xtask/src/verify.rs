//! `cargo xtask verify`: everything that tries to break the queue, in one run, with counts of what was
//! tried.

mod counts;
mod ledger;
mod parts;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use self::counts::Counts;
use self::ledger::Entry;
pub(crate) use self::ledger::print as print_ledger;
use self::parts::PARTS;
use crate::steps::Outcome;

/// How much a part does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Effort {
    /// The same every time: what it shows once it shows each time.
    Default,
    /// What other choices would show, within a time.
    Long { seconds: u64, seed: u64 },
}

/// How a part went.
pub(crate) enum Ran {
    Counted(Counts),
    /// And why.
    Skipped(String),
}

/// One way of trying to break the queue.
pub(crate) struct Part {
    name: &'static str,
    /// Of the time of a long run, in hundredths; one with 0 does the same in every run.
    share: u64,
    run: fn(&Run<'_>) -> Result<Ran, String>,
}

/// A run of one part.
pub(crate) struct Run<'a> {
    effort: Effort,
    /// The parts that have passed in this run.
    passed: &'a [&'static str],
}

/// Runs every part, all of them even where one fails; then says what was counted.
pub(crate) fn verify(minutes: Option<u64>, seed: Option<u64>, only: Option<&str>) -> Outcome {
    let seed = seed.unwrap_or_else(seed_of_now);
    let chosen: Vec<&Part> =
        PARTS.iter().filter(|part| only.is_none_or(|only| part.name == only)).collect();
    if chosen.is_empty() {
        let names: Vec<_> = PARTS.iter().map(|part| part.name).collect();
        return Err(format!("no part has this name; there are: {}", names.join(", ")));
    }
    let shares: u64 = chosen.iter().map(|part| part.share).sum();
    let begun = Instant::now();
    let mut rows = Vec::new();
    let mut failed = Vec::new();
    let mut passed = Vec::new();
    let mut entries = Vec::new();
    for part in chosen {
        let effort = match minutes {
            Some(minutes) if part.share > 0 => {
                Effort::Long { seconds: (minutes * 60 * part.share / shares).max(1), seed }
            }
            _ => Effort::Default,
        };
        eprintln!("xtask: verify: {}", part.name);
        let part_begun = Instant::now();
        let ran = (part.run)(&Run { effort, passed: &passed });
        let took = part_begun.elapsed();
        let said = match &ran {
            Ok(Ran::Counted(counts)) => {
                passed.push(part.name);
                counts.to_string()
            }
            Ok(Ran::Skipped(why)) => format!("SKIPPED: {why}"),
            Err(why) => {
                failed.push(part.name);
                format!("FAILED: {why}")
            }
        };
        rows.push(format!("{:<22} {:>7.1}s  {said}", part.name, took.as_secs_f64()));
        if let Effort::Long { seed, .. } = effort
            && !matches!(ran, Ok(Ran::Skipped(_)))
        {
            let counts = if let Ok(Ran::Counted(counts)) = &ran { counts } else { &Counts::new() };
            entries.push(Entry::new(part.name, seed, took, counts, ran.is_err()));
        }
    }
    println!("\n{:<22} {:>8}  tried\n{}", "part", "time", rows.join("\n"));
    println!("{:<22} {:>7.1}s", "all", begun.elapsed().as_secs_f64());
    ledger::add(&entries)?;
    match failed.as_slice() {
        [] => Ok(String::new()),
        failed => Err(format!("failed: {}", failed.join(", "))),
    }
}

fn seed_of_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}
