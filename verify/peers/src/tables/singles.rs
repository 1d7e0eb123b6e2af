//! The tables about Chronicle's single operations, beside a limit where there is one.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use chronicle_std::Queue;

use crate::bench::{Bench, say};
use crate::job::{Drive, Values};
use crate::measure::{appends, followers, reopen, rolls, scan, seek};
use crate::process::{self, Process};
use crate::results::Results;
use crate::systems::taking_part;
use crate::tables::TABLES;

/// Messages a second at which a reader falls asleep between any two.
pub const SLEEPY_RATE: u64 = 2000;
/// The rate at which rolls are looked at.
pub const ROLL_RATE: u64 = 100_000;
/// Readers that follow one writer.
pub const READERS: [usize; 3] = [1, 4, 16];

pub fn wake(bench: &Bench, results: &mut Results) {
    let drive = Drive::Woken { rate: SLEEPY_RATE };
    let entries: Vec<_> = taking_part(drive, 64).collect();
    let names = bench.wanted(entries.iter().map(|entry| entry.name), TABLES);
    say("wake");
    results.interleave("wake", "64 B", &names, bench.scale.runs, |name| {
        let entry = entries.iter().find(|entry| entry.name == name).context("an entry")?;
        bench.drive(entry, drive, 64)
    });
}

pub fn append(bench: &Bench, results: &mut Results) {
    let names = bench.wanted(["chronicle crc"], TABLES);
    say("append");
    for (case, on_disk) in [("in memory", false), ("on disk", true)] {
        results.interleave("append", case, &names, bench.scale.runs, |_| {
            let scratch = if on_disk { bench.disk_scratch() } else { bench.scratch() }?;
            let task = appends::Task {
                size: 64,
                messages: bench.scale.operations,
                directory: scratch.path().to_owned(),
            };
            bench.single("appends", &task)
        });
    }
}

pub fn scan(bench: &Bench, results: &mut Results) {
    let names = bench.wanted(scan::SCANNED.iter().map(|(name, _)| *name), TABLES);
    for &size in bench.scale.sizes.iter().filter(|size| **size <= 1024) {
        let case = format!("{size} B");
        say(format_args!("scan, {case}"));
        results.interleave("scan", &case, &names, bench.scale.runs, |name| {
            let scratch = bench.scratch()?;
            let task = scan::Task {
                system: name.to_owned(),
                size,
                messages: bench.scale.operations.min(bench.scale.stream_bytes / size as u64),
                directory: scratch.path().to_owned(),
                cpu: bench.cpus[0],
            };
            bench.single("scan", &task)
        });
    }
}

pub fn rolls(bench: &Bench, results: &mut Results) {
    let names = bench.wanted([rolls::CHRONICLE, rolls::LINES], TABLES);
    say("rolls");
    results.interleave("rolls", "one append", &names, bench.scale.runs, |name| {
        let scratch = bench.scratch()?;
        let task = rolls::Task {
            system: name.to_owned(),
            rate: ROLL_RATE,
            messages: ROLL_RATE * bench.scale.rolls_ms / 1000,
            directory: scratch.path().to_owned(),
            ticks_per_ns: bench.ticks_per_ns,
            cpu: bench.cpus[0],
        };
        bench.single("rolls", &task)
    });
    let drive = Drive::OneWay { rate: ROLL_RATE };
    let names = bench.wanted(["chronicle", "chronicle rolling"], TABLES);
    results.interleave("rolls", "one way", &names, bench.scale.runs, |name| {
        let entry = taking_part(drive, 64).find(|entry| entry.name == name);
        bench.drive_for(entry.context("an entry")?, drive, 64, bench.scale.rolls_ms)
    });
}

pub fn seek(bench: &Bench, results: &mut Results) {
    let names = bench.wanted(["chronicle crc"], TABLES);
    if names.is_empty() {
        return;
    }
    say("seek");
    // One log for all runs: it takes longest to make.
    let made = bench.disk_scratch().and_then(|scratch| {
        let task = seek::Task {
            directory: scratch.path().to_owned(),
            bytes: bench.scale.seek_bytes,
            seeks: bench.scale.seeks,
            ticks_per_ns: bench.ticks_per_ns,
            cpu: bench.cpus[0],
        };
        bench.single("fill", &task)?;
        Ok((scratch, task))
    });
    let case = format!("{} MiB", bench.scale.seek_bytes >> 20);
    results.interleave("seek", &case, &names, bench.scale.runs, |_| match &made {
        Ok((_, task)) => bench.single("seek", task),
        Err(error) => bail!("{error:#}"),
    });
}

pub fn reopen(bench: &Bench, results: &mut Results) {
    let names = bench.wanted(["chronicle crc"], TABLES);
    for segments in [0, 4] {
        let case = format!("{} MiB", (segments + 1) * 128);
        say(format_args!("reopen, {case}"));
        results.interleave("reopen", &case, &names, bench.scale.runs, |_| {
            let scratch = bench.scratch()?;
            let task = reopen::Task { queue: scratch.path().join("queue"), segments };
            let mut writer = Process::start("victim", &task)?;
            await_line(&mut writer)?;
            writer.kill()?;
            let begin = Instant::now();
            let writer = Queue::open_publisher(&task.queue)?;
            let took = begin.elapsed().as_secs_f64();
            drop(writer);
            Ok(Values::from([("ms".to_owned(), took * 1e3)]))
        });
    }
}

pub fn readers(bench: &Bench, results: &mut Results) {
    if bench.wanted(["chronicle"], TABLES).is_empty() {
        return;
    }
    say("readers");
    let cases = READERS.map(|count| count.to_string());
    let names: Vec<&str> = cases.iter().map(String::as_str).collect();
    // The numbers of readers are what is compared here, so they take the systems' place.
    results.interleave("readers", "64 B", &names, bench.scale.runs, |name| {
        follow(bench, name.parse()?)
    });
}

fn follow(bench: &Bench, readers: usize) -> Result<Values> {
    let scratch = bench.scratch()?;
    let task = followers::Task {
        queue: scratch.path().join("queue"),
        bytes: bench.scale.stream_bytes,
        cpus: bench.cpus,
    };
    let mut writer = Process::start("write", &task)?;
    await_line(&mut writer)?;
    let mut following = Vec::new();
    for _ in 0..readers {
        let mut reader = Process::start("follow", &task)?;
        await_line(&mut reader)?;
        following.push(reader);
    }
    File::create(scratch.path().join("start"))?;
    process::finish(vec![writer])
}

/// Waits until a process says that it is as far as it should be.
fn await_line(process: &mut Process) -> Result<()> {
    let mut line = String::new();
    BufReader::with_capacity(16, process.output()?).read_line(&mut line)?;
    if line.is_empty() {
        bail!("a process ended before it was ready");
    }
    Ok(())
}
