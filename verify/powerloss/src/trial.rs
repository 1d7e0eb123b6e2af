//! One run of the writer, many cuts of its power.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Instant, SystemTime};

use chronicle_account::Account;
use chronicle_std::format::layout::control::WRITER_BOOT;
use chronicle_std::format::{Object, record_size};
use chronicle_std::{Queue, ReaderConfig};
use clap::ValueEnum;

use crate::disk::{Disk, Event};
use crate::replay::{Choices, medium};
use crate::rig::{Image, Problem, Rig};
use crate::writer::{Mode, payload};

const DISK: usize = 48 << 20;
const BATCHES: u64 = 40;

/// Records below `seq` were said to be durable when the disk had recorded so many events.
struct Promise {
    seq: u64,
    events: usize,
}

struct Recorded {
    size: usize,
    log: Vec<Event>,
    /// Events before the queue was made.
    begin: usize,
    promises: Vec<Promise>,
    /// Bytes of records, and of everything that reached the disk from the making of the queue on: the
    /// queue's files and the file system's journal.
    appended: u64,
    bytes: u64,
    flushes: usize,
}

pub(crate) fn run(
    images: u32,
    seed: Option<u64>,
    mode: Option<Mode>,
    json: Option<&Path>,
) -> Result<(), Problem> {
    let seed = seed.unwrap_or_else(|| {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        since.map_or(1, |since| since.as_nanos() as u64)
    });
    let mut account = Account::begin("powerloss", Some(seed));
    let outcome = match Rig::new(DISK).map(Rig::finish) {
        Ok(_) => every_mode(images, seed, mode, &mut account),
        Err(reason) => {
            println!("skipped: power loss under a real kernel: {reason}");
            account.skip(&reason);
            Ok(())
        }
    };
    let Some(path) = json else { return outcome };
    let written = account.write(path, u64::from(outcome.is_err()));
    outcome.and(written)
}

/// Cuts the power in each mode; stops at the first failure.
fn every_mode(
    images: u32,
    seed: u64,
    mode: Option<Mode>,
    account: &mut Account,
) -> Result<(), Problem> {
    println!("seed {seed}");
    println!(
        "{:<8} {:>7} {:>9} {:>9} {:>9} {:>8} {:>8} {:>7}",
        "mode", "images", "promises", "appended", "on disk", "flushes", "lost in", "time"
    );
    let modes = [Mode::Flush, Mode::Group, Mode::Failing, Mode::Never];
    for mode in modes.into_iter().filter(|each| mode.is_none_or(|only| only == *each)) {
        let began = Instant::now();
        let mut choices = Choices::new(seed);
        // In the failing mode, the batch at which a write fails.
        let fails_at = 1 + choices.below(BATCHES as usize - 5) as u64;
        let recorded = record(mode, fails_at)?;
        let mut lost = 0u64;
        for image in 0..images {
            // What the control loses is no failure, and what it keeps shows nothing.
            let images = if mode == Mode::Never { "control_images" } else { "images" };
            account.add(images, 1);
            match check(&recorded, image == 0, &mut choices) {
                Ok(()) => {}
                Err(_) if mode == Mode::Never => lost += 1,
                Err(fault) => return Err(format!("seed {seed}, {mode:?}, image {image}: {fault}")),
            }
        }
        account.add("control_lost", lost);
        account.add("promises", recorded.promises.len() as u64);
        account.add("flushes", recorded.flushes as u64);
        println!(
            "{:<8} {:>7} {:>9} {:>9} {:>9} {:>8} {:>8} {:>6.1}s",
            mode.to_possible_value().map_or(String::new(), |value| value.get_name().to_owned()),
            images,
            recorded.promises.len(),
            recorded.appended,
            recorded.bytes,
            recorded.flushes,
            lost,
            began.elapsed().as_secs_f64()
        );
        if mode == Mode::Never && lost == 0 {
            return Err(format!("seed {seed}: the control lost nothing, so this shows nothing"));
        }
    }
    Ok(())
}

struct Writer {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Writer {
    fn start(queue: &Path, mode: Mode) -> Result<Self, Problem> {
        let described = |error: std::io::Error| format!("the writer: {error}");
        let program = std::env::current_exe().map_err(described)?;
        let name = mode.to_possible_value().map(|value| value.get_name().to_owned());
        let mut child = Command::new(program)
            .arg("writer")
            .arg(queue)
            .arg(name.unwrap_or_default())
            .arg(BATCHES.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(described)?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (input, output) = pipes.ok_or("the writer has no pipes")?;
        Ok(Self { child, input, output: BufReader::new(output) })
    }

    /// What it says next; `None` at its end.
    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.output.read_line(&mut line).unwrap_or(0);
        (read > 0).then(|| line.trim().to_owned())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn record(mode: Mode, fails_at: u64) -> Result<Recorded, Problem> {
    let rig = Rig::new(DISK)?;
    let begin = rig.disk.events();
    let before = rig.disk.traffic();
    let mut writer = Writer::start(&rig.directory().join("queue"), mode)?;
    let mut promises = Vec::new();
    let mut reopened = false;
    while let Some(line) = writer.line() {
        let (word, seq) =
            line.split_once(' ').ok_or_else(|| format!("the writer said {line:?}"))?;
        let seq: u64 = seq.parse().map_err(|_| format!("the writer said {line:?}"))?;
        if word == "durable" {
            promises.push(Promise { seq, events: rig.disk.events() });
        } else {
            reopened = true;
        }
        if mode == Mode::Failing && promises.len() as u64 == fails_at && !reopened {
            // One write of data; the journal must not be hit, or the file system would shut itself.
            rig.disk.fail_writes(1);
        }
        if writer.input.write_all(b"\n").is_err() {
            break;
        }
    }
    if mode == Mode::Failing && (!reopened || rig.disk.failed_writes() == 0) {
        return Err("no write failed, or nobody noticed".to_owned());
    }
    // One batch may have met the failure instead.
    if (promises.len() as u64) < BATCHES - 1 {
        return Err(format!("the writer ended after {} promises", promises.len()));
    }
    drop(writer);
    let last = promises.last().map_or(0, |promise| promise.seq);
    let appended = (0..last).map(|seq| record_size(payload(seq).len() as u32)).sum();
    let after = rig.disk.traffic();
    let disk: Disk = rig.finish();
    let (size, log) = disk.take_log();
    Ok(Recorded {
        size,
        log,
        begin,
        promises,
        appended,
        bytes: after.0 - before.0,
        flushes: after.1 - before.1,
    })
}

/// Cuts the power, at the end of the record or anywhere in it, and looks at what is left.
fn check(recorded: &Recorded, at_end: bool, choices: &mut Choices) -> Result<(), String> {
    let last = recorded.promises.last().map_or(recorded.log.len(), |promise| promise.events);
    let cut = if at_end { last } else { recorded.begin + choices.below(last - recorded.begin + 1) };
    let promised =
        recorded.promises.iter().rev().find(|promise| promise.events <= cut).map_or(0, |p| p.seq);
    let image = Image::mount(&medium(recorded.size, &recorded.log, cut, choices))?;
    let queue = image.directory().join("queue");
    let place = format!("cut behind event {cut} of {}, promised {promised}", recorded.log.len());
    let described = |error: chronicle_std::QueueError| format!("{place}: {error}");
    forget_boot(&queue).map_err(|error| format!("{place}: {error}"))?;
    match Queue::open_publisher(&queue) {
        Ok(_) => {}
        Err(error) if error.is_not_found() && promised == 0 => return Ok(()),
        Err(error) => return Err(described(error)),
    }
    let mut reader = Queue::open_reader(&queue, ReaderConfig::default()).map_err(described)?;
    let mut next = 0;
    while let Some(message) = reader.next().map_err(described)? {
        if message.seq != next || message.payload != payload(next) {
            return Err(format!(
                "{place}: seq {} at the place of {next}, or other bytes",
                message.seq
            ));
        }
        next += 1;
    }
    if next < promised {
        return Err(format!("{place}: only {next} messages are there"));
    }
    // The reader's own place is one that it had, or it is told that it is not there any more.
    match Queue::open_subscriber(&queue, "reader").map(|reader| reader.position().seq) {
        Ok(seq) if seq <= next => Ok(()),
        Ok(seq) => Err(format!("{place}: the reader goes on at {seq} of {next}")),
        Err(_) => Ok(()),
    }
}

/// Has the queue believe that the machine was started anew, as it is after a power loss: this one
/// was not.
fn forget_boot(queue: &Path) -> std::io::Result<()> {
    match OpenOptions::new().write(true).open(queue.join(Object::Control.to_string())) {
        Ok(control) => control.write_all_at(&[0xee; 8], WRITER_BOOT as u64),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}
