//! Recovery of a copy of the files, by the shipping code, and what it shows.

use std::fs;
use std::path::Path;

use chronicle_std::{Queue, QueueError, QueueReader, ReaderConfig};

use crate::model::Model;
use crate::script::payload;
use crate::writer::{READER, TYPE, config, told};

/// What was found in a copy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Observed {
    /// Whether there was a queue before one was made.
    pub(crate) existed: bool,
    /// The oldest record.
    pub(crate) first: u64,
    /// Sequence number behind the newest record.
    pub(crate) count: u64,
    /// Offset behind the newest record, in its segment.
    pub(crate) offset: u64,
    /// Where the named reader went on, if it was registered.
    pub(crate) reader: Option<u64>,
    /// Records below this are durable, says the recovery.
    pub(crate) durable: u64,
    /// Whether recovery cut anything.
    pub(crate) cut: bool,
}

/// Reads a dead writer's queue, recovers it, and goes on in it. `truth` has every payload that may be
/// there.
pub(crate) fn examine(queue: &Path, truth: &Model, torn: bool) -> Result<Observed, String> {
    let mut found = Observed {
        existed: true,
        first: 0,
        count: 0,
        offset: 0,
        reader: None,
        durable: 0,
        cut: false,
    };
    // Readers that come before the next writer.
    match Queue::open_reader(queue, ReaderConfig::default()) {
        Err(QueueError::NotFound { .. }) => found.existed = false,
        Err(error) => return Err(format!("a reader before the recovery: {error}")),
        Ok(mut reader) => {
            found.first = reader.position().seq;
            let read = read_on(&mut reader, truth);
            found.count = reader.position().seq;
            found.offset = reader.position().offset;
            match read {
                Err(_) if torn && found.count == truth.count() => {}
                read => read.map_err(|fault| format!("a reader before the recovery: {fault}"))?,
            }
        }
    }
    let registered = queue.join("readers").join(format!("{READER}.meta")).exists();
    if registered {
        let mut reader = Queue::open_subscriber(queue, READER)
            .map_err(|error| format!("the named reader before the recovery: {error}"))?;
        found.reader = Some(reader.position().seq);
        if !torn {
            read_on(&mut reader, truth)
                .map_err(|fault| format!("the named reader before the recovery: {fault}"))?;
        }
    }

    let opened = Queue::open_publisher_with(queue, config(4096, true, false));
    let mut writer = opened.map_err(|error| format!("the next writer: {error}"))?;
    found.durable = writer.recovery().durable_seq;
    found.cut = writer.recovery().cut.is_some();
    if writer.next_seq() != found.count {
        let next = writer.next_seq();
        return Err(format!("the next writer goes on at {next}, readers saw {}", found.count));
    }
    leftovers(queue)?;

    let mut named = Queue::open_subscriber(queue, READER)
        .map_err(|error| format!("the named reader: {error}"))?;
    let place = named.position().seq;
    if found.reader.is_some_and(|before| before != place) {
        return Err(format!(
            "the named reader goes on at {place}, before it was {:?}",
            found.reader
        ));
    }
    let appended = writer.append(TYPE, &payload(found.count, 40));
    let appended = appended.map_err(|error| format!("an append: {error}"))?;
    if appended != found.count {
        return Err(format!("an append got number {appended}, not {}", found.count));
    }
    let mut truth = truth.clone();
    truth.payloads.truncate(found.count as usize);
    truth.payloads.push(payload(found.count, 40));
    read_on(&mut named, &truth).map_err(|fault| format!("the named reader: {fault}"))?;
    named.commit().map_err(told)?;
    if named.position().seq != truth.count() {
        return Err(format!("the named reader ends at {}", named.position().seq));
    }

    let mut reader = Queue::open_reader(queue, ReaderConfig::default()).map_err(told)?;
    let first = reader.position().seq;
    read_on(&mut reader, &truth).map_err(|fault| format!("a reader: {fault}"))?;
    if (first, reader.position().seq) != (found.first, truth.count()) {
        return Err(format!("a reader reads from {first} to {}", reader.position().seq));
    }
    let (_, faults) = Queue::verify(queue).map_err(told)?;
    match faults.first() {
        Some(fault) => Err(format!("verify: {fault}")),
        None => Ok(found),
    }
}

/// Reads to the end; each record must be the next one, with its own bytes.
fn read_on(reader: &mut QueueReader, truth: &Model) -> Result<(), String> {
    loop {
        let seq = reader.position().seq;
        let Some(message) = reader.next().map_err(told)? else { return Ok(()) };
        if message.seq != seq || message.type_id != TYPE {
            let (found, type_id) = (message.seq, message.type_id);
            return Err(format!("record {found} of type {type_id:#x} where {seq} was to come"));
        }
        match truth.payloads.get(seq as usize) {
            Some(payload) if payload == message.payload => {}
            Some(_) => return Err(format!("record {seq} has bytes that nobody appended")),
            None => return Err(format!("record {seq} was never appended")),
        }
    }
}

/// No temporary file outlives the next open.
fn leftovers(queue: &Path) -> Result<(), String> {
    for directory in [queue.to_owned(), queue.join("readers")] {
        for entry in fs::read_dir(directory).map_err(told)? {
            let name = entry.map_err(told)?.file_name();
            if name.to_string_lossy().contains(".tmp") {
                return Err(format!("{} was left behind", name.to_string_lossy()));
            }
        }
    }
    Ok(())
}
