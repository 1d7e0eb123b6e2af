//! The measuring processes, which are this program again.

use std::fs;
use std::io::{ErrorKind, Read};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Signal, set_parent_process_death_signal, setpriority_process, setsid};
use rustix::thread::{CpuSet, sched_setaffinity};
use serde::Serialize;

use crate::job::Values;

/// As setpriority(2) and the autogroup count.
const HIGHEST_PRIORITY: i32 = -20;
/// A measurement that takes longer has hung.
const LONGEST: Duration = Duration::from_secs(60);

/// A process that measures. It does not outlive this value.
pub struct Process {
    child: Child,
    what: String,
}

impl Process {
    /// Starts this program in a role: a name, and what it is to do as JSON.
    pub fn start(role: &str, task: &impl Serialize) -> Result<Self> {
        let what = format!("{role} {}", serde_json::to_string(task)?);
        let child = Command::new(std::env::current_exe()?)
            .args(["role", role, &serde_json::to_string(task)?])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        Ok(Self { child, what })
    }

    /// Ends it as `kill -9` does.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Its standard output.
    pub fn output(&mut self) -> Result<&mut impl Read> {
        self.child.stdout.as_mut().context("it has no output")
    }

    /// Says where each of its threads is, for whoever looks why a measurement failed (proc_pid_wchan(5),
    /// proc_pid_syscall(5)).
    fn tell_where(&self) {
        let Ok(threads) = fs::read_dir(format!("/proc/{}/task", self.child.id())) else { return };
        for thread in threads.flatten() {
            let read =
                |name: &str| fs::read_to_string(thread.path().join(name)).unwrap_or_default();
            let (name, place, call) = (read("comm"), read("wchan"), read("syscall"));
            let (name, call) = (name.trim(), call.trim());
            eprintln!("peers: {}: thread {name} is in {place}, system call {call}", self.what);
        }
    }

    fn result(&mut self) -> Result<Values> {
        let mut text = String::new();
        self.output()?.read_to_string(&mut text)?;
        serde_json::from_str(&text).with_context(|| format!("{}: said {text:?}", self.what))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail where the process has ended, which is all that is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until all of the processes have ended, and gives what they found out together.
pub fn finish(mut processes: Vec<Process>) -> Result<Values> {
    let since = Instant::now();
    let mut values = Values::new();
    while !processes.is_empty() {
        let mut running = Vec::new();
        for mut process in processes {
            match process.child.try_wait()? {
                Some(status) if status.success() => values.extend(process.result()?),
                Some(status) => {
                    running.iter().for_each(Process::tell_where);
                    bail!("{}: {status}", process.what);
                }
                None => running.push(process),
            }
        }
        processes = running;
        if since.elapsed() > LONGEST {
            processes.iter().for_each(Process::tell_where);
            bail!("it hangs");
        }
        thread::sleep(Duration::from_millis(2));
    }
    Ok(values)
}

/// What a measuring process does first: it ends when the one that started it does.
pub fn follow_parent() -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    Ok(())
}

/// Puts this process and those that it starts before all others that are not real-time: as one group, which
/// is what counts where the system groups processes by session (sched(7), "The autogroup feature"), and one
/// by one.
pub fn take_precedence() -> Result<()> {
    // Of a session of its own, so that nothing else of the user's is in the group. A process that leads its
    // group of processes cannot leave it; then its session takes precedence as a whole.
    let _ = setsid();
    setpriority_process(None, HIGHEST_PRIORITY).context("--urgent")?;
    match fs::write("/proc/self/autogroup", HIGHEST_PRIORITY.to_string()) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error).context("--urgent"),
        _ => Ok(()),
    }
}

/// Keeps the calling thread on a processor.
pub fn pin(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).with_context(|| format!("processor {cpu}"))
}

/// The first two processors that this process may use.
pub fn two_processors() -> Result<[usize; 2]> {
    let allowed = rustix::thread::sched_getaffinity(None)?;
    let mut cpus = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu));
    match (cpus.next(), cpus.next()) {
        (Some(first), Some(second)) => Ok([first, second]),
        _ => bail!("two processors are needed: each side has one of its own"),
    }
}
