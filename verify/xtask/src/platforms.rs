//! What of the other systems a Linux machine can check, as a table: `cargo xtask platforms`.
//!
//! No row is left out in silence. What cannot be done here, because something cannot be downloaded or
//! installed, is SKIPPED and says why.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::iter;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::nightly::{have_miri, nightly, succeeds};
use crate::steps::{FEATURES, Outcome, PORTABLE, cargo, install, root, target_directory};

/// What was seen of one thing.
enum Seen {
    /// It holds, with how much of it there was.
    Yes(String),
    /// It is not done for this target, and why.
    No(&'static str),
    /// It could not be done here.
    Skipped(String),
    Failed(String),
}

struct Row {
    target: String,
    checked: Seen,
    linked: Seen,
    ran: Seen,
}

/// A target, and what is done for it.
struct Target {
    name: &'static str,
    checked: Check,
    linked: Link,
    ran: Run,
}

/// The crates that are type-checked, with clippy and warnings denied.
enum Check {
    /// Everything that programs use, and its tests.
    All,
    /// Everything that programs use.
    Programs,
    /// What has no part of the system in it.
    Portable,
    None(&'static str),
}

enum Link {
    /// Through the linker of zig, in the long run only.
    Zig,
    /// With the linker that Rust brings along.
    OfRust,
    None(&'static str),
}

enum Run {
    Natively,
    /// Natively, the binary being a static one.
    Statically,
    /// By an interpreter of the system's packages.
    Qemu,
    /// Miri, in the long run only.
    Miri,
    Nowhere(&'static str),
}

const NO_MAC: &str = "no machine";

const TARGETS: &[Target] = &[
    Target {
        name: HOST,
        checked: Check::None("by clippy"),
        linked: Link::None("by its tests"),
        ran: Run::Natively,
    },
    Target {
        name: "x86_64-unknown-linux-musl",
        checked: Check::Programs,
        linked: Link::OfRust,
        ran: Run::Statically,
    },
    Target {
        name: "aarch64-unknown-linux-gnu",
        checked: Check::Programs,
        linked: Link::None("by its tests"),
        ran: Run::Qemu,
    },
    Target { name: "aarch64-apple-darwin", checked: Check::All, linked: Link::Zig, ran: Run::Miri },
    Target {
        name: "x86_64-apple-darwin",
        checked: Check::Programs,
        linked: Link::Zig,
        ran: Run::Nowhere(NO_MAC),
    },
    Target {
        name: "x86_64-unknown-freebsd",
        checked: Check::Portable,
        linked: Link::None("no backend"),
        ran: Run::Nowhere("no backend"),
    },
    Target {
        name: "aarch64-linux-android",
        checked: Check::Portable,
        linked: Link::None("no backend"),
        ran: Run::Nowhere("no backend"),
    },
    Target {
        name: "x86_64-pc-windows-gnu",
        checked: Check::Portable,
        linked: Link::None("no backend"),
        ran: Run::Nowhere("no backend"),
    },
];

/// The systems on which the macOS backend's source runs here: a name, the functions that the system
/// has not, and the commands that its file system does not know.
const SHIMS: &[(&str, &str, &str)] = &[
    ("macOS 14.4 on the shim", "", ""),
    ("macOS 11 on the shim", "os_sync_wait_on_address_with_timeout", ""),
    ("macOS 10.12 on the shim", "os_sync_wait_on_address_with_timeout,__ulock_wait2", ""),
    ("macOS, a poor file system", "", "F_PREALLOCATE,F_FULLFSYNC,F_BARRIERFSYNC"),
];

/// The backends that are of no system: a name, and the test that runs the suite over it.
const BESIDE_SYSTEMS: &[(&str, &str, &str)] = &[
    ("static memory", "chronicle-conformance", "static_memory"),
    ("heap, loses power", "chronicle-conformance", "memory"),
    ("simulator", "chronicle-sim", "conformance"),
    ("custom_backend.rs", "chronicle-examples", "conformance"),
];

const HOST: &str = "x86_64-unknown-linux-gnu";

const SHIM: &str = "--cfg chronicle_darwin_shim";

const QEMU: &str = "qemu-aarch64";
const QEMU_LINKER: &str = "aarch64-linux-gnu-gcc";

/// Prints the table; `long` links through zig and runs what takes minutes too.
pub(crate) fn platforms(long: bool) -> Outcome {
    let mut rows: Vec<Row> = TARGETS.iter().map(|target| look(target, long)).collect();
    for (name, without, refuses) in SHIMS {
        rows.push(Row {
            target: (*name).to_owned(),
            checked: shim_checked(),
            linked: Seen::No("by its tests"),
            ran: {
                let mut command = suite_on_the_shim();
                command
                    .env("CHRONICLE_SHIM_WITHOUT", without)
                    .env("CHRONICLE_SHIM_REFUSES", refuses);
                counted_suite(command)
            },
        });
    }
    rows.push(Row {
        target: "chron-cli on the shim".to_owned(),
        checked: Seen::No("as above"),
        linked: Seen::No("by its tests"),
        ran: if long { shimmed_programs() } else { Seen::No("with --long") },
    });
    for (name, package, test) in BESIDE_SYSTEMS {
        rows.push(Row {
            target: (*name).to_owned(),
            checked: Seen::No("by clippy"),
            linked: Seen::No("by its tests"),
            ran: counted_suite(suite_of(package, test, HOST)),
        });
    }
    rows.push(oldest_rust());
    println!();
    println!("{:<26}  {:<34}  {:<26}  conformance", "target", "checked", "linked");
    for Row { target, checked, linked, ran } in &rows {
        println!("{target:<26}  {:<34}  {:<26}  {}", text(checked), text(linked), text(ran));
    }
    let all = || rows.iter().flat_map(|row| [&row.checked, &row.linked, &row.ran]);
    let failed = all().filter(|seen| matches!(seen, Seen::Failed(_))).count();
    if failed > 0 {
        return Err(format!("{failed} failed"));
    }
    let skipped: BTreeSet<_> = all()
        .filter_map(|seen| if let Seen::Skipped(why) = seen { Some(why.as_str()) } else { None })
        .collect();
    Ok(skipped.into_iter().map(|why| format!("SKIPPED {why}")).collect::<Vec<_>>().join("; "))
}

/// What builds and runs everything of the table, where that is cargo.
pub(crate) fn commands() -> Vec<Command> {
    let mut commands = Vec::new();
    for target in TARGETS {
        if !matches!(target.checked, Check::None(_)) {
            commands.push(check_command(target.name, &target.checked));
        }
        if !matches!(target.ran, Run::Miri | Run::Nowhere(_)) {
            commands.push(suite_for(target));
        }
    }
    commands.extend([shim_check_command(), suite_on_the_shim()]);
    commands.extend(BESIDE_SYSTEMS.iter().map(|(_, package, test)| suite_of(package, test, HOST)));
    commands.extend(with_oldest_rust());
    commands
}

const OLDEST: &str = env!("CARGO_PKG_RUST_VERSION");

/// Everything that the oldest compiler has to accept, and the program without a standard library.
fn with_oldest_rust() -> [Command; 2] {
    let check = |arguments: &[&str]| {
        let mut command = Command::new("rustup");
        command.args(["run", OLDEST, "cargo", "check", "--quiet"]).args(arguments);
        command.arg("--target-dir").arg(target_directory().join("oldest-rust"));
        command.current_dir(root());
        command
    };
    [
        check(&["--workspace", "--all-targets", "--features", FEATURES]),
        check(&["--manifest-path", "examples/freestanding/Cargo.toml"]),
    ]
}

/// What `rust-version` promises, by that very compiler: everything is type-checked, tests included, and
/// so is the program without a standard library.
fn oldest_rust() -> Row {
    eprintln!("xtask: Rust {OLDEST}");
    let [workspace, freestanding] = with_oldest_rust();
    let look = || -> Result<Seen, String> {
        let mut install = Command::new("rustup");
        install.args(["toolchain", "install", OLDEST, "--profile", "minimal", "--no-self-update"]);
        if let Err(why) = succeeds(install) {
            return Ok(Seen::Skipped(format!("Rust {OLDEST} cannot be installed: {why}")));
        }
        said(workspace)?;
        if cfg!(all(target_os = "linux", target_arch = "x86_64")) {
            said(freestanding)?;
        }
        Ok(Seen::Yes("everything, and its tests".to_owned()))
    };
    Row {
        target: format!("Rust {OLDEST}"),
        checked: look().unwrap_or_else(Seen::Failed),
        linked: Seen::No("type check only"),
        ran: Seen::No("type check only"),
    }
}

fn text(seen: &Seen) -> String {
    match seen {
        Seen::Yes(how) => how.clone(),
        Seen::No(why) => format!("- ({why})"),
        Seen::Skipped(why) => format!("SKIPPED: {why}"),
        Seen::Failed(why) => format!("FAILED: {why}"),
    }
}

fn look(target: &Target, long: bool) -> Row {
    let name = target.name;
    eprintln!("xtask: {name}");
    if let Err(why) = install(name) {
        let skipped = || Seen::Skipped(format!("{name} cannot be installed: {why}"));
        let (checked, linked, ran) = (skipped(), skipped(), skipped());
        return Row { target: name.to_owned(), checked, linked, ran };
    }
    let linked = match target.linked {
        Link::Zig if !long => Seen::No("with --long"),
        Link::Zig => zig_linked(name),
        Link::OfRust => Seen::Yes("by its tests, static".to_owned()),
        Link::None(why) => Seen::No(why),
    };
    let ran = match target.ran {
        Run::Natively | Run::Statically => counted_suite(suite_for(target)),
        Run::Qemu => with_qemu(suite_for(target)),
        Run::Miri if !long => Seen::No("Miri, with --long"),
        Run::Miri => with_miri(name),
        Run::Nowhere(why) => Seen::No(why),
    };
    Row { target: name.to_owned(), checked: checked(name, &target.checked), linked, ran }
}

/// The suite of the Linux backend, as it is run for a target.
fn suite_for(target: &Target) -> Command {
    let mut command = suite("linux", target.name);
    match target.ran {
        Run::Statically => command
            .env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_LINKER", "rust-lld")
            .env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_RUSTFLAGS", "-Clinker-flavor=ld.lld"),
        Run::Qemu => command
            // A process that is started would be one without the interpreter.
            .args(["--skip", "process_level"])
            .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", QEMU_LINKER)
            .env(
                "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER",
                format!("{QEMU} -L /usr/aarch64-linux-gnu"),
            ),
        Run::Natively | Run::Miri | Run::Nowhere(_) => &mut command,
    };
    command
}

fn checked(target: &str, check: &Check) -> Seen {
    let what = match check {
        Check::All => "std, bus, cli, backends and their tests",
        Check::Programs => "std, bus, cli, backends",
        Check::Portable => "format, protocol, sync, core, static",
        Check::None(why) => return Seen::No(why),
    };
    said(check_command(target, check)).map_or_else(Seen::Failed, |_| Seen::Yes(what.to_owned()))
}

fn check_command(target: &str, check: &Check) -> Command {
    const PROGRAMS: &[&str] = &[
        "chronicle-platform-linux",
        "chronicle-platform-macos",
        "chronicle-std",
        "chronicle-bus",
        "chronicle-cli",
    ];
    let packages = match check {
        Check::All | Check::Programs => PROGRAMS,
        Check::Portable | Check::None(_) => PORTABLE,
    };
    let mut command = cargo(["clippy", "--quiet", "--target", target]);
    for package in packages {
        command.args(["--package", package]);
    }
    // The engine's own tests are written for the Linux backend.
    if let Check::All = check {
        command.args(["--package", "chronicle-conformance", "--all-targets"]);
    }
    if packages == PROGRAMS {
        command.args(["--features", FEATURES]);
    }
    command.args(["--", "-D", "warnings"]);
    command
}

fn shim_checked() -> Seen {
    said(shim_check_command())
        .map_or_else(Seen::Failed, |_| Seen::Yes("3 crates and their tests".to_owned()))
}

fn shim_check_command() -> Command {
    let mut command = cargo(["clippy", "--quiet", "--all-targets"]);
    for package in ["chronicle-platform-macos", "chronicle-darwin-shim", "chronicle-std"] {
        command.args(["--package", package]);
    }
    shimmed(&mut command).args(["--", "-D", "warnings"]);
    command
}

/// Sets the flag under which the macOS backend is built for Linux, in a target directory of its own.
fn shimmed(command: &mut Command) -> &mut Command {
    command.env("RUSTFLAGS", SHIM).env("CARGO_TARGET_DIR", target_directory().join("darwin-shim"))
}

fn suite_on_the_shim() -> Command {
    let mut command = suite("macos", HOST);
    shimmed(&mut command);
    command
}

/// Runs a backend's conformance suite, and counts what its levels said.
fn counted_suite(command: Command) -> Seen {
    said(command).map_or_else(Seen::Failed, |said| counted(&said))
}

fn suite(test: &str, target: &str) -> Command {
    suite_of("chronicle-conformance", test, target)
}

fn suite_of(package: &str, test: &str, target: &str) -> Command {
    let mut command = cargo(["test", "--quiet", "--package", package]);
    command.args(["--test", test, "--target", target, "--", "--nocapture", "--test-threads=1"]);
    command
}

/// What a suite printed, as numbers.
fn counted(said: &str) -> Seen {
    let count = |what: &str| said.lines().filter(|line| line.contains(what)).count();
    let (passed, skipped) = (count(": passed  "), count(": SKIPPED "));
    if passed == 0 {
        return Seen::Failed("the suite said nothing".to_owned());
    }
    Seen::Yes(match skipped {
        0 => format!("{passed} passed"),
        _ => format!("{passed} passed, {skipped} not asked"),
    })
}

/// All tests of the library and the program over the macOS backend's source.
fn shimmed_programs() -> Seen {
    let mut command = cargo(["test", "--quiet", "--no-fail-fast", "--features", FEATURES]);
    for package in ["chronicle-platform-macos", "chronicle-std", "chronicle-bus", "chronicle-cli"] {
        command.args(["--package", package]);
    }
    shimmed(&mut command);
    let said = match said(command) {
        Ok(said) => said,
        Err(why) => return Seen::Failed(why),
    };
    Seen::Yes(format!("{} tests of std, bus and cli passed", passed(&said)))
}

/// How many tests passed, by the summaries of their programs.
fn passed(said: &str) -> u32 {
    said.lines()
        .filter_map(|line| line.strip_prefix("test result: ok. "))
        .filter_map(|line| line.split(' ').next()?.parse::<u32>().ok())
        .sum()
}

fn with_qemu(suite: Command) -> Seen {
    for program in [QEMU_LINKER, QEMU] {
        let mut command = Command::new(program);
        command.arg("--version");
        if succeeds(command).is_err() {
            return Seen::Skipped(format!("{program} is not installed"));
        }
    }
    match counted_suite(suite) {
        Seen::Yes(how) => Seen::Yes(format!("{how}, in one process (qemu)")),
        seen => seen,
    }
}

/// The crates without a system under Miri as this target. It has neither mapped files nor kqueue,
/// `sysctlbyname` or `__ulock_wait`, so of the backend itself nothing runs there.
fn with_miri(target: &str) -> Seen {
    if let Err(why) = have_miri() {
        return Seen::Skipped(why);
    }
    let mut command = nightly(&["miri", "test", "--quiet", "--lib", "--target", target]);
    command
        .args(["--package", "chronicle-format", "--package", "chronicle-sync"])
        .arg("--target-dir")
        .arg(target_directory().join("miri"));
    match said(command).map(|said| passed(&said)) {
        Ok(count) => Seen::Yes(format!("{count} tests of format and sync (Miri)")),
        Err(why) => Seen::Failed(why),
    }
}

/// Links the program and the suite for the macOS backend through zig, which brings along what it needs
/// of the system.
fn zig_linked(target: &str) -> Seen {
    let linked =
        zig().map_err(Seen::Skipped).and_then(|tools| link(target, &tools).map_err(Seen::Failed));
    match linked {
        Ok(how) => Seen::Yes(how),
        Err(seen) => seen,
    }
}

fn link(target: &str, tools: &Path) -> Result<String, String> {
    let directory = target_directory().join("zig-link");
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths(iter::once(tools.to_owned()).chain(env::split_paths(&path)))
        .map_err(|error| error.to_string())?;
    let mut command = Command::new(tools.join("cargo-zigbuild"));
    command
        .args(["zigbuild", "--quiet", "--target", target, "--bins", "--tests"])
        .args(["--package", "chronicle-cli", "--package", "chronicle-conformance"])
        .current_dir(root())
        .env("PATH", path)
        .env("CARGO_TARGET_DIR", &directory)
        .env("CARGO_ZIGBUILD_CACHE_DIR", directory.join("cache"))
        .env("ZIG_GLOBAL_CACHE_DIR", directory.join("cache"));
    said(command)?;
    let binary = directory.join(target).join("debug/chron-cli");
    let bytes = fs::read(&binary).map_err(|error| format!("{}: {error}", binary.display()))?;
    // MH_MAGIC_64 of mach-o/loader.h, as a little-endian machine writes it.
    match bytes.first_chunk() {
        Some([0xcf, 0xfa, 0xed, 0xfe]) => Ok("cli and suite, as Mach-O".to_owned()),
        _ => Err(format!("{} is no Mach-O file", binary.display())),
    }
}

/// Where zig and cargo-zigbuild are, which are installed from the Python packages if they are not.
fn zig() -> Result<PathBuf, String> {
    let home = target_directory().join("zig");
    let tools = home.join("bin");
    if tools.join("cargo-zigbuild").exists() {
        return Ok(tools);
    }
    let mut make = Command::new("python3");
    make.args(["-m", "venv"]).arg(&home);
    succeeds(make).map_err(|why| format!("zig: no Python environment: {why}"))?;
    let mut get = Command::new(tools.join("pip"));
    get.args(["install", "--quiet", "ziglang", "cargo-zigbuild"]);
    succeeds(get).map_err(|why| format!("zig cannot be installed: {why}"))?;
    Ok(tools)
}

/// Runs a command: what it printed, or the line of it that says why it failed.
fn said(mut command: Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    println!("{command:?}\n{text}{errors}");
    let why = text.lines().chain(errors.lines()).find(|line| {
        line.contains(": FAILED  ") || line.contains("FAILED") || line.starts_with("error")
    });
    Err(why.unwrap_or("see above").trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_are_counted_and_a_suite_that_says_nothing_has_failed() {
        let said =
            "memory: passed  a\nmemory: SKIPPED b: why [c]\nwatch: passed  d\ntest x ... ok\n";
        assert!(matches!(counted(said), Seen::Yes(how) if how == "2 passed, 1 not asked"));
        assert!(matches!(counted("test result: ok. 0 passed"), Seen::Failed(_)));
    }

    #[test]
    fn every_target_is_there_once() {
        let names: BTreeSet<_> = TARGETS.iter().map(|target| target.name).collect();
        assert_eq!(names.len(), TARGETS.len());
    }
}
