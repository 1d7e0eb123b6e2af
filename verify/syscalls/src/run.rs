//! All scenarios, with every call failing in turn.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use chronicle_std::Queue;
use tempfile::TempDir;

use crate::calls::{KINDS, What, name};
use crate::check::{Trial, living};
use crate::fixture::{Fixture, Made, append, config, make};
use crate::scenarios::{ALL, Beside, Scenario};
use crate::told;
use crate::trace::{Ended, Fault, Task, run};

/// All calls of the kind from one on.
const FOR_EVER: u64 = u64::MAX;
/// A signal that comes again and again interrupts a call so often.
const INTERRUPTIONS: u64 = 50;

/// Where scenarios find what they need.
pub(crate) struct Bench {
    pub(crate) directory: TempDir,
    pub(crate) program: PathBuf,
    made: Vec<Made>,
    trials: u64,
}

/// A scenario without a fault.
pub(crate) struct Usual {
    pub(crate) calls: Vec<u64>,
    pub(crate) output: Vec<u8>,
}

/// A process that was run and judged.
pub(crate) struct Outcome {
    pub(crate) ended: Ended,
    /// Whether the calls that were to fail came.
    pub(crate) struck: bool,
    pub(crate) succeeded: bool,
    pub(crate) verdict: Result<(), String>,
}

impl Bench {
    /// Makes all fixtures, in memory if there is a file system in memory.
    pub(crate) fn new(program: &Path) -> Result<Self, String> {
        let mut named = tempfile::Builder::new();
        named.prefix("chronicle-syscalls-");
        let memory = named.tempdir_in("/dev/shm");
        let directory = memory.or_else(|_| named.tempdir()).map_err(told)?;
        let mut made = Vec::new();
        for fixture in Fixture::ALL {
            let path = directory.path().join(format!("{fixture:?}"));
            made.push(make(fixture, &path, program)?);
        }
        Ok(Self { directory, program: program.to_owned(), made, trials: 0 })
    }

    pub(crate) fn made(&self, fixture: Fixture) -> Result<&Made, String> {
        self.made.iter().find(|made| made.fixture == fixture).ok_or("no such fixture".to_owned())
    }

    /// Runs a scenario in which nothing fails.
    pub(crate) fn usual(&mut self, scenario: &Scenario) -> Result<Usual, String> {
        let mut usual = Usual { calls: Vec::new(), output: Vec::new() };
        // Once to see what it prints, once to see that it prints it again.
        for _ in 0..2 {
            let outcome = self.trial(scenario, &usual, true, |task| task.counts = true)?;
            let Outcome { ended, verdict, .. } = outcome;
            verdict.map_err(|fault| format!("{}, with no fault: {fault}", scenario.name))?;
            (usual.calls, usual.output) = (ended.calls, ended.output);
        }
        Ok(usual)
    }

    /// Runs a scenario with a fault.
    pub(crate) fn with_fault(
        &mut self,
        scenario: &Scenario,
        usual: &Usual,
        fault: Fault,
    ) -> Result<Outcome, String> {
        // What is done again and again cannot be kept from failing if the call always fails.
        let must_succeed = scenario.arguments.is_empty()
            && fault.times == 1
            && KINDS.get(fault.kind).is_some_and(|kind| kind.name != "write");
        self.trial(scenario, usual, must_succeed, |task| task.fault = Some(fault))
    }

    /// Runs a scenario under whatever `prepare` adds to it, and judges what it leaves.
    pub(crate) fn trial(
        &mut self,
        scenario: &Scenario,
        usual: &Usual,
        must_succeed: bool,
        prepare: impl FnOnce(&mut Task),
    ) -> Result<Outcome, String> {
        self.trials += 1;
        let place = self.directory.path().join(format!("trial-{}", self.trials));
        std::fs::create_dir(&place).map_err(told)?;
        let queue = place.join("queue");
        let made = self.made(scenario.fixture)?;
        made.copy_to(&queue)?;
        let living = match (&made.path, made.damaged) {
            (Some(_), None) => Some(living(&queue)?),
            _ => None,
        };
        let mut task = Task::new(self.command(scenario, &queue)?);
        if !scenario.arguments.is_empty() {
            task.input = crate::fixture::lines(made.count, made.count + scenario.lines);
        }
        prepare(&mut task);
        if let Some(user) = task.user {
            give(&place, user)?;
        }
        let (ended, appended_beside) = thread::scope(|scope| {
            let beside = scope.spawn(|| append_beside(scenario.beside, &queue, made.count));
            let ended = run(&task);
            let appended = beside.join().unwrap_or_else(|_| Err("the writer panicked".to_owned()));
            Ok::<_, String>((ended?, appended.map_err(|it| format!("beside it: {it}"))?))
        })?;
        let unread = task.fault.is_some_and(|fault| fault.way == What::Error(libc::EPIPE));
        let usual = if usual.calls.is_empty() { &ended.output } else { &usual.output };
        let trial = Trial {
            scenario,
            made,
            queue: &queue,
            ended: &ended,
            usual,
            unread,
            must_succeed,
            is_ours: task.program.first().is_none_or(|it| *it != self.program),
            living,
            appended_beside,
        };
        let succeeded = trial.succeeded();
        let verdict = trial.judge();
        let struck = ended.struck > 0;
        if verdict.is_ok() {
            std::fs::remove_dir_all(&place).map_err(told)?;
        }
        Ok(Outcome { ended, struck, succeeded, verdict })
    }

    fn command(&self, scenario: &Scenario, queue: &Path) -> Result<Vec<OsString>, String> {
        if scenario.arguments.is_empty() {
            let worker = std::env::current_exe().map_err(told)?;
            return Ok(vec![worker.into(), "worker".into(), queue.into()]);
        }
        let arguments = scenario.arguments.iter().map(|argument| match *argument {
            "QUEUE" => queue.into(),
            "COPY" => queue.with_extension("copy").into(),
            other => other.into(),
        });
        Ok([self.program.clone().into()].into_iter().chain(arguments).collect())
    }
}

/// Hands a directory and all in it to a user.
fn give(place: &Path, user: u32) -> Result<(), String> {
    let give = |path: &Path| std::os::unix::fs::lchown(path, Some(user), Some(user)).map_err(told);
    give(place)?;
    for entry in std::fs::read_dir(place).map_err(told)? {
        let path = entry.map_err(told)?.path();
        if path.is_dir() {
            self::give(&path, user)?;
        } else {
            give(&path)?;
        }
    }
    Ok(())
}

/// Appends what a process reads meanwhile. Returns how many messages.
fn append_beside(beside: Beside, queue: &Path, first: u64) -> Result<u64, String> {
    let Beside::Writer(count) = beside else { return Ok(0) };
    // So that it sleeps by now.
    thread::sleep(Duration::from_millis(8));
    let mut writer = Queue::open_publisher_with(queue, config(4096)).map_err(told)?;
    for half in [first..first + count / 2, first + count / 2..first + count] {
        append(&mut writer, half.start, half.end)?;
        thread::sleep(Duration::from_millis(2));
    }
    Ok(count)
}

/// How much is tried.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    /// At so many places of each kind of call, in each scenario; `None` at all.
    pub(crate) places: Option<u64>,
    /// Chooses the places, and the order.
    pub(crate) seed: u64,
    pub(crate) until: Option<Instant>,
}

/// What came of the faults of one kind of call.
#[derive(Clone, Debug, Default)]
pub(crate) struct Row {
    pub(crate) calls: u64,
    pub(crate) errors: u64,
    pub(crate) points: u64,
    /// The process said why and ended.
    pub(crate) refused: u64,
    /// It did everything all the same.
    pub(crate) absorbed: u64,
    /// The call did not come, because threads took turns in another way.
    pub(crate) missed: u64,
}

/// What a sweep has shown.
#[derive(Default)]
pub(crate) struct Shown {
    pub(crate) rows: BTreeMap<&'static str, Row>,
    pub(crate) scenarios: u64,
    /// Points that there are.
    pub(crate) all: u64,
    pub(crate) failures: Vec<String>,
}

/// One fault in one scenario.
#[derive(Clone, Copy)]
struct Point {
    scenario: usize,
    fault: Fault,
}

/// Lets calls fail in scenarios whose name is `only`, or in all.
pub(crate) fn sweep(
    bench: &mut Bench,
    only: Option<&str>,
    extent: Extent,
) -> Result<Shown, String> {
    let mut shown = Shown::default();
    let mut choices = Choices::new(extent.seed);
    let mut usual = Vec::new();
    let mut points = Vec::new();
    let wanted = |scenario: &&Scenario| only.is_none_or(|only| scenario.name == only);
    let scenarios: Vec<&Scenario> = ALL.iter().filter(wanted).collect();
    for (index, scenario) in scenarios.iter().enumerate() {
        let seen = bench.usual(scenario)?;
        for (kind, count) in (0..).zip(&seen.calls) {
            let Some(known) = KINDS.get(kind) else { continue };
            let row = shown.rows.entry(known.name).or_default();
            row.calls += count;
            row.errors = known.ways.len() as u64;
            let places = choices.places(*count, extent.places);
            shown.all += 2 * count * row.errors;
            for way in known.ways {
                for (place, after) in (0_u64..).zip(&places) {
                    let fault = |times| Fault { kind, after: *after, way: *way, times };
                    points.push(Point { scenario: index, fault: fault(1) });
                    // From one place on only, where few are wanted.
                    if place == 0 || extent.places.is_none() {
                        let again = match way {
                            What::Error(libc::EINTR) => INTERRUPTIONS,
                            _ => FOR_EVER,
                        };
                        points.push(Point { scenario: index, fault: fault(again) });
                    }
                }
            }
        }
        usual.push(seen);
    }
    shown.scenarios = scenarios.len() as u64;
    choices.shuffle(&mut points);
    for point in points {
        if extent.until.is_some_and(|until| Instant::now() >= until) {
            break;
        }
        let (Some(scenario), Some(usual)) =
            (scenarios.get(point.scenario), usual.get(point.scenario))
        else {
            continue;
        };
        let outcome = bench.with_fault(scenario, usual, point.fault)?;
        let Some(kind) = KINDS.get(point.fault.kind) else { continue };
        let row = shown.rows.entry(kind.name).or_default();
        match &outcome.verdict {
            Err(fault) => shown.failures.push(describe(scenario, point.fault, fault)),
            Ok(()) if !outcome.struck => row.missed += 1,
            Ok(()) => {
                row.points += 1;
                row.absorbed += u64::from(outcome.succeeded);
                row.refused += u64::from(!outcome.succeeded);
            }
        }
    }
    Ok(shown)
}

/// Shows one point again: `KIND:AFTER:ERROR:TIMES`.
pub(crate) fn replay(bench: &mut Bench, only: &str, point: &str) -> Result<(), String> {
    let scenario = ALL.iter().find(|scenario| scenario.name == only).ok_or("no such scenario")?;
    let mut parts = point.split(':');
    let mut part = || parts.next().ok_or("a point is KIND:AFTER:ERROR:TIMES");
    let (wanted, after, way) = (part()?, part()?, part()?);
    let times = part()?;
    let kind = KINDS.iter().position(|kind| kind.name == wanted).ok_or("no such kind of call")?;
    let ways = KINDS.get(kind).map_or(&[][..], |kind| kind.ways);
    let way = *ways.iter().find(|it| name(**it) == way).ok_or("no such error")?;
    let after = after.parse().map_err(told)?;
    let times = if times == "ever" { FOR_EVER } else { times.parse().map_err(told)? };
    let usual = bench.usual(scenario)?;
    let outcome = bench.with_fault(scenario, &usual, Fault { kind, after, way, times })?;
    let Ended { end, output, errors, struck, .. } = &outcome.ended;
    println!("{end:?}, {struck} calls failed\n{}{errors}", String::from_utf8_lossy(output));
    outcome.verdict
}

fn describe(scenario: &Scenario, fault: Fault, what: &str) -> String {
    let kind = KINDS.get(fault.kind).map_or("", |kind| kind.name);
    let times = if fault.times == FOR_EVER { "ever".to_owned() } else { fault.times.to_string() };
    let point = format!("{kind}:{}:{}:{times}", fault.after, name(fault.way));
    format!("--only '{}' --point '{point}': {what}", scenario.name)
}

/// The same choices for the same seed; xorshift64*.
struct Choices(u64);

impl Choices {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound.max(1)
    }

    /// So many different numbers below `count`, in any order.
    fn places(&mut self, count: u64, wanted: Option<u64>) -> Vec<u64> {
        let mut all: Vec<u64> = (0..count).collect();
        self.shuffle(&mut all);
        all.truncate(wanted.map_or(usize::MAX, |wanted| wanted as usize));
        all
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at as u64 + 1) as usize);
        }
    }
}
