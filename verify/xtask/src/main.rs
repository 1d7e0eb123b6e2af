//! Everything that is checked about the workspace, by one command: `cargo xtask ci`.

mod steps;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Checks of the workspace")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Everything below and `cargo test`, cheap things first; stops at the first failure
    Ci,
    /// Whether the code is formatted
    Fmt,
    /// The rules about files that no lint knows
    Tidy,
    /// Clippy on all targets, warnings denied
    Clippy,
    /// The documentation, warnings denied
    Doc,
    /// The models of the lock-free algorithms
    Loom {
        /// Seed every fault in turn and demand that its model sees it
        #[arg(long)]
        mutants: bool,
    },
    /// The simulator, with every fault of its list seeded in turn, each of which it must find
    SimMutants,
    /// The crates without an operating system, for targets that have none
    BareMetal,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Ci => steps::ci(),
        Command::Fmt => steps::fmt(),
        Command::Tidy => steps::tidy(),
        Command::Clippy => steps::clippy(),
        Command::Doc => steps::doc(),
        Command::Loom { mutants } => steps::loom(mutants),
        Command::SimMutants => steps::sim_mutants(),
        Command::BareMetal => steps::bare_metal(),
    };
    match result {
        Ok(_) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("xtask: {why}");
            ExitCode::FAILURE
        }
    }
}
