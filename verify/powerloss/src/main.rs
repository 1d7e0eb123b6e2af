//! Shows what a power loss takes under a real kernel: a queue on ext4, on a loop device, on a disk of
//! ours that records every write and every flush. The record is cut at any moment; everything up to
//! the last flush before is on the medium, and of what came later a random part. Then the kernel
//! mounts the image and replays its journal, a writer opens the queue, and everything that was said
//! to be durable must be there, and behind it a beginning of what was appended, and nothing else.
//!
//! Needs root, loop devices and FUSE (`fusermount3`); says so and does nothing where they are not.

mod check;
mod disk;
mod mode;
mod record;
mod replay;
mod rig;
mod trial;
mod writer;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::mode::Mode;

/// Power loss under a real kernel.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Cuts the power at so many moments in each mode, the control among them
    Run {
        /// Images per mode
        #[arg(long, default_value_t = 12)]
        images: u32,
        /// Seed of all choices
        #[arg(long)]
        seed: Option<u64>,
        /// Only this mode
        #[arg(long, value_enum)]
        mode: Option<Mode>,
        /// Write down what was done, as JSON
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// The process whose power is lost
    #[command(hide = true)]
    Writer {
        queue: PathBuf,
        #[arg(value_enum)]
        mode: Mode,
        #[arg(action = clap::ArgAction::Set)]
        limited: bool,
        batches: u64,
    },
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Run { images, seed, mode, json } => {
            trial::run(images, seed, mode, json.as_deref())
        }
        Command::Writer { queue, mode, limited, batches } => {
            writer::run(&queue, mode, limited, batches)
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("powerloss: {error}");
            ExitCode::FAILURE
        }
    }
}
