//! Steps that need the nightly toolchain: fuzzing, and Miri. Where it cannot be had they are skipped,
//! and say so.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;

use crate::steps::{Outcome, root, run, target_directory};

/// What no input may make a target need, in megabytes.
const MEMORY_MB: u32 = 512;
/// What no input may make a target take, in seconds. Of the wall clock, so it is long: what never ends is
/// found by it, and a machine that stands still for a while is not.
const SECONDS_PER_INPUT: u32 = 120;
/// The longest input that is made up, in bytes.
const LONGEST_INPUT: u32 = 1024;
/// Targets that run at once: each is one thread.
const AT_ONCE: usize = 2;

/// Gives every fuzz target arbitrary input for so many seconds.
pub(crate) fn fuzz(seconds: u64) -> Outcome {
    match fuzz_counted(seconds)? {
        Ok(executions) => Ok(format!("{} targets of {seconds} s", executions.len())),
        Err(why) => {
            println!("SKIPPED fuzz: {why}");
            Ok("SKIPPED".to_owned())
        }
    }
}

/// Gives every fuzz target arbitrary input for so many seconds, beginning with its committed corpus, two
/// targets at a time; how many inputs each was given, or why none was.
pub(crate) fn fuzz_counted(seconds: u64) -> Result<Result<Vec<u64>, String>, String> {
    if let Err(why) = have_cargo_fuzz() {
        return Ok(Err(why));
    }
    let target_dir = fuzz_directory();
    run(fuzz_build())?;
    let artifacts = target_dir.join("artifacts");
    fs::create_dir_all(&artifacts).map_err(|error| format!("{artifacts:?}: {error}"))?;
    println!("{:<16} {:>12}", "target", "executions");
    let targets = fuzz_targets()?;
    let waiting = Mutex::new(targets.iter());
    let next = || waiting.lock().ok().and_then(|mut waiting| waiting.next());
    let work = || {
        let mut done = Vec::new();
        while let Some(target) = next() {
            done.push(fuzz_one(target, seconds, &target_dir, &artifacts));
        }
        done
    };
    let done: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
    });
    let (done, failed): (Vec<_>, Vec<_>) = done.into_iter().partition(Result::is_ok);
    let failed: Vec<_> = failed.into_iter().filter_map(Result::err).collect();
    if !failed.is_empty() {
        return Err(format!("{}; inputs are in {artifacts:?}", failed.join(", ")));
    }
    if done.len() != targets.len() {
        return Err(format!("{} of {} targets ran", done.len(), targets.len()));
    }
    Ok(Ok(done.into_iter().filter_map(Result::ok).collect()))
}

/// What builds the targets, and what installs that which builds them.
pub(crate) fn fuzz_commands() -> [Command; 2] {
    [cargo_fuzz_install(), fuzz_build()]
}

fn fuzz_directory() -> PathBuf {
    target_directory().join("fuzz")
}

fn fuzz_build() -> Command {
    let mut build = nightly(&["fuzz", "build", "--fuzz-dir"]);
    build.arg(fuzz_home()).arg("--target-dir").arg(fuzz_directory());
    build
}

/// Runs one target; how many inputs it was given.
fn fuzz_one(
    target: &str,
    seconds: u64,
    target_dir: &Path,
    artifacts: &Path,
) -> Result<u64, String> {
    // What is found on the way is kept beside the build and not in the committed corpus.
    let found = target_dir.join("corpus").join(target);
    fs::create_dir_all(&found).map_err(|error| format!("{found:?}: {error}"))?;
    let output = Command::new(target_dir.join("x86_64-unknown-linux-gnu/release").join(target))
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-rss_limit_mb={MEMORY_MB}"))
        .arg(format!("-timeout={SECONDS_PER_INPUT}"))
        .arg(format!("-max_len={LONGEST_INPUT}"))
        .arg("-print_final_stats=1")
        .arg(format!("-artifact_prefix={}/{target}-", artifacts.display()))
        .args([found, fuzz_home().join("corpus").join(target)])
        .output()
        .map_err(|error| format!("{target}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let executions: Option<u64> = said
        .lines()
        .find_map(|line| line.strip_prefix("stat::number_of_executed_units:"))
        .and_then(|number| number.trim().parse().ok());
    match executions {
        Some(executions) if output.status.success() => {
            println!("{target:<16} {executions:>12}");
            Ok(executions)
        }
        _ => {
            println!("{said}");
            Err(format!("{target}: {}", output.status))
        }
    }
}

fn fuzz_home() -> PathBuf {
    root().join("verify/fuzz")
}

/// The names of all fuzz targets.
pub(crate) fn fuzz_targets() -> Result<Vec<String>, String> {
    let directory = fuzz_home().join("fuzz_targets");
    let failed = |error: std::io::Error| format!("{directory:?}: {error}");
    let mut targets = Vec::new();
    for entry in fs::read_dir(&directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        targets.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
    }
    targets.sort();
    Ok(targets)
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
        for (package, tests, flag) in [
            ("chronicle-format", &["--lib"][..], ""),
            ("chronicle-conformance", &["--test", "engine"], ""),
            // Its memory is that of a machine without an allocator, and is never given back.
            ("chronicle-conformance", &["--test", "static_memory"], " -Zmiri-ignore-leaks"),
        ] {
            println!("{package} {} {model}", tests.join(" "));
            let mut command = nightly(&["miri", "test", "--quiet", "--package", package]);
            command
                .args(tests)
                .arg("--target-dir")
                .arg(target_directory().join("miri"))
                .env("MIRIFLAGS", format!("{model}{flag}"));
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
pub(crate) fn nightly(arguments: &[&str]) -> Command {
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
    succeeds(cargo_fuzz_install()).map_err(|why| format!("cargo-fuzz cannot be installed: {why}"))
}

/// Not optimised: it is a minute's work otherwise, and does nothing but start cargo.
fn cargo_fuzz_install() -> Command {
    let tools = target_directory().join("tools");
    let mut install = nightly(&["install", "--quiet", "--locked", "--debug", "cargo-fuzz"]);
    install.arg("--root").arg(&tools).arg("--target-dir").arg(tools.join("build"));
    install
}

pub(crate) fn have_miri() -> Result<(), String> {
    succeeds(nightly(&["--version"])).map_err(|why| format!("no nightly toolchain: {why}"))?;
    let mut add = Command::new("rustup");
    add.args(["component", "add", "--toolchain", "nightly", "miri", "rust-src"]);
    succeeds(add).map_err(|why| format!("its components cannot be installed: {why}"))
}

/// Whether a command ends well; the last line that it said, if not.
pub(crate) fn succeeds(mut command: Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it failed").to_owned())
}
