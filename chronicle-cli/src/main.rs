//! `chron-cli`: append to, follow and inspect Chronicle queues from a shell.
#![forbid(unsafe_code)]

mod append;
mod args;
mod counters;
mod create;
mod demo;
mod doctor;
mod failure;
mod input;
mod inspect;
mod message_format;
mod metrics;
mod output;
mod parse;
mod progress;
mod repair;
mod retention;
mod tail;
mod units;
mod verify;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Arguments, Command, ReadersCommand};
use crate::failure::Failure;

fn main() -> ExitCode {
    let arguments = Arguments::try_parse().unwrap_or_else(|error| error.exit());
    match run(arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Append(arguments) => append::run(&arguments),
        Command::Tail(arguments) => tail::run(&arguments),
        Command::Inspect(arguments) => inspect::run(&arguments),
        Command::Create(arguments) => create::run(&arguments),
        Command::Readers(ReadersCommand::Ls(arguments)) => inspect::list_readers(&arguments),
        Command::Readers(ReadersCommand::Rm(arguments)) => retention::remove_reader(&arguments),
        Command::Verify(arguments) => verify::run(&arguments),
        Command::Repair(arguments) => repair::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Retention(command) => retention::run(&command),
        Command::Counters(arguments) => counters::run(&arguments),
        Command::Metrics(arguments) => metrics::run(&arguments),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::DemoChild(role) => demo::child::run(&role),
    }
}
