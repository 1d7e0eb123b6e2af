//! `chronicle-sim explore` looks for a crash after which the queue breaks a promise; `replay` shows
//! one again.
#![allow(clippy::disallowed_types, reason = "counts workloads among threads; no part of any model")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use chronicle_account::Account;
use chronicle_sim::{Failure, Faults, Plan, Seen, Setup, Stop, Totals, Worker, Workload};
use clap::{Args, Parser, Subcommand};

#[derive(Parser)]
#[command(name = "chronicle-sim", about = "Explores what crashes leave of a simulated queue")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Explores all short workloads, then random ones, until the time is up
    Explore(Explore),
    /// Shows a failure again, by the line that it printed
    Replay(Replay),
    /// Seeds every fault of the simulator's list in turn and demands that it is found
    #[cfg(chronicle_mutants)]
    Mutants,
}

#[derive(Args)]
struct Explore {
    /// Where random numbers begin
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Explore for so many seconds, with more states of each moment
    #[arg(long, value_name = "SECONDS")]
    long: Option<u64>,
    /// All workloads of up to so many operations are among the explored ones, those of up to two come
    /// first [default: 2, or 3 with --long]
    #[arg(long)]
    exhaustive: Option<u32>,
    /// One setup only: SEGMENT/SECTOR/ordered or free[/recycled]
    #[arg(long)]
    setup: Option<Setup>,
    /// Threads
    #[arg(long)]
    threads: Option<usize>,
    /// Write down what was done, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Args)]
struct Replay {
    #[arg(long)]
    seed: u64,
    #[arg(long)]
    setup: Setup,
    #[arg(long, default_value = "")]
    ops: String,
    #[arg(long)]
    die: Option<String>,
    #[arg(long)]
    fail_sync: Option<u32>,
    #[arg(long)]
    lies_after: Option<u32>,
    #[arg(long)]
    lying_sync: bool,
    #[arg(long)]
    lying_names: bool,
    #[arg(long)]
    point: Option<usize>,
    #[arg(long)]
    stop: Option<Stop>,
    #[arg(long)]
    choice: Option<String>,
    #[arg(long)]
    second: Option<String>,
    /// The number of the rotten sector's choice
    #[arg(long)]
    rot: Option<String>,
}

/// How long an exploration takes unless told otherwise.
const DEFAULT_SECONDS: u64 = 60;

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Explore(options) => explore(&options),
        Command::Replay(options) => replay(&options),
        #[cfg(chronicle_mutants)]
        Command::Mutants => mutants(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn explore(options: &Explore) -> Result<(), String> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let threads = options.threads.unwrap_or(cores).max(1);
    let time = Duration::from_secs(options.long.unwrap_or(DEFAULT_SECONDS));
    let exhaustive = options.exhaustive.unwrap_or(if options.long.is_some() { 3 } else { 2 });
    let plan = Plan::new(exhaustive, options.seed);
    let seen = Seen::default();
    let next = Mutex::new(0u64);
    let account = Account::begin("sim", Some(options.seed));
    let begun = Instant::now();
    let failure: Mutex<Option<Box<Failure>>> = Mutex::new(None);
    let work = || {
        let mut worker = Worker::new(&seen, options.seed).for_at_most(time);
        if options.long.is_some() {
            worker = worker.thorough();
        }
        while begun.elapsed() < time && failure.lock().is_ok_and(|failure| failure.is_none()) {
            let Ok(number) = next.lock().map(|mut next| {
                *next += 1;
                *next - 1
            }) else {
                break;
            };
            let mut planned = plan.get(number);
            if let Some(setup) = options.setup {
                planned.workload.setup = setup;
            }
            if let Err(found) = worker.explore(&planned.workload, planned.last_only)
                && let Ok(mut failure) = failure.lock()
            {
                failure.get_or_insert(found);
            }
        }
        worker.totals
    };
    let mut totals = Totals::default();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            if let Ok(done) = worker.join() {
                totals.merge(&done);
            }
        }
    });
    let seconds = begun.elapsed().as_secs_f64();
    let planned = next.lock().map_or(0, |next| *next);
    let failure = failure.into_inner().unwrap_or_default();
    report(&totals, seconds, threads, options, plan.exhaustive_among(planned), plan.exhaustive());
    let outcome = failure.map_or(Ok(()), |failure| Err(format!("BROKEN {failure}")));
    let Some(path) = &options.json else { return outcome };
    let written = write_down(account, &totals, path, outcome.is_err());
    outcome.and(written)
}

fn report(
    totals: &Totals,
    seconds: f64,
    threads: usize,
    options: &Explore,
    exhausted: u64,
    exhaustive: u64,
) {
    let Totals { workloads, points, raw, distinct, killed, rotten, .. } = *totals;
    let Totals { second_raw, second_distinct, lost, diverged, refused, .. } = *totals;
    let Totals { behind_lies, lies_told, .. } = *totals;
    let all_distinct = distinct + second_distinct;
    let all_raw = raw + second_raw;
    println!("seed {}, {seconds:.1} s, {threads} threads", options.seed);
    println!("{:<44}{exhausted} of {exhaustive}", "exhaustive workloads begun");
    for (what, count) in [
        ("workloads", workloads),
        ("moments at which the machine stopped", points),
        ("processes killed", killed),
        ("states of the medium enumerated", raw),
        ("  distinct, recovered and checked", distinct),
        ("states behind a second loss, enumerated", second_raw),
        ("  distinct, recovered and checked", second_distinct),
        ("rotten sectors", rotten),
        ("  of which told, the others harmless", refused),
        ("distinct states of media that lied", behind_lies),
        ("  of which the open told, the others opened", lies_told),
        ("records not durable and lost", lost),
        ("positions refused, record before them there", diverged),
    ] {
        println!("{what:<44}{count}");
    }
    println!("{:<44}{:.0}", "states a second, enumerated", all_raw as f64 / seconds);
    println!("{:<44}{:.0}", "states a second, distinct", all_distinct as f64 / seconds);
}

/// `raw` and `distinct` are of all states; `second_raw` and `second_distinct` those among them that lie
/// behind a second loss.
fn write_down(
    mut account: Account,
    totals: &Totals,
    path: &Path,
    failed: bool,
) -> Result<(), String> {
    for (name, count) in [
        ("workloads", totals.workloads),
        ("points", totals.points),
        ("killed", totals.killed),
        ("raw", totals.raw + totals.second_raw),
        ("distinct", totals.distinct + totals.second_distinct),
        ("second_raw", totals.second_raw),
        ("second_distinct", totals.second_distinct),
        ("rotten", totals.rotten),
        ("refused", totals.refused),
        ("behind_lies", totals.behind_lies),
        ("lies_told", totals.lies_told),
    ] {
        account.add(name, count);
    }
    account.write(path, u64::from(failed))
}

/// How long a seeded fault may take to be found.
#[cfg(chronicle_mutants)]
const MUTANT_TIME: Duration = Duration::from_secs(90);

/// How long nothing is found without one.
#[cfg(chronicle_mutants)]
const CANARY_TIME: Duration = Duration::from_secs(2);

/// What most are found in.
#[cfg(chronicle_mutants)]
const SHORT_TIME: Duration = Duration::from_secs(3);

/// What needs more than random workloads find in that time: two losses of power at the right moments,
/// a reader some segments behind, and a failure of each sync in turn.
#[cfg(chronicle_mutants)]
fn likely() -> impl Iterator<Item = Workload> {
    let ops = |ops: &str| {
        let setup: Setup = "8192/4096/free".parse().ok()?;
        Some(Workload::new(setup, &Workload::ops(ops).ok()?))
    };
    let failing = (0..16).filter_map(move |sync| {
        let mut workload = ops("sfsf")?;
        workload.faults.fail_sync = Some(sync);
        Some(workload)
    });
    ["bkoc", "rood", "od", "ood", "oofdl", "sn"].into_iter().filter_map(ops).chain(failing)
}

#[cfg(chronicle_mutants)]
fn mutants() -> Result<(), String> {
    use chronicle_sync::mutation::{Killer, Mutant, select};

    println!("{:<26} {:<9} how", "mutant", "result");
    // First without any: what is found then is nobody's fault.
    select(None);
    if let Some(failure) = search(CANARY_TIME) {
        return Err(format!("{:<26} {:<9} BROKEN {failure}", Mutant::Nothing.name(), "caught"));
    }
    println!("{:<26} {:<9}", Mutant::Nothing.name(), "SURVIVED");
    let mut survivors = 0;
    for mutant in Mutant::ALL.iter().filter(|mutant| mutant.killer() == Killer::Simulator) {
        select(Some(*mutant));
        let (result, how) = match search(MUTANT_TIME) {
            Some(failure) => {
                let (workload, why) = (failure.workload(), &failure.why);
                ("caught", format!("{workload}: {why}"))
            }
            None => {
                survivors += 1;
                ("SURVIVED", format!("{:.0} s", MUTANT_TIME.as_secs_f64()))
            }
        };
        println!("{:<26} {result:<9} {how}", mutant.name());
    }
    select(None);
    if survivors == 0 { Ok(()) } else { Err(format!("{survivors} faults were not found")) }
}

/// Looks for a broken promise in the shortest of the planned workloads, in those that are likely to show
/// one, and then for so long in further planned ones.
#[cfg(chronicle_mutants)]
fn search(time: Duration) -> Option<Box<Failure>> {
    let seen = Seen::default();
    let plan = Plan::new(2, 1);
    let mut numbers = 0..;
    let mut planned = |time: Duration| {
        let begun = Instant::now();
        let mut worker = Worker::new(&seen, 1).quick().for_at_most(time);
        while begun.elapsed() < time {
            let planned = plan.get(numbers.next()?);
            let found = worker.explore(&planned.workload, planned.last_only).err();
            if found.is_some() {
                return found;
            }
        }
        None
    };
    let in_likely_ones = || {
        likely()
            .find_map(|workload| Worker::new(&seen, 2).thorough().explore(&workload, false).err())
    };
    planned(SHORT_TIME).or_else(in_likely_ones).or_else(|| planned(time))
}

fn numbers(text: &str) -> Result<Vec<u16>, String> {
    let parts = text.split(',').filter(|part| !part.is_empty());
    parts.map(|part| part.parse().map_err(|_| format!("{part} is no number"))).collect()
}

fn pair(text: &str) -> Result<(usize, &str), String> {
    let (first, second) = text.split_once(':').ok_or(format!("{text} has no colon"))?;
    Ok((first.parse().map_err(|_| format!("{first} is no number"))?, second))
}

fn replay(options: &Replay) -> Result<(), String> {
    let mut workload = Workload::new(options.setup, &Workload::ops(&options.ops)?);
    if let Some(die) = &options.die {
        let (op, call) = pair(die)?;
        workload.die = Some((op, call.parse().map_err(|_| format!("{call} is no number"))?));
    }
    workload.faults = Faults {
        fail_sync: options.fail_sync,
        lies_after: options.lies_after,
        lying_sync: options.lying_sync,
        lying_names: options.lying_names,
    };
    let mut failure = Failure::new(&workload, options.seed);
    if let (Some(point), Some(stop)) = (options.point, options.stop) {
        let choice = numbers(options.choice.as_deref().unwrap_or_default())?;
        failure = failure.at(point, stop, choice);
    }
    if let Some(second) = &options.second {
        let (point, choice) = pair(second)?;
        failure = failure.and_again(point, numbers(choice)?);
    }
    if let Some(rot) = &options.rot {
        let digits = rot.trim_start_matches("0x");
        let rot = u64::from_str_radix(digits, 16).map_err(|_| format!("{rot} is no number"))?;
        failure = failure.with_rot(rot);
    }
    match failure.replay() {
        Ok(()) => {
            println!("no promise is broken");
            Ok(())
        }
        Err(why) => Err(format!("BROKEN {why}")),
    }
}
