//! Tables for people.

use crate::job::Values;
use crate::results::{Cell, Results, median};
use crate::systems;

/// Prints what is measured on.
pub fn machine(results: &Results) {
    for (what, value) in &results.machine {
        println!("{what:<20} {value}");
    }
}

/// Prints what is measured.
pub fn systems(results: &Results) {
    println!();
    for (name, what) in systems::names() {
        println!("{name:<20} {what}");
    }
    for (what, why) in &results.skipped {
        println!("{what:<20} SKIPPED: {why}");
    }
}

/// Prints every table with medians, and how far runs lie apart.
pub fn print(results: &Results) {
    let mut printed: Vec<(&str, &str)> = Vec::new();
    for cell in &results.cells {
        let place = (cell.table.as_str(), cell.case.as_str());
        if printed.contains(&place) {
            continue;
        }
        printed.push(place);
        let cells: Vec<&Cell> = results
            .cells
            .iter()
            .filter(|other| (other.table.as_str(), other.case.as_str()) == place)
            .collect();
        print_case(place, &cells);
    }
    for (what, why) in &results.skipped {
        println!("\nSKIPPED {what}: {why}");
    }
}

fn print_case((table, case): (&str, &str), cells: &[&Cell]) {
    let columns = columns(cells);
    println!("\n{table}: {case}");
    print!("{:<20}", "");
    for column in &columns {
        print!(" {column:>14}");
    }
    println!("  spread");
    for cell in cells {
        print!("{:<20}", cell.system);
        if let Some(why) = &cell.failed {
            println!(" FAILED: {}", why.lines().next().unwrap_or_default());
            continue;
        }
        for column in &columns {
            let values = column_of(cell, column);
            match median(values) {
                Some(value) => print!(" {:>14}", number(value)),
                None => print!(" {:>14}", "-"),
            }
        }
        println!("  {}", columns.first().map(|column| spread(cell, column)).unwrap_or_default());
    }
}

fn column_of(cell: &Cell, column: &str) -> Vec<f64> {
    cell.runs.iter().filter_map(|run: &Values| run.get(column).copied()).collect()
}

/// The values that any of the cells has, percentiles in their own order.
fn columns(cells: &[&Cell]) -> Vec<String> {
    const FIRST: [&str; 8] =
        ["per_second", "bytes_per_second", "p50", "p90", "p99", "p99.9", "p99.99", "max"];
    let mut names: Vec<String> =
        cells.iter().flat_map(|cell| &cell.runs).flat_map(|run| run.keys().cloned()).collect();
    let place = |name: &String| FIRST.iter().position(|first| first == name).unwrap_or(FIRST.len());
    names.sort_by(|a, b| place(a).cmp(&place(b)).then_with(|| a.cmp(b)));
    names.dedup();
    names
}

/// The lowest and the highest run beside the median.
fn spread(cell: &Cell, column: &str) -> String {
    let values = column_of(cell, column);
    let lowest = values.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if values.len() < 2 {
        String::new()
    } else {
        format!("[{}..{}]", number(lowest), number(highest))
    }
}

/// A number with three digits that count, and a letter for its size.
pub fn number(value: f64) -> String {
    let (scaled, unit) = match value.abs() {
        size if size >= 1e9 => (value / 1e9, " G"),
        size if size >= 1e6 => (value / 1e6, " M"),
        size if size >= 1e4 => (value / 1e3, " k"),
        _ => (value, ""),
    };
    let digits = match scaled.abs() {
        size if size >= 100.0 || scaled == 0.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    format!("{scaled:.digits$}{unit}")
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers_have_three_digits_and_a_unit() {
        let shown = [0.0, 0.0123, 1.5, 129.4, 9999.0, 15_500.0, 62_800_000.0, 7.7e9].map(number);
        assert_eq!(shown, ["0", "0.012", "1.50", "129", "9999", "15.5 k", "62.8 M", "7.70 G"]);
    }
}
