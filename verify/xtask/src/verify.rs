//! `cargo xtask verify`: everything that tries to break the queue, in one run, with counts of what was
//! tried.

mod counts;
mod ledger;
mod parts;

use std::process::Command;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use self::counts::Counts;
use self::ledger::Entry;
pub(crate) use self::ledger::print as print_ledger;
use self::parts::PARTS;
use crate::steps::{self, Outcome};

/// How much a part does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Effort {
    /// The same every time: what it shows once it shows each time.
    Default,
    /// What other choices would show, within a time.
    Long { seconds: u64, seed: u64 },
}

/// How a part went.
pub(crate) enum Ran {
    Counted(Counts),
    /// And why.
    Skipped(String),
}

/// One way of trying to break the queue.
pub(crate) struct Part {
    name: &'static str,
    /// Of the time of a long run, in hundredths; one with 0 does the same in every run.
    share: u64,
    /// Takes one thread and spends most of its time in the kernel. What has no time to fill runs beside
    /// its neighbours of this kind.
    beside: bool,
    run: fn(&Run<'_>) -> Result<Ran, String>,
}

/// A run of one part.
pub(crate) struct Run<'a> {
    effort: Effort,
    /// The parts that have passed in this run.
    passed: &'a [&'static str],
    /// What it has to say, where others run beside it; it is shown when they are done.
    said: Option<Mutex<String>>,
}

/// How a part went, and how long it took.
type Went = (Result<Ran, String>, Duration);

impl Run<'_> {
    /// Runs a command, and shows what it says: at once if it is alone.
    fn show(&self, mut command: Command) -> Result<(), String> {
        let Some(said) = &self.said else { return steps::run(command).map(drop) };
        let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
        if let Ok(mut said) = said.lock() {
            for text in [&output.stdout, &output.stderr] {
                *said += &String::from_utf8_lossy(text);
            }
        }
        if output.status.success() {
            Ok(())
        } else {
            Err(format!("{command:?}: {}", output.status))
        }
    }
}

/// Runs every part, all of them even where one fails; then says what was counted.
pub(crate) fn verify(minutes: Option<u64>, seed: Option<u64>, only: &[String]) -> Outcome {
    let seed = seed.unwrap_or_else(seed_of_now);
    if let Some(unknown) = only.iter().find(|name| PARTS.iter().all(|part| part.name != **name)) {
        let names: Vec<_> = PARTS.iter().map(|part| part.name).collect();
        return Err(format!("no part is called {unknown}; there are: {}", names.join(", ")));
    }
    let wanted = |part: &&Part| only.is_empty() || only.iter().any(|name| name == part.name);
    let chosen: Vec<&Part> = PARTS.iter().filter(wanted).collect();
    let shares: u64 = chosen.iter().map(|part| part.share).sum();
    let begun = Instant::now();
    let mut rows = Vec::new();
    let mut failed = Vec::new();
    let mut passed = Vec::new();
    let mut entries = Vec::new();
    let effort = |part: &Part| match minutes {
        Some(minutes) if part.share > 0 => {
            Effort::Long { seconds: (minutes * 60 * part.share / shares).max(1), seed }
        }
        _ => Effort::Default,
    };
    let beside = |a: &&Part, b: &&Part| minutes.is_none() && a.beside && b.beside;
    let groups = chosen.chunk_by(beside);
    let went = groups.flat_map(|group| together(group, effort, &mut passed));
    for (part, (ran, took)) in chosen.iter().zip(went) {
        let said = match &ran {
            Ok(Ran::Counted(counts)) => counts.to_string(),
            Ok(Ran::Skipped(why)) => format!("SKIPPED: {why}"),
            Err(why) => {
                failed.push(part.name);
                format!("FAILED: {why}")
            }
        };
        rows.push(format!("{:<22} {:>7.1}s  {said}", part.name, took.as_secs_f64()));
        if let Effort::Long { seed, .. } = effort(part)
            && !matches!(ran, Ok(Ran::Skipped(_)))
        {
            let counts = if let Ok(Ran::Counted(counts)) = &ran { counts } else { &Counts::new() };
            entries.push(Entry::new(part.name, seed, took, counts, ran.is_err()));
        }
    }
    println!("\n{:<22} {:>8}  tried\n{}", "part", "time", rows.join("\n"));
    println!("{:<22} {:>7.1}s", "all", begun.elapsed().as_secs_f64());
    ledger::add(&entries)?;
    match failed.as_slice() {
        [] => Ok(String::new()),
        failed => Err(format!("failed: {}", failed.join(", "))),
    }
}

/// Runs parts at the same time, and shows what they said one after the other.
fn together(
    group: &[&Part],
    effort: impl Fn(&Part) -> Effort,
    passed: &mut Vec<&'static str>,
) -> Vec<Went> {
    let timed = |part: &Part, run: &Run<'_>| {
        let begun = Instant::now();
        let ran = (part.run)(run);
        (ran, begun.elapsed())
    };
    let names: Vec<_> = group.iter().map(|part| part.name).collect();
    eprintln!("xtask: verify: {}", names.join(", "));
    let went: Vec<Went> = if let [part] = group {
        vec![timed(part, &Run { effort: effort(part), passed, said: None })]
    } else {
        let run = |part: &&Part| Run { effort: effort(part), passed, said: Some(Mutex::default()) };
        let runs: Vec<_> = group.iter().map(run).collect();
        let timed = &timed;
        let went = thread::scope(|scope| {
            let started =
                group.iter().zip(&runs).map(|(part, run)| scope.spawn(|| timed(part, run)));
            let threads: Vec<_> = started.collect();
            let panicked = |_| (Err("it panicked".to_owned()), Duration::ZERO);
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)).collect()
        });
        for (part, run) in group.iter().zip(runs) {
            let said = run.said.and_then(|said| said.into_inner().ok()).unwrap_or_default();
            println!("\n{}:\n{}", part.name, said.trim_end());
        }
        went
    };
    let all = group.iter().zip(&went);
    passed.extend(
        all.filter(|(_, (ran, _))| matches!(ran, Ok(Ran::Counted(_)))).map(|(part, _)| part.name),
    );
    went
}

fn seed_of_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    static ARRIVED: Mutex<u32> = Mutex::new(0);

    /// Comes back when two have called it, or fails.
    fn meet(run: &Run<'_>) -> Result<Ran, String> {
        *ARRIVED.lock().unwrap() += 1;
        let begun = Instant::now();
        while *ARRIVED.lock().unwrap() < 2 {
            if begun.elapsed() > Duration::from_secs(60) {
                return Err("nobody ran beside it".to_owned());
            }
            thread::sleep(Duration::from_millis(1));
        }
        let mut command = Command::new("sh");
        command.args(["-c", "echo said; echo complained >&2"]);
        run.show(command)?;
        let said = run.said.as_ref().map(|said| said.lock().unwrap().clone());
        assert_eq!(said.as_deref(), Some("said\ncomplained\n"));
        Ok(Ran::Counted(Counts::new()))
    }

    #[test]
    fn parts_run_beside_each_other_and_only_those_that_counted_have_passed() {
        fn meet_and_fail(run: &Run<'_>) -> Result<Ran, String> {
            meet(run)?;
            Err("broken".to_owned())
        }
        let part = |name, run| Part { name, share: 0, beside: true, run };
        let (good, bad) = (part("good", meet), part("bad", meet_and_fail));
        let mut passed = Vec::new();
        let went = together(&[&bad, &good], |_| Effort::Default, &mut passed);
        assert_eq!(passed, ["good"]);
        assert!(matches!(&went[..], [(Err(why), _), (Ok(_), _)] if why == "broken"));
    }

    #[test]
    fn a_command_that_fails_makes_its_part_fail() {
        for said in [None, Some(Mutex::default())] {
            let run = Run { effort: Effort::Default, passed: &[], said };
            assert!(run.show(Command::new("false")).is_err());
            assert!(run.show(Command::new("true")).is_ok());
        }
    }
}
