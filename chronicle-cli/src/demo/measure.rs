//! The measurements, as the process that starts the others sees them.

use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chronicle_std::{Queue, WriterConfig};
use serde::Serialize;

use super::child::{AT_MOST, Received, TYPE_ID, UNTIMED};
use super::payload;
use super::percentiles::Percentiles;
use super::process::Process;
use crate::failure::Failure;

/// A queue of the demo, which is removed when it has been measured.
struct Scratch(PathBuf);

impl Scratch {
    fn new(directory: &Path, name: &str) -> Result<Self, Failure> {
        let path = directory.join(name);
        drop(Queue::create(&path, WriterConfig::default())?);
        Ok(Self(path))
    }

    fn argument(&self) -> OsString {
        self.0.clone().into_os_string()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left goes with the directory above.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn number(value: impl ToString) -> OsString {
    value.to_string().into()
}

/// What appending costs the thread that does it.
#[derive(Serialize)]
pub(crate) struct AppendCost {
    pub(crate) message_bytes: usize,
    pub(crate) messages: u64,
    pub(crate) nanoseconds_per_message: f64,
}

pub(crate) fn append_cost(
    directory: &Path,
    message_bytes: usize,
    messages: u64,
) -> Result<AppendCost, Failure> {
    let queue = Scratch::new(directory, "append")?;
    let mut writer = Queue::open_publisher(&queue.0)?;
    let message = vec![0x5a; message_bytes];
    let started = Instant::now();
    while writer.next_seq() < messages {
        for _ in 0..UNTIMED {
            writer.append(TYPE_ID, &message)?;
        }
        if started.elapsed() > AT_MOST {
            break;
        }
    }
    let elapsed = started.elapsed();
    let messages = writer.next_seq();
    let nanoseconds_per_message = elapsed.as_nanos() as f64 / messages.max(1) as f64;
    Ok(AppendCost { message_bytes, messages, nanoseconds_per_message })
}

/// How fast messages go from one process to another.
#[derive(Serialize)]
pub(crate) struct Throughput {
    pub(crate) message_bytes: usize,
    pub(crate) messages: u64,
    pub(crate) seconds: f64,
    pub(crate) messages_per_second: f64,
    pub(crate) megabytes_per_second: f64,
}

pub(crate) fn throughput(
    directory: &Path,
    message_bytes: usize,
    messages: u64,
) -> Result<Throughput, Failure> {
    let queue = Scratch::new(directory, "throughput")?;
    let mut arguments = vec![queue.argument(), number(message_bytes)];
    let receiver = Process::start("receive", arguments.clone())?.wait_until_ready()?;
    arguments.push(number(messages));
    let sender = Process::start("send", arguments)?;
    let received: Received = receiver.finish()?;
    sender.finish::<()>()?;
    let elapsed = received.last_received_ns.saturating_sub(received.first_sent_ns);
    let seconds = elapsed.max(1) as f64 / 1e9;
    let messages = received.messages;
    let messages_per_second = messages as f64 / seconds;
    Ok(Throughput {
        message_bytes,
        messages,
        seconds,
        messages_per_second,
        megabytes_per_second: messages_per_second * message_bytes as f64 / 1e6,
    })
}

/// Half of a round trip over two queues.
pub(crate) fn ping_pong(directory: &Path, round_trips: u64) -> Result<Percentiles, Failure> {
    let there = Scratch::new(directory, "there")?;
    let back = Scratch::new(directory, "back")?;
    let mut arguments = vec![there.argument(), back.argument()];
    let echo = Process::start("echo", arguments.clone())?.wait_until_ready()?;
    arguments.push(number(round_trips));
    let ping = Process::start("ping", arguments)?;
    let result = ping.finish()?;
    echo.finish::<()>()?;
    Ok(result)
}

/// How old messages are on arrival that are sent at a fixed rate.
pub(crate) fn one_way(
    directory: &Path,
    messages: u64,
    rate: u64,
    sleep: bool,
) -> Result<Percentiles, Failure> {
    let queue = Scratch::new(directory, "one-way")?;
    let (count, sleep) = (number(messages), number(sleep));
    let observer = Process::start("observe", vec![queue.argument(), count.clone(), sleep.clone()])?
        .wait_until_ready()?;
    let pacer = Process::start("pace", vec![queue.argument(), count, number(rate), sleep])?;
    let result = observer.finish()?;
    pacer.finish::<()>()?;
    Ok(result)
}

/// What is there after the writer was killed.
#[derive(Serialize)]
pub(crate) struct Killed {
    pub(crate) kills: u32,
    /// Messages whose append had returned in the killed process.
    pub(crate) acknowledged: u64,
    /// Messages found afterwards, in order and each with the right content.
    pub(crate) found: u64,
    /// Acknowledged messages that were not found so.
    pub(crate) missing: u64,
    pub(crate) slowest_reopen_ns: u64,
}

pub(crate) fn kill_writers(directory: &Path, kills: u32) -> Result<Killed, Failure> {
    let queue = Scratch::new(directory, "kill")?;
    let mut acknowledged = 0;
    let mut slowest_reopen = Duration::ZERO;
    for _ in 0..kills {
        let mut process = Process::start("acknowledge", vec![queue.argument()])?;
        acknowledged = kill_soon(&mut process)?.unwrap_or(acknowledged);
        let started = Instant::now();
        let writer = Queue::open_publisher(&queue.0)?;
        slowest_reopen = slowest_reopen.max(started.elapsed());
        drop(writer);
    }
    let mut reader = Queue::open_reader(&queue.0, chronicle_std::ReaderConfig::default())?;
    let mut found = 0;
    while let Some(message) = reader.next()? {
        if message.seq != found || !payload::is_right(message.payload, found) {
            break;
        }
        found += 1;
    }
    Ok(Killed {
        kills,
        acknowledged,
        found,
        missing: acknowledged.saturating_sub(found),
        slowest_reopen_ns: slowest_reopen.as_nanos() as u64,
    })
}

/// Lets a process append for a while and kills it. Gives the number of messages that the queue must
/// have, or `None` if it acknowledged nothing.
fn kill_soon(process: &mut Process) -> Result<Option<u64>, Failure> {
    let failed = |error| Failure::Internal(format!("demo: cannot read acknowledgements: {error}"));
    let started = Instant::now();
    let mut last = None;
    let mut seq = [0; 8];
    while started.elapsed() < Duration::from_millis(200) {
        process.output().read_exact(&mut seq).map_err(failed)?;
        last = Some(u64::from_le_bytes(seq) + 1);
    }
    process.kill()?;
    // What it had acknowledged and nobody had read yet.
    let mut rest = Vec::new();
    process.output().read_to_end(&mut rest).map_err(failed)?;
    let (acknowledgements, _) = rest.as_chunks();
    Ok(acknowledgements.last().map(|seq| u64::from_le_bytes(*seq) + 1).or(last))
}
