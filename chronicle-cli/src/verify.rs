//! `chron-cli verify`.

use chronicle_std::{Queue, Verification};

use crate::args::InspectArguments;
use crate::failure::Failure;
use crate::output;
use crate::units;

pub(crate) fn run(arguments: &InspectArguments) -> Result<(), Failure> {
    let (report, faults) = Queue::verify(&arguments.queue)?;
    let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
    if arguments.json {
        output::print_json(&serde_json::json!({
            "segments": report.segments,
            "records": report.records,
            "bytes": report.bytes,
            "readers": report.readers,
            "lost": report.lost,
            "faults": faults,
        }))?;
    } else {
        output::print(&text(&report, &faults))?;
    }
    match faults.len() as u64 {
        0 => Ok(()),
        count => Err(Failure::input(
            arguments.queue.display(),
            format!("{} found; nothing was changed", units::plural(count, "fault")),
        )),
    }
}

fn text(report: &Verification, faults: &[String]) -> String {
    let mut text = String::new();
    for fault in faults {
        text += fault;
        text.push('\n');
    }
    if report.lost > 0 {
        let lost = units::plural(report.lost, "message");
        text += &format!("{lost} lost earlier, gaps stand in their places\n");
    }
    text + &format!(
        "{} in {} ({}) and {} are whole\n",
        units::plural(report.records, "record"),
        units::plural(report.segments.into(), "segment"),
        units::bytes(report.bytes),
        units::plural(report.readers.into(), "reader"),
    )
}
