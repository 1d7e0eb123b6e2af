//! `chron-cli append`.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Instant;

use chronicle_std::format::{Object, Position, SegmentSize};
use chronicle_std::{Cut, Queue, QueueWriter, SyncPolicy, WriterConfig};
use indicatif::ProgressBar;
use serde::Serialize;

use crate::args::{Ack, AppendArguments};
use crate::failure::{Failure, warn};
use crate::input::{Input, Step};
use crate::output;
use crate::progress::progress;
use crate::units;

pub(crate) fn run(arguments: &AppendArguments) -> Result<(), Failure> {
    // Looked at before the queue is made, so that a misspelt name makes nothing.
    let total_bytes = check_files(&arguments.files)?;
    let mut config = WriterConfig::default();
    config.segment_size = arguments.segment_size.unwrap_or(config.segment_size);
    config.any_file_system = arguments.any_file_system;
    if let Some(interval) = arguments.sync_every {
        config.sync = SyncPolicy::Group { interval };
    }
    config.when_full = arguments.when_full;
    let writer = Queue::open_publisher_with(&arguments.queue, config)?;
    if let Some(asked) = arguments.segment_size.filter(|asked| *asked != writer.segment_size()) {
        let actual = writer.segment_size();
        let text = format!(
            "--segment-size {asked} is ignored: the queue exists and its segments have {actual} bytes"
        );
        warn(&arguments.queue, text);
    }
    if let Some(cut) = &writer.recovery().cut {
        warn(&arguments.queue.join(Object::Segment(cut.at.segment).to_string()), describe_cut(cut));
    }

    let wanted = !arguments.json && arguments.ack.is_none();
    let mut session = Session::new(writer, arguments, progress(total_bytes, wanted))?;
    let result = session.append_all(arguments);
    session.summarise(arguments.json);
    result
}

/// What recovery did not keep.
fn describe_cut(cut: &Cut) -> String {
    let mut text =
        format!("cut at offset {} (seq {}): {}", cut.at.offset, cut.at.seq, cut.at.fault);
    let behind = units::plural(cut.records_behind, "whole record");
    text += &format!("; {behind} behind it were not durable and are gone");
    if cut.segments_removed > 0 {
        let segments = units::plural(u64::from(cut.segments_removed), "later segment");
        text += &format!(", with {segments}");
    }
    text
}

/// Whether the files can be read; their size, if all of them have one.
fn check_files(files: &[PathBuf]) -> Result<Option<u64>, Failure> {
    let mut total = Some(0).filter(|_| !files.is_empty());
    for file in files.iter().filter(|file| !is_standard_input(file)) {
        let failed =
            |error: io::Error| Failure::input(file.display(), format!("cannot read: {error}"));
        let metadata = fs::metadata(file).map_err(failed)?;
        if metadata.is_dir() {
            return Err(Failure::input(file.display(), "a directory, not a file with messages"));
        }
        if metadata.is_file() {
            File::open(file).map_err(failed)?;
            total = total.map(|total| total + metadata.len());
        } else {
            total = None;
        }
    }
    Ok(if files.iter().any(|file| is_standard_input(file)) { None } else { total })
}

fn is_standard_input(file: &Path) -> bool {
    file == Path::new("-")
}

fn open(file: &Path) -> Result<(File, String), Failure> {
    let (opened, name) = if is_standard_input(file) {
        let descriptor = io::stdin().as_fd().try_clone_to_owned();
        (descriptor.map(File::from), "standard input".to_owned())
    } else {
        (File::open(file), file.display().to_string())
    };
    match opened {
        Ok(opened) => Ok((opened, name)),
        Err(error) => Err(Failure::input(name, format!("cannot read: {error}"))),
    }
}

/// A writer and what it has put off: waking readers, syncing, acknowledging.
struct Session {
    writer: QueueWriter,
    type_id: u16,
    batch: u64,
    ack: Option<Ack>,
    acknowledgements: File,
    progress: ProgressBar,
    /// Messages appended since the last batch ended.
    pending: u64,
    messages: u64,
    bytes: u64,
    first: Position,
    started: Instant,
}

impl Session {
    fn new(
        writer: QueueWriter,
        arguments: &AppendArguments,
        progress: ProgressBar,
    ) -> Result<Self, Failure> {
        let default_batch = if arguments.ack.is_some() { 1 } else { 256 };
        Ok(Self {
            type_id: arguments.type_id,
            batch: arguments.batch.unwrap_or(default_batch),
            ack: arguments.ack,
            acknowledgements: output::standard_output()?,
            progress,
            pending: 0,
            messages: 0,
            bytes: 0,
            first: writer.position(),
            started: Instant::now(),
            writer,
        })
    }

    fn append_all(&mut self, arguments: &AppendArguments) -> Result<(), Failure> {
        let largest = SegmentSize::new(self.writer.segment_size())
            .map_err(|error| Failure::input(arguments.queue.display(), error))?
            .max_payload();
        let standard_input = [PathBuf::from("-")];
        let files = if arguments.files.is_empty() { &standard_input } else { &arguments.files[..] };
        let mut result = Ok(());
        for file in files {
            result = open(file).and_then(|(source, name)| {
                self.append_input(&mut Input::new(source, name, arguments.framing, largest))
            });
            if result.is_err() {
                break;
            }
        }
        // What came before an error stays, and is brought to its end like everything else.
        let ended = self.end_batch();
        let flushed = if arguments.flush { self.writer.flush() } else { Ok(()) };
        self.progress.finish_and_clear();
        result.and(ended).and(flushed.map_err(Failure::from))
    }

    fn append_input(&mut self, input: &mut Input<File>) -> Result<(), Failure> {
        let before = self.progress.position();
        loop {
            match input.next()? {
                Step::Message(message) => self.append(message)?,
                Step::Drained => {
                    self.end_batch()?;
                    self.progress.set_position(before + input.offset());
                }
                Step::End => return Ok(()),
            }
        }
    }

    fn append(&mut self, message: &[u8]) -> Result<(), Failure> {
        self.writer.append_quietly(self.type_id, message)?;
        self.messages += 1;
        self.bytes += message.len() as u64;
        self.pending += 1;
        if self.pending >= self.batch { self.end_batch() } else { Ok(()) }
    }

    /// Wakes the readers and acknowledges, if anything was appended since.
    fn end_batch(&mut self) -> Result<(), Failure> {
        if self.pending == 0 {
            return Ok(());
        }
        self.writer.announce();
        let next = self.writer.next_seq();
        let first = next - self.pending;
        self.pending = 0;
        let Some(ack) = self.ack else { return Ok(()) };
        if ack == Ack::Durable {
            self.writer.flush()?;
        }
        let mut lines = Vec::new();
        for seq in first..next {
            // Writing to a vector cannot fail.
            let _ = writeln!(lines, "{seq}");
        }
        self.acknowledgements.write_all(&lines).map_err(|error| Failure::output(&error))
    }

    fn summarise(&self, json: bool) {
        let last = self.writer.position();
        let summary = Summary {
            messages: self.messages,
            bytes: self.bytes,
            seconds: self.started.elapsed().as_secs_f64(),
            first_seq: (self.messages > 0).then_some(self.first.seq),
            last_seq: (self.messages > 0).then_some(self.first.seq + self.messages.max(1) - 1),
            segments: last.segment.get() - self.first.segment.get() + 1,
            epoch: self.writer.epoch(),
        };
        output::note(&if json { summary.json() } else { summary.text() });
    }
}

#[derive(Serialize)]
struct Summary {
    messages: u64,
    bytes: u64,
    seconds: f64,
    first_seq: Option<u64>,
    last_seq: Option<u64>,
    segments: u32,
    epoch: u32,
}

impl Summary {
    fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    fn text(&self) -> String {
        let rate = units::scaled(self.messages as f64 / self.seconds.max(1e-9));
        let mut text = format!(
            "appended {}, {} in {:.2} s ({rate}/s)",
            units::plural(self.messages, "message"),
            units::bytes(self.bytes),
            self.seconds
        );
        if let (Some(first), Some(last)) = (self.first_seq, self.last_seq) {
            text += &format!(", seq {first}..{last}");
        }
        text + ", " + &units::plural(u64::from(self.segments), "segment")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_says_how_much_how_fast_and_where() {
        let mut summary = Summary {
            messages: 41_249,
            bytes: 12_345_678,
            seconds: 0.4125,
            first_seq: Some(0),
            last_seq: Some(41_248),
            segments: 3,
            epoch: 1,
        };
        assert_eq!(
            summary.text(),
            "appended 41249 messages, 12.3 MB in 0.41 s (100 k/s), seq 0..41248, 3 segments"
        );
        (summary.messages, summary.bytes, summary.segments) = (0, 0, 1);
        (summary.first_seq, summary.last_seq) = (None, None);
        assert!(summary.text().starts_with("appended 0 messages, 0 B in"), "{}", summary.text());
    }
}
