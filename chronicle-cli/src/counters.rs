//! `chron-cli counters`: what the writers and readers of a bus have done, and how far readers are behind.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use chronicle_bus::{BusCounters, BusLayout, CountedReader, CountedWriter};
use serde::Serialize;

use crate::args::CountersArguments;
use crate::failure::Failure;
use crate::output;
use crate::units;

/// Puts the cursor into the upper left corner and clears what is below it (ECMA-48, CUP and ED).
const CLEAR: &str = "\x1b[H\x1b[J";

pub(crate) fn run(arguments: &CountersArguments) -> Result<(), Failure> {
    let layout = layout(&arguments.bus)?;
    let Some(interval) = arguments.watch else {
        let view = BusView::new(&layout, &layout.counters()?, None);
        return if arguments.json {
            output::print_json(&view)
        } else {
            output::print(&view.text())
        };
    };
    let mut before = None;
    let mut looks = 0;
    loop {
        let look = Look { at: Instant::now(), counters: layout.counters()? };
        let view =
            BusView::new(&layout, &look.counters, before.as_ref().map(|before| (before, &look)));
        if arguments.json {
            let line = serde_json::to_string(&view);
            let line =
                line.map_err(|error| Failure::Internal(format!("cannot write JSON: {error}")));
            output::print(&(line? + "\n"))?;
        } else {
            let clear = if io::stdout().is_terminal() { CLEAR } else { "" };
            output::print(&format!("{clear}{}\n", view.text()))?;
        }
        looks += 1;
        if arguments.limit.is_some_and(|limit| looks >= limit) {
            return Ok(());
        }
        before = Some(look);
        thread::sleep(interval);
    }
}

/// The layout of a bus that is there.
pub(crate) fn layout(bus: &Path) -> Result<BusLayout, Failure> {
    let layout = BusLayout::new(bus)?;
    match std::fs::metadata(layout.root()) {
        Ok(found) if found.is_dir() => Ok(layout),
        Ok(_) => Err(Failure::input(bus.display(), "is not a directory, so it is no bus")),
        Err(error) => Err(Failure::input(bus.display(), format!("cannot open the bus: {error}"))),
    }
}

/// What was seen, and when.
struct Look {
    at: Instant,
    counters: BusCounters,
}

/// A bus as it is printed.
#[derive(Serialize)]
struct BusView {
    bus: String,
    free_bytes: Option<u64>,
    size_bytes: Option<u64>,
    queues: Vec<QueueView>,
    faults: Vec<String>,
}

#[derive(Serialize)]
struct QueueView {
    queue: String,
    writer: Option<WriterView>,
    readers: Vec<ReaderView>,
}

#[derive(Serialize)]
struct WriterView {
    state: &'static str,
    pid: u64,
    process_start: u64,
    starts: u64,
    started_ns: u64,
    published_ns: u64,
    next_seq: u64,
    newest_ns: u64,
    newest_age_ns: Option<u64>,
    messages_per_second: Option<f64>,
    bytes_per_second: Option<f64>,
    appended_messages: u64,
    appended_bytes: u64,
    rolls: u64,
    unprepared_rolls: u64,
    extensions: u64,
    wakes: u64,
    full: u64,
    full_wait_ns: u64,
    waiting_for_room: bool,
    errors: u64,
    last_error_ns: Option<u64>,
    durable_seq: u64,
    syncs: u64,
    sync_ns: u64,
    sync_errors: u64,
    kept_bytes: u64,
    capacity_bytes: Option<u64>,
    removed_segments: u64,
    held_segments: u64,
    retention_errors: u64,
}

#[derive(Serialize)]
struct ReaderView {
    name: String,
    state: &'static str,
    pid: u64,
    process_start: u64,
    starts: u64,
    started_ns: u64,
    published_ns: u64,
    next_seq: u64,
    committed_seq: Option<u64>,
    messages_per_second: Option<f64>,
    lag_messages: Option<u64>,
    lag_bytes: Option<u64>,
    lag_ns: Option<u64>,
    waits: u64,
    waits_timed_out: u64,
    gaps: u64,
    fell_behind: u64,
    errors: u64,
    last_error_ns: Option<u64>,
}

/// What a process is doing, in a word.
fn state(alive: bool, closed: u64) -> &'static str {
    match (alive, closed) {
        (true, _) => "alive",
        (false, 0) => "died",
        (false, _) => "closed",
    }
}

/// How much there was in a second, between two looks.
fn rate(before: u64, now: u64, elapsed: Duration) -> Option<f64> {
    let more = now.checked_sub(before)?;
    (!elapsed.is_zero()).then(|| more as f64 / elapsed.as_secs_f64())
}

fn unless_zero(value: u64) -> Option<u64> {
    (value != 0).then_some(value)
}

impl BusView {
    fn new(layout: &BusLayout, counters: &BusCounters, looks: Option<(&Look, &Look)>) -> Self {
        let now_ns =
            SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
        let queues = counters.queues.iter().map(|(name, queue)| {
            let before = looks.and_then(|(before, _)| before.counters.queues.get(name));
            let elapsed = looks.map_or(Duration::ZERO, |(before, now)| now.at - before.at);
            let writer = queue.writer.as_ref().map(|writer| {
                let before = before.and_then(|before| before.writer.as_ref());
                WriterView::new(writer, before, elapsed, now_ns)
            });
            let readers = queue.readers.iter().map(|(name, reader)| {
                let before = before.and_then(|before| before.readers.get(name));
                ReaderView::new(name, reader, before, elapsed)
            });
            QueueView { queue: name.clone(), writer, readers: readers.collect() }
        });
        Self {
            bus: layout.root().display().to_string(),
            free_bytes: counters.space.map(|space| space.free_bytes),
            size_bytes: counters.space.map(|space| space.size_bytes),
            queues: queues.collect(),
            faults: counters.faults.iter().map(ToString::to_string).collect(),
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        if let (Some(free), Some(size)) = (self.free_bytes, self.size_bytes) {
            text +=
                &format!("{}: {} of {} free\n", self.bus, units::bytes(free), units::bytes(size));
        }
        let wide = self.queues.iter().map(|queue| queue.queue.len()).max().unwrap_or(0).max(5);
        self.writers(&mut text, wide);
        self.readers(&mut text, wide);
        if self.queues.is_empty() && self.faults.is_empty() {
            text += "nobody is counted here\n";
        }
        for fault in &self.faults {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "damaged: {fault}");
        }
        text
    }

    fn writers(&self, text: &mut String, wide: usize) {
        let writers: BTreeMap<_, _> = self
            .queues
            .iter()
            .filter_map(|queue| Some((&queue.queue, queue.writer.as_ref()?)))
            .collect();
        if writers.is_empty() {
            return;
        }
        *text += &format!(
            "{:<wide$} {:<16} {:>12} {:>9} {:>9} {:>10} {:>9} {:>6} {:>6} REMARKS\n",
            "QUEUE", "WRITER", "NEXT SEQ", "MSG/S", "B/S", "NEWEST", "KEPT", "ROLLS", "WAKES"
        );
        for (queue, writer) in writers {
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "{queue:<wide$} {:<16} {:>12} {:>9} {:>9} {:>10} {:>9} {:>6} {:>6} {}",
                format!("{} {}", writer.pid, writer.state),
                writer.next_seq,
                per_second(writer.messages_per_second),
                per_second(writer.bytes_per_second),
                writer.newest_age_ns.map_or("-".to_owned(), units::nanoseconds),
                units::bytes(writer.kept_bytes),
                writer.rolls,
                writer.wakes,
                writer.remarks().join(", "),
            );
        }
    }

    fn readers(&self, text: &mut String, wide: usize) {
        if self.queues.iter().all(|queue| queue.readers.is_empty()) {
            return;
        }
        *text += &format!(
            "{:<wide$} {:<16} {:<16} {:>12} {:>9} {:>12} {:>9} {:>10} REMARKS\n",
            "QUEUE", "READER", "PROCESS", "NEXT SEQ", "MSG/S", "LAG", "LAG BYTES", "LAG TIME"
        );
        for (queue, reader) in self
            .queues
            .iter()
            .flat_map(|queue| queue.readers.iter().map(|reader| (&queue.queue, reader)))
        {
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "{queue:<wide$} {:<16} {:<16} {:>12} {:>9} {:>12} {:>9} {:>10} {}",
                reader.name,
                format!("{} {}", reader.pid, reader.state),
                reader.next_seq,
                per_second(reader.messages_per_second),
                reader.lag_messages.map_or("?".to_owned(), |lag| lag.to_string()),
                reader.lag_bytes.map_or("?".to_owned(), units::bytes),
                reader.lag_ns.map_or("?".to_owned(), units::nanoseconds),
                reader.remarks().join(", "),
            );
        }
    }
}

fn per_second(rate: Option<f64>) -> String {
    rate.map_or("-".to_owned(), units::scaled)
}

/// What there is more than none of.
fn more_than_none<const N: usize>(counts: [(u64, &str); N]) -> Vec<String> {
    let there = counts.into_iter().filter(|(count, _)| *count > 0);
    there.map(|(count, what)| format!("{count} {what}")).collect()
}

impl WriterView {
    fn new(
        writer: &CountedWriter,
        before: Option<&CountedWriter>,
        elapsed: Duration,
        now_ns: u64,
    ) -> Self {
        let (values, keeper, head) = (&writer.values, &writer.keeper, writer.head);
        // Bytes are those of one process.
        let same = before.filter(|before| before.values.starts == values.starts);
        Self {
            state: state(writer.alive, values.closed),
            pid: values.pid,
            process_start: values.process_start,
            starts: values.starts,
            started_ns: values.started_ns,
            published_ns: values.published_ns,
            next_seq: head.seq,
            newest_ns: head.time_ns,
            newest_age_ns: unless_zero(head.time_ns).map(|newest| now_ns.saturating_sub(newest)),
            messages_per_second: before.and_then(|before| rate(before.head.seq, head.seq, elapsed)),
            bytes_per_second: same
                .and_then(|before| rate(before.values.bytes, values.bytes, elapsed)),
            appended_messages: values.messages,
            appended_bytes: values.bytes,
            rolls: values.rolls,
            unprepared_rolls: values.unprepared_rolls,
            extensions: values.extensions,
            wakes: values.wakes,
            full: values.full,
            full_wait_ns: values.full_wait_ns,
            waiting_for_room: values.waiting_for_room != 0,
            errors: values.errors,
            last_error_ns: unless_zero(values.last_error_ns),
            durable_seq: values.durable_seq,
            syncs: keeper.syncs,
            sync_ns: keeper.sync_ns,
            sync_errors: keeper.sync_errors,
            kept_bytes: writer.bytes_kept(),
            capacity_bytes: unless_zero(values.capacity_bytes),
            removed_segments: keeper.removed_segments,
            held_segments: keeper.held_segments,
            retention_errors: keeper.retention_errors,
        }
    }

    /// What somebody should look at.
    fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        if self.waiting_for_room && self.state == "alive" {
            remarks.push("WAITS FOR ROOM".to_owned());
        }
        remarks.extend(more_than_none([
            (self.sync_errors, "syncs FAILED"),
            (self.errors, "errors"),
            (self.full, "times full"),
            (self.held_segments, "segments held by readers"),
            (self.retention_errors, "looks for old segments failed"),
            (if self.starts > 1 { self.starts } else { 0 }, "starts"),
        ]));
        remarks
    }
}

impl ReaderView {
    fn new(
        name: &str,
        reader: &CountedReader,
        before: Option<&CountedReader>,
        elapsed: Duration,
    ) -> Self {
        let (values, lag) = (&reader.values, reader.lag);
        Self {
            name: name.to_owned(),
            state: state(reader.alive, values.closed),
            pid: values.pid,
            process_start: values.process_start,
            starts: values.starts,
            started_ns: values.started_ns,
            published_ns: values.published_ns,
            next_seq: values.seq,
            committed_seq: (values.registered != 0).then_some(values.committed_seq),
            messages_per_second: before
                .and_then(|before| rate(before.values.seq, values.seq, elapsed)),
            lag_messages: lag.map(|lag| lag.messages),
            lag_bytes: lag.map(|lag| lag.bytes),
            lag_ns: lag.and_then(|lag| lag.time_ns),
            waits: values.waits,
            waits_timed_out: values.waits_timed_out,
            gaps: values.gaps,
            fell_behind: values.fell_behind,
            errors: values.errors,
            last_error_ns: unless_zero(values.last_error_ns),
        }
    }

    /// What somebody should look at.
    fn remarks(&self) -> Vec<String> {
        more_than_none([
            (self.fell_behind, "times CUT OFF"),
            (self.gaps, "gaps"),
            (self.errors, "errors"),
            (if self.starts > 1 { self.starts } else { 0 }, "starts"),
        ])
    }
}
