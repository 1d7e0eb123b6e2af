//! Queues as processes find them: whole, left by a dead writer, after a reboot, poisoned, damaged.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use chronicle_std::format::Object;
use chronicle_std::format::layout::control::WRITER_BOOT;
use chronicle_std::{Queue, QueueWriter, ReaderConfig, RetentionPolicy, WriterConfig};

use crate::calls::{KINDS, What};
use crate::told;
use crate::trace::{End, Fault, Task, run};

/// Type of all messages: that of `chron-cli`.
pub(crate) const TYPE: u16 = 0x8000;
/// The reader that fixtures have.
pub(crate) const READER: &str = "r";
/// The smallest segments that there are, so that there are many rolls.
const SMALL: u64 = 4096;
/// Has entries in its seek index.
const LARGE: u64 = 128 << 10;
/// What `READER` has read of a fixture.
const READ: u64 = 20;
/// The damaged message.
const DAMAGED: u64 = 40;

/// The message with this sequence number: tells it from all others.
pub(crate) fn line(seq: u64) -> String {
    format!("message {seq} {}", "x".repeat((seq * 37 % 200) as usize))
}

/// What a process finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fixture {
    /// Nothing.
    Missing,
    /// 60 messages in three segments.
    Filled,
    /// 1500 messages in two larger segments with seek indexes.
    Large,
    /// A writer died in a claim, behind messages that were not flushed, with a segment prepared, and
    /// left a temporary file.
    Crashed,
    /// As `Crashed`, before a reboot.
    Rebooted,
    /// A sync failed.
    Poisoned,
    /// One of 90 messages is damaged, and the reader's file, and an index.
    Damaged,
    /// 300 messages in many segments of which few need be kept.
    Prunable,
}

impl Fixture {
    pub(crate) const ALL: [Self; 8] = [
        Self::Missing,
        Self::Filled,
        Self::Large,
        Self::Crashed,
        Self::Rebooted,
        Self::Poisoned,
        Self::Damaged,
        Self::Prunable,
    ];
}

/// A fixture that was made.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) fixture: Fixture,
    /// Where it is, if it is anything.
    pub(crate) path: Option<PathBuf>,
    /// Messages in it.
    pub(crate) count: u64,
    /// Sequence number at which the reader goes on.
    pub(crate) read: u64,
    /// The message that cannot be read.
    pub(crate) damaged: Option<u64>,
}

impl Made {
    /// Puts a copy where a process will find it.
    pub(crate) fn copy_to(&self, queue: &Path) -> Result<(), String> {
        self.path.as_ref().map_or(Ok(()), |path| copy(path, queue))
    }
}

/// Makes a fixture at `path`. `program` is `chron-cli`.
pub(crate) fn make(fixture: Fixture, path: &Path, program: &Path) -> Result<Made, String> {
    let mut made =
        Made { fixture, path: Some(path.to_owned()), count: 60, read: READ, damaged: None };
    match fixture {
        Fixture::Missing => (made.path, made.count, made.read) = (None, 0, 0),
        Fixture::Filled => drop(fill(path, made.count, SMALL)?),
        Fixture::Large => {
            made.count = 1500;
            drop(fill(path, made.count, LARGE)?);
        }
        Fixture::Crashed | Fixture::Rebooted => {
            let living = path.with_extension("living");
            let mut writer = fill(&living, made.count, SMALL)?;
            append(&mut writer, made.count, made.count + 10)?;
            made.count += 10;
            writer.prepare_next().map_err(told)?;
            let mut claim = writer.claim(500).map_err(told)?;
            claim.fill(0xff);
            // The files of now are what a death leaves.
            copy(&living, path)?;
            claim.abort();
            fs::write(path.join("000000009.q.0123456789abcdef.tmp"), [1; 5000]).map_err(told)?;
            if fixture == Fixture::Rebooted {
                write_at(&path.join(Object::Control.to_string()), WRITER_BOOT as u64, &[0xee; 8])?;
            }
        }
        Fixture::Poisoned => {
            let healthy = path.with_extension("healthy");
            drop(fill(&healthy, made.count, SMALL)?);
            poison(&healthy, path, program, made.count)?;
            made.count = count(path)?;
        }
        Fixture::Damaged => {
            made.count = 90;
            drop(fill(path, made.count, SMALL)?);
            made.damaged = Some(DAMAGED);
            flip(path, DAMAGED)?;
        }
        Fixture::Prunable => {
            (made.count, made.read) = (300, 280);
            drop(fill(path, made.count, SMALL)?);
        }
    }
    Ok(made)
}

/// How queues are made here.
pub(crate) fn config(segment_size: u64) -> WriterConfig {
    let mut config = WriterConfig::default();
    config.segment_size = segment_size;
    config.background = false;
    config
}

/// A queue with so many messages, all of them durable, and a reader.
fn fill(path: &Path, count: u64, segment_size: u64) -> Result<QueueWriter, String> {
    let mut config = config(segment_size);
    if count == 300 {
        config.retention = RetentionPolicy { max_segments: Some(2), ..RetentionPolicy::default() };
    }
    let mut writer = Queue::create(path, config).map_err(told)?;
    let mut reader = Queue::open_subscriber(path, READER).map_err(told)?;
    append(&mut writer, 0, count)?;
    writer.flush().map_err(told)?;
    for _ in 0..if count == 300 { count - 20 } else { READ } {
        reader.next().map_err(told)?;
    }
    reader.commit().map_err(told)?;
    Ok(writer)
}

/// Appends the messages of a range.
pub(crate) fn append(writer: &mut QueueWriter, from: u64, to: u64) -> Result<(), String> {
    for seq in from..to {
        writer.append(TYPE, line(seq).as_bytes()).map_err(told)?;
    }
    Ok(())
}

/// The lines of a range, as `append` takes them.
pub(crate) fn lines(from: u64, to: u64) -> Vec<u8> {
    (from..to).map(|seq| line(seq) + "\n").collect::<String>().into_bytes()
}

/// Has the sync of what a writer has appended fail, in a copy of a queue.
fn poison(healthy: &Path, path: &Path, program: &Path, count: u64) -> Result<(), String> {
    let kind = KINDS.iter().position(|kind| kind.name == "msync").ok_or("no msync")?;
    let mut task = Task::new(vec![program.into(), "append".into(), "--flush".into(), path.into()]);
    task.input = lines(count, count + 10);
    // Opening syncs other files.
    let mut after = 0;
    loop {
        copy(healthy, path)?;
        task.fault = Some(Fault { kind, after, way: What::Error(libc::EIO), times: 1 });
        let ended = run(&task)?;
        if ended.struck == 0 || after > 20 {
            return Err("no sync of data can be made to fail".to_owned());
        }
        if ended.end == End::Code(2) && self::count(path)? > count {
            return Ok(());
        }
        fs::remove_dir_all(path).map_err(told)?;
        after += 1;
    }
}

fn count(path: &Path) -> Result<u64, String> {
    let mut reader = Queue::open_reader(path, ReaderConfig::default()).map_err(told)?;
    while reader.next().map_err(told)?.is_some() {}
    Ok(reader.position().seq)
}

/// Damages a message.
pub(crate) fn flip(path: &Path, seq: u64) -> Result<(), String> {
    let wanted = format!("message {seq} ");
    for entry in fs::read_dir(path).map_err(told)? {
        let file = entry.map_err(told)?.path();
        let Ok(bytes) = fs::read(&file) else { continue };
        if let Some(at) = bytes.windows(wanted.len()).position(|it| it == wanted.as_bytes()) {
            return write_at(&file, at as u64, b"M");
        }
    }
    Err(format!("message {seq} is nowhere"))
}

fn write_at(file: &Path, at: u64, bytes: &[u8]) -> Result<(), String> {
    let file = OpenOptions::new().write(true).open(file).map_err(told)?;
    file.write_all_at(bytes, at).map_err(told)
}

/// Copies a directory of plain files and directories.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<(), String> {
    fs::create_dir(to).map_err(told)?;
    for entry in fs::read_dir(from).map_err(told)? {
        let entry = entry.map_err(told)?;
        let target = to.join(entry.file_name());
        if entry.file_type().map_err(told)?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target).map_err(told)?;
        }
    }
    Ok(())
}
