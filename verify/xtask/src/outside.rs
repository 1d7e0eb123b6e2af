//! Crates of this repository that are workspaces of their own, as crates of other people are.

use std::process::Command;

use crate::steps::{Outcome, cargo, flags_with, run, target_directory};

/// Where they are.
const CRATES: &[&str] = &["examples/freestanding", MODEL];
const MODEL: &str = "examples/outside-model";

/// What loom says when no thread can go on: the wake-up that the seeded fault loses.
const LOST_WAKE_UP: &str = "deadlock; threads";

pub(crate) fn fmt() -> Outcome {
    for home in CRATES {
        run(cargo(["fmt", "--check", "--manifest-path", &manifest(home)]))?;
    }
    Ok(String::new())
}

pub(crate) fn clippy() -> Outcome {
    for home in CRATES {
        let mut command = cargo(["clippy", "--quiet", "--manifest-path", &manifest(home)]);
        command.arg("--target-dir").arg(target_directory().join("outside"));
        command.args(["--locked", "--", "-D", "warnings"]);
        run(command)?;
    }
    Ok(String::new())
}

/// Somebody else's algorithm on top of ours: its tests, its model, and a fault that the model has to
/// find.
pub(crate) fn model() -> Outcome {
    run(tests("outside"))?;
    run(modelled())?;
    let output = with_seeded_fault().output();
    let output = output.map_err(|error| format!("{MODEL}: {error}"))?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    if output.status.success() || !said.contains(LOST_WAKE_UP) {
        println!("{said}");
        return Err(format!("the model of {MODEL} does not find the seeded fault"));
    }
    println!("{MODEL}: the model passes, and finds the seeded fault");
    Ok("and its seeded fault is found".to_owned())
}

/// What its step runs.
pub(crate) fn commands() -> [Command; 3] {
    [tests("outside"), modelled(), with_seeded_fault()]
}

fn with_seeded_fault() -> Command {
    let mut command = modelled();
    command.args(["--features", "seeded-fault"]);
    command
}

fn modelled() -> Command {
    let mut command = tests("outside-loom");
    command.env("RUSTFLAGS", flags_with("--cfg chronicle_loom"));
    command
}

fn tests(target: &str) -> Command {
    let mut command = cargo(["test", "--quiet", "--locked", "--manifest-path", &manifest(MODEL)]);
    command.arg("--target-dir").arg(target_directory().join(target));
    command
}

fn manifest(home: &str) -> String {
    format!("{home}/Cargo.toml")
}
