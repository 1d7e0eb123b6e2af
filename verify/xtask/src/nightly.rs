//! Steps that need the nightly toolchain: fuzzing, and Miri. Where it cannot be had they are skipped,
//! and say so.

use std::env;
use std::fs;
use std::process::{Command, Stdio};

use crate::steps::{Outcome, root, run, target_directory};

/// What no input may make a target need, in megabytes.
const MEMORY_MB: u32 = 512;
/// What no input may make a target take, in seconds.
const SECONDS_PER_INPUT: u32 = 10;
/// The longest input that is made up, in bytes.
const LONGEST_INPUT: u32 = 1024;

/// Gives every fuzz target arbitrary input for so many seconds, beginning with its committed corpus.
pub(crate) fn fuzz(seconds: u32) -> Outcome {
    if let Err(why) = have_cargo_fuzz() {
        println!("SKIPPED fuzz: {why}");
        return Ok("SKIPPED".to_owned());
    }
    let home = root().join("verify/fuzz");
    let target_dir = target_directory().join("fuzz");
    let mut build = nightly(&["fuzz", "build", "--fuzz-dir"]);
    build.arg(&home).arg("--target-dir").arg(&target_dir);
    run(build)?;
    let mut targets = Vec::new();
    let read_dir = |path| fs::read_dir(&path).map_err(|error| format!("{path:?}: {error}"));
    for entry in read_dir(home.join("fuzz_targets"))? {
        let path = entry.map_err(|error| error.to_string())?.path();
        targets.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
    }
    targets.sort();
    let binaries = target_dir.join("x86_64-unknown-linux-gnu/release");
    let artifacts = target_dir.join("artifacts");
    fs::create_dir_all(&artifacts).map_err(|error| format!("{artifacts:?}: {error}"))?;
    let mut failed = Vec::new();
    println!("{:<16} {:>12}", "target", "executions");
    for target in &targets {
        // What is found on the way is kept beside the build and not in the committed corpus.
        let found = target_dir.join("corpus").join(target);
        fs::create_dir_all(&found).map_err(|error| format!("{found:?}: {error}"))?;
        let output = Command::new(binaries.join(target))
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-rss_limit_mb={MEMORY_MB}"))
            .arg(format!("-timeout={SECONDS_PER_INPUT}"))
            .arg(format!("-max_len={LONGEST_INPUT}"))
            .arg("-print_final_stats=1")
            .arg(format!("-artifact_prefix={}/{target}-", artifacts.display()))
            .args([found, home.join("corpus").join(target)])
            .output()
            .map_err(|error| format!("{target}: {error}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        let executions = said
            .lines()
            .find_map(|line| line.strip_prefix("stat::number_of_executed_units:").map(str::trim));
        println!("{target:<16} {:>12}", executions.unwrap_or("?"));
        if !output.status.success() {
            println!("{said}");
            failed.push(target.as_str());
        }
    }
    match failed.as_slice() {
        [] => Ok(format!("{} targets of {seconds} s", targets.len())),
        failed => Err(format!("failed: {}; inputs are in {artifacts:?}", failed.join(", "))),
    }
}

/// The crates without an operating system under Miri, with both models of borrowing.
pub(crate) fn miri() -> Outcome {
    if let Err(why) = have_miri() {
        println!("SKIPPED miri: {why}");
        return Ok("SKIPPED".to_owned());
    }
    // Words of control.meta are read in other sizes than they are stored in, by one process at a time;
    // the emulation of weak memory gives up at that, and the models of loom are for memory order.
    const STRONG: &str = "-Zmiri-disable-weak-memory-emulation";
    for model in [STRONG.to_owned(), format!("{STRONG} -Zmiri-tree-borrows")] {
        for (package, tests) in [
            ("chronicle-format", &["--lib"][..]),
            ("chronicle-conformance", &["--test", "engine", "--test", "static_memory"]),
        ] {
            println!("{package} {model}");
            let mut command = nightly(&["miri", "test", "--quiet", "--package", package]);
            command
                .args(tests)
                .arg("--target-dir")
                .arg(target_directory().join("miri"))
                .env("MIRIFLAGS", &model);
            run(command)?;
        }
    }
    Ok(String::new())
}

/// The engine on threads under the sanitizer of data races.
pub(crate) fn thread_sanitizer() -> Outcome {
    if let Err(why) = have_miri() {
        println!("SKIPPED thread-sanitizer: {why}");
        return Ok("SKIPPED".to_owned());
    }
    let mut command = nightly(&["test", "--quiet", "--package", "chronicle-conformance"]);
    command
        .args(["--test", "engine", "-Zbuild-std", "--target", "x86_64-unknown-linux-gnu"])
        .arg("--target-dir")
        .arg(target_directory().join("thread-sanitizer"))
        .env("RUSTFLAGS", "-Zsanitizer=thread --cfg chronicle_tsan");
    run(command)
}

/// Cargo of the nightly toolchain, with the tools that this program installed.
fn nightly(arguments: &[&str]) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "cargo"]).args(arguments).current_dir(root());
    let tools = target_directory().join("tools/bin");
    let path = env::var_os("PATH").unwrap_or_default();
    if let Ok(path) = env::join_paths(std::iter::once(tools).chain(env::split_paths(&path))) {
        command.env("PATH", path);
    }
    command
}

fn have_cargo_fuzz() -> Result<(), String> {
    succeeds(nightly(&["--version"])).map_err(|why| format!("no nightly toolchain: {why}"))?;
    if succeeds(nightly(&["fuzz", "--version"])).is_ok() {
        return Ok(());
    }
    let mut install = nightly(&["install", "--quiet", "--locked", "cargo-fuzz", "--root"]);
    install.arg(target_directory().join("tools"));
    succeeds(install).map_err(|why| format!("cargo-fuzz cannot be installed: {why}"))
}

fn have_miri() -> Result<(), String> {
    succeeds(nightly(&["--version"])).map_err(|why| format!("no nightly toolchain: {why}"))?;
    let mut add = Command::new("rustup");
    add.args(["component", "add", "--toolchain", "nightly", "miri", "rust-src"]);
    succeeds(add).map_err(|why| format!("its components cannot be installed: {why}"))
}

/// Whether a command ends well; the last line that it said, if not.
fn succeeds(mut command: Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it failed").to_owned())
}
