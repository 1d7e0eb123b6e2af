//! `chron-cli doctor`: what there is on a bus, and what is wrong with it.

use std::fmt::Write;

use chronicle_bus::{BusLayout, QueueEndpoint, Sign, StrategySurvey};
use chronicle_std::{Queue, RetentionPlan};
use serde::Serialize;

use crate::args::DoctorArguments;
use crate::failure::Failure;
use crate::inspect::{QueueView, ReaderView};
use crate::output;
use crate::units;

pub(crate) fn run(arguments: &DoctorArguments) -> Result<(), Failure> {
    let layout = BusLayout::new(&arguments.bus)?;
    let view = BusView::new(&layout, arguments.verify)?;
    if arguments.json {
        output::print_json(&view)?;
    } else {
        output::print(&view.text())?;
    }
    match view.findings.len() as u64 {
        0 => Ok(()),
        count => Err(Failure::Unhealthy(format!(
            "{}: {}; nothing was changed",
            arguments.bus.display(),
            units::plural(count, "finding")
        ))),
    }
}

/// A bus as it is printed.
#[derive(Serialize)]
struct BusView {
    bus: String,
    healthy: bool,
    /// Whether every message was checked.
    verified: bool,
    queues: Vec<QueueOnBus>,
    strategies: Vec<StrategyView>,
    findings: Vec<String>,
}

#[derive(Serialize)]
struct QueueOnBus {
    /// Path below the bus.
    name: String,
    message_type: Option<String>,
    /// Segments that retention would remove now.
    removable_segments: u32,
    /// The reader that keeps it from removing more, if one does.
    held_by: Option<String>,
    #[serde(flatten)]
    queue: QueueView,
}

#[derive(Serialize)]
struct StrategyView {
    name: String,
    lease: SignView,
    ready: SignView,
}

#[derive(Serialize)]
struct SignView {
    state: &'static str,
    pid: Option<u32>,
    epoch: Option<u32>,
}

impl From<Sign> for SignView {
    fn from(sign: Sign) -> Self {
        let (state, holder) = match sign {
            Sign::Held(holder) => ("held", holder),
            Sign::Left(holder) => ("left", holder),
            Sign::Absent => ("absent", None),
            _ => ("unknown", None),
        };
        let (pid, epoch) = (holder.map(|holder| holder.pid), holder.map(|holder| holder.epoch));
        Self { state, pid, epoch }
    }
}

impl SignView {
    fn text(&self) -> String {
        match (self.state, self.pid) {
            ("held", Some(pid)) => format!("process {pid}"),
            ("held", None) => "held".to_owned(),
            ("left", Some(pid)) => format!("left by process {pid}"),
            ("left", None) => "left".to_owned(),
            ("absent", _) => "-".to_owned(),
            _ => "unknown".to_owned(),
        }
    }
}

impl BusView {
    fn new(layout: &BusLayout, verify: bool) -> Result<Self, Failure> {
        let survey = layout.survey()?;
        let mut view = Self {
            bus: layout.root().display().to_string(),
            healthy: false,
            verified: verify,
            queues: Vec::new(),
            strategies: Vec::new(),
            findings: survey.strangers.iter().map(ToString::to_string).collect(),
        };
        for feed in &survey.feeds {
            view.look_at(layout, feed);
        }
        for strategy in &survey.strategies {
            view.strategy(layout, strategy);
        }
        view.healthy = view.findings.is_empty();
        Ok(view)
    }

    /// Looks at one queue. What is wrong with it is a finding, and stops nothing else.
    fn look_at(&mut self, layout: &BusLayout, endpoint: &QueueEndpoint) {
        let path = endpoint.path();
        let looked = Queue::inspect(&path).and_then(|report| {
            let plan = Queue::retention_plan(&path)?;
            Ok((QueueView::new(&path, &report), plan))
        });
        let (queue, plan) = match looked {
            Ok(looked) => looked,
            Err(error) => return self.findings.push(error.to_string()),
        };
        let message_type = endpoint.message_type().unwrap_or_else(|error| {
            self.findings.push(error.to_string());
            None
        });
        if queue.writer.status == "stalled" {
            self.findings.push(format!("{}: the writer is stalled", path.display()));
        }
        for reader in &queue.readers {
            if let ReaderView::Damaged { error } = reader {
                self.findings.push(error.clone());
            }
        }
        if self.verified {
            self.verify(endpoint);
        }
        let name = path.strip_prefix(layout.root()).unwrap_or(&path).display().to_string();
        let RetentionPlan { oldest, holder, .. } = &plan;
        self.queues.push(QueueOnBus {
            name,
            message_type,
            removable_segments: plan.keep_from().get().saturating_sub(oldest.get()),
            held_by: holder.as_ref().map(ToString::to_string),
            queue,
        });
    }

    fn verify(&mut self, endpoint: &QueueEndpoint) {
        match Queue::verify(endpoint.path()) {
            Ok((_, faults)) => self.findings.extend(faults.iter().map(ToString::to_string)),
            Err(error) => self.findings.push(error.to_string()),
        }
    }

    fn strategy(&mut self, layout: &BusLayout, strategy: &StrategySurvey) {
        let StrategySurvey { endpoints, lease, ready, staged, .. } = strategy;
        let directory = endpoints.directory();
        let mut found = |what: &str| {
            self.findings.push(format!("{}: {what}", directory.display()));
        };
        let runs = matches!(lease, Sign::Held(_));
        if matches!(ready, Sign::Left(_)) && !runs {
            found("the process that ran the strategy has died, and nobody has started it again");
        }
        if matches!(staged, Sign::Left(_)) && !runs {
            found(
                "a process died while it made READY; the next one that runs the strategy tidies up",
            );
        }
        if matches!(ready, Sign::Held(_)) && !runs {
            found("READY is held and LEASE is not: the file LEASE was removed or replaced");
        }
        let is_ready = matches!(ready, Sign::Held(_));
        for (queue, is_its_own) in [(endpoints.orders_out(), true), (endpoints.orders_in(), false)]
        {
            if !is_ready && !queue.path().exists() {
                // Not made yet.
                continue;
            }
            let before = self.queues.len();
            self.look_at(layout, &queue);
            let nobody_writes =
                self.queues.get(before).is_some_and(|queue| queue.queue.writer.status == "dead");
            if is_ready && is_its_own && nobody_writes {
                let path = queue.path();
                self.findings.push(format!(
                    "{}: the strategy can be talked to, and nobody writes its orders",
                    path.display()
                ));
            }
        }
        let name = endpoints.id().to_string();
        self.strategies.push(StrategyView { name, lease: (*lease).into(), ready: (*ready).into() });
    }

    fn text(&self) -> String {
        let mut text = format!("bus {}\n", self.bus);
        if !self.queues.is_empty() {
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "\n{:<44} {:>12} {:>9}  {:<22} MAY GO",
                "QUEUE", "MESSAGES", "SEGMENTS", "WRITER"
            );
        }
        for QueueOnBus { name, queue, removable_segments, .. } in &self.queues {
            let writer = match queue.writer.pid {
                Some(pid) => format!("{}, process {pid}", queue.writer.status),
                None if queue.writer.status == "dead" => "none".to_owned(),
                None => queue.writer.status.to_owned(),
            };
            let may_go = match removable_segments {
                0 => "-".to_owned(),
                count => units::plural((*count).into(), "segment"),
            };
            let (messages, segments) = (queue.head.seq, queue.segments);
            let _ =
                writeln!(text, "{name:<44} {messages:>12} {segments:>9}  {writer:<22} {may_go}");
            for reader in &queue.readers {
                let ReaderView::Known { name, lag_messages, active, pid, .. } = reader else {
                    continue;
                };
                let process = match active {
                    true => format!("process {pid}"),
                    false => "not active".to_owned(),
                };
                let behind = units::plural(*lag_messages, "message");
                let _ = writeln!(text, "    reader {name}, {process}, {behind} behind");
            }
        }
        if !self.strategies.is_empty() {
            let _ = writeln!(text, "\n{:<44} {:<28} READY", "STRATEGY", "LEASE");
        }
        for StrategyView { name, lease, ready } in &self.strategies {
            // The file of a lease stays, so what a process has left there is nothing to be seen.
            let lease = if lease.state == "left" { "-".to_owned() } else { lease.text() };
            let _ = writeln!(text, "{name:<44} {lease:<28} {}", ready.text());
        }
        text.push('\n');
        for finding in &self.findings {
            let _ = writeln!(text, "{finding}");
        }
        let checked = if self.verified {
            "every message was checked"
        } else {
            "messages were not all checked, --verify does"
        };
        let healthy = if self.healthy { "healthy" } else { "not healthy" };
        let _ = writeln!(text, "{healthy}; {checked}");
        text
    }
}
