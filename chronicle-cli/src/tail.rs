//! `chron-cli tail`.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use chronicle_std::{
    Queue, QueueError, QueueReader, ReaderConfig, Start, UntrustedReader, Visibility, WaitOutcome,
    WriterStatus,
};

use crate::args::TailArguments;
use crate::failure::{Failure, warn};
use crate::message_format::write_message;
use crate::output;

/// Output is written, and the position committed, at the latest when there is so much of it.
const BUFFER: usize = 128 << 10;

pub(crate) fn run(arguments: &TailArguments) -> Result<(), Failure> {
    let mut reader = open(arguments)?;
    let mut buffer = Vec::new();
    buffer.try_reserve_exact(2 * BUFFER).map_err(|_| {
        Failure::Internal(format!("there is no memory for {} bytes of output", 2 * BUFFER))
    })?;
    let output = output::standard_output()?;
    let mut printed = Printed { output, buffer, commits: arguments.reader.is_some() };
    if arguments.reverse {
        return run_backwards(&mut reader, &mut printed, arguments);
    }
    // Whoever looks into a queue need not trust its owner.
    let mut reader = UntrustedReader::from(reader);
    let mut left = arguments.limit.unwrap_or(u64::MAX);
    let mut reported = None;
    let result = loop {
        if left == 0 {
            break Ok(());
        }
        match reader.next() {
            Ok(Some(message)) => {
                write_message(&mut printed.buffer, &message, arguments.format);
                left -= 1;
                reported = None;
                if printed.buffer.len() >= BUFFER {
                    printed.settle(&mut reader)?;
                }
            }
            Ok(None) if arguments.follow => {
                printed.settle(&mut reader)?;
                match reader.wait(None) {
                    Ok(WaitOutcome::Writer(status)) if reported != Some(status) => {
                        report(&arguments.queue, status);
                        reported = Some(status);
                    }
                    Ok(_) => {}
                    Err(error) => break Err(error),
                }
            }
            Ok(None) => break Ok(()),
            Err(gap @ QueueError::Gap { .. }) => {
                printed.settle(&mut reader)?;
                output::complain(&format!("warning: {gap}"));
            }
            Err(error) => break Err(error),
        }
    };
    // What was read before an error is good.
    printed.settle(&mut reader)?;
    Ok(result?)
}

/// Prints what comes before the reader's place, the newest message first.
fn run_backwards(
    reader: &mut QueueReader,
    printed: &mut Printed,
    arguments: &TailArguments,
) -> Result<(), Failure> {
    let mut reversed = reader.reversed()?;
    let mut left = arguments.limit.unwrap_or(u64::MAX);
    let result = loop {
        if left == 0 {
            break Ok(());
        }
        match reversed.previous() {
            Ok(message) => {
                write_message(&mut printed.buffer, &message, arguments.format);
                left -= 1;
                if printed.buffer.len() >= BUFFER {
                    printed.write()?;
                }
            }
            Err(QueueError::NothingBefore { .. }) => break Ok(()),
            Err(gap @ QueueError::Gap { .. }) => {
                printed.write()?;
                output::complain(&format!("warning: {gap}"));
            }
            Err(error) => break Err(error),
        }
    };
    printed.write()?;
    Ok(result?)
}

fn open(arguments: &TailArguments) -> Result<QueueReader, Failure> {
    let mut config = ReaderConfig::default();
    config.name.clone_from(&arguments.reader);
    config.any_file_system = arguments.any_file_system;
    if arguments.durable {
        config.visibility = Visibility::Durable;
    }
    let default = if arguments.reverse { Start::Latest } else { Start::Earliest };
    config.start = arguments.from.unwrap_or(default);
    loop {
        match Queue::open_reader(&arguments.queue, config.clone()) {
            Err(error) if arguments.follow && error.is_not_found() => {
                Queue::wait_for(&arguments.queue, None)?;
            }
            other => return Ok(other?),
        }
    }
}

/// Messages on their way out.
struct Printed {
    output: File,
    buffer: Vec<u8>,
    commits: bool,
}

impl Printed {
    /// Writes what has gathered, and only then commits it: a message may be printed twice and never
    /// not at all.
    fn settle(&mut self, reader: &mut UntrustedReader) -> Result<(), Failure> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.write()?;
        if self.commits {
            reader.commit()?;
        }
        Ok(())
    }

    /// Writes what has gathered.
    fn write(&mut self) -> Result<(), Failure> {
        self.output.write_all(&self.buffer).map_err(|error| Failure::output(&error))?;
        self.buffer.clear();
        Ok(())
    }
}

/// Says once why nothing comes.
fn report(queue: &Path, status: WriterStatus) {
    let text = match status {
        WriterStatus::Dead => "no writer is active: it has ended or died; still waiting",
        WriterStatus::Stalled => {
            "the writer has been stuck in the middle of a message; still waiting"
        }
        _ => return,
    };
    warn(queue, text);
}
