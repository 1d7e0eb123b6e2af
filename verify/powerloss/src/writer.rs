//! The process whose power is lost: appends, makes durable, and says so on its standard output.

use std::io::{BufRead, Write};
use std::path::Path;
use std::time::Duration;

use chronicle_std::{Queue, QueueWriter, SyncPolicy, WriterConfig};
use clap::ValueEnum;

/// Type of all messages.
const TYPE: u16 = 0x8000;
/// So that there are rolls.
const SEGMENT_SIZE: u64 = 32 << 10;

/// How the writer makes durable what it says is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// `flush` after each batch
    Flush,
    /// Group commit, and waiting for the watermark
    Group,
    /// Not at all: it must be found out
    Never,
    /// `flush`, over a write that fails in between
    Failing,
}

/// The payload of the message with this sequence number: tells it from all others.
pub(crate) fn payload(seq: u64) -> Vec<u8> {
    let length = 8 + (seq * 37 % 700) as usize;
    let mut bytes = seq.to_le_bytes().to_vec();
    bytes.extend((8..length).map(|at| (seq as usize * 31 + at) as u8));
    bytes
}

fn open(path: &Path, mode: Mode) -> Result<QueueWriter, chronicle_std::QueueError> {
    let mut config = WriterConfig::default();
    config.segment_size = SEGMENT_SIZE;
    if mode == Mode::Group {
        config.sync = SyncPolicy::Group { interval: Duration::from_millis(1) };
    }
    Queue::open_publisher_with(path, config)
}

/// Runs until it is killed, or `batches` are done. Waits for a line on standard input behind each
/// batch, so that what the disk has recorded by then can be noted.
pub(crate) fn run(path: &Path, mode: Mode, batches: u64) -> Result<(), String> {
    let described = |error: chronicle_std::QueueError| error.to_string();
    let mut writer = open(path, mode).map_err(described)?;
    let mut reader = Queue::open_subscriber(path, "reader").map_err(described)?;
    let mut lines = std::io::stdin().lock().lines();
    for batch in 0..batches {
        let first = writer.next_seq();
        for seq in first..first + 1 + batch * 7 % 23 {
            writer.append(TYPE, &payload(seq)).map_err(described)?;
        }
        let next = writer.next_seq();
        let synced = match mode {
            Mode::Never => Ok(()),
            Mode::Flush | Mode::Failing => writer.flush(),
            Mode::Group => writer
                .wait_durable(next - 1, Duration::from_secs(60))
                .and_then(|durable| if durable { Ok(()) } else { writer.flush() }),
        };
        while reader.next().map_err(described)?.is_some() {}
        reader.commit().map_err(described)?;
        let line = match synced {
            Ok(()) => format!("durable {next}"),
            Err(_) if mode == Mode::Failing => {
                drop(writer);
                writer = open(path, mode).map_err(described)?;
                format!("reopened {}", writer.next_seq())
            }
            Err(error) => return Err(error.to_string()),
        };
        println!("{line}");
        std::io::stdout().flush().map_err(|error| error.to_string())?;
        if lines.next().is_none() {
            break;
        }
    }
    Ok(())
}
