//! `chron-cli inspect` and `chron-cli readers ls`.

use std::fmt::Write;
use std::path::Path;

use chronicle_std::{Position, Queue, QueueReport, ReaderPolicy, ReaderState, WriterStatus};
use serde::Serialize;

use crate::args::InspectArguments;
use crate::failure::Failure;
use crate::message_format::rfc3339;
use crate::output;
use crate::units;

pub(crate) fn run(arguments: &InspectArguments) -> Result<(), Failure> {
    let view = QueueView::new(&arguments.queue, &Queue::inspect(&arguments.queue)?);
    if arguments.json { output::print_json(&view) } else { output::print(&view.text()) }
}

pub(crate) fn list_readers(arguments: &InspectArguments) -> Result<(), Failure> {
    let view = QueueView::new(&arguments.queue, &Queue::inspect(&arguments.queue)?);
    if arguments.json {
        output::print_json(&view.readers)
    } else {
        output::print(&readers_text(&view.readers))
    }
}

/// A queue as it is printed.
#[derive(Serialize)]
pub(crate) struct QueueView {
    path: String,
    version: u32,
    queue_id: String,
    created_ns: u64,
    segment_size: u64,
    checksums: bool,
    pub(crate) segments: u32,
    oldest: Place,
    pub(crate) head: Place,
    last_seq: Option<u64>,
    durable_seq: u64,
    replicated_seq: Option<u64>,
    epoch: u32,
    pub(crate) writer: WriterView,
    pub(crate) readers: Vec<ReaderView>,
}

#[derive(Serialize)]
pub(crate) struct Place {
    segment: u32,
    offset: u64,
    pub(crate) seq: u64,
}

#[derive(Serialize)]
pub(crate) struct WriterView {
    pub(crate) status: &'static str,
    pub(crate) pid: Option<u32>,
    start_time: Option<u64>,
    epoch: Option<u32>,
}

#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum ReaderView {
    Known {
        name: String,
        committed: Place,
        lag_messages: u64,
        lag_bytes: u64,
        active: bool,
        pid: u32,
        policy: String,
    },
    Damaged {
        error: String,
    },
}

impl From<Position> for Place {
    fn from(position: Position) -> Self {
        Self { segment: position.segment.get(), offset: position.offset, seq: position.seq }
    }
}

impl QueueView {
    pub(crate) fn new(path: &Path, report: &QueueReport) -> Self {
        let queue = &report.queue;
        let head = queue.head.position;
        let holder = queue.holder;
        Self {
            path: path.display().to_string(),
            version: queue.version,
            queue_id: format!("{:016x}", queue.queue_id),
            created_ns: queue.created_ns,
            segment_size: queue.segment_size.bytes(),
            checksums: queue.checksums,
            segments: queue.segments,
            oldest: queue.oldest.into(),
            head: head.into(),
            last_seq: (head.seq > queue.oldest.seq).then(|| head.seq - 1),
            durable_seq: queue.durable_seq,
            replicated_seq: queue.replicated_seq,
            epoch: queue.epoch,
            writer: WriterView {
                status: status(queue.writer),
                pid: holder.map(|holder| holder.pid),
                start_time: holder.map(|holder| holder.start_time),
                epoch: holder.map(|holder| holder.epoch),
            },
            readers: report.readers.iter().map(ReaderView::new).collect(),
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let place = |place: &Place| {
            format!("segment {} offset {} seq {}", place.segment, place.offset, place.seq)
        };
        let writer = match self.writer.pid {
            Some(pid) => format!("{}, process {pid}, epoch {}", self.writer.status, self.epoch),
            None if self.writer.status == "dead" => {
                format!("none is active, the last one was the queue's number {}", self.epoch)
            }
            None => format!("{}, last epoch {}", self.writer.status, self.epoch),
        };
        let below = |seq: u64| format!("below seq {seq}");
        let checksums = if self.checksums { "CRC-32C" } else { "none" };
        for (name, value) in [
            ("queue", self.path.clone()),
            ("version", format!("{}, id {}", self.version, self.queue_id)),
            ("created", rfc3339(self.created_ns)),
            ("segments", format!("{} of {}", self.segments, units::binary_size(self.segment_size))),
            ("checksums", checksums.to_owned()),
            ("oldest", place(&self.oldest)),
            ("head", place(&self.head)),
            ("last seq", self.last_seq.map_or("none".to_owned(), |seq| seq.to_string())),
            ("durable", below(self.durable_seq)),
            ("replicated", self.replicated_seq.map_or("nobody reports".to_owned(), below)),
            ("writer", writer),
            ("readers", self.readers.len().to_string()),
        ] {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{name:<10} {value}");
        }
        if !self.readers.is_empty() {
            text += &readers_text(&self.readers);
        }
        text
    }
}

impl ReaderView {
    fn new(state: &ReaderState) -> Self {
        match state {
            ReaderState::Known(reader) => Self::Known {
                name: reader.name.as_str().to_owned(),
                committed: reader.committed.into(),
                lag_messages: reader.lag_messages,
                lag_bytes: reader.lag_bytes,
                active: reader.active,
                pid: reader.pid,
                policy: policy(reader.policy),
            },
            ReaderState::Damaged(error) => Self::Damaged { error: error.to_string() },
        }
    }
}

fn readers_text(readers: &[ReaderView]) -> String {
    let mut text = format!(
        "{:<20} {:>12} {:>14} {:>14} {:<18} POLICY\n",
        "READER", "NEXT SEQ", "LAG MESSAGES", "LAG BYTES", "PROCESS"
    );
    for reader in readers {
        // Writing to a string cannot fail.
        let _ = match reader {
            ReaderView::Known { name, committed, lag_messages, lag_bytes, active, pid, policy } => {
                let process =
                    if *active { format!("{pid}, active") } else { "not active".to_owned() };
                writeln!(
                    text,
                    "{name:<20} {:>12} {lag_messages:>14} {lag_bytes:>14} {process:<18} {policy}",
                    committed.seq
                )
            }
            ReaderView::Damaged { error } => writeln!(text, "damaged: {error}"),
        };
    }
    text
}

fn status(status: WriterStatus) -> &'static str {
    match status {
        WriterStatus::Alive => "alive",
        WriterStatus::Idle => "idle",
        WriterStatus::Stalled => "stalled",
        WriterStatus::Dead => "dead",
        _ => "unknown",
    }
}

fn policy(policy: ReaderPolicy) -> String {
    match policy {
        ReaderPolicy::Durable => "durable".to_owned(),
        ReaderPolicy::Lease { ttl_ns } => format!("lease {}", units::nanoseconds(ttl_ns)),
        ReaderPolicy::MaxLag { bytes } => format!("max-lag {bytes} B"),
        _ => "unknown".to_owned(),
    }
}
