//! The command line as types.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use chronicle_std::{Start, WhenFull};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::demo::child::Role;
use crate::parse;

/// Append to, follow and inspect Chronicle queues. A queue is a directory.
#[derive(Parser)]
#[command(name = "chron-cli", version)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Append messages from files or standard input; makes the queue if there is none
    Append(AppendArguments),
    /// Print messages, from the beginning or where a named reader stopped
    Tail(TailArguments),
    /// Show a queue: its segments, its writer, its readers and how far they lag
    Inspect(InspectArguments),
    /// Make an empty queue
    Create(CreateArguments),
    /// Look at the registered readers of a queue
    #[command(subcommand)]
    Readers(ReadersCommand),
    /// Check every message of every file; changes nothing. Exit code 2 if anything is damaged
    Verify(InspectArguments),
    /// Show what is wrong with a queue and what can be saved, and with --apply or --into put it right
    Repair(RepairArguments),
    /// What a queue keeps, why, and what may go
    #[command(subcommand)]
    Retention(RetentionCommand),
    /// Look over a bus: its queues, who writes and reads them, strategies and their signs of life, and
    /// what is wrong. Changes nothing. Exit code 1 if anything is wrong
    Doctor(DoctorArguments),
    /// Show what the writers and readers of a bus have done, and how far readers are behind
    Counters(CountersArguments),
    /// Serve the same to Prometheus, until it is told to end
    Metrics(MetricsArguments),
    /// Measure throughput and latency on this machine, and survive a kill -9, in about 15 seconds
    Demo(DemoArguments),
    /// A process of the demo
    #[command(hide = true, subcommand)]
    DemoChild(Role),
}

#[derive(Args)]
pub(crate) struct AppendArguments {
    /// The queue's directory
    pub(crate) queue: PathBuf,
    /// Files to append one after the other; `-` or none for standard input
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// How messages are told apart
    #[arg(long, value_enum, default_value_t = Framing::Lines)]
    pub(crate) framing: Framing,
    /// Type of the messages, decimal or 0x and hexadecimal, from 0x0100 to 0xFFFE
    #[arg(long, value_name = "ID", default_value = "0x8000", value_parser = parse::type_id)]
    pub(crate) type_id: u16,
    /// Segment size of a new queue: a multiple of 4096, also as 4MiB or 1G [default: 128MiB]
    #[arg(long, value_name = "BYTES", value_parser = parse::segment_size)]
    pub(crate) segment_size: Option<u64>,
    /// Messages per wake-up of the readers, and per sync with --ack=durable. A batch never waits
    /// for input [default: 1 with --ack, else 256]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) batch: Option<u64>,
    /// Print the sequence number of every message once it is visible, or durable
    #[arg(
        long,
        value_enum,
        value_name = "WHEN",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "visible"
    )]
    pub(crate) ack: Option<Ack>,
    /// Make everything durable at the end
    #[arg(long)]
    pub(crate) flush: bool,
    /// Make messages durable by themselves, all of about this time with one sync: 5ms, 1s, or 0 for
    /// the next sync when one has ended
    #[arg(long, value_name = "TIME", value_parser = parse::duration)]
    pub(crate) sync_every: Option<Duration>,
    /// What to do where the queue has reached its capacity: fail, or wait:30s, which waits so long
    /// for readers to commit, for each message anew
    #[arg(long, value_name = "WHAT", default_value = "fail", value_parser = parse::when_full)]
    pub(crate) when_full: WhenFull,
    /// Print the summary as one line of JSON on standard error
    #[arg(long)]
    pub(crate) json: bool,
    /// Take a queue on a file system that other hosts may share (NFS, SMB, 9p, FUSE, virtiofs) all the
    /// same: nothing is promised there
    #[arg(long)]
    pub(crate) any_file_system: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Framing {
    /// A message is a line without its newline
    Lines,
    /// A message is its length as four bytes, little-endian, and its bytes
    Len32,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Ack {
    /// Once readers can see the message; it survives the death of this process
    Visible,
    /// Once the message survives a power loss
    Durable,
}

#[derive(Args)]
pub(crate) struct TailArguments {
    /// The queue's directory
    pub(crate) queue: PathBuf,
    /// Wait for the queue, and for messages, instead of stopping at the end
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Read as this registered reader: go on where it committed, commit what was printed
    #[arg(long, value_name = "NAME", value_parser = parse::reader_name)]
    pub(crate) reader: Option<String>,
    /// Register and commit nothing; what happens without --reader anyway
    #[arg(long, conflicts_with = "reader")]
    pub(crate) no_commit: bool,
    /// Where to begin, unless the reader has a position: earliest, latest, seq:N, or time:T, which is
    /// the first message at T or later [default: earliest, with --reverse latest]
    #[arg(long, value_name = "PLACE", value_parser = parse::start)]
    pub(crate) from: Option<Start>,
    /// Print what comes before the place, the newest first
    #[arg(long, conflicts_with_all = ["reader", "follow"])]
    pub(crate) reverse: bool,
    /// Print only messages that survive a power loss
    #[arg(long)]
    pub(crate) durable: bool,
    /// Stop after so many messages
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
    /// How messages are printed
    #[arg(long, value_enum, default_value_t = MessageFormat::Text)]
    pub(crate) format: MessageFormat,
    /// Take a queue on a file system that other hosts may share (NFS, SMB, 9p, FUSE, virtiofs) all the
    /// same: nothing is promised there
    #[arg(long)]
    pub(crate) any_file_system: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum MessageFormat {
    /// Sequence number, time, type, length and payload, for people
    Text,
    /// The payload and a newline
    Raw,
    /// One object per line
    Json,
    /// The payload behind its length as four bytes, little-endian
    Len32,
}

#[derive(Args)]
pub(crate) struct InspectArguments {
    /// The queue's directory
    pub(crate) queue: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct RepairArguments {
    /// The queue's directory
    pub(crate) queue: PathBuf,
    /// Repair the queue itself; no writer and no reader may be active. What is replaced or taken out
    /// goes to the quarantine
    #[arg(long)]
    pub(crate) apply: bool,
    /// Make a repaired copy in this directory, which is empty or not there; the queue stays as it is
    #[arg(long, value_name = "DIRECTORY", conflicts_with = "apply")]
    pub(crate) into: Option<PathBuf>,
    /// Where to put what is replaced [default: quarantine-TIME in the queue]
    #[arg(long, value_name = "DIRECTORY", requires = "apply")]
    pub(crate) quarantine: Option<PathBuf>,
    /// Change nothing; what happens without --apply and --into anyway
    #[arg(long, conflicts_with = "apply")]
    pub(crate) dry_run: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct CreateArguments {
    /// The queue's directory
    pub(crate) queue: PathBuf,
    /// Segment size: a multiple of 4096, also as 4MiB or 1G [default: 128MiB]
    #[arg(long, value_name = "BYTES", value_parser = parse::segment_size)]
    pub(crate) segment_size: Option<u64>,
    /// Leave out the checksums: nothing is promised after a power loss then
    #[arg(long)]
    pub(crate) no_checksums: bool,
    /// Let the group read the queue and keep readers in it
    #[arg(long)]
    pub(crate) group_readable: bool,
    /// Remove what readers have passed while segments take more, also as 512MiB; 0 keeps everything
    /// [default: 1GiB]
    #[arg(long, value_name = "BYTES", value_parser = parse::byte_count)]
    pub(crate) retain: Option<u64>,
    /// Remove segments of which every message is older, as in 12h or 7d, and readers have passed
    #[arg(long, value_name = "TIME", value_parser = parse::duration)]
    pub(crate) retain_age: Option<Duration>,
    /// Refuse to grow beyond this; 0 for no limit [default: 0]
    #[arg(long, value_name = "BYTES", value_parser = parse::byte_count)]
    pub(crate) capacity: Option<u64>,
    /// Take a queue on a file system that other hosts may share (NFS, SMB, 9p, FUSE, virtiofs) all the
    /// same: nothing is promised there
    #[arg(long)]
    pub(crate) any_file_system: bool,
}

#[derive(Subcommand)]
pub(crate) enum ReadersCommand {
    /// List the readers, their positions and how far they lag
    Ls(InspectArguments),
    /// Remove a reader that is not active: what only it held back may go then
    Rm(ReaderArguments),
}

#[derive(Args)]
pub(crate) struct ReaderArguments {
    /// The queue's directory
    pub(crate) queue: PathBuf,
    /// The reader's name
    #[arg(value_parser = parse::reader_name)]
    pub(crate) name: String,
}

#[derive(Subcommand)]
pub(crate) enum RetentionCommand {
    /// Say of every segment why it is still there
    Why(RetentionArguments),
    /// Show which segments would be removed; changes nothing
    Plan(RetentionArguments),
    /// Remove them, in a queue that has no writer just now; a writer does it by itself
    Apply(RetentionArguments),
}

#[derive(Args)]
pub(crate) struct RetentionArguments {
    /// The queue's directory
    pub(crate) queue: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct DoctorArguments {
    /// The bus's directory
    pub(crate) bus: PathBuf,
    /// Check every message of every queue too
    #[arg(long)]
    pub(crate) verify: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct CountersArguments {
    /// The bus's directory
    pub(crate) bus: PathBuf,
    /// Print JSON; with --watch one object per line
    #[arg(long)]
    pub(crate) json: bool,
    /// Look again and again, and show rates [without a time: 1s]
    #[arg(
        long,
        value_name = "TIME",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "1s",
        value_parser = parse::duration
    )]
    pub(crate) watch: Option<Duration>,
    /// Stop after so many looks
    #[arg(long, value_name = "N", requires = "watch")]
    pub(crate) limit: Option<u64>,
}

#[derive(Args)]
pub(crate) struct MetricsArguments {
    /// The bus's directory
    pub(crate) bus: PathBuf,
    /// Address and port to listen at; with port 0 the system chooses one, which is printed
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9464")]
    pub(crate) listen: SocketAddr,
}

#[derive(Args)]
pub(crate) struct DemoArguments {
    /// Where to put the demo's queues; they are removed at the end [default: /dev/shm if it has
    /// room, else the temporary directory]
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) dir: Option<PathBuf>,
    /// Measure a hundredth of the messages, for tests
    #[arg(long, hide = true)]
    pub(crate) quick: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_defined() {
        Arguments::command().debug_assert();
    }
}
