//! `chron-cli demo`: what a queue does on this machine, in a quarter of a minute.

pub(crate) mod child;
mod machine;
mod measure;
mod payload;
mod percentiles;
mod process;

use serde::Serialize;

use crate::args::DemoArguments;
use crate::failure::Failure;
use crate::output;
use crate::units::{nanoseconds, scaled};
use machine::Machine;
use measure::{AppendCost, Killed, Throughput};
use percentiles::Percentiles;

/// Bytes of a message and how many of them: each queue stays below 600 MB.
const SIZES: [(usize, u64); 3] = [(64, 4_000_000), (256, 2_000_000), (1024, 500_000)];
const ROUND_TRIPS: u64 = 200_000;
const RATE: u64 = 100_000;
const WAKE_UPS_PER_SECOND: u64 = 1000;
const KILLS: u32 = 5;
/// Half of all messages take longer only if two spinning processes take turns on a processor.
const SHARED_PROCESSOR_NS: u64 = 200_000;

/// Everything that was measured.
#[derive(Serialize)]
struct Report {
    machine: Machine,
    append: Vec<AppendCost>,
    throughput: Vec<Throughput>,
    half_round_trip: Percentiles,
    one_way: Percentiles,
    wake_up: Percentiles,
    kill: Killed,
}

pub(crate) fn run(arguments: &DemoArguments) -> Result<(), Failure> {
    let scratch = machine::directory(arguments.dir.as_deref())?;
    let directory = scratch.path();
    let say = |text: &str| if arguments.json { Ok(()) } else { output::print(text) };

    let part = if arguments.quick { 100 } else { 1 };

    let machine = Machine::look(directory);
    say(&machine.text())?;
    say("          default options: segments of 128 MiB, CRC-32C on and verified by readers\n")?;

    say("\nappend: what it costs one thread, nobody reading\n")?;
    let mut append = Vec::new();
    for (bytes, messages) in SIZES {
        let cost = measure::append_cost(directory, bytes, messages / 2 / part)?;
        say(&append_text(&cost))?;
        append.push(cost);
    }

    say("\nthroughput: one writer process, one reader process, first send to last receive,\n\
         every byte compared\n")?;
    let mut throughput = Vec::new();
    for (bytes, messages) in SIZES {
        let measured = measure::throughput(directory, bytes, messages / part)?;
        say(&throughput_text(&measured))?;
        throughput.push(measured);
    }

    say("\nlatency, 64 B, between two processes\n")?;
    let half_round_trip = measure::ping_pong(directory, ROUND_TRIPS / part)?;
    say(&latency_text("round trip / 2, busy spin", &half_round_trip))?;
    let one_way = measure::one_way(directory, 3 * RATE / part, RATE, false)?;
    say(&latency_text("one way at 100 k/s, from when it was due", &one_way))?;
    if half_round_trip.p50_ns.max(one_way.p50_ns) > SHARED_PROCESSOR_NS {
        say(
            "  these two spinning processes had to share a processor: something else is busy here,\n  \
             and what was measured is the scheduler's time slice\n",
        )?;
    }
    let wake_up =
        measure::one_way(directory, 2 * WAKE_UPS_PER_SECOND / part, WAKE_UPS_PER_SECOND, true)?;
    say(&latency_text("wake-up of a sleeping reader at 1 k/s", &wake_up))?;

    say("\nkill -9 of the writer, again and again, while it appends and acknowledges\n")?;
    let kill = measure::kill_writers(directory, KILLS.div_ceil(part as u32))?;
    say(&kill_text(&kill))?;

    let missing = kill.missing;
    if arguments.json {
        let report =
            Report { machine, append, throughput, half_round_trip, one_way, wake_up, kill };
        output::print_json(&report)?;
    }
    match missing {
        0 => Ok(()),
        _ => Err(Failure::Internal(format!("demo: {missing} acknowledged messages are missing"))),
    }
}

fn append_text(cost: &AppendCost) -> String {
    let per_second = 1e9 / cost.nanoseconds_per_message.max(1e-9);
    format!(
        "{:>6} B   {:>6.0} ns a message   {}/s   {}B/s\n",
        cost.message_bytes,
        cost.nanoseconds_per_message,
        scaled(per_second),
        scaled(per_second * cost.message_bytes as f64)
    )
}

fn throughput_text(measured: &Throughput) -> String {
    format!(
        "{:>6} B   {:>7} messages/s   {:>5.0} MB/s   ({} messages in {:.2} s)\n",
        measured.message_bytes,
        scaled(measured.messages_per_second),
        measured.megabytes_per_second,
        measured.messages,
        measured.seconds
    )
}

fn latency_text(what: &str, measured: &Percentiles) -> String {
    format!("  {what} ({} messages)\n      {}\n", measured.count, measured.text())
}

fn kill_text(kill: &Killed) -> String {
    let verdict = match kill.missing {
        0 => "none is missing".to_owned(),
        missing => format!("{missing} ARE MISSING"),
    };
    format!(
        "  {} kills: {} messages acknowledged, {} found in order and intact, {verdict}\n  \
         the next writer had the queue open again in {} at most\n",
        kill.kills,
        kill.acknowledged,
        kill.found,
        nanoseconds(kill.slowest_reopen_ns)
    )
}
