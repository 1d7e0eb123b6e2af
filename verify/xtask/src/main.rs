//! Everything that is checked about the workspace, by one command: `cargo xtask ci`.

mod ahead;
mod api;
mod catalogue;
mod instructions;
mod mutants;
mod nightly;
mod outside;
mod peers;
mod platforms;
mod steps;
mod tidy;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::steps::{Loom, run};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Checks of the workspace")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Everything that must hold before a change lands, cheap things first; stops at the first failure
    Ci,
    /// Everything that tries to break the queue, with counts of what was tried
    Verify {
        /// Try other things than the last time, for so many minutes, and add them to the ledger
        #[arg(long, value_name = "MINUTES")]
        long: Option<u64>,
        /// Where the choices of a long run begin; otherwise the clock says
        #[arg(long, value_name = "SEED", requires = "long")]
        seed: Option<u64>,
        /// This part only; may be given again
        #[arg(long, value_name = "PART")]
        only: Vec<String>,
    },
    /// The sums of all long runs, as the table that docs/verification.md shows
    Ledger,
    /// Whether the code is formatted
    Fmt,
    /// The rules about files that no lint knows
    Tidy,
    /// Clippy on all targets, warnings denied
    Clippy,
    /// The documentation, warnings denied
    Doc,
    /// The models of the lock-free algorithms, and that of a crate which builds on them
    Loom {
        /// Seed every fault in turn and demand that its model sees it
        #[arg(long)]
        mutants: bool,
    },
    /// The engine on a simulated machine that loses power at every moment
    Sim {
        /// How long
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// Where its choices begin
        #[arg(long, default_value_t = 3)]
        seed: u64,
    },
    /// Every fault that can be seeded, in turn, the forty of the catalogue among them: what is named
    /// for it, a model, the simulator or a test, has to see it
    Mutants,
    /// The simulator, with every fault of its list seeded in turn, each of which it must find
    SimMutants,
    /// Power loss under a real kernel; needs root, loop devices and FUSE
    PowerLoss {
        /// Per mode
        #[arg(long, default_value_t = 24)]
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
    /// Every system call of real processes fails, in every way that is plausible
    Syscalls {
        /// At all places, in random order, until so many seconds have passed
        #[arg(long, value_name = "SECONDS")]
        long: Option<u64>,
        /// Seed of the choice of places
        #[arg(long, value_name = "SEED")]
        seed: Option<u64>,
    },
    /// The crates without an operating system, for targets that have none
    BareMetal,
    /// The public interface of every crate against the lists in docs/api, with the nightly toolchain
    Api {
        /// Write the lists anew
        #[arg(long)]
        write: bool,
        /// The lists are in another directory
        #[arg(long, value_name = "DIRECTORY")]
        lists: Option<PathBuf>,
    },
    /// The instructions of the hot paths, by Valgrind's Callgrind, against docs/performance.md
    Instructions {
        /// Write them down as they are now
        #[arg(long)]
        write: bool,
    },
    /// What of other systems can be checked here, as a table
    Platforms {
        /// Link for macOS through zig, run what Miri can, and all tests over the macOS backend's source
        #[arg(long)]
        long: bool,
    },
    /// Arbitrary input for everything that reads bytes, with the nightly toolchain
    Fuzz {
        /// For each target
        #[arg(long, default_value_t = 20)]
        seconds: u64,
    },
    /// Chronicle beside other queues and the machine's limits; `--help` says what can be asked for
    #[command(disable_help_flag = true)]
    Peers {
        /// Handed on to the comparison
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
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
        Command::Verify { long, seed, only } => verify::verify(long, seed, &only),
        Command::Ledger => verify::print_ledger(),
        Command::Loom { mutants: false } => {
            steps::loom(Loom::Models).and_then(|_| outside::model())
        }
        Command::Loom { mutants: true } => steps::loom(Loom::Mutants),
        Command::Sim { seconds, seed } => run(steps::sim_command(seconds, seed)),
        Command::Mutants => {
            mutants::mutants(mutants::Models::NotRun).map(|counts| counts.to_string())
        }
        Command::PowerLoss { images } => run(steps::power_loss_command(images, None)),
        Command::SimMutants => run(steps::sim_mutants_command()),
        Command::Steps { long, seed } => run(steps::single_steps_command(long, seed)),
        Command::Syscalls { long, seed } => {
            steps::syscalls_program().and_then(|_| run(steps::syscalls_command(long, seed)))
        }
        Command::BareMetal => steps::bare_metal(),
        Command::Api { write, lists } => api::api(write, lists.as_deref()),
        Command::Instructions { write } => instructions::instructions(write),
        Command::Platforms { long } => platforms::platforms(long),
        Command::Fuzz { seconds } => nightly::fuzz(seconds),
        Command::Peers { arguments } => peers::peers(&arguments),
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
