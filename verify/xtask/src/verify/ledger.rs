//! The ledger of long runs: a line of JSON for each part of each run, so that what is said of all of
//! them together is a sum.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::counts::{Counts, grouped};
use crate::steps::{Outcome, root};

/// One part of one long run.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// The day on which it ended, as in ISO 8601.
    date: String,
    /// What was run, as `git describe` says it.
    commit: String,
    part: String,
    seed: u64,
    seconds: u64,
    counts: BTreeMap<String, u64>,
    failures: u64,
}

impl Entry {
    pub(crate) fn new(
        part: &str,
        seed: u64,
        took: Duration,
        counts: &Counts,
        failed: bool,
    ) -> Self {
        Self {
            date: jiff::Timestamp::now().strftime("%Y-%m-%d").to_string(),
            commit: chronicle_account::commit().unwrap_or_else(|| "unknown".to_owned()),
            part: part.to_owned(),
            seed,
            seconds: took.as_secs(),
            counts: counts.iter().map(|(what, number)| (what.to_owned(), number)).collect(),
            failures: u64::from(failed),
        }
    }
}

fn path() -> PathBuf {
    root().join("verify/ledger.jsonl")
}

/// Adds what a run has done.
pub(crate) fn add(entries: &[Entry]) -> Result<(), String> {
    if entries.is_empty() {
        return Ok(());
    }
    let path = path();
    let failed = |error: &dyn std::fmt::Display| format!("{path:?}: {error}");
    let mut file =
        OpenOptions::new().create(true).append(true).open(&path).map_err(|error| failed(&error))?;
    for entry in entries {
        let line = serde_json::to_string(entry).map_err(|error| failed(&error))?;
        writeln!(file, "{line}").map_err(|error| failed(&error))?;
    }
    println!("added to verify/ledger.jsonl; `cargo xtask ledger` has the sums");
    Ok(())
}

/// Prints the sums as the table that `docs/verification.md` shows.
pub(crate) fn print() -> Outcome {
    let path = path();
    let text = fs::read_to_string(&path).map_err(|error| format!("{path:?}: {error}"))?;
    print!("{}", totals(&text)?);
    Ok(String::new())
}

/// The sums of a ledger, as a table in Markdown.
fn totals(ledger: &str) -> Result<String, String> {
    #[derive(Default)]
    struct Total {
        runs: u64,
        seconds: u64,
        counts: Counts,
        failures: u64,
    }
    let mut parts: BTreeMap<String, Total> = BTreeMap::new();
    for (number, line) in ledger.lines().enumerate() {
        let entry: Entry = serde_json::from_str(line)
            .map_err(|error| format!("line {} of the ledger: {error}", number + 1))?;
        let total = parts.entry(entry.part).or_default();
        total.runs += 1;
        total.seconds += entry.seconds;
        total.failures += entry.failures;
        for (what, number) in &entry.counts {
            total.counts.add(what, *number);
        }
    }
    let mut table =
        "| part | runs | minutes | tried | failed runs |\n|---|---|---|---|---|\n".to_owned();
    for (part, total) in parts {
        let Total { runs, seconds, counts, failures } = total;
        let minutes = grouped(seconds.div_ceil(60));
        table += &format!("| {part} | {runs} | {minutes} | {counts} | {failures} |\n");
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_of_all_runs_of_a_part() {
        let mut counts = Counts::new();
        counts.add("states", 1200);
        let took = Duration::from_secs(61);
        let lines = [
            serde_json::to_string(&Entry::new("sim", 1, took, &counts, false)).unwrap(),
            serde_json::to_string(&Entry::new("sim", 2, took, &counts, true)).unwrap(),
        ];
        let table = totals(&lines.join("\n")).unwrap();
        assert!(table.ends_with("| sim | 2 | 3 | 2,400 states | 1 |\n"), "{table}");
    }

    #[test]
    fn the_documentation_shows_the_sums_of_the_ledger() {
        let ledger = fs::read_to_string(path()).unwrap();
        let docs = fs::read_to_string(root().join("docs/verification.md")).unwrap();
        let table = totals(&ledger).unwrap();
        assert!(
            docs.contains(&table),
            "docs/verification.md should have what `cargo xtask ledger` prints:\n{table}"
        );
    }
}
