//! Chronicle beside other queues and beside the limits of the machine, in one run: `cargo xtask peers`.
//!
//! Every claim is a ratio inside one run. How it measures, and what is unfair to whom, is in
//! `docs/decisions/0070-peers.md`.

mod bench;
mod clock;
mod compare;
mod control;
mod durable;
mod job;
mod machine;
mod measure;
mod message;
mod plots;
mod print;
mod process;
mod results;
mod saved;
mod system;
mod systems;
mod tables;
mod verdict;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};

use crate::bench::{Bench, FULL, QUICK};
use crate::compare::Run;
use crate::job::{Job, Side};
use crate::measure::{appends, followers, reopen, rolls, scan, seek};
use crate::results::Results;

#[derive(Parser)]
#[command(
    name = "cargo xtask peers",
    about = "Chronicle beside other queues and the machine's limits"
)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// A minute or two in which everything runs once: to see that it works, not for figures
    #[arg(long)]
    quick: bool,
    /// This table, or the systems with this in their name; may be given again
    #[arg(long, value_name = "TABLE|SYSTEM")]
    only: Vec<String>,
    /// Write everything down that was measured
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measure nothing: print, judge and draw what `--json` has written. Several files, the latest first, are
    /// judged beside each other, each under its own name; the first is drawn
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["quick", "only", "json", "runs", "long", "urgent"]
    )]
    from: Vec<PathBuf>,
    /// Print what is demanded as Markdown; with --from nothing else
    #[arg(long)]
    markdown: bool,
    /// How often everything is measured
    #[arg(long)]
    runs: Option<usize>,
    /// Draw plots of what was measured
    #[arg(long, value_name = "DIRECTORY")]
    plots: Option<PathBuf>,
    /// Seek in a log of 10 GiB
    #[arg(long)]
    long: bool,
    /// Take precedence over everything else that runs here: for machines that are not quiet; needs root
    #[arg(long)]
    urgent: bool,
    /// Where queues are whose messages survive no reboot: files in memory
    #[arg(long, value_name = "DIRECTORY", default_value = "/dev/shm")]
    memory: PathBuf,
    /// Where queues are whose messages survive a power loss: a disk
    #[arg(long, value_name = "DIRECTORY", default_value = "target/peers-disk")]
    disk: PathBuf,
}

#[derive(Subcommand)]
enum Command {
    /// What a measuring process does
    #[command(hide = true)]
    Role { role: String, task: String },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match &arguments.command {
        Some(Command::Role { role, task }) => play(role, task),
        None if arguments.from.is_empty() => measure(&arguments),
        None => judge_again(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peers: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn play(role: &str, task: &str) -> Result<()> {
    process::follow_parent()?;
    let values = match role {
        "drive" => {
            let (side, job): (Side, Job) = serde_json::from_str(task)?;
            systems::run(side, &job)?
        }
        "durable" => durable::run(&serde_json::from_str(task)?)?,
        "appends" => appends::run(&serde_json::from_str(task)?)?,
        "scan" => scan::run(&serde_json::from_str(task)?)?,
        "rolls" => rolls::run(&serde_json::from_str(task)?)?,
        "fill" => seek::fill(&serde_json::from_str(task)?)?,
        "seek" => seek::run(&serde_json::from_str(task)?)?,
        "victim" => reopen::fill(&serde_json::from_str(task)?)?,
        "write" => followers::write(&serde_json::from_str(task)?)?,
        "follow" => followers::follow(&serde_json::from_str(task)?)?,
        _ => bail!("no role is called {role}"),
    };
    println!("{}", serde_json::to_string(&values)?);
    Ok(())
}

fn measure(arguments: &Arguments) -> Result<()> {
    systems::check_processor()?;
    if !clock::is_trusted() {
        bail!(
            "the processors' counters cannot be compared: the system does not use them as its clock"
        );
    }
    let mut scale = if arguments.quick { QUICK } else { FULL };
    scale.runs = arguments.runs.unwrap_or(scale.runs).max(1);
    if arguments.long {
        scale.seek_bytes = 10 << 30;
    }
    if arguments.urgent {
        process::take_precedence()?;
    }
    std::fs::create_dir_all(&arguments.disk)?;
    let bench = Bench {
        scale,
        memory: arguments.memory.clone(),
        disk: arguments.disk.clone(),
        cpus: process::two_processors()?,
        ticks_per_ns: clock::ticks_per_ns(),
        only: arguments.only.clone(),
    };
    let mut results = Results::new(machine::describe(&bench), systems::SKIPPED);
    print::machine(&results);
    print::systems(&results);
    tables::fill(&bench, &mut results);
    if results.cells.is_empty() {
        bail!("no table and no system is called that");
    }
    print::print(&results);
    let demands = verdict::judge(&results);
    if let Some(path) = &arguments.json {
        saved::write(path, &results, &demands)?;
    }
    compare::print(&[Run { name: "measured".to_owned(), demands }], arguments.markdown);
    if let Some(directory) = &arguments.plots {
        plots::draw(&results, directory)?;
    }
    Ok(())
}

/// What earlier runs have measured, as if it had been measured now.
fn judge_again(arguments: &Arguments) -> Result<()> {
    let mut saved = Vec::new();
    for path in &arguments.from {
        saved.push((path, saved::read(path)?));
    }
    if !arguments.markdown {
        for (path, results) in &saved {
            println!("{}\n", path.display());
            print::machine(results);
            print::print(results);
            println!();
        }
    }
    let run = |(path, results): &(&PathBuf, Results)| {
        let name = match saved.len() {
            1 => "measured".to_owned(),
            _ => path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        };
        Run { name, demands: verdict::judge(results) }
    };
    let runs: Vec<Run> = saved.iter().map(run).collect();
    compare::print(&runs, arguments.markdown);
    if let (Some(directory), Some((_, first))) = (&arguments.plots, saved.first()) {
        plots::draw(first, directory)?;
    }
    Ok(())
}
