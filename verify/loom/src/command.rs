//! The command line: every model or every mutant, each in a process of its own.

use std::convert::Infallible;
use std::env;
use std::io::Read as _;
use std::num::NonZero;
use std::panic;
use std::path::Path;
use std::process::{self, Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use chronicle_account::Account;
use chronicle_sync::mutation::{Killer, Mutant, select};

use crate::explore::{Exploration, Verdict, verdict};
use crate::models::{self, Model};

const USAGE: &str = "usage: chronicle-loom [--json FILE | --model NAME | --list-mutants | --mutant NAME | --mutants]";
/// How long a mutant may take to be caught.
const TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) fn run() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => all_models(None),
        ["--json", path] => all_models(Some(Path::new(path))),
        ["--model", name] => one_model(name),
        ["--list-mutants"] => {
            for (model, mutant) in mutants() {
                println!("{model} {}", mutant.name());
            }
            ExitCode::SUCCESS
        }
        ["--mutant", name] => match Mutant::ALL.iter().find(|mutant| mutant.name() == *name) {
            Some(mutant) => one_mutant(*mutant),
            None => {
                eprintln!("there is no mutant {name}; --list-mutants names them");
                ExitCode::FAILURE
            }
        },
        ["--mutants"] => all_mutants(),
        _ => {
            eprintln!("{USAGE}");
            ExitCode::FAILURE
        }
    }
}

/// The model that is being explored, for the panic hook.
static CURRENT: Mutex<Option<&'static Model>> = Mutex::new(None);

/// Explores every model, each in a process of its own: loom explores one at a time in a process.
fn all_models(json: Option<&Path>) -> ExitCode {
    let mut account = Account::begin("loom", None);
    println!("{:<20} {:>10} {:>8}  {:<6} search", "model", "executions", "time", "result");
    let begun = Instant::now();
    let models: Vec<&Model> = models::all().collect();
    let results = side_by_side(&models, |model| {
        let begun = Instant::now();
        let said = in_child(&["--model", model.name], None);
        let seconds = begun.elapsed().as_secs_f64();
        let executions = match &said {
            (true, said) => said.parse::<u64>().map_err(|_| said),
            (false, said) => Err(said),
        };
        match executions {
            Ok(executions) => println!(
                "{:<20} {executions:>10} {seconds:>7.2}s  {:<6} {}",
                model.name, "ok", model.search
            ),
            Err(said) => println!(
                "{:<20} {:>10} {seconds:>7.2}s  FAILED {said}\n  it was to show that {}",
                model.name, "", model.shows
            ),
        }
        executions.ok()
    });
    let explored = results.iter().flatten();
    account.add("models", explored.clone().count() as u64);
    let executions = explored.sum();
    account.add("executions", executions);
    println!("{:<20} {executions:>10} {:>7.2}s", "all", begun.elapsed().as_secs_f64());
    let failed = results.iter().filter(|result| result.is_none()).count();
    if let Some(Err(why)) = json.map(|path| account.write(path, failed as u64)) {
        eprintln!("{why}");
        return ExitCode::FAILURE;
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Explores one model and prints its executions, or how it failed.
fn one_model(name: &str) -> ExitCode {
    let Some(model) = models::all().find(|model| model.name == name) else {
        eprintln!("there is no model {name}");
        return ExitCode::FAILURE;
    };
    select(None);
    on_panic(|_, verdict| {
        let (Verdict::Failed(message) | Verdict::Unclear(message)) = verdict;
        println!("{message}");
        process::exit(1)
    });
    println!("{}", explore(model));
    ExitCode::SUCCESS
}

/// Does the work for each item, as many at a time as there are processors; the results are in the
/// order of the items.
fn side_by_side<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let lane = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else { return done };
            done.push((at, work(item)));
        }
    };
    let mut done: Vec<(usize, R)> = thread::scope(|scope| {
        let lanes = thread::available_parallelism().map_or(1, NonZero::get);
        let lanes: Vec<_> = (0..lanes).map(|_| scope.spawn(lane)).collect();
        lanes.into_iter().flat_map(|lane| lane.join().unwrap()).collect()
    });
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

/// Ends the process in `report` at the first panic inside a model.
///
/// The hook is set once and before the first exploration: loom's coroutines put a hook of their own
/// in front of it, which keeps the panics by which they are cancelled away from this one.
fn on_panic(report: impl Fn(&Model, Verdict) -> Infallible + Send + Sync + 'static) {
    panic::set_hook(Box::new(move |panic| {
        let current = CURRENT.lock().map_or(None, |current| *current);
        match current {
            Some(model) => match report(model, verdict(panic)) {},
            None => {
                eprintln!("{panic}");
                process::exit(2);
            }
        }
    }));
}

/// How many executions there are, all of which are as they should be.
fn explore(model: &'static Model) -> usize {
    *CURRENT.lock().unwrap() = Some(model);
    let mut exploration = Exploration::default();
    (model.run)(&mut exploration);
    *CURRENT.lock().unwrap() = None;
    exploration.executions()
}

fn one_mutant(mutant: Mutant) -> ExitCode {
    select(Some(mutant));
    on_panic(|model, verdict| match verdict {
        Verdict::Failed(message) => {
            println!("{}: {message}", model.name);
            process::exit(0)
        }
        Verdict::Unclear(message) => {
            println!("{}: not a failure of the model: {message}", model.name);
            process::exit(1)
        }
    });
    let mut known = false;
    let number = model_of(mutant);
    for model in models::all().filter(|model| Some(model.number()) == number) {
        known = true;
        explore(model);
    }
    println!("{}", if known { "survived" } else { "has no model" });
    ExitCode::FAILURE
}

/// The number of the model that must see a fault. What is none is shown to the first one, which must
/// not.
fn model_of(mutant: Mutant) -> Option<&'static str> {
    match mutant.killer() {
        Killer::Model(number) => Some(number),
        Killer::Nobody => models::all().next().map(Model::number),
        _ => None,
    }
}

/// The faults that models must see, and by which.
fn mutants() -> impl Iterator<Item = (&'static str, Mutant)> {
    Mutant::ALL.iter().filter_map(|mutant| match mutant.killer() {
        Killer::Model(number) => Some((number, *mutant)),
        _ => None,
    })
}

fn all_mutants() -> ExitCode {
    println!("{:<24} {:<6} {:<9} how", "mutant", "model", "result");
    let show = |model, mutant: Mutant| {
        let (caught, message) = in_child(&["--mutant", mutant.name()], Some(TIMEOUT));
        let result = if caught { "caught" } else { "SURVIVED" };
        println!("{:<24} {model:<6} {result:<9} {message}", mutant.name());
        caught
    };
    if show(model_of(Mutant::Nothing).unwrap_or_default(), Mutant::Nothing) {
        println!("a model sees a fault where there is none");
        return ExitCode::FAILURE;
    }
    let all: Vec<_> = mutants().collect();
    let caught = side_by_side(&all, |(model, mutant)| show(model, *mutant));
    let survivors = caught.iter().filter(|caught| !**caught).count();
    println!("{} of {} mutants caught", all.len() - survivors, all.len());
    if survivors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs this program again: whether it ended well within the time, and what it said.
fn in_child(arguments: &[&str], timeout: Option<Duration>) -> (bool, String) {
    let program = env::current_exe().unwrap();
    let mut child = Command::new(program).args(arguments).stdout(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if let Some(timeout) = timeout
            && begun.elapsed() >= timeout
        {
            child.kill().unwrap();
            child.wait().unwrap();
            return (false, format!("nothing found in {} s", timeout.as_secs()));
        }
        thread::sleep(Duration::from_millis(5));
    };
    let mut said = String::new();
    if let Some(mut output) = child.stdout.take() {
        output.read_to_string(&mut said).unwrap();
    }
    let said = said.trim_end();
    (status.success(), if said.is_empty() { status.to_string() } else { said.to_owned() })
}
