//! What single operations cost one thread: an append, a read, and reading everything again.

use std::hint::black_box;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use chronicle_std::{Queue, QueueReader, ReaderConfig};
use serde::{Deserialize, Serialize};

use crate::job::Values;
use crate::measure::cpu_ns_each;
use crate::message::{Checker, Writer};
use crate::process::pin;
use crate::system::{Place, Processes, Receiver, Sender};
use crate::systems::chronicle::OneSegment;
use crate::systems::ideal::{self, Ideal};

/// A receiver that can begin again.
pub trait Rewind {
    fn rewind(&mut self) -> Result<()>;
}

impl Rewind for QueueReader {
    fn rewind(&mut self) -> Result<()> {
        self.seek_to_start()?;
        Ok(())
    }
}

/// One run of one system.
#[derive(Serialize, Deserialize)]
pub struct Task {
    pub system: String,
    pub size: usize,
    pub messages: u64,
    pub directory: PathBuf,
    pub cpu: usize,
}

type Run = fn(&Task) -> Result<Values>;

/// The systems whose messages can be read again.
pub const SCANNED: &[(&str, Run)] = &[
    ("chronicle", scan::<OneSegment<false>>),
    ("chronicle crc", scan::<OneSegment<true>>),
    ("ideal full", scan::<Ideal<{ ideal::PLAIN }>>),
    ("ideal full crc", scan::<Ideal<{ ideal::SEALED }>>),
    ("ideal full lazy", scan::<Ideal<{ ideal::PLAIN_LAZY }>>),
];

pub fn run(task: &Task) -> Result<Values> {
    let found = SCANNED.iter().find(|(name, _)| *name == task.system);
    let (_, run) = found.with_context(|| format!("{} cannot be scanned", task.system))?;
    pin(task.cpu)?;
    let mut values = run(task)?;
    if task.system.starts_with("chronicle") {
        values.insert("commit_ns".to_owned(), commit(task)?);
    }
    Ok(values)
}

fn place_of(task: &Task, name: &str) -> Result<Place> {
    let directory = task.directory.join(name);
    std::fs::create_dir(&directory)?;
    let messages = task.messages + warm_up(task);
    Ok(Place { directory, size: task.size, messages })
}

/// More than Chronicle's first step of space, behind which it gets all of it.
fn warm_up(task: &Task) -> u64 {
    (2 << 20) / task.size as u64
}

fn scan<S: Processes>(task: &Task) -> Result<Values>
where
    S::Receiver: Rewind,
{
    let mut values = Values::new();
    let mut note = |name: &str, value: f64| values.insert(name.to_owned(), value);
    let count = task.messages;
    let mut sender = S::sender(&place_of(task, "append")?)?;
    let message = vec![7; task.size];
    for _ in 0..warm_up(task) {
        sender.send(&message)?;
    }
    let append = cpu_ns_each(count, || {
        for _ in 0..count {
            sender.send(black_box(&message))?;
        }
        Ok(())
    })?;
    note("append_ns", append);
    drop(sender);

    let place = place_of(task, "replay")?;
    let mut sender = S::sender(&place)?;
    let mut writer = Writer::new(task.size)?;
    for seq in 0..count {
        sender.send(writer.message(seq))?;
    }
    let mut receiver = S::receiver(&place)?;
    let mut replay = || -> Result<f64> {
        let mut checker = Checker::new(task.size);
        let each =
            cpu_ns_each(count, || all(&mut receiver, count, |message| checker.check(message)))?;
        checker.finish()?;
        receiver.rewind()?;
        Ok(each)
    };
    note("first_replay_ns", replay()?);
    let again = replay()?;
    note("replay_ns", again);
    note("replay_bytes_per_second", task.size as f64 / again * 1e9);
    let next = cpu_ns_each(count, || {
        all(&mut receiver, count, |message| {
            black_box(message);
        })
    })?;
    note("next_ns", next);
    drop((sender, receiver));

    std::fs::remove_dir_all(task.directory.join("append"))?;
    let lengths_mixed = place_of(task, "mixed")?;
    let mut sender = S::sender(&lengths_mixed)?;
    for _ in 0..warm_up(task) {
        sender.send(&message)?;
    }
    let lengths = mixed(task.size);
    let mut lengths = lengths.iter().cycle();
    let append = cpu_ns_each(count, || {
        for length in lengths.by_ref().take(count as usize) {
            let message = message.get(..usize::from(*length)).unwrap_or(&message);
            sender.send(black_box(message))?;
        }
        Ok(())
    })?;
    note("mixed_append_ns", append);
    let mut receiver = S::receiver(&lengths_mixed)?;
    // Once before, so that no page is met for the first time.
    all(&mut receiver, warm_up(task) + count, |_| {})?;
    receiver.rewind()?;
    all(&mut receiver, warm_up(task), |_| {})?;
    let next = cpu_ns_each(count, || {
        all(&mut receiver, count, |message| {
            black_box(message);
        })
    })?;
    note("mixed_next_ns", next);
    Ok(values)
}

/// Lengths up to this one in no order: what takes a way of its own for each length shows what it costs to guess it. None
/// is one that Chronicle stores by a slower way for its being short.
fn mixed(size: usize) -> Vec<u16> {
    const SHORTEST: usize = 32;
    // More than a processor's branch predictor learns by heart.
    const LENGTHS: usize = 1 << 16;
    // The multiplier and increment of Knuth's MMIX, of which the upper bits are good.
    let next = |state: &u64| {
        Some(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407))
    };
    let random = std::iter::successors(next(&1), next).map(|state| (state >> 33) as usize);
    let lengths = random.map(|random| SHORTEST + random % (size - SHORTEST + 1));
    lengths.flat_map(u16::try_from).take(LENGTHS).collect()
}

/// Reads so many messages, all of which are there.
fn all<R: Receiver>(receiver: &mut R, count: u64, mut each: impl FnMut(&[u8])) -> Result<()> {
    let mut read = 0;
    while read < count {
        match receiver.poll(count - read, &mut each)? {
            0 => bail!("{read} of {count} messages are there"),
            more => read += more,
        }
    }
    Ok(())
}

/// What it costs a reader with a name to keep its place: reading and committing, less reading alone.
fn commit(task: &Task) -> Result<f64> {
    let mut config = ReaderConfig::default();
    config.name = Some("peers".to_owned());
    let mut reader = Queue::open_reader(task.directory.join("replay/queue"), config)?;
    if reader.next()?.is_none() {
        bail!("there is nothing to read");
    }
    cpu_ns_each(task.messages, || {
        for _ in 0..task.messages {
            reader.commit()?;
        }
        Ok(())
    })
}
