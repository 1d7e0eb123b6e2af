//! One run of the writer on a recording disk.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use chronicle_std::format::{Object, SegmentId, record_size};
use clap::ValueEnum;

use crate::disk::{Disk, Event, Trouble};
use crate::mode::{Course, Mode, Plan};
use crate::replay::Choices;
use crate::rig::{Problem, Rig};
use crate::writer::payload;

/// Size of the disk.
pub(crate) const DISK: usize = 48 << 20;
pub(crate) const BATCHES: u64 = 40;

/// Records below `seq` were said to be durable when the disk had recorded so many events.
pub(crate) struct Promise {
    pub(crate) seq: u64,
    pub(crate) events: usize,
}

/// A run, and what reached the disk in it.
pub(crate) struct Recorded {
    pub(crate) size: usize,
    /// Whether segments were removed.
    pub(crate) limited: bool,
    pub(crate) log: Vec<Event>,
    /// Events before the queue was made, and when the writer had ended.
    pub(crate) begin: usize,
    pub(crate) end: usize,
    pub(crate) promises: Vec<Promise>,
    /// Bytes of records, and of everything that reached the disk from the making of the queue on: the
    /// queue's files and the file system's journal.
    pub(crate) appended: u64,
    pub(crate) bytes: u64,
    pub(crate) flushes: usize,
    /// Writes and flushes that failed, were late or were lies.
    pub(crate) troubles: u32,
}

impl Recorded {
    /// A byte that the run has written, if it did write one.
    pub(crate) fn written(&self, choices: &mut Choices) -> usize {
        let events = self.log.get(self.begin..).unwrap_or_default();
        for _ in 0..1000 {
            if let Some(Event::Write { at, bytes }) = events.get(choices.below(events.len())) {
                return at + choices.below(bytes.len());
            }
        }
        0
    }
}

struct Writer {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Writer {
    fn start(queue: &Path, mode: Mode, limited: bool) -> Result<Self, Problem> {
        let described = |error: std::io::Error| format!("the writer: {error}");
        let program = std::env::current_exe().map_err(described)?;
        let name = mode.to_possible_value().map(|value| value.get_name().to_owned());
        let mut child = Command::new(program)
            .arg("writer")
            .arg(queue)
            .arg(name.unwrap_or_default())
            .arg(limited.to_string())
            .arg(BATCHES.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(described)?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (input, output) = pipes.ok_or("the writer has no pipes")?;
        Ok(Self { child, input, output: BufReader::new(output) })
    }

    /// What it says next; `None` at its end.
    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.output.read_line(&mut line).unwrap_or(0);
        (read > 0).then(|| line.trim().to_owned())
    }

    /// It has said all that it will; whether it ended by itself and well.
    fn ended_well(&mut self) -> Result<(), Problem> {
        match self.child.wait() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("the writer ended with {status}")),
            Err(error) => Err(format!("the writer: {error}")),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the writer, with its disk in trouble as planned; `limited` says whether the queue keeps only some
/// segments.
pub(crate) fn record(
    mode: Mode,
    limited: bool,
    block: u32,
    plan: &Plan,
) -> Result<Recorded, Problem> {
    let rig = Rig::new(DISK, block)?;
    let begin = rig.disk.events();
    let before = rig.disk.traffic();
    let mut writer = Writer::start(&rig.directory().join("queue"), mode, limited)?;
    let mut promises = Vec::new();
    let mut plan = plan.iter().peekable();
    let (mut reopened, mut gave_up) = (0, false);
    while let Some(line) = writer.line() {
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        match word {
            "durable" => {
                let seq = rest.parse().map_err(|_| format!("the writer said {line:?}"))?;
                promises.push(Promise { seq, events: rig.disk.events() });
            }
            "reopened" => reopened += 1,
            "refused" => {}
            "gave" => gave_up = true,
            _ => return Err(format!("the writer said {line:?}")),
        }
        if let Some((_, trouble)) = plan.next_if(|(at, _)| *at <= promises.len() as u64) {
            rig.disk.make(*trouble);
        }
        if writer.input.write_all(b"\n").is_err() {
            break;
        }
    }
    writer.ended_well()?;
    let (end, troubles) = (rig.disk.events(), rig.disk.troubles());
    // What the file system writes when it is taken down is no part of the trial.
    rig.disk.make(Trouble::default());
    // One batch may have met a failure instead.
    let went_on = promises.len() as u64 + reopened >= BATCHES;
    let as_expected = match mode.course() {
        Course::Goes => went_on && reopened == 0,
        Course::Reopens => went_on && reopened > 0 && troubles > 0,
        Course::MayGiveUp => (went_on || gave_up) && troubles > 0,
        Course::GivesUp => gave_up && troubles > 0,
    };
    if !as_expected {
        let promised = promises.len();
        return Err(format!(
            "the writer ended after {promised} promises, opened the queue again {reopened} times{}; {troubles} troubles of the disk",
            if gave_up { " and gave up" } else { "" }
        ));
    }
    drop(writer);
    let oldest = Object::Segment(SegmentId::FIRST).to_string();
    if limited
        && mode.course() == Course::Goes
        && rig.directory().join("queue").join(oldest).exists()
    {
        return Err("nothing was removed".to_owned());
    }
    let last = promises.last().map_or(0, |promise| promise.seq);
    let appended = (0..last).map(|seq| record_size(payload(seq).len() as u32)).sum();
    let after = rig.disk.traffic();
    let disk: Disk = rig.finish();
    let (size, log) = disk.take_log();
    Ok(Recorded {
        size,
        limited,
        log,
        begin,
        end,
        promises,
        appended,
        bytes: after.0 - before.0,
        flushes: after.1 - before.1,
        troubles,
    })
}
