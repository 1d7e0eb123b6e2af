//! What must hold of a process that has ended, and of the queue that it leaves.

use std::fs;
use std::path::{Path, PathBuf};

use chronicle_std::{Queue, QueueError, QueueReader, ReaderConfig, Start};

use crate::fixture::{Made, READER, TYPE, config, line};
use crate::scenarios::{Ack, Prints, Scenario};
use crate::told;
use crate::trace::{End, Ended};

/// A process that has ended, and what is known about it.
pub(crate) struct Trial<'t> {
    pub(crate) scenario: &'t Scenario,
    pub(crate) made: &'t Made,
    pub(crate) queue: &'t Path,
    pub(crate) ended: &'t Ended,
    /// What it prints where nothing fails.
    pub(crate) usual: &'t [u8],
    /// Whether nobody reads its output any more: it may end well without having printed all.
    pub(crate) unread: bool,
    /// Whether it must have done everything.
    pub(crate) must_succeed: bool,
    /// Whether it is this program that ran, and not `chron-cli`.
    pub(crate) is_ours: bool,
    /// A reader that was there before, if there was a queue.
    pub(crate) living: Option<QueueReader>,
    /// Messages that were appended beside it.
    pub(crate) appended_beside: u64,
}

/// What a process said about messages.
struct Said {
    acknowledged: u64,
    printed: u64,
}

impl Trial<'_> {
    /// Whether the process ended well.
    pub(crate) fn succeeded(&self) -> bool {
        self.ended.end == End::Code(0)
    }

    /// Judges the process, then the queue.
    pub(crate) fn judge(mut self) -> Result<(), String> {
        let said = self.process()?;
        self.queue(&said)
    }

    fn process(&self) -> Result<Said, String> {
        let Ended { end, output, errors, .. } = self.ended;
        if errors.contains("panicked") {
            return Err(format!("it panicked: {errors}"));
        }
        let program = if self.is_ours { "worker: " } else { "chron-cli: " };
        match end {
            End::Code(0) => {}
            End::Code(1 | 2) => self.explains(program)?,
            other => return Err(format!("it ended with {other:?}: {errors}")),
        }
        if self.must_succeed && !self.succeeded() {
            return Err(format!("it gave up, though one call failed only: {errors}"));
        }
        let text = || String::from_utf8_lossy(output);
        let mut said = Said { acknowledged: 0, printed: 0 };
        match self.scenario.prints {
            Prints::Numbers if self.scenario.ack != Ack::AtEnd => {
                // A line that was cut short is no acknowledgement.
                let whole = output.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
                let text = String::from_utf8_lossy(output.get(..whole).unwrap_or_default());
                for number in text.lines() {
                    let expected = self.made.count + said.acknowledged;
                    if number.parse() != Ok(expected) {
                        return Err(format!("it acknowledged {number} where {expected} is next"));
                    }
                    said.acknowledged += 1;
                }
            }
            Prints::Numbers if self.succeeded() => said.acknowledged = self.scenario.lines,
            Prints::Messages => {
                let is_whole = output == self.usual;
                if (self.succeeded() && !self.unread && !is_whole)
                    || !self.usual.starts_with(output)
                {
                    return Err(format!("it printed {:?}", text()));
                }
                said.printed = output.iter().filter(|byte| **byte == b'\n').count() as u64;
            }
            Prints::Verdict if self.succeeded() && !self.unread && output != self.usual => {
                return Err(format!("it said {:?}", text()));
            }
            Prints::Numbers | Prints::Report | Prints::Verdict => {}
        }
        let all = self.scenario.ack == Ack::AtEnd || said.acknowledged == self.scenario.lines;
        if self.succeeded() && !self.unread && !all {
            return Err(format!("it ended well after {} messages", said.acknowledged));
        }
        Ok(said)
    }

    /// A process that fails says why, and about which file.
    fn explains(&self, program: &str) -> Result<(), String> {
        let errors = &self.ended.errors;
        let place = self.queue.parent().unwrap_or(self.queue).display().to_string();
        let is_one = |line: &str| {
            line.strip_prefix(program).is_some_and(|said| {
                let named = said.starts_with(&place) || said.starts_with("standard ");
                named && said.split(": ").nth(1).is_some_and(|reason| !reason.is_empty())
            })
        };
        match errors.lines().last() {
            Some(last) if is_one(last) => Ok(()),
            _ => Err(format!("it failed and did not say why, and of which file: {errors:?}")),
        }
    }

    fn queue(&mut self, said: &Said) -> Result<(), String> {
        let must_be_there = self.made.count + said.acknowledged + self.appended_beside;
        let may_be_there = self.made.count + self.scenario.lines + self.appended_beside;
        let queue = self.queue;
        if !queue.join("control.meta").exists() {
            if self.made.path.is_some() || must_be_there > 0 {
                return Err("the queue is not there any more".to_owned());
            }
            let mut writer = Queue::open_publisher_with(queue, config(4096))
                .map_err(|error| format!("a queue cannot be made: {error}"))?;
            let seq = writer.append(TYPE, line(0).as_bytes()).map_err(told)?;
            return if seq == 0 { no_leftovers(queue) } else { Err(format!("it begins at {seq}")) };
        }
        if self.made.damaged.is_some() {
            Queue::repair(queue, &chronicle_std::RepairOptions::default())
                .map_err(|error| format!("a repair afterwards: {error}"))?;
        } else if let Some(living) = &mut self.living {
            // Before anybody else opens the queue.
            let count = read_on(living, None)
                .map_err(|fault| format!("a reader that was there before: {fault}"))?;
            if count < must_be_there {
                return Err(format!("a reader that was there before gets {count} messages"));
            }
        }

        let mut reader = Queue::open_reader(queue, ReaderConfig::default()).map_err(told)?;
        let first = reader.position().seq;
        if first > 0 && !self.scenario.removes {
            return Err(format!("messages before {first} are not there any more"));
        }
        let count = read_on(&mut reader, self.made.damaged)?;
        if !(must_be_there..=may_be_there).contains(&count) {
            return Err(format!("{count} messages, not {must_be_there} to {may_be_there}"));
        }
        self.named(said, first, count)?;

        let mut writer = Queue::open_publisher_with(queue, config(4096))
            .map_err(|error| format!("the next writer: {error}"))?;
        if let Some(cut) = writer.recovery().cut {
            return Err(format!("the next writer cut something: {cut:?}"));
        }
        let durable = writer.recovery().durable_seq;
        let promised = if self.scenario.ack == Ack::Durable { must_be_there } else { 0 };
        if !(promised..=count).contains(&durable) {
            return Err(format!("durable below {durable}, not {promised} to {count}"));
        }
        let seq = writer.append(TYPE, line(count).as_bytes());
        let seq = seq.map_err(|error| format!("the next append: {error}"))?;
        if seq != count {
            return Err(format!("the next message has the number {seq}, not {count}"));
        }
        writer.flush().map_err(|error| format!("the next flush: {error}"))?;
        no_leftovers(queue)?;
        for reader in [Some(&mut reader), self.living.as_mut()].into_iter().flatten() {
            let now = read_on(reader, self.made.damaged)?;
            if now != count + 1 {
                return Err(format!("a living reader is at {now}, not behind the next message"));
            }
        }
        let (_, faults) = Queue::verify(queue).map_err(told)?;
        faults.first().map_or(Ok(()), |fault| Err(format!("verify: {fault}")))
    }

    /// A named reader goes on at a place that it had, and skips nothing that it has not printed.
    fn named(&self, said: &Said, first: u64, count: u64) -> Result<(), String> {
        let name = match self.scenario.arguments {
            [.., "--reader", name] => name,
            _ => READER,
        };
        if !self.queue.join("readers").join(format!("{name}.meta")).exists() {
            let is_gone = self.made.read == 0
                || name != READER
                || self.scenario.arguments.starts_with(&["readers", "rm"]);
            return if is_gone { Ok(()) } else { Err("the reader is not registered".to_owned()) };
        }
        let from = if name == READER { self.made.read } else { 0 };
        let to = match self.scenario.arguments {
            [] => count,
            ["tail", .., "--reader", _] => from + said.printed,
            _ => from,
        };
        let mut reader = Queue::open_subscriber(self.queue, name)
            .map_err(|error| format!("the named reader: {error}"))?;
        let at = reader.position().seq;
        if !(from..=to).contains(&at) && at != first {
            return Err(format!("the named reader goes on at {at}, not from {from} to {to}"));
        }
        read_on(&mut reader, self.made.damaged).map(drop)
    }
}

/// Opens a reader at the head of a queue.
pub(crate) fn living(queue: &Path) -> Result<QueueReader, String> {
    let mut config = ReaderConfig::default();
    config.start = Start::Latest;
    Queue::open_reader(queue, config).map_err(told)
}

/// Reads to the end: each message must be the next one, with its own bytes. Returns how many there
/// are, with those before the reader's place.
fn read_on(reader: &mut QueueReader, damaged: Option<u64>) -> Result<u64, String> {
    loop {
        let seq = reader.position().seq;
        match reader.next() {
            Ok(None) => return Ok(seq),
            Ok(Some(message)) => {
                if message.seq != seq || message.payload != line(seq).as_bytes() {
                    return Err(format!("another message in the place of {seq}"));
                }
            }
            Err(QueueError::Gap { first, next, .. }) => {
                if damaged != Some(first) || next != first + 1 {
                    return Err(format!("messages {first} to {next} are a gap"));
                }
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}

fn no_leftovers(queue: &Path) -> Result<(), String> {
    for directory in [queue.to_owned(), queue.join("readers")] {
        for entry in fs::read_dir(directory).map_err(told)? {
            let path: PathBuf = entry.map_err(told)?.path();
            if path.extension().is_some_and(|extension| extension == "tmp") {
                return Err(format!("{} is left", path.display()));
            }
        }
    }
    Ok(())
}
