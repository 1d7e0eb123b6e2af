//! What was measured, and ratios of it.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::{Deserialize, Deserializer, Serialize};

use crate::job::Values;

/// Everything that one run of the program has found out.
#[derive(Serialize, Deserialize)]
pub struct Results {
    /// On what it was measured.
    pub machine: BTreeMap<String, String>,
    /// What takes no part, and why.
    pub skipped: Vec<(String, String)>,
    pub cells: Vec<Cell>,
}

/// One system in one case of one table, measured several times.
#[derive(Serialize, Deserialize)]
pub struct Cell {
    pub table: String,
    pub case: String,
    pub system: String,
    /// The runs in the order in which they were made: the same place in another cell is the run that was
    /// made beside it.
    #[serde(deserialize_with = "numbers")]
    pub runs: Vec<Values>,
    /// Why there are no more runs.
    pub failed: Option<String>,
}

impl Results {
    pub fn new(machine: BTreeMap<String, String>, skipped: &[(&str, &str)]) -> Self {
        let skipped = skipped.iter().map(|(what, why)| ((*what).to_owned(), (*why).to_owned()));
        Self { machine, skipped: skipped.collect(), cells: Vec::new() }
    }

    pub fn cell(&self, table: &str, case: &str, system: &str) -> Option<&Cell> {
        let is_it =
            |cell: &&Cell| cell.table == table && cell.case == case && cell.system == system;
        self.cells.iter().find(is_it).filter(|cell| cell.failed.is_none())
    }

    fn cell_mut(&mut self, table: &str, case: &str, system: &str) -> Option<&mut Cell> {
        let is_it = |cell: &Cell| cell.table == table && cell.case == case && cell.system == system;
        let index = match self.cells.iter().position(is_it) {
            Some(index) => index,
            None => {
                self.cells.push(Cell {
                    table: table.to_owned(),
                    case: case.to_owned(),
                    system: system.to_owned(),
                    runs: Vec::new(),
                    failed: None,
                });
                self.cells.len() - 1
            }
        };
        self.cells.get_mut(index)
    }

    /// Measures systems by turns, each so many times, beginning with another one each time. One that fails
    /// twice in a row is left out and said to have failed.
    pub fn interleave(
        &mut self,
        table: &str,
        case: &str,
        systems: &[&str],
        runs: usize,
        mut measure: impl FnMut(&str) -> Result<Values>,
    ) {
        for run in 0..runs {
            for turn in 0..systems.len() {
                let Some(system) = systems.get((turn + run) % systems.len()) else { continue };
                let Some(cell) = self.cell_mut(table, case, system) else { continue };
                if cell.failed.is_some() {
                    continue;
                }
                match measure(system).or_else(|_| measure(system)) {
                    Ok(values) => cell.runs.push(values),
                    Err(error) => {
                        eprintln!("FAILED {table}, {case}, {system}: {error:#}");
                        cell.failed = Some(format!("{error:#}"));
                    }
                }
            }
        }
    }

    /// The median of a value over the runs.
    pub fn median(&self, table: &str, case: &str, system: &str, value: &str) -> Option<f64> {
        let cell = self.cell(table, case, system)?;
        median(cell.runs.iter().filter_map(|run| run.get(value).copied()).collect())
    }

    /// The median of the ratios of a value of one system to the same of another, run by run.
    pub fn ratio(
        &self,
        table: &str,
        case: &str,
        [over, under]: [&str; 2],
        value: &str,
    ) -> Option<f64> {
        self.ratio_of((table, case, over, value), (table, case, under, value))
    }

    /// The same between any two cells whose runs were made beside each other: table, case, system, value.
    pub fn ratio_of(
        &self,
        over: (&str, &str, &str, &str),
        under: (&str, &str, &str, &str),
    ) -> Option<f64> {
        let runs = |(table, case, system, value): (&str, &str, &str, &str)| {
            let cell = self.cell(table, case, system)?;
            Some(cell.runs.iter().map(|run| run.get(value).copied()).collect::<Vec<_>>())
        };
        let pairs = runs(over)?.into_iter().zip(runs(under)?);
        let ratios = pairs.filter_map(|(over, under)| Some(over? / under?));
        median(ratios.filter(|ratio| ratio.is_finite()).collect())
    }
}

/// What is no number is written as `null`, and is nothing that was measured.
fn numbers<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Values>, D::Error> {
    let runs = Vec::<BTreeMap<String, Option<f64>>>::deserialize(from)?;
    let measured = |(name, value): (String, Option<f64>)| Some((name, value?));
    Ok(runs.into_iter().map(|run| run.into_iter().filter_map(measured).collect()).collect())
}

/// The value in the middle; the mean of the two there for an even number; `None` of nothing.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    if values.len() % 2 == 1 { Some(upper) } else { Some((values.get(middle - 1)? + upper) / 2.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(a: &[f64], b: &[f64]) -> Results {
        let mut results = Results::new(BTreeMap::new(), &[]);
        let (mut a, mut b) = (a.iter(), b.iter());
        let runs = a.len();
        results.interleave("t", "c", &["a", "b"], runs, |system| {
            let value = if system == "a" { a.next() } else { b.next() };
            Ok(Values::from([("v".to_owned(), *value.unwrap())]))
        });
        results
    }

    #[test]
    fn a_ratio_is_the_median_of_the_ratios_of_runs_made_beside_each_other() {
        // The machine was ten times slower in the second run, and a half faster in the third.
        let results = results(&[2.0, 20.0, 1.5], &[1.0, 10.0, 0.5]);
        assert_eq!(results.ratio("t", "c", ["a", "b"], "v"), Some(2.0));
        assert_eq!(results.median("t", "c", "a", "v"), Some(2.0));
        assert_eq!(results.ratio("t", "c", ["a", "nobody"], "v"), None);
    }

    #[test]
    fn a_system_that_fails_twice_is_left_out_and_the_others_go_on() {
        let mut results = Results::new(BTreeMap::new(), &[]);
        results.interleave("t", "c", &["good", "bad"], 3, |system| match system {
            "good" => Ok(Values::from([("v".to_owned(), 1.0)])),
            _ => Err(anyhow::anyhow!("no")),
        });
        assert_eq!(results.median("t", "c", "good", "v"), Some(1.0));
        assert!(results.cell("t", "c", "bad").is_none());
    }
}
