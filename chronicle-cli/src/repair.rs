//! `chron-cli repair`: what is wrong with a queue, and putting it right.

use chronicle_std::{Queue, Remedy, Repair, RepairOptions, RepairReport};
use serde::Serialize;

use crate::args::RepairArguments;
use crate::failure::Failure;
use crate::output;
use crate::units;

pub(crate) fn run(arguments: &RepairArguments) -> Result<(), Failure> {
    let changes = arguments.apply || (arguments.into.is_some() && !arguments.dry_run);
    let report = if changes {
        let mut options = RepairOptions::default();
        options.into.clone_from(&arguments.into);
        options.quarantine.clone_from(&arguments.quarantine);
        Queue::repair(&arguments.queue, &options)?
    } else {
        Queue::repair_plan(&arguments.queue)?
    };
    if arguments.json {
        return output::print_json(&ReportView::new(&report, arguments, changes));
    }
    output::print(&text(&report, arguments, changes))
}

#[derive(Serialize)]
struct RepairView<'r> {
    file: &'r str,
    from: Option<u64>,
    to: Option<u64>,
    first_lost: Option<u64>,
    next_seq: Option<u64>,
    reason: &'r str,
    remedy: &'static str,
}

#[derive(Serialize)]
struct ReportView<'r> {
    applied: bool,
    repairs: Vec<RepairView<'r>>,
    messages_lost: u64,
    next_seq: u64,
    quarantine: Option<String>,
    copy: Option<String>,
}

impl<'r> ReportView<'r> {
    fn new(report: &'r RepairReport, arguments: &RepairArguments, applied: bool) -> Self {
        let view = |repair: &'r Repair| RepairView {
            file: &repair.file,
            from: repair.bytes.map(|(from, _)| from),
            to: repair.bytes.map(|(_, to)| to),
            first_lost: repair.lost.map(|(first, _)| first),
            next_seq: repair.lost.map(|(_, next)| next),
            reason: &repair.reason,
            remedy: remedy(repair.remedy),
        };
        Self {
            applied,
            repairs: report.repairs.iter().map(view).collect(),
            messages_lost: report.messages_lost,
            next_seq: report.next_seq,
            quarantine: report.quarantine.as_ref().map(|it| it.display().to_string()),
            copy: arguments.into.as_ref().filter(|_| applied).map(|it| it.display().to_string()),
        }
    }
}

fn remedy(remedy: Remedy) -> &'static str {
    match remedy {
        Remedy::Rebuilt => "rebuilt",
        Remedy::Gap => "gap",
        Remedy::Cut => "cut",
        Remedy::Mended => "mended",
        Remedy::Replaced => "replaced",
        Remedy::Moved => "moved",
        Remedy::Restarted => "restarted",
        Remedy::Removed => "removed",
        _ => "other",
    }
}

fn text(report: &RepairReport, arguments: &RepairArguments, applied: bool) -> String {
    let mut text = String::new();
    for repair in &report.repairs {
        text += &format!("{:<9} {}", remedy(repair.remedy), repair.file);
        if let Some((from, to)) = repair.bytes {
            text += &format!(" bytes {from}..{to}");
        }
        if let Some((first, next)) = repair.lost {
            text += &format!(" seq {first}..{}", next.saturating_sub(1));
        }
        text += &format!(": {}\n", repair.reason);
    }
    if report.repairs.is_empty() {
        text += "nothing is wrong\n";
    } else {
        let lost = units::plural(report.messages_lost, "message");
        text += &format!("{lost} lost, the next one has seq {}\n", report.next_seq);
    }
    match (&report.quarantine, &arguments.into) {
        (Some(quarantine), _) => {
            text += &format!("what was replaced is in {}\n", quarantine.display());
        }
        (None, Some(copy)) if applied => {
            text += &format!("a copy that is right is in {}\n", copy.display());
        }
        _ if !applied && !report.repairs.is_empty() => {
            text += "nothing was changed; --apply does it, --into makes a copy\n";
        }
        _ => {}
    }
    text
}
