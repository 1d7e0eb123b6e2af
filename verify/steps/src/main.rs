//! Kills a queue's writer at every instruction, so to say: runs it instruction by instruction, takes a
//! copy of the queue's files each time that they have changed, and has the shipping code recover each
//! copy as it would after the writer's death. What was acknowledged must be there, once and in order;
//! what was under way must be there wholly or not at all.
//!
//! Between two changes of the files a death leaves the same bytes, wherever it happens, so this is every
//! instruction. Needs ptrace(2) on x86-64 Linux; says so and does nothing elsewhere.

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod canary;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod examine;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod files;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod model;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod run;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod scenarios;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod script;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod trace;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod writer;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Kills a writer at every instruction and recovers what it leaves.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Go on with random scripts until so many seconds have passed
    #[arg(long, value_name = "SECONDS")]
    long: Option<u64>,
    /// Seed of the first random script; each further one has the next
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,
    /// Only the scenario with this name
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Write down what was done, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// The process that is run by single steps
    #[command(hide = true)]
    Writer { queue: PathBuf, script: String },
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse() {
        Arguments { command: Some(Command::Writer { queue, script }), .. } => {
            traced(&queue, &script)
        }
        Arguments { long, seed, only, json, .. } => {
            tracing(long, seed, only.as_deref(), json.as_deref())
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("steps: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
use crate::{run::run as tracing, writer::run as traced};

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
fn tracing(
    _: Option<u64>,
    seed: Option<u64>,
    _: Option<&str>,
    json: Option<&std::path::Path>,
) -> Result<(), String> {
    let reason = "single steps are made for x86-64 Linux";
    println!("SKIPPED kill points: {reason}");
    let mut account = chronicle_account::Account::begin("steps", seed);
    account.skip(reason);
    json.map_or(Ok(()), |path| account.write(path, 0))
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
fn traced(_: &std::path::Path, _: &str) -> Result<(), String> {
    Err("there is no tracer here".to_owned())
}
