//! The process that is traced: works through its script and tells the tracer, by signals to itself,
//! where each operation begins and ends.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process;

use chronicle_std::format::layout::control;
use chronicle_std::format::{HEADER_SIZE, Object, SEG_DATA_OFFSET, record_size};
use chronicle_std::{Position, Queue, QueueReader, QueueWriter, RetentionPolicy, WriterConfig};
use nix::sys::ptrace;
use nix::sys::signal::{Signal, raise};

use crate::script::{Operation, parse, payload};

/// Type of all records.
pub(crate) const TYPE: u16 = 0x8000;
/// Name of the named reader.
pub(crate) const READER: &str = "reader";

/// An operation is about to begin.
pub(crate) const BEGINS: Signal = Signal::SIGUSR1;
/// The operation has returned: what it did is acknowledged.
pub(crate) const ENDS: Signal = Signal::SIGUSR2;

/// How the queue of a script is made and opened. There is no thread beside the writer: single steps
/// are those of one thread.
pub(crate) fn config(segment_size: u64, checksums: bool, keep_few: bool) -> WriterConfig {
    let mut config = WriterConfig::default();
    config.segment_size = segment_size;
    config.checksums = checksums;
    config.background = false;
    if keep_few {
        config.retention = RetentionPolicy { max_segments: Some(2), ..RetentionPolicy::KEEP_ALL };
    }
    config
}

/// What a process holds while it works.
pub(crate) struct Hands<'a> {
    pub(crate) queue: &'a Path,
    pub(crate) writer: Option<QueueWriter>,
    pub(crate) reader: Option<QueueReader>,
    mark: Option<Position>,
}

impl Hands<'_> {
    pub(crate) fn writer(&mut self) -> Result<&mut QueueWriter, String> {
        self.writer.as_mut().ok_or_else(|| "no writer is open".to_owned())
    }

    pub(crate) fn reader(&mut self) -> Result<&mut QueueReader, String> {
        self.reader.as_mut().ok_or_else(|| "no reader is open".to_owned())
    }
}

pub(crate) fn told(error: impl ToString) -> String {
    error.to_string()
}

/// Tells the tracer where this process is.
pub(crate) fn mark(signal: Signal) -> Result<(), String> {
    raise(signal).map_err(told)
}

pub(crate) fn run(queue: &Path, script: &str) -> Result<(), String> {
    let operations = parse(script)?;
    ptrace::traceme().map_err(told)?;
    mark(Signal::SIGSTOP)?;
    let mut hands = Hands { queue, writer: None, reader: None, mark: None };
    for operation in operations {
        if let Operation::Wrong(wrong) = operation {
            wrong.commit(&mut hands)?;
            continue;
        }
        // Made ready first, so that only the call itself is looked at.
        let ready = Ready::new(&operation, &hands);
        mark(BEGINS)?;
        perform(&operation, &ready, &mut hands)?;
        mark(ENDS)?;
    }
    // As if it were killed: no destructor runs.
    process::exit(0)
}

/// What an operation needs and what is no part of it.
struct Ready {
    payloads: Vec<Vec<u8>>,
}

impl Ready {
    fn new(operation: &Operation, hands: &Hands<'_>) -> Self {
        let seq = hands.writer.as_ref().map_or(0, QueueWriter::next_seq);
        let (count, length) = match *operation {
            Operation::Append(length) | Operation::Claim(length) => (1, length),
            Operation::AppendAll(count, length) => (count, length),
            _ => (0, 0),
        };
        Self { payloads: (seq..).take(count).map(|seq| payload(seq, length)).collect() }
    }

    fn first(&self) -> &[u8] {
        self.payloads.first().map_or(&[], Vec::as_slice)
    }
}

fn perform(operation: &Operation, ready: &Ready, hands: &mut Hands<'_>) -> Result<(), String> {
    match *operation {
        Operation::Create { segment_size, checksums, keep_few } => {
            let config = config(segment_size, checksums, keep_few);
            hands.writer = Some(Queue::create(hands.queue, config).map_err(told)?);
        }
        Operation::Open => {
            let config = config(4096, true, false);
            let writer = Queue::open_publisher_with(hands.queue, config).map_err(told)?;
            hands.writer = Some(writer);
        }
        Operation::Append(_) => {
            hands.writer()?.append(TYPE, ready.first()).map_err(told)?;
        }
        Operation::Claim(length) => {
            let mut claim = hands.writer()?.claim(length).map_err(told)?;
            claim.copy_from_slice(ready.first());
            claim.commit(TYPE).map_err(told)?;
        }
        Operation::Abort(length) => {
            let mut claim = hands.writer()?.claim(length).map_err(told)?;
            imitate_records(&mut claim);
            claim.abort();
        }
        Operation::AppendAll(..) => {
            let payloads = ready.payloads.iter().map(Vec::as_slice);
            hands.writer()?.append_all(TYPE, payloads).map_err(told)?;
        }
        Operation::Flush => hands.writer()?.flush().map_err(told)?,
        Operation::Prepare => hands.writer()?.prepare_next().map_err(told)?,
        Operation::Retain => {
            hands.writer()?.apply_retention().map_err(told)?;
        }
        Operation::Register => {
            hands.reader = Some(Queue::open_subscriber(hands.queue, READER).map_err(told)?);
        }
        Operation::Read(count) => {
            hands.reader()?.read_all(count, |_| {}).map_err(told)?;
        }
        Operation::Commit => hands.reader()?.commit().map_err(told)?,
        Operation::Close => hands.writer = None,
        Operation::Mark(length) => {
            let writer = hands.writer()?;
            let (mut place, size) = (writer.position(), writer.segment_size());
            if place.offset + u32::try_from(length).map_or(size, record_size) > size {
                place.segment = place.segment.next().map_err(told)?;
                place.offset = SEG_DATA_OFFSET;
            }
            hands.mark = Some(place);
        }
        Operation::Tear => {
            let place = hands.mark.ok_or("nothing is marked")?;
            flip(hands.queue, &Object::Segment(place.segment), place.offset + HEADER_SIZE)?;
        }
        Operation::Reboot => {
            flip(hands.queue, &Object::Control, control::WRITER_BOOT as u64)?;
        }
        Operation::DieInClaim(length) => {
            let mut claim = hands.writer()?.claim(length).map_err(told)?;
            imitate_records(&mut claim);
            // The claim is never given back, as in a process that is killed here.
            mark(ENDS)?;
            process::exit(0);
        }
        // Works by itself.
        Operation::Wrong(_) => {}
    }
    Ok(())
}

/// Fills a claim with headers of short records, one in every slot.
fn imitate_records(bytes: &mut [u8]) {
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = if at % 32 == 0 { 9 } else { 0x80 };
    }
}

fn flip(queue: &Path, object: &Object, offset: u64) -> Result<(), String> {
    let path = queue.join(object.to_string());
    let file = OpenOptions::new().read(true).write(true).open(path).map_err(told)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).map_err(told)?;
    byte.iter_mut().for_each(|byte| *byte ^= 0x10);
    file.write_all_at(&byte, offset).map_err(told)
}
