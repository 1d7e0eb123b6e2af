//! `chron-cli retention` and `chron-cli readers rm`: what a queue keeps, why, and making it let go.

use chronicle_std::{Fate, Queue, RetentionPlan, format::SegmentId};
use serde::Serialize;

use crate::args::{ReaderArguments, RetentionArguments, RetentionCommand};
use crate::failure::Failure;
use crate::output;
use crate::units;

pub(crate) fn run(command: &RetentionCommand) -> Result<(), Failure> {
    match command {
        RetentionCommand::Why(arguments) => show(arguments, false),
        RetentionCommand::Plan(arguments) => show(arguments, true),
        RetentionCommand::Apply(arguments) => apply(arguments),
    }
}

pub(crate) fn remove_reader(arguments: &ReaderArguments) -> Result<(), Failure> {
    Queue::remove_reader(&arguments.queue, &arguments.name)?;
    output::print(&format!(
        "{}: reader '{}' is removed\n",
        arguments.queue.display(),
        arguments.name
    ))
}

/// A segment and why it stays, or that it may go.
#[derive(Serialize)]
struct SegmentView {
    segment: u32,
    removable: bool,
    reason: String,
}

#[derive(Serialize)]
struct PlanView {
    oldest: u32,
    head: u32,
    keep_from: u32,
    max_bytes: Option<u64>,
    max_segments: Option<u64>,
    max_age_ns: Option<u64>,
    capacity_bytes: Option<u64>,
    held_by: Option<String>,
    segments: Vec<SegmentView>,
}

impl PlanView {
    fn new(plan: &RetentionPlan, removable_only: bool) -> Self {
        let mut segments = Vec::new();
        let mut next = Some(plan.oldest);
        while let Some(id) = next.filter(|id: &SegmentId| *id <= plan.head) {
            let fate = plan.fate(id);
            let removable = matches!(fate, Fate::Removable | Fate::Expired);
            if removable || !removable_only {
                segments.push(SegmentView { segment: id.get(), removable, reason: reason(&fate) });
            }
            next = id.next().ok();
        }
        Self {
            oldest: plan.oldest.get(),
            head: plan.head.get(),
            keep_from: plan.keep_from().get(),
            max_bytes: plan.policy.max_bytes,
            max_segments: plan.policy.max_segments,
            max_age_ns: plan.policy.max_age_ns,
            capacity_bytes: plan.policy.capacity_bytes,
            held_by: plan.holder.as_ref().map(ToString::to_string),
            segments,
        }
    }
}

fn reason(fate: &Fate) -> String {
    match fate {
        Fate::Removable => "may go: the limits ask for it and nobody holds it".to_owned(),
        Fate::Expired => {
            "may go: all of it is older than the age limit, and nobody holds it".to_owned()
        }
        Fate::InUse => "stays: it is being written to".to_owned(),
        Fate::WithinLimits => "stays: it is within the limits".to_owned(),
        Fate::HeldBy(name) => format!("stays: reader '{name}' has not passed it"),
        Fate::HeldByUnreadable(name) => {
            format!("stays: the position of reader '{name}' cannot be read; remove that reader")
        }
        other => format!("stays: {other:?}"),
    }
}

fn show(arguments: &RetentionArguments, removable_only: bool) -> Result<(), Failure> {
    let view = PlanView::new(&Queue::retention_plan(&arguments.queue)?, removable_only);
    if arguments.json {
        return output::print_json(&view);
    }
    let mut text = String::new();
    for segment in &view.segments {
        text += &format!("{:09}.q  {}\n", segment.segment, segment.reason);
    }
    if view.segments.is_empty() {
        text += "nothing may go\n";
    }
    output::print(&text)
}

fn apply(arguments: &RetentionArguments) -> Result<(), Failure> {
    let report = Queue::apply_retention(&arguments.queue)?;
    if arguments.json {
        return output::print_json(&serde_json::json!({
            "removed": report.removed,
            "keep_from": report.plan.keep_from().get(),
        }));
    }
    output::print(&format!("removed {}\n", units::plural(report.removed.into(), "segment")))
}
