//! A process whose system calls are seen, one of which fails: ptrace(2) stops it at the calls that a
//! filter of seccomp(2) names, and at no other.

use std::ffi::OsString;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc::c_int;
use nix::sys::ptrace::{self, Event, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::process::{PidfdFlags, pidfd_open, pidfd_send_signal};

use crate::calls::{KINDS, What};
use crate::launch::Limit;
use crate::told;

/// Which calls fail, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Index of the kind.
    pub(crate) kind: usize,
    /// So many calls of the kind are let through first.
    pub(crate) after: u64,
    pub(crate) way: What,
    /// So many fail, one behind the other.
    pub(crate) times: u64,
}

/// What is run, on what, and what goes wrong.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub(crate) program: Vec<OsString>,
    pub(crate) input: Vec<u8>,
    /// Stops at the calls of all kinds, to count them, where there is no fault.
    pub(crate) counts: bool,
    pub(crate) fault: Option<Fault>,
    pub(crate) limit: Option<(Limit, u64)>,
    pub(crate) user: Option<u32>,
    pub(crate) patience: Duration,
}

impl Task {
    pub(crate) fn new(program: Vec<OsString>) -> Self {
        Self {
            program,
            input: Vec::new(),
            counts: false,
            fault: None,
            limit: None,
            user: None,
            // Whoever hangs does so for good, and a host takes the processor away for seconds.
            patience: Duration::from_secs(30),
        }
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Code(i32),
    Signal(Signal),
    /// It was ended because it did not end by itself.
    TookTooLong,
}

/// A process that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) end: End,
    pub(crate) output: Vec<u8>,
    pub(crate) errors: String,
    /// Calls of each kind, where they were counted.
    pub(crate) calls: Vec<u64>,
    /// Calls that were made to fail.
    pub(crate) struck: u64,
}

/// Whether processes can be traced here; the reason why not.
pub(crate) fn probe() -> Result<(), String> {
    let mut task = Task::new(vec!["/bin/true".into()]);
    task.counts = true;
    run(&task).map(drop)
}

/// Runs a process to its end.
pub(crate) fn run(task: &Task) -> Result<Ended, String> {
    let mut input = tempfile::tempfile().map_err(told)?;
    input.write_all(&task.input).map_err(told)?;
    input.seek(SeekFrom::Start(0)).map_err(told)?;
    let mut child = command(task)?
        .stdin(input)
        .stdout(Stdio::piped())
        // Not a file: writing to that might be over a limit on files.
        .stderr(Stdio::piped())
        .spawn()
        .map_err(told)?;
    let pid = i32::try_from(child.id()).map_err(told)?;
    let mut tracer = Tracer {
        pid: Pid::from_raw(pid),
        fault: task.fault,
        begun: false,
        seen: 0,
        calls: vec![0; KINDS.len()],
        struck: 0,
    };
    let end = tracer.run(task.patience)?;
    // It has ended, so all that it said is in the pipes, which hold more than anything says here
    // (pipe(7), "Pipe capacity").
    let output = rest(child.stdout.take())?;
    let errors = String::from_utf8_lossy(&rest(child.stderr.take())?).into_owned();
    Ok(Ended { end, output, errors, calls: tracer.calls, struck: tracer.struck })
}

fn rest(pipe: Option<impl Read>) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        pipe.read_to_end(&mut bytes).map_err(told)?;
    }
    Ok(bytes)
}

fn command(task: &Task) -> Result<Command, String> {
    let mut command = Command::new(std::env::current_exe().map_err(told)?);
    command.arg("launch");
    let mut calls: Vec<i64> = match task.fault.map(|fault| KINDS.get(fault.kind)) {
        Some(kind) => kind.iter().map(|kind| kind.number).collect(),
        None if task.counts => KINDS.iter().map(|kind| kind.number).collect(),
        None => Vec::new(),
    };
    if !calls.is_empty() {
        calls.push(libc::SYS_sigaltstack);
        let calls: Vec<String> = calls.iter().map(ToString::to_string).collect();
        command.args(["--calls", &calls.join(",")]);
    }
    if let Some((limit, to)) = task.limit {
        use clap::ValueEnum;
        let name = limit.to_possible_value().map(|value| value.get_name().to_owned());
        command.args(["--limit", &name.unwrap_or_default(), "--to", &to.to_string()]);
    }
    if let Some(user) = task.user {
        command.args(["--user", &user.to_string()]);
    }
    command.arg("--").args(&task.program).current_dir(Path::new("/"));
    Ok(command)
}

struct Tracer {
    pid: Pid,
    fault: Option<Fault>,
    /// Whether the program's `main` runs. What the loader of programs and the runtime do before is
    /// not the product's.
    begun: bool,
    /// Calls of the fault's kind.
    seen: u64,
    calls: Vec<u64>,
    struck: u64,
}

impl Tracer {
    fn run(&mut self, patience: Duration) -> Result<End, String> {
        let begun = Instant::now();
        match waitpid(self.pid, None).map_err(told)? {
            WaitStatus::Stopped(_, Signal::SIGSTOP) => {}
            other => return Err(format!("{other:?} before the program")),
        }
        let options = Options::PTRACE_O_EXITKILL
            | Options::PTRACE_O_TRACESECCOMP
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEEXEC;
        ptrace::setoptions(self.pid, options).map_err(told)?;
        ptrace::cont(self.pid, None).map_err(told)?;
        let pid = rustix::process::Pid::from_raw(self.pid.as_raw()).ok_or("no process")?;
        let process = pidfd_open(pid, PidfdFlags::empty()).map_err(told)?;
        let end = thread::scope(|scope| {
            let (ended, told_of_end) = mpsc::channel::<()>();
            scope.spawn(move || {
                if told_of_end.recv_timeout(patience) == Err(mpsc::RecvTimeoutError::Timeout) {
                    let _ = pidfd_send_signal(process, rustix::process::Signal::KILL);
                }
            });
            let end = self.follow();
            drop(ended);
            end
        })?;
        Ok(match end {
            End::Signal(Signal::SIGKILL) if begun.elapsed() >= patience => End::TookTooLong,
            end => end,
        })
    }

    /// Goes on until the process has ended.
    fn follow(&mut self) -> Result<End, String> {
        loop {
            let (thread, signal) = match waitpid(None, Some(WaitPidFlag::__WALL)).map_err(told)? {
                WaitStatus::Exited(pid, code) if pid == self.pid => return Ok(End::Code(code)),
                WaitStatus::Signaled(pid, signal, _) if pid == self.pid => {
                    return Ok(End::Signal(signal));
                }
                WaitStatus::PtraceEvent(thread, _, event) => {
                    if event == Event::PTRACE_EVENT_SECCOMP as c_int {
                        // The thread may be killed at any time.
                        gone(self.call(thread))?;
                    }
                    (thread, None)
                }
                // How a new thread begins (ptrace(2), "PTRACE_O_TRACECLONE").
                WaitStatus::Stopped(thread, Signal::SIGSTOP) => (thread, None),
                WaitStatus::Stopped(thread, signal) => (thread, Some(signal)),
                _ => continue,
            };
            gone(ptrace::cont(thread, signal))?;
        }
    }

    /// A thread is about to make a call.
    fn call(&mut self, thread: Pid) -> nix::Result<()> {
        let mut registers = ptrace::getregs(thread)?;
        if registers.orig_rax == libc::SYS_sigaltstack.cast_unsigned() {
            // The last that the runtime does before `main` (`std::rt`).
            self.begun |= registers.rdi != 0;
            return Ok(());
        }
        if !self.begun {
            return Ok(());
        }
        let Some(fault) = self.fault else {
            for (kind, count) in KINDS.iter().zip(&mut self.calls) {
                *count += u64::from(kind.matches(&registers));
            }
            return Ok(());
        };
        if !KINDS.get(fault.kind).is_some_and(|kind| kind.matches(&registers)) {
            return Ok(());
        }
        let number = self.seen;
        self.seen += 1;
        if number < fault.after || number - fault.after >= fault.times {
            return Ok(());
        }
        self.struck += 1;
        match fault.way {
            What::Error(error) => {
                // No call has this number, and what is returned then is what is put here (seccomp(2),
                // "SECCOMP_RET_TRACE").
                registers.orig_rax = u64::MAX;
                registers.rax = i64::from(-error).cast_unsigned();
            }
            What::Short => registers.rdx = registers.rdx.min(1),
        }
        ptrace::setregs(thread, registers)
    }
}

/// A thread that has gone meanwhile is none to be stopped.
fn gone(result: nix::Result<()>) -> Result<(), String> {
    match result {
        Err(Errno::ESRCH) => Ok(()),
        other => other.map_err(told),
    }
}
