//! What the demo's other processes do.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use chronicle_std::{
    MessageView, Queue, QueueReader, QueueWriter, ReaderConfig, WaitOutcome, WaitStrategy,
};
use clap::{ArgAction, Subcommand};
use serde::{Deserialize, Serialize};

use super::payload;
use super::percentiles::Latencies;
use super::process::READY;
use crate::failure::Failure;
use crate::output;

/// Type of the demo's messages.
pub(crate) const TYPE_ID: u16 = 0x8000;
/// Bytes of a message whose latency is measured.
const LATENCY_BYTES: usize = 64;
/// A process that has waited for so long says so and ends.
const PATIENCE: Duration = Duration::from_secs(10);
/// Type of the message that says that no more will come.
const END: u16 = 0x8001;
/// No measurement takes longer, however slow or busy the machine is.
pub(crate) const AT_MOST: Duration = Duration::from_secs(3);
/// Round trips that are not counted, while caches and the scheduler warm up.
const WARM_UP: u64 = 2000;
/// The clock is looked at once in so many messages.
pub(crate) const UNTIMED: u64 = 1024;

/// What a process is to do.
#[derive(Subcommand)]
pub(crate) enum Role {
    /// Append as fast as it goes
    Send { queue: PathBuf, size: usize, count: u64 },
    /// Read and check every byte
    Receive { queue: PathBuf, size: usize },
    /// Send, wait for the answer, and measure how long that takes
    Ping { there: PathBuf, back: PathBuf, count: u64 },
    /// Answer
    Echo { there: PathBuf, back: PathBuf },
    /// Send at a fixed rate, with the time at which each message was due
    Pace {
        queue: PathBuf,
        count: u64,
        rate: u64,
        #[arg(action = ArgAction::Set)]
        sleep: bool,
    },
    /// Measure how old messages are when they arrive
    Observe {
        queue: PathBuf,
        count: u64,
        #[arg(action = ArgAction::Set)]
        sleep: bool,
    },
    /// Append and acknowledge until killed
    Acknowledge { queue: PathBuf },
}

pub(crate) fn run(role: &Role) -> Result<(), Failure> {
    match role {
        Role::Send { queue, size, count } => send(queue, *size, *count),
        Role::Receive { queue, size } => receive(queue, *size),
        Role::Ping { there, back, count } => ping(there, back, *count),
        Role::Echo { there, back } => echo(there, back),
        Role::Pace { queue, count, rate, sleep } => pace(queue, *count, *rate, *sleep),
        Role::Observe { queue, count, sleep } => observe(queue, *count, *sleep),
        Role::Acknowledge { queue } => acknowledge(queue),
    }
}

/// What the receiving process found out.
#[derive(Serialize, Deserialize)]
pub(crate) struct Received {
    pub(crate) messages: u64,
    pub(crate) first_sent_ns: u64,
    pub(crate) last_received_ns: u64,
}

fn send(queue: &Path, size: usize, count: u64) -> Result<(), Failure> {
    let mut writer = Queue::open_publisher(queue)?;
    let mut message = vec![0; size];
    let started = Instant::now();
    for seq in 0..count {
        payload::fill(&mut message, seq);
        writer.append(TYPE_ID, &message)?;
        if seq % UNTIMED == 0 && started.elapsed() > AT_MOST {
            break;
        }
    }
    writer.append(END, &[])?;
    output::print("null\n")
}

fn receive(queue: &Path, size: usize) -> Result<(), Failure> {
    let mut reader = open_reader(queue, WaitStrategy::default())?;
    output::print(READY)?;
    let mut messages = 0;
    let mut first_sent_ns = 0;
    loop {
        let message = next(&mut reader)?;
        if message.type_id == END {
            break;
        }
        if messages == 0 {
            first_sent_ns = message.timestamp_ns;
        }
        let right = message.payload.len() == size && payload::is_right(message.payload, messages);
        if message.seq != messages || !right {
            return Err(wrong(messages));
        }
        messages += 1;
    }
    output::print_json(&Received { messages, first_sent_ns, last_received_ns: now_ns() })
}

fn ping(there: &Path, back: &Path, count: u64) -> Result<(), Failure> {
    let mut writer = Queue::open_publisher(there)?;
    let mut reader = open_reader(back, WaitStrategy::BusySpin)?;
    let mut latencies = Latencies::new()?;
    let mut message = [0; LATENCY_BYTES];
    let started = Instant::now();
    for seq in 0..count + WARM_UP {
        payload::fill(&mut message, seq);
        let sent = Instant::now();
        writer.append(TYPE_ID, &message)?;
        let answer = next(&mut reader)?;
        let elapsed = sent.elapsed();
        if answer.payload != message {
            return Err(wrong(seq));
        }
        // Where a processor is shared, warming up may take all of the time.
        let late = started.elapsed() > AT_MOST;
        if seq >= WARM_UP || late {
            latencies.record(elapsed.as_nanos() as u64 / 2);
        }
        if late {
            break;
        }
    }
    writer.append(END, &[])?;
    output::print_json(&latencies.percentiles())
}

fn echo(there: &Path, back: &Path) -> Result<(), Failure> {
    let mut reader = open_reader(there, WaitStrategy::BusySpin)?;
    let mut writer = Queue::open_publisher(back)?;
    output::print(READY)?;
    loop {
        let message = next(&mut reader)?;
        if message.type_id == END {
            return output::print("null\n");
        }
        writer.append(TYPE_ID, message.payload)?;
    }
}

/// Messages sent at a fixed rate that are not counted: a tenth of a second of them at 1 k/s.
fn paced_warm_up(sleep: bool) -> u64 {
    if sleep { 100 } else { WARM_UP }
}

fn pace(queue: &Path, count: u64, rate: u64, sleep: bool) -> Result<(), Failure> {
    let mut writer = Queue::open_publisher(queue)?;
    let mut message = [0; LATENCY_BYTES];
    let start = now_ns() + 1_000_000;
    for index in 0..count + paced_warm_up(sleep) {
        let due = start + index * 1_000_000_000 / rate.max(1);
        let stamp = if sleep {
            thread::sleep(Duration::from_nanos(due.saturating_sub(now_ns())));
            // How well this process sleeps is not the question.
            now_ns()
        } else {
            while now_ns() < due {
                std::hint::spin_loop();
            }
            // When it was due, however late it is: a stall is not to hide what waited behind it.
            due
        };
        if let Some(head) = message.first_chunk_mut::<8>() {
            *head = stamp.to_le_bytes();
        }
        writer.append(TYPE_ID, &message)?;
    }
    output::print("null\n")
}

fn observe(queue: &Path, count: u64, sleep: bool) -> Result<(), Failure> {
    let strategy = if sleep { WaitStrategy::Park } else { WaitStrategy::BusySpin };
    let mut reader = open_reader(queue, strategy)?;
    let mut latencies = Latencies::new()?;
    output::print(READY)?;
    for seq in 0..count + paced_warm_up(sleep) {
        let message = next(&mut reader)?;
        let now = now_ns();
        let stamp = message.payload.first_chunk().copied().map_or(0, u64::from_le_bytes);
        if message.seq != seq {
            return Err(wrong(seq));
        }
        if seq >= paced_warm_up(sleep) {
            latencies.record(now.saturating_sub(stamp));
        }
    }
    output::print_json(&latencies.percentiles())
}

fn acknowledge(queue: &Path) -> Result<(), Failure> {
    let mut writer: QueueWriter = Queue::open_publisher(queue)?;
    let mut acknowledgements = output::standard_output()?;
    let mut message = [0; LATENCY_BYTES];
    loop {
        payload::fill(&mut message, writer.next_seq());
        let seq = writer.append(TYPE_ID, &message)?;
        acknowledgements.write_all(&seq.to_le_bytes()).map_err(|error| Failure::output(&error))?;
    }
}

fn open_reader(queue: &Path, strategy: WaitStrategy) -> Result<QueueReader, Failure> {
    let mut config = ReaderConfig::default();
    config.wait_strategy = strategy;
    config.writer_timeout = None;
    Ok(Queue::open_reader(queue, config)?)
}

/// The next message, for which the reader waits in its own way.
fn next(reader: &mut QueueReader) -> Result<MessageView<'_>, Failure> {
    // A message that is there needs no look at the clock.
    let ready = reader.wait(Some(PATIENCE))? == WaitOutcome::Ready;
    match reader.next()? {
        Some(message) if ready => Ok(message),
        _ => Err(Failure::Internal("demo: no message came for 10 s".to_owned())),
    }
}

fn wrong(seq: u64) -> Failure {
    Failure::Internal(format!("demo: message {seq} is missing or not what was sent"))
}

/// The wall clock, which processes share.
fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}
