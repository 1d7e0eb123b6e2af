//! Everything that is checked about the workspace, by one command: `cargo xtask ci`.

mod nightly;
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
    /// `cargo test` and everything below up to `bare-metal`, cheap things first; stops at the first
    /// failure
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
    /// The engine on a simulated machine that loses power at every moment
    Sim {
        /// How long
        #[arg(long, default_value_t = 60)]
        seconds: u32,
    },
    /// The simulator, with every fault of its list seeded in turn, each of which it must find
    SimMutants,
    /// Power loss under a real kernel; needs root, loop devices and FUSE
    PowerLoss {
        /// Per mode
        #[arg(long, default_value_t = 12)]
        images: u32,
    },
    /// A death at every instruction of a writer, each recovered
    Steps {
        /// Go on with random scripts until so many seconds have passed
        #[arg(long, value_name = "SECONDS")]
        long: Option<u64>,
        /// Seed of the first random script
        #[arg(long, value_name = "SEED")]
        seed: Option<u64>,
    },
    /// The crates without an operating system, for targets that have none
    BareMetal,
    /// Arbitrary input for everything that reads bytes, with the nightly toolchain
    Fuzz {
        /// For each target
        #[arg(long, default_value_t = 20)]
        seconds: u32,
    },
    /// The engine on the heap under Miri, with the nightly toolchain
    Miri,
    /// The engine on threads under the thread sanitizer, with the nightly toolchain
    ThreadSanitizer,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Ci => steps::ci(),
        Command::Fmt => steps::fmt(),
        Command::Tidy => steps::tidy(),
        Command::Clippy => steps::clippy(),
        Command::Doc => steps::doc(),
        Command::Loom { mutants } => steps::loom(mutants),
        Command::Sim { seconds } => steps::sim(seconds),
        Command::PowerLoss { images } => steps::power_loss(images),
        Command::SimMutants => steps::sim_mutants(),
        Command::Steps { long, seed } => steps::single_steps(long, seed),
        Command::BareMetal => steps::bare_metal(),
        Command::Fuzz { seconds } => nightly::fuzz(seconds),
        Command::Miri => nightly::miri(),
        Command::ThreadSanitizer => nightly::thread_sanitizer(),
    };
    match result {
        Ok(_) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("xtask: {why}");
            ExitCode::FAILURE
        }
    }
}
