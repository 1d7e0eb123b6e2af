//! Seeded faults, each of which has to be seen by what is named for it.
//!
//! Models and simulator have commands of their own for theirs. The others are left to tests of
//! `chronicle-core`, built once with the faults in it and run once for each.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use chronicle_sync::mutation::{Killer, Mutant, VARIABLE};
use serde_json::Value;

use crate::catalogue::CATALOGUE;
use crate::steps::{Loom, cargo, flags_with, loom_command, sim_mutants_command, target_directory};

/// How long a test may take. One that waits for what does not come in time has to say so itself
/// before that.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long is waited for the test that does not end.
const CANARY_PATIENCE: Duration = Duration::from_secs(2);

/// Where the tests are that fail whatever the code does.
const CANARIES: &str = "canary";

/// How many faults were seeded, and how many of them were seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MutantCounts {
    /// Bugs of the catalogue.
    pub(crate) bugs: usize,
    /// Of these, those whose fault was seen.
    pub(crate) bugs_seen: usize,
    /// Other faults.
    pub(crate) others: usize,
    /// Of these, those that were seen.
    pub(crate) others_seen: usize,
}

impl MutantCounts {
    fn unseen(&self) -> usize {
        self.bugs + self.others - self.bugs_seen - self.others_seen
    }
}

impl fmt::Display for MutantCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bugs, bugs_seen, others, others_seen } = self;
        write!(f, "{bugs_seen} of {bugs} bugs and {others_seen} of {others} other faults seen")
    }
}

/// Whether a seeded fault was seen.
struct Finding {
    seen: bool,
    /// How, or why not.
    how: String,
}

impl Finding {
    fn seen(how: impl Into<String>) -> Self {
        Self { seen: true, how: how.into() }
    }

    fn not_seen(why: impl Into<String>) -> Self {
        Self { seen: false, how: why.into() }
    }
}

/// What was found for each fault, by its name.
type Findings = BTreeMap<&'static str, Finding>;

/// What is known of the models as they are, which have to pass before a fault that one sees says
/// anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Models {
    Passed,
    NotRun,
}

/// Seeds every fault in turn and prints who saw it.
///
/// # Errors
/// If a fault was not seen; if a killer fails without one, or a canary shows that killers cannot be
/// believed; if something could not be run.
pub(crate) fn mutants(known: Models) -> Result<MutantCounts, String> {
    let begun = Instant::now();
    let all = thread::scope(|scope| {
        let lanes =
            [scope.spawn(move || models(known)), scope.spawn(simulator), scope.spawn(core_tests)];
        lanes.map(|lane| lane.join().unwrap_or_else(|_| Err("a lane panicked".to_owned())))
    });
    let mut findings = Findings::new();
    for lane in all {
        findings.extend(lane?);
    }
    let canary = findings.remove(Mutant::Nothing.name());
    if canary.is_none_or(|canary| canary.seen) {
        return Err("a fault was seen that is none".to_owned());
    }
    let counts = print(&findings);
    println!("{counts}, in {:.0} s", begun.elapsed().as_secs_f64());
    if counts.unseen() == 0 {
        Ok(counts)
    } else {
        Err(format!("{} seeded faults were not seen", counts.unseen()))
    }
}

/// Prints a table of the bugs and one of the other faults.
fn print(findings: &Findings) -> MutantCounts {
    let missing = Finding::not_seen("not tried");
    let find = |mutant: Mutant| findings.get(mutant.name()).unwrap_or(&missing);
    let row = |mutant: Mutant| {
        let Finding { seen, how } = find(mutant);
        let result = if *seen { "seen" } else { "NOT SEEN" };
        let how: String = how.chars().take(90).collect();
        format!("{:<26} {:<10} {result:<9} {how}", mutant.name(), killer(mutant))
    };
    let mut counts = MutantCounts::default();
    let mut numbered = BTreeSet::new();
    println!("\n{:>2}  {:<48} {:<26} {:<10} result    how", "", "bug", "seeded as", "killer");
    for bug in CATALOGUE {
        println!("{:>2}  {:<48} {}", bug.number, bug.bug, row(bug.mutant));
        counts.bugs += 1;
        counts.bugs_seen += usize::from(find(bug.mutant).seen);
        numbered.insert(bug.mutant.name());
    }
    println!("\n{:<26} {:<10} result    how", "other faults", "killer");
    for mutant in faults().filter(|mutant| !numbered.contains(mutant.name())) {
        println!("{}", row(mutant));
        counts.others += 1;
        counts.others_seen += usize::from(find(mutant).seen);
    }
    println!();
    counts
}

fn faults() -> impl Iterator<Item = Mutant> {
    Mutant::ALL.iter().copied().filter(|mutant| mutant.killer() != Killer::Nobody)
}

fn killer(mutant: Mutant) -> &'static str {
    match mutant.killer() {
        Killer::Model(number) => number,
        Killer::Simulator => "simulator",
        Killer::Test { .. } => "test",
        _ => "",
    }
}

/// The models of `verify/loom`: all of them without any fault, unless that was done; then each fault.
fn models(known: Models) -> Result<Findings, String> {
    if known == Models::NotRun {
        let mut without = loom_command(Loom::Models);
        let output = without.stderr(Stdio::inherit()).output();
        let output = output.map_err(|error| format!("{without:?}: {error}"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stdout);
            return Err(format!("a model fails without a seeded fault: {}\n{said}", output.status));
        }
    }
    reported(loom_command(Loom::Mutants))
}

/// The explorer of `verify/sim`, which begins without any fault.
fn simulator() -> Result<Findings, String> {
    reported(sim_mutants_command())
}

/// Runs a command that prints a row for each fault: its name, and further on `caught` or `SURVIVED`,
/// with how behind it.
fn reported(mut command: Command) -> Result<Findings, String> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    let report = String::from_utf8_lossy(&output.stdout);
    let findings = rows(&report);
    match findings.get(Mutant::Nothing.name()) {
        None => Err(format!("{command:?}: {}\n{report}", output.status)),
        Some(canary) if canary.seen => Err(format!("{command:?} sees a fault that is none")),
        Some(_) => Ok(findings),
    }
}

fn rows(report: &str) -> Findings {
    let row = |line: &str| {
        let name = line.split_whitespace().next()?;
        let mutant = Mutant::ALL.iter().find(|mutant| mutant.name() == name)?;
        if let Some((_, how)) = line.split_once(" caught ") {
            return Some((mutant.name(), Finding::seen(how.trim())));
        }
        let (_, why) = line.split_once(" SURVIVED")?;
        Some((mutant.name(), Finding::not_seen(why.trim())))
    };
    report.lines().filter_map(row).collect()
}

/// A test that can be run.
struct Test<'a> {
    program: &'a PathBuf,
    name: &'a str,
}

/// What running a test came to.
#[derive(Debug, PartialEq, Eq)]
enum Ran {
    Passed,
    Failed(String),
    /// Neither, so it says nothing.
    Unclear(String),
}

/// The tests of `chronicle-core`: each without any fault, then with its own.
fn core_tests() -> Result<Findings, String> {
    let killers: Vec<_> = faults()
        .filter_map(|mutant| match mutant.killer() {
            Killer::Test { file, name } => Some((mutant, file, name)),
            _ => None,
        })
        .collect();
    let files: BTreeSet<&str> =
        killers.iter().map(|(_, file, _)| *file).chain([CANARIES]).collect();
    let programs = build(&files)?;
    let test = |file: &str, name| {
        let program =
            programs.get(file).ok_or_else(|| format!("no program was built for {file}"))?;
        Ok::<_, String>(Test { program, name })
    };
    canaries(&test(CANARIES, "this_test_always_fails")?, &test(CANARIES, "this_test_never_ends")?)?;
    let mut findings = Findings::new();
    for (mutant, file, name) in killers {
        let test = test(file, name)?;
        for none in [None, Some(Mutant::Nothing)] {
            let ran = test.run(none, PATIENCE)?;
            if ran != Ran::Passed {
                return Err(format!(
                    "{file}::{name} does not pass without a seeded fault: {ran:?}"
                ));
            }
        }
        let finding = match test.run(Some(mutant), PATIENCE)? {
            Ran::Failed(how) => Finding::seen(how),
            Ran::Passed => Finding::not_seen(format!("{file}::{name} passes")),
            Ran::Unclear(why) => Finding::not_seen(format!("{file}::{name}: {why}")),
        };
        findings.insert(mutant.name(), finding);
    }
    findings.insert(Mutant::Nothing.name(), Finding::not_seen("every test passed"));
    Ok(findings)
}

/// Whether a failure is seen as one, and a test that does not end as neither.
fn canaries(fails: &Test<'_>, hangs: &Test<'_>) -> Result<(), String> {
    let ran = fails.run(None, PATIENCE)?;
    if !matches!(ran, Ran::Failed(_)) {
        return Err(format!("a test that always fails: {ran:?}"));
    }
    let ran = hangs.run(None, CANARY_PATIENCE)?;
    if !matches!(ran, Ran::Unclear(_)) {
        return Err(format!("a test that never ends: {ran:?}"));
    }
    Ok(())
}

/// What builds and runs everything here.
pub(crate) fn commands() -> [Command; 3] {
    let killers = faults().filter_map(|mutant| match mutant.killer() {
        Killer::Test { file, .. } => Some(file),
        _ => None,
    });
    let files = killers.chain([CANARIES]).collect();
    [loom_command(Loom::Models), sim_mutants_command(), build_command(&files)]
}

fn build_command(files: &BTreeSet<&str>) -> Command {
    let mut command = cargo(["test", "--quiet", "--no-run", "--message-format", "json"]);
    command.args(["--package", "chronicle-core", "--target-dir"]);
    command.arg(target_directory().join("mutants"));
    command.args(files.iter().flat_map(|file| ["--test", file]));
    command.env("RUSTFLAGS", flags_with("--cfg chronicle_mutants"));
    command
}

/// Builds these files of tests with the faults in it, in a directory of their own, and gives their
/// programs by name.
fn build(files: &BTreeSet<&str>) -> Result<BTreeMap<String, PathBuf>, String> {
    let mut command = build_command(files);
    command.stderr(Stdio::inherit());
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{command:?}: {}", output.status));
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    Ok(messages
        .lines()
        .filter_map(|line| {
            let message: Value = serde_json::from_str(line).ok()?;
            let program = message.get("executable")?.as_str()?;
            let name = message.get("target")?.get("name")?.as_str()?;
            Some((name.to_owned(), PathBuf::from(program)))
        })
        .collect())
}

impl Test<'_> {
    /// Runs the test alone in a process, which has a fault if there is one.
    fn run(&self, mutant: Option<Mutant>, patience: Duration) -> Result<Ran, String> {
        let mut command = Command::new(self.program);
        command.args([self.name, "--exact", "--test-threads=1"]);
        command.env("RUST_BACKTRACE", "0").env_remove(VARIABLE);
        if let Some(mutant) = mutant {
            command.env(VARIABLE, mutant.name());
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let failed = |error| format!("{}: {error}", self.program.display());
        let mut child = command.spawn().map_err(failed)?;
        let output = [reader(child.stdout.take()), reader(child.stderr.take())];
        let Some(status) = wait(&mut child, patience).map_err(failed)? else {
            return Ok(Ran::Unclear(format!("it does not end within {} s", patience.as_secs())));
        };
        let [said, complained] = output.map(|thread| thread.join().unwrap_or_default());
        if said.contains(&format!("test {} ... FAILED", self.name)) {
            return Ok(Ran::Failed(last_panic(&said)));
        }
        if let Some(signal) = status.signal() {
            return Ok(Ran::Failed(format!("signal {signal}")));
        }
        if status.success() && said.contains("test result: ok. 1 passed") {
            return Ok(Ran::Passed);
        }
        Ok(Ran::Unclear(format!("{status}: {}", complained.trim())))
    }
}

/// Reads to the end in a thread of its own, so that nobody waits for room in a pipe.
fn reader(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // What was said before an error is worth as much.
            let _ = pipe.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Waits for a process for so long, and then ends it.
fn wait(
    child: &mut Child,
    patience: Duration,
) -> std::io::Result<Option<std::process::ExitStatus>> {
    let until = Instant::now() + patience;
    while Instant::now() < until {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        thread::sleep(Duration::from_millis(5));
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

/// What the last panic said, in one line: the ones before it may have been meant.
fn last_panic(said: &str) -> String {
    let Some((_, panic)) = said.rsplit_once(" panicked at ") else {
        return "it failed".to_owned();
    };
    let message = panic.lines().skip(1).map(str::trim);
    let message = message.take_while(|line| !line.is_empty() && !line.starts_with("note:"));
    let message = message.collect::<Vec<_>>().join(" ");
    // What every comparison and every unwrapping begins with says nothing.
    [
        "assertion `left == right` failed: ",
        "assertion `left == right` failed ",
        "called `Result::unwrap()` on an `Err` value: ",
    ]
    .into_iter()
    .find_map(|start| message.strip_prefix(start))
    .unwrap_or(&message)
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_both_reports_are_understood() {
        let report = "mutant  model  result  how\n\
            Nothing                  L1     SURVIVED  survived\n\
            SealLoadRelaxed          L4     caught    L4 full segment: claim violated\n\
            RecoveryFromHint           caught    --setup 8192/512/ordered --ops o: A3: gone\n\
            42 of 42 mutants caught\n";
        let findings = rows(report);
        assert_eq!(findings.len(), 3);
        let find = |mutant: Mutant| findings.get(mutant.name()).unwrap();
        assert!(!find(Mutant::Nothing).seen);
        assert_eq!(find(Mutant::SealLoadRelaxed).how, "L4 full segment: claim violated");
        assert!(find(Mutant::RecoveryFromHint).seen);
    }

    #[test]
    fn the_last_panic_is_what_a_test_failed_by() {
        let said = "thread 'a' (1) panicked at a.rs:1:1:\nkilled\nnote: run with\n\n\
            thread 'a' (1) panicked at a.rs:9:9:\nassertion `left == right` failed\n  left: 1\n right: 2\n\n\nfailures:\n";
        assert_eq!(last_panic(said), "left: 1 right: 2");
        assert_eq!(last_panic("test a ... FAILED"), "it failed");
    }

    #[test]
    fn a_fault_that_was_not_tried_is_not_seen() {
        let counts = print(&Findings::new());
        assert_eq!((counts.bugs, counts.bugs_seen, counts.others_seen), (40, 0, 0));
        assert_eq!(counts.unseen(), counts.bugs + counts.others);
    }
}
