//! The steps, each of which is a subcommand of its own and a row of `ci`'s table.

use std::env;
use std::ffi::OsString;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::ahead;
use crate::api::api;
use crate::instructions::instructions;
use crate::outside;
use crate::platforms::platforms;
use crate::tidy;
use crate::verify::verify;

/// What a step says when it passed, beyond that it did; or why it failed.
pub(crate) type Outcome = Result<String, String>;

/// Parts that are left out unless asked for, and checked all the same.
pub(crate) const FEATURES: &str = "chronicle-std/tokio";

/// Targets without an operating system, and what must compile for them. Where there are no 64-bit
/// atomics there can be no queue, but its files can be read.
const BARE_METAL: &[(&str, &[&str])] = &[
    ("thumbv7em-none-eabihf", &["chronicle-format", "chronicle-protocol"]),
    ("riscv32imac-unknown-none-elf", &["chronicle-format", "chronicle-protocol"]),
    ("aarch64-unknown-none", PORTABLE),
    ("x86_64-unknown-none", PORTABLE),
];

/// The crates that have no part of an operating system in them.
pub(crate) const PORTABLE: &[&str] = &[
    "chronicle-format",
    "chronicle-protocol",
    "chronicle-sync",
    "chronicle-core",
    "chronicle-platform-static",
];

/// A step of `ci`: its name and what it does.
type Step = (&'static str, fn() -> Outcome);

/// The first step that leaves processors idle.
const TEST: &str = "test";

const CI: &[Step] = &[
    ("fmt", fmt),
    ("tidy", tidy),
    ("clippy", clippy),
    ("doc", doc),
    (TEST, test),
    ("outside-model", outside::model),
    ("api", || api(false, None)),
    ("instructions", || instructions(false)),
    ("bare-metal", bare_metal),
    ("platforms", || platforms(false)),
    ("verify", || verify(None, None, &[])),
];

pub(crate) fn ci() -> Outcome {
    let mut rows = Vec::new();
    let mut failed = None;
    let mut ahead = None;
    for (name, step) in CI {
        if failed.is_some() {
            rows.push(format!("{name:<14} {:>8}  not run", "-"));
            continue;
        }
        eprintln!("xtask: {name}");
        if *name == TEST {
            ahead = Some(ahead::start());
        }
        let begun = Instant::now();
        let outcome = step();
        let seconds = begun.elapsed().as_secs_f64();
        let result = match outcome {
            Ok(remark) if remark.is_empty() => "ok".to_owned(),
            Ok(remark) => format!("ok, {remark}"),
            Err(why) => {
                let row = format!("FAILED: {why}");
                failed = Some(format!("{name} failed: {why}"));
                row
            }
        };
        rows.push(format!("{name:<14} {seconds:>7.1}s  {result}"));
    }
    drop(ahead);
    println!("\n{:<14} {:>8}  result\n{}", "step", "time", rows.join("\n"));
    failed.map_or_else(|| Ok(String::new()), Err)
}

pub(crate) fn fmt() -> Outcome {
    run(cargo(["fmt", "--all", "--check"]))?;
    outside::fmt()
}

pub(crate) fn tidy() -> Outcome {
    let violations = tidy::check(&root())?;
    for violation in &violations {
        println!("{violation}");
    }
    match violations.len() {
        0 => Ok(String::new()),
        number => Err(format!("{number} violations")),
    }
}

pub(crate) fn clippy() -> Outcome {
    run(cargo([
        "clippy",
        "--workspace",
        "--all-targets",
        "--features",
        FEATURES,
        "--",
        "-D",
        "warnings",
    ]))?;
    outside::clippy()
}

pub(crate) fn doc() -> Outcome {
    let mut command = cargo(["doc", "--workspace", "--no-deps", "--features", FEATURES]);
    command.env("RUSTDOCFLAGS", "-Dwarnings");
    run(command)
}

/// Names of tests that pass are not shown: among two thousand of them nobody finds the one that did not.
fn test() -> Outcome {
    let passed = |line: &str| line.starts_with("test ") && line.ends_with(" ok");
    each_line(test_command(), |line| {
        if !passed(line) {
            println!("{line}");
        }
    })?;
    Ok(String::new())
}

/// All tests, for the caller to choose from.
pub(crate) fn test_command() -> Command {
    cargo(["test", "--workspace", "--features", FEATURES])
}

/// What is explored.
#[derive(Clone, Copy)]
pub(crate) enum Loom {
    Models,
    /// With every fault seeded in turn.
    Mutants,
}

pub(crate) fn loom(what: Loom) -> Outcome {
    run(loom_command(what))
}

/// Has a target directory of its own: the flag goes to every crate, and would rebuild all of them
/// each time in one that is shared.
pub(crate) fn loom_command(what: Loom) -> Command {
    let mut command = cargo(["run", "--quiet", "--package", "chronicle-loom", "--release"]);
    command.arg("--target-dir").arg(target_directory().join("loom"));
    command.env("RUSTFLAGS", flags_with("--cfg chronicle_loom")).arg("--");
    if let Loom::Mutants = what {
        command.arg("--mutants");
    }
    command
}

/// The compiler's flags, and one more.
pub(crate) fn flags_with(flag: &str) -> OsString {
    let mut flags = env::var_os("RUSTFLAGS").unwrap_or_default();
    if !flags.is_empty() {
        flags.push(" ");
    }
    flags.push(flag);
    flags
}

/// Loses power on a simulated machine.
pub(crate) fn sim_command(seconds: u64, seed: u64) -> Command {
    let mut command = cargo(["run", "--quiet", "--package", "chronicle-sim", "--release", "--"]);
    command.args(["explore", "--seed", &seed.to_string(), "--long", &seconds.to_string()]);
    command
}

/// Loses power on a recording disk under a real kernel.
pub(crate) fn power_loss_command(images: u32, seed: Option<u64>) -> Command {
    let mut command =
        cargo(["run", "--quiet", "--package", "chronicle-powerloss", "--release", "--", "run"]);
    command.args(["--images", &images.to_string()]);
    if let Some(seed) = seed {
        command.args(["--seed", &seed.to_string()]);
    }
    command
}

/// Runs the simulator with every fault of its list in turn, in a target directory of its own.
pub(crate) fn sim_mutants_command() -> Command {
    let mut command = cargo(["run", "--quiet", "--package", "chronicle-sim", "--release"]);
    command.arg("--target-dir").arg(target_directory().join("mutants"));
    command.env("RUSTFLAGS", flags_with("--cfg chronicle_mutants")).args(["--", "mutants"]);
    command
}

/// Optimised, because the instructions that count are those that are shipped.
pub(crate) fn single_steps_command(long: Option<u64>, seed: Option<u64>) -> Command {
    let mut command = cargo(["run", "--quiet", "--release", "--package", "chronicle-steps", "--"]);
    for (option, value) in [("--long", long), ("--seed", seed)] {
        command.args(value.map(|value| [option.to_owned(), value.to_string()]).iter().flatten());
    }
    command
}

/// Builds the program in which system calls are to fail: the one that is shipped.
pub(crate) fn syscalls_program() -> Outcome {
    run(syscalls_program_command())
}

fn syscalls_program_command() -> Command {
    cargo(["build", "--quiet", "--release", "--package", "chronicle-cli"])
}

/// Has system calls fail in that program.
pub(crate) fn syscalls_command(long: Option<u64>, seed: Option<u64>) -> Command {
    let mut command =
        cargo(["run", "--quiet", "--release", "--package", "chronicle-syscalls", "--"]);
    for (option, value) in [("--long", long), ("--seed", seed)] {
        command.args(value.map(|value| [option.to_owned(), value.to_string()]).iter().flatten());
    }
    command
}

/// Those of the commands above that build what is optimised.
pub(crate) fn release_commands() -> [Command; 5] {
    [
        single_steps_command(None, None),
        syscalls_program_command(),
        syscalls_command(None, None),
        power_loss_command(1, None),
        sim_command(1, 1),
    ]
}

pub(crate) fn bare_metal() -> Outcome {
    let mut skipped = Vec::new();
    for (target, packages) in BARE_METAL {
        if let Err(why) = install(target) {
            println!("SKIPPED bare-metal {target}: {why}");
            skipped.push(*target);
            continue;
        }
        for package in *packages {
            println!("{package} for {target}");
            run(bare_metal_check(package, target))
                .map_err(|why| format!("{package} for {target}: {why}"))?;
        }
    }
    if skipped.is_empty() {
        Ok(String::new())
    } else {
        Ok(format!("SKIPPED {}", skipped.join(", ")))
    }
}

fn bare_metal_check(package: &str, target: &str) -> Command {
    let mut command = cargo(["check", "--quiet", "--package", package, "--target", target]);
    command.env("RUSTFLAGS", "-Dwarnings");
    command
}

/// What its step runs.
pub(crate) fn bare_metal_commands() -> impl Iterator<Item = Command> {
    let check = |(target, packages): &'static (&str, &'static [&str])| {
        packages.iter().map(move |package| bare_metal_check(package, target))
    };
    BARE_METAL.iter().flat_map(check)
}

/// Installs a target's standard library unless it is there.
pub(crate) fn install(target: &str) -> Result<(), String> {
    install_by(&[], target)
}

/// The same for another toolchain.
pub(crate) fn install_for(toolchain: &str, target: &str) -> Result<(), String> {
    install_by(&["--toolchain", toolchain], target)
}

fn install_by(toolchain: &[&str], target: &str) -> Result<(), String> {
    let rustup = |arguments: &[&str]| {
        Command::new("rustup")
            .arg("target")
            .args(arguments)
            .args(toolchain)
            .current_dir(root())
            .output()
            .map_err(|error| format!("rustup: {error}"))
    };
    let listed = rustup(&["list", "--installed"])?;
    if String::from_utf8_lossy(&listed.stdout).lines().any(|line| line.trim() == target) {
        return Ok(());
    }
    let added = rustup(&["add", target])?;
    if added.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&added.stderr);
    Err(said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("rustup failed").to_owned())
}

/// The workspace's directory.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

pub(crate) fn target_directory() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

pub(crate) fn cargo<const N: usize>(arguments: [&str; N]) -> Command {
    let program = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root());
    command
}

pub(crate) fn run(mut command: Command) -> Outcome {
    let status = command.status().map_err(|error| format!("{command:?}: {error}"))?;
    if status.success() { Ok(String::new()) } else { Err(format!("{command:?}: {status}")) }
}

/// Runs a command; what it printed, which is printed here too as it comes.
pub(crate) fn run_and_read(command: Command) -> Result<String, String> {
    let mut said = String::new();
    each_line(command, |line| {
        println!("{line}");
        said += line;
        said.push('\n');
    })?;
    Ok(said)
}

/// Runs a command, and shows each line that it prints as it comes.
fn each_line(mut command: Command, mut show: impl FnMut(&str)) -> Result<(), String> {
    command.stdout(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).split(b'\n') {
            show(&String::from_utf8_lossy(&line.map_err(|error| error.to_string())?));
        }
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}")) }
}
