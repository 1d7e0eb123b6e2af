//! The process whose power is lost: appends, makes durable, and says so on its standard output.

use std::fs::OpenOptions;
use std::io::{BufRead, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use chronicle_std::format::{Object, SEG_DATA_OFFSET, SegmentId};
use chronicle_std::{Queue, QueueWriter, RetentionPolicy, SyncPolicy, WriterConfig};
use rustix::fs::{Advice, fadvise};

use crate::mode::Mode;

/// Type of all messages.
const TYPE: u16 = 0x8000;
/// So that there are rolls.
const SEGMENT_SIZE: u64 = 32 << 10;
/// A disk that is in trouble is given up after so many attempts in a row.
const ATTEMPTS: u32 = 3;

/// The payload of the message with this sequence number: tells it from all others.
pub(crate) fn payload(seq: u64) -> Vec<u8> {
    let length = 8 + (seq * 37 % 700) as usize;
    let mut bytes = seq.to_le_bytes().to_vec();
    bytes.extend((8..length).map(|at| (seq as usize * 31 + at) as u8));
    bytes
}

fn told(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn open(path: &Path, mode: Mode, limited: bool) -> Result<QueueWriter, chronicle_std::QueueError> {
    let mut config = WriterConfig::default();
    config.segment_size = SEGMENT_SIZE;
    // Nobody else may prepare a segment before its space is written.
    config.background = !mode.is_zeroed();
    if limited {
        config.retention = RetentionPolicy { max_segments: Some(2), ..RetentionPolicy::KEEP_ALL };
    }
    if mode == Mode::Group {
        config.sync = SyncPolicy::Group { interval: Duration::from_millis(1) };
    }
    Queue::open_publisher_with(path, config)
}

/// Runs until it is killed, or `batches` are done. Waits for a line on standard input behind each
/// batch, so that what the disk has recorded by then can be noted.
pub(crate) fn run(path: &Path, mode: Mode, limited: bool, batches: u64) -> Result<(), String> {
    let mut writer = open(path, mode, limited).map_err(told)?;
    let mut reader = Queue::open_subscriber(path, "reader").map_err(told)?;
    let mut zeroed = Zeroed { next: SegmentId::FIRST };
    let mut lines = std::io::stdin().lock().lines();
    let mut say = |line: String| {
        println!("{line}");
        std::io::stdout().flush().map_err(told)?;
        lines.next().transpose().map(|line| line.is_some()).map_err(told)
    };
    let mut refused = 0;
    for batch in 0..batches {
        if mode.is_zeroed() {
            writer.prepare_next().map_err(told)?;
            zeroed.fill(path, &writer)?;
        }
        let worked = work(&mut writer, path, mode, batch).and_then(|()| match limited {
            // Also where the thread beside the writer does it, at moments of its own.
            true => writer.apply_retention().map(drop).map_err(told),
            false => Ok(()),
        });
        // A reader stores its place in a file of the same disk.
        while reader.next().map_err(told)?.is_some() {}
        reader.commit().map_err(told)?;
        let line = match worked {
            Ok(()) => format!("durable {}", writer.next_seq()),
            Err(error) if !mode.has_trouble() => return Err(error),
            Err(error) => {
                drop(writer);
                writer = loop {
                    match open(path, mode, limited) {
                        Ok(writer) => break writer,
                        Err(again) if refused < ATTEMPTS => {
                            refused += 1;
                            if !say(format!("refused {again}"))? {
                                return Ok(());
                            }
                        }
                        Err(_) => {
                            say(format!("gave up {error}"))?;
                            return Ok(());
                        }
                    }
                };
                format!("reopened {error}")
            }
        };
        if !say(line)? {
            break;
        }
    }
    Ok(())
}

/// Appends a batch and makes it durable, as the mode says.
fn work(writer: &mut QueueWriter, path: &Path, mode: Mode, batch: u64) -> Result<(), String> {
    let first = writer.next_seq();
    for seq in first..first + 1 + batch * 7 % 23 {
        writer.append(TYPE, &payload(seq)).map_err(told)?;
    }
    let next = writer.next_seq();
    match mode {
        Mode::Never => Ok(()),
        Mode::ZeroedNever => write_back(path),
        Mode::Group => match writer.wait_durable(next - 1, Duration::from_secs(60)) {
            Ok(true) => Ok(()),
            Ok(false) => writer.flush().map_err(told),
            Err(error) => Err(told(error)),
        },
        _ => writer.flush().map_err(told),
    }
}

/// Has the kernel begin to write all segments out, without a flush of the disk (posix_fadvise(2)).
fn write_back(path: &Path) -> Result<(), String> {
    for entry in std::fs::read_dir(path).map_err(told)? {
        let file = entry.map_err(told)?.path();
        if file.extension().is_some_and(|extension| extension == "q") {
            let file = std::fs::File::open(file).map_err(told)?;
            fadvise(&file, 0, None, Advice::DontNeed).map_err(told)?;
        }
    }
    Ok(())
}

/// Writes zeros into the space of segments before records come to lie there. Space that was allocated
/// and never written reads as zeros after a power loss, whatever of it had reached the disk, so that
/// torn records cannot be seen; here they can.
struct Zeroed {
    /// The first segment that was not written yet.
    next: SegmentId,
}

impl Zeroed {
    fn fill(&mut self, path: &Path, writer: &QueueWriter) -> Result<(), String> {
        loop {
            let file = path.join(Object::Segment(self.next).to_string());
            let file = match OpenOptions::new().write(true).open(file) {
                Ok(file) => file,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(told(error)),
            };
            let head = writer.position();
            let used = head.segment >= self.next;
            let from = if used { head.offset } else { SEG_DATA_OFFSET };
            file.write_all_at(&vec![0; (SEGMENT_SIZE - from) as usize], from).map_err(told)?;
            file.sync_all().map_err(told)?;
            self.next = self.next.next().map_err(told)?;
        }
    }
}
