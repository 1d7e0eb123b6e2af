//! All scenarios, what they have shown, and in how many steps.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use chronicle_account::Account;
use nix::sched::{CpuSet, sched_getcpu, sched_setaffinity};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::canary::Wrong;
use crate::examine::{Observed, examine};
use crate::files::Files;
use crate::model::{Model, judge};
use crate::scenarios::{self, Scenario};
use crate::script::{Operation, Step, text};
use crate::trace::{Stop, Tracee};
use crate::writer::told;

/// More instructions than any operation takes here.
const MOST_INSTRUCTIONS: u64 = 20_000_000;

/// Random scripts of a run that was given no time.
const RANDOM_SCRIPTS: u64 = 10;

/// What was done so far.
#[derive(Clone, Copy, Default)]
struct Figures {
    scenarios: u64,
    operations: u64,
    instructions: u64,
    changes: u64,
    /// Distinct states of the files, each of which was recovered.
    recoveries: u64,
    examining: Duration,
}

impl Figures {
    fn add(&mut self, other: &Self) {
        self.scenarios += other.scenarios;
        self.operations += other.operations;
        self.instructions += other.instructions;
        self.changes += other.changes;
        self.recoveries += other.recoveries;
        self.examining += other.examining;
    }
}

pub(crate) fn run(
    long: Option<u64>,
    seed: Option<u64>,
    only: Option<&str>,
    json: Option<&Path>,
) -> Result<(), String> {
    let seed = seed.unwrap_or_else(|| match long {
        Some(_) => SystemTime::UNIX_EPOCH.elapsed().map_or(1, |since| since.as_secs()),
        None => 1,
    });
    let mut account = Account::begin("steps", Some(seed));
    if let Err(reason) = Tracee::probe() {
        println!("SKIPPED kill points: no process can be traced here: {reason}");
        account.skip(&format!("no process can be traced here: {reason}"));
        return json.map_or(Ok(()), |path| account.write(path, 0));
    }
    stay_on_one_processor();
    let mut total = Figures::default();
    let outcome = everything(long, seed, only, &mut total);
    let Some(path) = json else { return outcome };
    for (name, count) in [
        ("scenarios", total.scenarios),
        ("operations", total.operations),
        ("instructions", total.instructions),
        ("changes", total.changes),
        ("recoveries", total.recoveries),
    ] {
        account.add(name, count);
    }
    let written = account.write(path, u64::from(outcome.is_err()));
    outcome.and(written)
}

/// Goes through the scenarios, random scripts and canaries; stops at the first failure.
fn everything(
    long: Option<u64>,
    seed: u64,
    only: Option<&str>,
    total: &mut Figures,
) -> Result<(), String> {
    let begun = Instant::now();
    println!(
        "{:<34} {:>10} {:>12} {:>9} {:>10} {:>7}",
        "scenario", "operations", "instructions", "changes", "recoveries", "time"
    );
    let wanted = |scenario: &Scenario| only.is_none_or(|only| scenario.name == only);
    for scenario in scenarios::all().iter().filter(|scenario| wanted(scenario)) {
        total.add(&shown(scenario)?);
    }
    let mut next = seed;
    // Without a time there are a few, always the same.
    let until = begun + Duration::from_secs(long.unwrap_or(0));
    let few = next + if only.is_none() { RANDOM_SCRIPTS } else { 0 };
    while next < few || Instant::now() < until {
        total.add(&shown(&scenarios::random(next))?);
        next += 1;
    }
    for wrong in Wrong::ALL {
        let scenario = scenarios::canary(wrong);
        if !wanted(&scenario) {
            continue;
        }
        match Trial::new()?.run(&scenario) {
            Err(fault) => println!("{wrong:?} was found out: {fault}"),
            Ok(_) => return Err(format!("{wrong:?} was not found out: this shows nothing")),
        }
    }
    let all = begun.elapsed();
    print_row("all", total, all);
    let per_second = |count: u64, time: Duration| count as f64 / time.as_secs_f64().max(1e-9);
    println!(
        "{:.0} instructions a second, {:.0} recoveries a second",
        per_second(total.instructions, all.saturating_sub(total.examining)),
        per_second(total.recoveries, total.examining)
    );
    Ok(())
}

fn shown(scenario: &Scenario) -> Result<Figures, String> {
    let begun = Instant::now();
    let mut trial = Trial::new()?;
    match trial.run(scenario) {
        Ok(()) => {
            trial.figures.scenarios = 1;
            print_row(&scenario.name, &trial.figures, begun.elapsed());
            Ok(trial.figures)
        }
        Err(fault) => {
            let kept = trial.directory.keep();
            Err(format!("{}: {fault}\nthe files are in {}", scenario.name, kept.display()))
        }
    }
}

fn print_row(name: &str, figures: &Figures, time: Duration) {
    println!(
        "{name:<34} {:>10} {:>12} {:>9} {:>10} {:>6.1}s",
        figures.operations,
        figures.instructions,
        figures.changes,
        figures.recoveries,
        time.as_secs_f64()
    );
}

/// A step is a change from one process to another and back, which is quicker on one processor.
fn stay_on_one_processor() {
    let mut processors = CpuSet::new();
    if let Ok(here) = sched_getcpu()
        && processors.set(here).is_ok()
    {
        let _ = sched_setaffinity(Pid::from_raw(0), &processors);
    }
}

/// One scenario under way.
struct Trial {
    directory: TempDir,
    queue: PathBuf,
    model: Model,
    /// What was found in states that were recovered before.
    known: HashMap<(u64, bool), Observed>,
    figures: Figures,
}

impl Trial {
    fn new() -> Result<Self, String> {
        let mut named = tempfile::Builder::new();
        named.prefix("chronicle-steps-");
        let memory = named.tempdir_in("/dev/shm");
        let directory = memory.or_else(|_| named.tempdir()).map_err(told)?;
        let queue = directory.path().join("queue");
        let (model, known, figures) = (Model::default(), HashMap::new(), Figures::default());
        Ok(Self { directory, queue, model, known, figures })
    }

    fn run(&mut self, scenario: &Scenario) -> Result<(), String> {
        for (number, steps) in scenario.processes.iter().enumerate() {
            let mut tracee = Tracee::start(&self.queue, &text(steps))?;
            for (place, step) in steps.iter().enumerate() {
                let before = self.figures.instructions;
                self.perform(&mut tracee, step).map_err(|fault| {
                    let at = self.figures.instructions - before;
                    let operation = step.operation;
                    format!(
                        "process {number}, operation {place} ({operation}), instruction {at}: {fault}"
                    )
                })?;
            }
            tracee.finish()?;
        }
        Ok(())
    }

    fn perform(&mut self, tracee: &mut Tracee, step: &Step) -> Result<(), String> {
        let operation = &step.operation;
        tracee.run_to_begin()?;
        let mut files = Files::new(&self.queue);
        let before = self.model.clone();
        let after = before.after(operation);
        if step.single {
            files.refresh()?;
            self.figures.operations += 1;
            self.single_steps(tracee, &mut files, operation, &before, &after)?;
        } else {
            tracee.run_to_end()?;
        }
        if *operation == Operation::Tear {
            // Numbers of lost records may come to name others.
            self.known.clear();
        }
        // Acknowledged: from here on it must be there.
        files.refresh()?;
        let found = self.look(&files, operation, &after, &after)?;
        let removed = found.first > before.first;
        if *operation == Operation::Retain && step.single && after.is_to_lose_some() && !removed {
            return Err("nothing was removed, so this shows nothing".to_owned());
        }
        self.model = after;
        self.model.first = found.first;
        Ok(())
    }

    fn single_steps(
        &mut self,
        tracee: &mut Tracee,
        files: &mut Files,
        operation: &Operation,
        before: &Model,
        after: &Model,
    ) -> Result<(), String> {
        for _ in 0..MOST_INSTRUCTIONS {
            let entered_kernel = match tracee.step()? {
                Stop::Ended => return Ok(()),
                Stop::Stepped { entered_kernel } => entered_kernel,
            };
            self.figures.instructions += 1;
            if if entered_kernel { files.refresh()? } else { files.compare() } {
                self.figures.changes += 1;
                self.look(files, operation, before, after)?;
            }
        }
        Err("does not end".to_owned())
    }

    /// Recovers a copy of the files, unless the same bytes were recovered before, and judges it.
    fn look(
        &mut self,
        files: &Files,
        operation: &Operation,
        before: &Model,
        after: &Model,
    ) -> Result<Observed, String> {
        let torn = before.torn || after.torn;
        let state = (files.hash(), torn);
        let found = match self.known.get(&state) {
            Some(known) => *known,
            None => {
                let begun = Instant::now();
                let truth = if before.count() > after.count() { before } else { after };
                let copy = self.directory.path().join("copy");
                files.copy_to(&copy)?;
                let found = examine(&copy, truth, torn)?;
                fs::remove_dir_all(&copy).map_err(told)?;
                self.figures.recoveries += 1;
                self.figures.examining += begun.elapsed();
                self.known.insert(state, found);
                found
            }
        };
        judge(&found, operation, before, after)?;
        Ok(found)
    }
}
