//! The command line, and the summary at the end.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use chronicle_account::Account;
use clap::{Parser, Subcommand};

use crate::launch::{Launch, launch};
use crate::limits;
use crate::run::{Bench, Extent, Row, Shown, replay, sweep};
use crate::{canary, trace, worker};

/// Places at which each kind of call fails in each scenario, in a run that was given no time.
const PLACES: u64 = 1;

/// Has every system call of real processes fail in every plausible way.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// At all places, in random order, until so many seconds have passed
    #[arg(long, value_name = "SECONDS")]
    long: Option<u64>,
    /// Seed of the choice of places and of their order
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,
    /// Only the scenario with this name
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// One fault, as a failure prints it
    #[arg(long, value_name = "KIND:AFTER:ERROR:TIMES", requires = "only")]
    point: Option<String>,
    /// Write down what was done, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// `chron-cli` [default: beside this program]
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// A process that is traced, before it becomes the program
    #[command(hide = true)]
    Launch(Launch),
    /// The process that uses what `chron-cli` does not
    #[command(hide = true)]
    Worker { queue: PathBuf },
    /// A process that does something wrong
    #[command(hide = true)]
    Wrong { wrong: canary::Wrong, queue: PathBuf },
}

pub(crate) fn main() -> ExitCode {
    let outcome = match Arguments::parse() {
        Arguments { command: Some(Command::Launch(task)), .. } => launch(&task),
        Arguments { command: Some(Command::Worker { queue }), .. } => {
            return ended(worker::run(&queue));
        }
        Arguments { command: Some(Command::Wrong { wrong, queue }), .. } => {
            return ended(wrong.run(&queue));
        }
        arguments => all(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("syscalls: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The end of a process that is judged.
fn ended(outcome: Result<(), String>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            worker::complain(&error);
            ExitCode::from(2)
        }
    }
}

fn all(arguments: &Arguments) -> Result<(), String> {
    let seed = arguments.seed.unwrap_or_else(|| match arguments.long {
        Some(_) => SystemTime::UNIX_EPOCH.elapsed().map_or(1, |since| since.as_secs()),
        None => 1,
    });
    let mut account = Account::begin("syscalls", Some(seed));
    let outcome = match trace::probe() {
        Ok(()) => everything(arguments, seed, &mut account),
        Err(reason) => {
            println!("SKIPPED failing system calls: no process can be traced here: {reason}");
            account.skip(&reason);
            Ok(0)
        }
    };
    let failures = outcome.as_ref().map_or(1, |failures| *failures);
    let written = match &arguments.json {
        Some(file) => account.write(file, failures),
        None => Ok(()),
    };
    match outcome? {
        0 => written,
        failures => Err(format!("{failures} failures")),
    }
}

/// Returns the number of failures.
fn everything(arguments: &Arguments, seed: u64, account: &mut Account) -> Result<u64, String> {
    let begun = Instant::now();
    let beside = || Some(std::env::current_exe().ok()?.with_file_name("chron-cli"));
    let program = arguments.program.clone().or_else(beside).unwrap_or_default();
    let program = fs::canonicalize(&program)
        .map_err(|error| format!("{}: {error}; build chronicle-cli", program.display()))?;
    let mut bench = Bench::new(&program)?;
    let only = arguments.only.as_deref();
    if let (Some(only), Some(point)) = (only, &arguments.point) {
        return replay(&mut bench, only, point).map(|()| 0);
    }
    let (mut canaries, mut limited, mut failures) = (0, 0, Vec::new());
    if only.is_none() {
        canaries = canary::all(&mut bench)?;
        (limited, failures) = limits::all(&mut bench)?;
    }
    let extent = Extent {
        places: arguments.long.is_none().then_some(PLACES),
        seed,
        until: arguments.long.map(|seconds| begun + Duration::from_secs(seconds)),
    };
    let Shown { rows, scenarios, all, failures: more } = sweep(&mut bench, only, extent)?;
    failures.extend(more);
    print(&rows);
    for failure in &failures {
        println!("FAILED {failure}");
    }
    let total = |figure: fn(&Row) -> u64| rows.values().map(figure).sum::<u64>();
    let made = |row: &&Row| row.calls > 0;
    let counts = [
        ("scenarios", scenarios),
        ("calls", rows.values().filter(made).count() as u64),
        ("errors", rows.values().filter(made).map(|row| row.errors).sum()),
        ("points", total(|row| row.points)),
        ("points_there_are", all),
        ("refused", total(|row| row.refused)),
        ("absorbed", total(|row| row.absorbed)),
        ("missed", total(|row| row.missed)),
        ("limited", limited),
        ("canaries", canaries),
    ];
    for (name, count) in counts {
        account.add(name, count);
    }
    let counts = counts.map(|(name, count)| format!("{count} {}", name.replace('_', " ")));
    let (count, seconds) = (failures.len() as u64, begun.elapsed().as_secs_f64());
    println!("seed {seed}: {}, {count} failures, {seconds:.1} s", counts.join(", "));
    if count > 0 {
        println!("files are in {}", bench.directory.keep().display());
    }
    Ok(count)
}

fn print(rows: &BTreeMap<&'static str, Row>) {
    println!(
        "{:<18} {:>6} {:>7} {:>7} {:>8} {:>9} {:>7}",
        "call", "calls", "errors", "points", "refused", "absorbed", "missed"
    );
    for (kind, row) in rows {
        println!(
            "{kind:<18} {:>6} {:>7} {:>7} {:>8} {:>9} {:>7}",
            row.calls, row.errors, row.points, row.refused, row.absorbed, row.missed
        );
    }
}
