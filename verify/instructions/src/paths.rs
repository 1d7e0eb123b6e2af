//! What is counted.

use std::error::Error;
use std::hint::black_box;

use chronicle_std::{Queue, ReaderConfig, WriterConfig};

use crate::machine::Machine;
use chronicle_core::{
    Appender, CreateOptions, ReaderName, TailOptions, Tailer, WriteOptions, create,
};

/// How often a path is run.
const TIMES: u32 = 1_000;
const TYPE: u16 = 0x8000;
const TIME_NS: u64 = 1_700_000_000_000_000_000;
/// Messages of one batch.
const BATCH: usize = 16;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// What is done to a queue.
#[derive(Clone, Copy)]
enum Operation {
    Append,
    /// With the time given by the caller.
    AppendAt,
    AppendAll,
    Claim,
    Next,
    ReadAll,
    /// Where nothing has come.
    Poll,
    Commit,
    /// As `AppendAt` and `Next`, through `chronicle-std`, by a writer without its thread.
    WriterAppendAt,
    ReaderNext,
}

/// An operation on messages of a size, in a queue with checksums or without.
pub struct PathTaken {
    operation: Operation,
    size: usize,
    checksums: bool,
}

impl PathTaken {
    /// As `docs/performance.md` has it.
    pub fn name(&self) -> String {
        let what = match self.operation {
            Operation::Append => "append",
            Operation::AppendAt => "append_at",
            Operation::AppendAll => "append_all, each of 16",
            Operation::Claim => "claim and commit",
            Operation::Next => "next",
            Operation::ReadAll => "read_all, each of 16",
            Operation::WriterAppendAt => "QueueWriter::append_at",
            Operation::ReaderNext => "QueueReader::next",
            Operation::Poll => return "next, nothing there".to_owned(),
            Operation::Commit => return "commit of a position".to_owned(),
        };
        let checksums = if self.checksums { "CRC-32C" } else { "no checksum" };
        format!("{what}, {} B, {checksums}", self.size)
    }
}

pub fn all() -> Vec<PathTaken> {
    use Operation::{
        Append, AppendAll, AppendAt, Claim, Commit, Next, Poll, ReadAll, ReaderNext, WriterAppendAt,
    };
    let mut all = Vec::new();
    for operation in [Append, Next] {
        for checksums in [false, true] {
            all.extend([64, 256, 1024].map(|size| PathTaken { operation, size, checksums }));
        }
    }
    let others = [AppendAt, WriterAppendAt, ReaderNext, ReadAll, AppendAll, Claim, Poll, Commit];
    for operation in others {
        all.push(PathTaken { operation, size: 64, checksums: false });
    }
    for (size, checksums) in [(64, true), (256, false), (1024, false)] {
        all.push(PathTaken { operation: WriterAppendAt, size, checksums });
    }
    all
}

pub fn run(name: &str) -> Outcome {
    let all = all();
    let path = all.iter().find(|path| path.name() == name);
    let path = path.ok_or_else(|| format!("{name} is none of the paths"))?;
    let directory = tempfile::tempdir()?;
    let mut options = CreateOptions::default();
    options.checksums = path.checksums;
    create(&Machine::open(directory.path())?, &options)?;
    let mut appender = Appender::open(Machine::open(directory.path())?, WriteOptions::default())?;
    let message = vec![7; path.size];
    // What is done for the first time does not count, such as finding out the clock's rate.
    for _ in 0..100 * TIMES {
        appender.append(TYPE, &message)?;
    }
    match path.operation {
        Operation::Append => counted(|| {
            appender.append(TYPE, black_box(&message))?;
            Ok(())
        }),
        Operation::AppendAt => counted(|| {
            appender.append_at(TYPE, black_box(TIME_NS), black_box(&message))?;
            Ok(())
        }),
        Operation::WriterAppendAt => {
            drop(appender);
            let mut config = WriterConfig::default();
            config.background = false;
            let mut writer = Queue::open_publisher_with(directory.path(), config)?;
            counted(|| {
                writer.append_at(TYPE, black_box(TIME_NS), black_box(&message))?;
                Ok(())
            })
        }
        Operation::AppendAll => {
            let batch = [&message[..]; BATCH];
            counted(|| {
                appender.append_all(TYPE, black_box(batch))?;
                Ok(())
            })
        }
        Operation::Claim => counted(|| {
            let mut claim = appender.claim(message.len())?;
            claim.copy_from_slice(black_box(&message));
            claim.commit(TYPE)?;
            Ok(())
        }),
        Operation::Next => {
            let mut tailer =
                Tailer::open(Machine::open(directory.path())?, &TailOptions::default())?;
            tailer.next()?;
            counted(|| {
                black_box(tailer.next()?.ok_or("a message is missing")?);
                Ok(())
            })
        }
        Operation::ReadAll => {
            let mut tailer =
                Tailer::open(Machine::open(directory.path())?, &TailOptions::default())?;
            tailer.next()?;
            counted(|| {
                let read = tailer.read_all(BATCH as u64, |message| {
                    black_box(message);
                })?;
                if read == BATCH as u64 { Ok(()) } else { Err("a message is missing".into()) }
            })
        }
        Operation::ReaderNext => {
            let mut reader = Queue::open_reader(directory.path(), ReaderConfig::default())?;
            reader.next()?;
            counted(|| {
                black_box(reader.next()?.ok_or("a message is missing")?);
                Ok(())
            })
        }
        Operation::Poll => {
            let mut tailer =
                Tailer::open(Machine::open(directory.path())?, &TailOptions::default())?;
            tailer.seek_to_end()?;
            counted(|| match tailer.next()? {
                None => Ok(()),
                Some(_) => Err("there is a message".into()),
            })
        }
        Operation::Commit => {
            let mut options = TailOptions::default();
            options.name = Some(ReaderName::new("counted")?);
            let mut tailer = Tailer::open(Machine::open(directory.path())?, &options)?;
            tailer.next()?;
            counted(|| Ok(tailer.commit()?))
        }
    }
}

/// What is counted: the path so many times, and two instructions for each round of the loop.
#[inline(never)]
fn counted(mut path: impl FnMut() -> Outcome) -> Outcome {
    for _ in 0..TIMES {
        path()?;
    }
    Ok(())
}
