//! The parts: what each runs, and where it says what it has tried.

use std::path::PathBuf;
use std::process::Command;

use super::counts::Counts;
use super::{Effort, Part, Ran, Run};
use crate::mutants::{Models, MutantCounts, mutants};
use crate::nightly;
use crate::steps::{self, Loom, run_and_read, target_directory};

/// Cheap things first.
pub(super) const PARTS: &[Part] = &[
    Part { name: MODELS, share: 0, beside: false, run: models },
    Part { name: "seeded bugs", share: 0, beside: false, run: seeded_bugs },
    Part { name: "failing calls", share: 0, beside: false, run: failing_calls },
    Part { name: "conformance", share: 0, beside: false, run: conformance },
    Part { name: "bad inputs", share: 0, beside: false, run: bad_inputs },
    Part { name: "scripts", share: 10, beside: false, run: scripts },
    Part { name: "kills", share: 10, beside: false, run: kills },
    Part { name: "single steps", share: 15, beside: true, run: single_steps },
    Part { name: "system calls", share: 10, beside: true, run: system_calls },
    Part { name: "power loss", share: 15, beside: true, run: power_loss },
    Part { name: "simulator", share: 25, beside: false, run: simulator },
    Part { name: "fuzz", share: 15, beside: false, run: fuzz },
];

/// About what two processors do without optimisation.
const KILLS_PER_SECOND: u64 = 40;

const MODELS: &str = "models";

fn models(run: &Run<'_>) -> Result<Ran, String> {
    accounted(run, "loom", steps::loom_command(Loom::Models), &["models", "executions"])
}

/// Fails unless all of them are seen.
fn seeded_bugs(run: &Run<'_>) -> Result<Ran, String> {
    let models = if run.passed.contains(&MODELS) { Models::Passed } else { Models::NotRun };
    let MutantCounts { bugs_seen, others_seen, .. } = mutants(models)?;
    let mut counts = Counts::new();
    counts.add("bugs", bugs_seen as u64);
    counts.add("other_faults", others_seen as u64);
    counts.demand(&["bugs", "other_faults"])?;
    Ok(Ran::Counted(counts))
}

fn simulator(run: &Run<'_>) -> Result<Ran, String> {
    let (seconds, seed) = match run.effort {
        // The choices of this seed are those that CI makes every time.
        Effort::Default => (45, 3),
        Effort::Long { seconds, seed } => (seconds, seed),
    };
    accounted(run, "sim", steps::sim_command(seconds, seed), &["raw", "distinct"])
}

fn single_steps(run: &Run<'_>) -> Result<Ran, String> {
    let (long, seed) = match run.effort {
        Effort::Default => (None, None),
        Effort::Long { seconds, seed } => (Some(seconds), Some(seed)),
    };
    let wanted = ["instructions", "recoveries"];
    accounted(run, "steps", steps::single_steps_command(long, seed), &wanted)
}

fn system_calls(run: &Run<'_>) -> Result<Ran, String> {
    let (long, seed) = match run.effort {
        Effort::Default => (None, None),
        Effort::Long { seconds, seed } => (Some(seconds), Some(seed)),
    };
    steps::syscalls_program()?;
    accounted(run, "syscalls", steps::syscalls_command(long, seed), &["points", "limited"])
}

/// Images are cheap beside the recording of a run, so a long run is many short ones.
fn power_loss(run: &Run<'_>) -> Result<Ran, String> {
    let wanted = ["images", "flushes"];
    let Effort::Long { seconds, seed } = run.effort else {
        return accounted(run, "powerloss", steps::power_loss_command(12, None), &wanted);
    };
    let begun = std::time::Instant::now();
    let mut counts = Counts::new();
    for seed in seed.. {
        match accounted(run, "powerloss", steps::power_loss_command(40, Some(seed)), &wanted)? {
            Ran::Counted(more) => counts.add_all(&more),
            skipped @ Ran::Skipped(_) => return Ok(skipped),
        }
        if begun.elapsed().as_secs() >= seconds {
            break;
        }
    }
    Ok(Ran::Counted(counts))
}

fn kills(run: &Run<'_>) -> Result<Ran, String> {
    let mut command = tests(&["kill_storm"]);
    let kills = match run.effort {
        Effort::Default => 1000,
        Effort::Long { seconds, seed } => {
            command.env("CHRONICLE_TEST_SEED", seed.to_string());
            seconds * KILLS_PER_SECOND
        }
    };
    command.env("CHRONICLE_TEST_KILLS", kills.to_string());
    counted(command, &["kills", "acknowledged"])
}

fn scripts(run: &Run<'_>) -> Result<Ran, String> {
    let mut command = tests(&["model"]);
    if let Effort::Long { seconds, .. } = run.effort {
        command.env("CHRONICLE_TEST_SECONDS", seconds.to_string());
    }
    counted(command, &["scripts"])
}

fn bad_inputs(_: &Run<'_>) -> Result<Ran, String> {
    counted(tests(&["bad_inputs"]), &["bad_inputs"])
}

fn failing_calls(_: &Run<'_>) -> Result<Ran, String> {
    counted(tests(&["failing_calls"]), &["points_of_failure"])
}

/// Each check of the suite, on each backend, says that it has passed.
fn conformance(_: &Run<'_>) -> Result<Ran, String> {
    let said = run_and_read(tests(&["linux", "memory", "static_memory", "broken"]))?;
    let mut counts = Counts::new();
    counts.add("checks", said.lines().filter(|line| line.contains(": passed  ")).count() as u64);
    counts.demand(&["checks"])?;
    Ok(Ran::Counted(counts))
}

fn fuzz(run: &Run<'_>) -> Result<Ran, String> {
    let seconds = match run.effort {
        Effort::Default => 10,
        Effort::Long { seconds, .. } => seconds / nightly::fuzz_targets()?.len().max(1) as u64 * 2,
    };
    match nightly::fuzz_counted(seconds.max(1))? {
        Ok(executions) => {
            let mut counts = Counts::new();
            counts.add("targets", executions.len() as u64);
            counts.add("executions", executions.iter().sum());
            Ok(Ran::Counted(counts))
        }
        Err(why) => Ok(Ran::Skipped(why)),
    }
}

/// Runs a program of `verify` that writes an account of what it did.
fn accounted(
    run: &Run<'_>,
    what: &str,
    mut command: Command,
    wanted: &[&str],
) -> Result<Ran, String> {
    let path: PathBuf = target_directory().join(format!("account-{what}.json"));
    // What an earlier run has left must not be taken for this one's.
    if path.exists() {
        std::fs::remove_file(&path).map_err(|error| format!("{path:?}: {error}"))?;
    }
    command.arg("--json").arg(&path);
    run.show(command)?;
    let account = Counts::read_account(&path, wanted)?;
    Ok(account.map_or_else(Ran::Skipped, Ran::Counted))
}

/// Tests of these names, built as `cargo test --workspace` builds them, so that nothing is built twice.
fn tests(names: &[&str]) -> Command {
    let mut command = steps::test_command();
    for name in names {
        command.args(["--test", name]);
    }
    command.args(["--", "--nocapture"]);
    command
}

/// Runs tests that say what they have counted.
fn counted(command: Command, wanted: &[&str]) -> Result<Ran, String> {
    let counts = Counts::read_output(&run_and_read(command)?)?;
    counts.demand(wanted)?;
    Ok(Ran::Counted(counts))
}
