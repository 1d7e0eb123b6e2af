//! What is demanded, beside what one run or several have measured.

use crate::print::number;
use crate::verdict::{Bound, Row};

/// A run and its verdict.
pub struct Run {
    pub name: String,
    pub demands: Vec<Row>,
}

/// A demand, and what each run has measured.
struct Line<'r> {
    demand: &'r Row,
    rows: Vec<Option<&'r Row>>,
}

/// Prints every demand about something that a run has measured.
pub fn print(runs: &[Run], markdown: bool) {
    let (lines, missing) = lines(runs);
    let text = if markdown { as_markdown(runs, &lines) } else { as_text(runs, &lines) };
    print!("{text}");
    if missing > 0 && !markdown {
        println!("{missing} demands are about what was not measured");
    }
}

/// The demands in the order of the first run, and behind them those of later runs that it has not; and how
/// many were left out because no run has measured them.
fn lines(runs: &[Run]) -> (Vec<Line<'_>>, usize) {
    // Some demands differ in nothing but how much is asked.
    let same = |a: &Row, b: &Row| a.what == b.what && a.stretch == b.stretch && a.bound == b.bound;
    let mut lines: Vec<Line<'_>> = Vec::new();
    for demand in runs.iter().flat_map(|run| &run.demands) {
        if !lines.iter().any(|line| same(line.demand, demand)) {
            let row = |run: &'_ Run| run.demands.iter().position(|row| same(row, demand));
            let rows = runs.iter().map(|run| run.demands.get(row(run)?));
            lines.push(Line { demand, rows: rows.collect() });
        }
    }
    let all = lines.len();
    lines.retain(|line| line.measured().any(|measured| measured.is_some()));
    let missing = all - lines.len();
    (lines, missing)
}

impl Line<'_> {
    fn measured(&self) -> impl Iterator<Item = Option<f64>> {
        self.rows.iter().map(|row| row.and_then(|row| row.measured))
    }

    /// As text, with a stroke for what was not measured.
    fn figures(&self) -> impl Iterator<Item = String> {
        self.measured().map(|measured| measured.map_or_else(|| "-".to_owned(), number))
    }

    fn bound(&self) -> String {
        match self.demand.bound {
            Bound::AtLeast(bound) => format!(">= {}", number(bound)),
            Bound::AtMost(bound) => format!("<= {}", number(bound)),
        }
    }

    /// Whether all that have measured it meet it; else the names of those that do.
    fn met(&self, runs: &[Run]) -> String {
        let judged =
            || self.rows.iter().zip(runs).filter_map(|(row, run)| Some((row.as_ref()?.met?, run)));
        let meet: Vec<&str> =
            judged().filter(|(met, _)| *met).map(|(_, run)| run.name.as_str()).collect();
        match (meet.len(), self.demand.stretch) {
            (all, _) if all == judged().count() => "yes".to_owned(),
            (0, true) => "no, a wish".to_owned(),
            (0, false) => "no".to_owned(),
            _ => meet.join(", "),
        }
    }
}

fn as_text(runs: &[Run], lines: &[Line<'_>]) -> String {
    let heads = runs.iter().map(|run| format!(" {:>10}", run.name)).collect::<String>();
    let mut text = format!("\n{:<80} {:>10}{heads}  met\n", "demanded", "bound");
    for line in lines {
        // A column is as wide as its head.
        let figures = line.figures().zip(runs).map(|(figure, run)| {
            let width = run.name.chars().count().max(10);
            format!(" {figure:>width$}")
        });
        let figures = figures.collect::<String>();
        let (what, bound, met) = (&line.demand.what, line.bound(), line.met(runs));
        text += &format!("{what:<80} {bound:>10}{figures}  {met}\n");
    }
    text
}

fn as_markdown(runs: &[Run], lines: &[Line<'_>]) -> String {
    let heads = runs.iter().map(|run| format!(" {} |", run.name)).collect::<String>();
    let mut text = format!("| demanded | bound |{heads} met |\n");
    text += &format!("|---|---|{}---|\n", "---|".repeat(runs.len()));
    for line in lines {
        let figures = line.figures().map(|figure| format!(" {figure} |")).collect::<String>();
        let (what, bound, met) = (&line.demand.what, line.bound(), line.met(runs));
        text += &format!("| {what} | {bound} |{figures} {met} |\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(what: &str, bound: Bound, measured: Option<f64>, stretch: bool) -> Row {
        let met = measured.map(|measured| match bound {
            Bound::AtLeast(bound) => measured >= bound,
            Bound::AtMost(bound) => measured <= bound,
        });
        Row { what: what.to_owned(), measured, bound, stretch, met }
    }

    /// The same demands twice, but for the last, which only the second run knows.
    fn runs() -> [Run; 2] {
        use Bound::{AtLeast, AtMost};
        let run = |name: &str, figures: [Option<f64>; 5]| {
            let [rate, wait, time, size, depth] = figures;
            let demands = vec![
                row("rate", AtLeast(1.0), rate, false),
                row("rate", AtLeast(2.0), rate, true),
                row("wait", AtMost(10.0), wait, false),
                row("time", AtMost(1.0), time, false),
                row("size", AtMost(1.0), size, false),
                row("depth", AtMost(1.0), depth, false),
            ];
            Run { name: name.to_owned(), demands }
        };
        let mut now = run("now", [Some(1.5), Some(12.0), Some(2.0), None, None]);
        now.demands.pop();
        [now, run("before", [Some(1.25), Some(8.0), None, None, Some(0.5)])]
    }

    #[test]
    fn runs_are_beside_each_other_and_who_meets_a_demand_is_named_if_not_all_do() {
        let runs = runs();
        let (lines, missing) = lines(&runs);
        assert_eq!(missing, 1);
        assert_eq!(
            as_markdown(&runs, &lines),
            "| demanded | bound | now | before | met |\n\
             |---|---|---|---|---|\n\
             | rate | >= 1.00 | 1.50 | 1.25 | yes |\n\
             | rate | >= 2.00 | 1.50 | 1.25 | no, a wish |\n\
             | wait | <= 10.0 | 12.0 | 8.00 | before |\n\
             | time | <= 1.00 | 2.00 | - | no |\n\
             | depth | <= 1.00 | - | 0.500 | yes |\n"
        );
    }

    #[test]
    fn the_columns_of_the_text_are_below_their_heads() {
        let mut runs = runs();
        runs[1].name = "on a quieter host".to_owned();
        let text = as_text(&runs, &lines(&runs).0);
        let mut rows = text.lines().skip(1);
        let head = rows.next().unwrap();
        for row in rows {
            let end = head.find("  met").unwrap();
            assert_eq!(row.get(end..end + 2), Some("  "), "{text}");
            assert_ne!(row.get(end - 1..end), Some(" "), "{text}");
        }
    }
}
