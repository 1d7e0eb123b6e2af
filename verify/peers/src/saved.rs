//! What was measured, in a file: `--json` writes it, `--from` reads it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::results::Results;
use crate::verdict::Row;

/// Goes up whenever an earlier program could not judge what this one writes, or the other way round.
const FORMAT: u32 = 1;

/// A file as it is written: with the verdict, for whoever reads it by other means.
#[derive(Serialize)]
struct Written<'a> {
    format: u32,
    #[serde(flatten)]
    results: &'a Results,
    demands: &'a [Row],
}

/// What tells files apart before anything else is believed.
#[derive(Deserialize)]
struct Head {
    /// The first programs did not say it.
    #[serde(default = "first_format")]
    format: u32,
}

fn first_format() -> u32 {
    1
}

pub fn write(path: &Path, results: &Results, demands: &[Row]) -> Result<()> {
    let written = Written { format: FORMAT, results, demands };
    let text = serde_json::to_string_pretty(&written)?;
    fs::write(path, text).with_context(|| path.display().to_string())
}

/// Reads what was measured. The verdict in the file is left aside: demands may have changed since.
///
/// # Errors
/// If there is no such file, if it is of something else or of another version of this program, or if
/// nothing was measured.
pub fn read(path: &Path) -> Result<Results> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    parse(&text).with_context(|| path.display().to_string())
}

fn parse(text: &str) -> Result<Results> {
    const FOREIGN: &str = "not what `cargo xtask peers --json` writes";
    let head: Head = serde_json::from_str(text).context(FOREIGN)?;
    if head.format != FORMAT {
        bail!(
            "written in format {} by another version of this program, which reads format {FORMAT}: measure anew",
            head.format
        );
    }
    let results: Results = serde_json::from_str(text).context(FOREIGN)?;
    if results.cells.iter().all(|cell| cell.runs.is_empty()) {
        bail!("nothing was measured");
    }
    Ok(results)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::job::Values;
    use crate::verdict;

    fn measured(value: f64) -> Results {
        let machine = BTreeMap::from([("system".to_owned(), "Linux".to_owned())]);
        let mut results = Results::new(machine, &[("aeron", "built without")]);
        results.interleave("wake", "64 B", &["chronicle parked", "futex"], 3, |system| {
            let value = if system == "futex" { 100.0 } else { value };
            Ok(Values::from([("p50".to_owned(), value), ("max".to_owned(), f64::NAN)]))
        });
        results
    }

    fn why(text: &str) -> String {
        parse(text).err().map(|error| format!("{error:#}")).unwrap_or_default()
    }

    #[test]
    fn what_was_written_is_judged_as_it_was_when_it_was_measured() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run.json");
        let results = measured(110.0);
        let demands = verdict::judge(&results);
        write(&path, &results, &demands).unwrap();
        let again = read(&path).unwrap();
        assert_eq!(again.machine, results.machine);
        assert_eq!(again.skipped, results.skipped);
        assert_eq!(again.median("wake", "64 B", "chronicle parked", "max"), None);
        let figures = |rows: &[Row]| -> Vec<_> {
            rows.iter().map(|row| (row.what.clone(), row.measured, row.met)).collect()
        };
        assert_eq!(figures(&verdict::judge(&again)), figures(&demands));
        assert!(demands.iter().any(|row| row.measured == Some(1.1)));
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = read(Path::new("nowhere/run.json")).err().unwrap();
        assert!(format!("{error:#}").starts_with("nowhere/run.json: "), "{error:#}");
    }

    #[test]
    fn a_file_of_something_else_is_refused_and_said_to_be_one() {
        for foreign in ["", "measured", "[]", "{}", r#"{"cells": []}"#, r#"{"format": "1"}"#] {
            let why = why(foreign);
            assert!(why.starts_with("not what `cargo xtask peers --json` writes: "), "{why}");
        }
    }

    #[test]
    fn a_file_of_another_version_is_refused_whatever_else_is_in_it() {
        let why = why(r#"{"format": 2, "cells": "elsewhere"}"#);
        assert!(why.starts_with("written in format 2 by another version"), "{why}");
    }

    #[test]
    fn a_file_in_which_nothing_was_measured_is_refused() {
        let empty = r#"{"machine": {}, "skipped": [], "cells": []}"#;
        assert_eq!(why(empty), "nothing was measured");
        let failed = r#"{"machine": {}, "skipped": [], "cells": [
            {"table": "t", "case": "c", "system": "s", "runs": [], "failed": "no"}]}"#;
        assert_eq!(why(failed), "nothing was measured");
    }
}
