//! The command line: all models, one mutant, or every mutant in a process of its own.

use std::convert::Infallible;
use std::env;
use std::io::Read as _;
use std::panic;
use std::path::Path;
use std::process::{self, Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use chronicle_account::Account;
use chronicle_sync::mutation::{Killer, Mutant, select};

use crate::explore::{Exploration, Verdict, verdict};
use crate::models::{self, Model};

const USAGE: &str =
    "usage: chronicle-loom [--json FILE | --list-mutants | --mutant NAME | --mutants]";
/// How long a mutant may take to be caught.
const TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) fn run() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => all_models(None),
        ["--json", path] => all_models(Some(Path::new(path))),
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

fn all_models(json: Option<&Path>) -> ExitCode {
    select(None);
    let mut account = Account::begin("loom", None);
    println!("{:<20} {:>10} {:>8}  {:<6} search", "model", "executions", "time", "result");
    let begun = Instant::now();
    let mut total = 0;
    on_panic(|model, verdict| {
        let (Verdict::Failed(message) | Verdict::Unclear(message)) = verdict;
        println!("{:<20} {:>10} {:>8}  FAILED {message}", model.name, "", "");
        println!("  it was to show that {}", model.shows);
        process::exit(1)
    });
    for model in models::all() {
        let (executions, time) = explore(model);
        total += executions;
        account.add("models", 1);
        account.add("executions", executions as u64);
        println!(
            "{:<20} {executions:>10} {:>7.2}s  {:<6} {}",
            model.name,
            time.as_secs_f64(),
            "ok",
            model.search
        );
    }
    println!("{:<20} {total:>10} {:>7.2}s", "all", begun.elapsed().as_secs_f64());
    match json.map(|path| account.write(path, 0)) {
        Some(Err(why)) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
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

fn explore(model: &'static Model) -> (usize, Duration) {
    *CURRENT.lock().unwrap() = Some(model);
    let begun = Instant::now();
    let mut exploration = Exploration::default();
    (model.run)(&mut exploration);
    *CURRENT.lock().unwrap() = None;
    (exploration.executions(), begun.elapsed())
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
        let (caught, message) = in_child(mutant);
        let result = if caught { "caught" } else { "SURVIVED" };
        println!("{:<24} {model:<6} {result:<9} {message}", mutant.name());
        caught
    };
    if show(model_of(Mutant::Nothing).unwrap_or_default(), Mutant::Nothing) {
        println!("a model sees a fault where there is none");
        return ExitCode::FAILURE;
    }
    let survivors = mutants().filter(|(model, mutant)| !show(model, *mutant)).count();
    let all = mutants().count();
    println!("{} of {all} mutants caught", all - survivors);
    if survivors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs this program again for one mutant: whether it was caught, and what was said.
fn in_child(mutant: Mutant) -> (bool, String) {
    let program = env::current_exe().unwrap();
    let mut child = Command::new(program)
        .args(["--mutant", mutant.name()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if begun.elapsed() >= TIMEOUT {
            child.kill().unwrap();
            child.wait().unwrap();
            return (false, format!("nothing found in {} s", TIMEOUT.as_secs()));
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
