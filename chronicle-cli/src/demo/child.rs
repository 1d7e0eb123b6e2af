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
/// Round trips and messages that are not counted, while caches and the scheduler warm up.
pub(crate) const WARM_UP: u64 = 2000;

/// What a process is to do.
#[derive(Subcommand)]
pub(crate) enum Role {
    /// Append as fast as it goes
    Send { queue: PathBuf, count: u64, size: usize },
    /// Read and check every byte
    Receive { queue: PathBuf, count: u64, size: usize },
    /// Send, wait for the answer, and measure how long that takes
    Ping { there: PathBuf, back: PathBuf, count: u64 },
    /// Answer
    Echo { there: PathBuf, back: PathBuf, count: u64 },
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
        Role::Send { queue, count, size } => send(queue, *count, *size),
        Role::Receive { queue, count, size } => receive(queue, *count, *size),
        Role::Ping { there, back, count } => ping(there, back, *count),
        Role::Echo { there, back, count } => echo(there, back, *count),
        Role::Pace { queue, count, rate, sleep } => pace(queue, *count, *rate, *sleep),
        Role::Observe { queue, count, sleep } => observe(queue, *count, *sleep),
        Role::Acknowledge { queue } => acknowledge(queue),
    }
}

/// What the receiving process found out.
#[derive(Serialize, Deserialize)]
pub(crate) struct Received {
    pub(crate) first_sent_ns: u64,
    pub(crate) last_received_ns: u64,
}

fn send(queue: &Path, count: u64, size: usize) -> Result<(), Failure> {
    let mut writer = Queue::open_publisher(queue)?;
    let mut message = vec![0; size];
    for seq in 0..count {
        payload::fill(&mut message, seq);
        writer.append(TYPE_ID, &message)?;
    }
    output::print("null\n")
}

fn receive(queue: &Path, count: u64, size: usize) -> Result<(), Failure> {
    let mut reader = open_reader(queue, WaitStrategy::default())?;
    output::print(READY)?;
    let mut first_sent_ns = 0;
    for seq in 0..count {
        let message = next(&mut reader)?;
        if seq == 0 {
            first_sent_ns = message.timestamp_ns;
        }
        let right = message.payload.len() == size && payload::is_right(message.payload, seq);
        if message.seq != seq || !right {
            return Err(Failure::Internal(format!("demo: message {seq} is not what was sent")));
        }
    }
    output::print_json(&Received { first_sent_ns, last_received_ns: now_ns() })
}

fn ping(there: &Path, back: &Path, count: u64) -> Result<(), Failure> {
    let mut writer = Queue::open_publisher(there)?;
    let mut reader = open_reader(back, WaitStrategy::BusySpin)?;
    let mut latencies = Latencies::new()?;
    let mut message = [0; LATENCY_BYTES];
    for seq in 0..count + WARM_UP {
        payload::fill(&mut message, seq);
        let sent = Instant::now();
        writer.append(TYPE_ID, &message)?;
        let answer = next(&mut reader)?;
        let elapsed = sent.elapsed();
        if answer.payload != message {
            return Err(Failure::Internal(format!("demo: answer {seq} is not what was sent")));
        }
        if seq >= WARM_UP {
            latencies.record(elapsed.as_nanos() as u64 / 2);
        }
    }
    output::print_json(&latencies.percentiles())
}

fn echo(there: &Path, back: &Path, count: u64) -> Result<(), Failure> {
    let mut reader = open_reader(there, WaitStrategy::BusySpin)?;
    let mut writer = Queue::open_publisher(back)?;
    output::print(READY)?;
    for _ in 0..count + WARM_UP {
        let message = next(&mut reader)?;
        writer.append(TYPE_ID, message.payload)?;
    }
    output::print("null\n")
}

fn pace(queue: &Path, count: u64, rate: u64, sleep: bool) -> Result<(), Failure> {
    let mut writer = Queue::open_publisher(queue)?;
    let mut message = [0; LATENCY_BYTES];
    let start = now_ns() + 1_000_000;
    for index in 0..count + WARM_UP {
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
    for seq in 0..count + WARM_UP {
        let message = next(&mut reader)?;
        let now = now_ns();
        let stamp = message.payload.first_chunk().copied().map_or(0, u64::from_le_bytes);
        if message.seq != seq {
            return Err(Failure::Internal(format!("demo: message {seq} is missing")));
        }
        if seq >= WARM_UP {
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

/// The wall clock, which processes share.
fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}
