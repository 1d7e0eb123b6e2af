//! A process under ptrace(2), run to a signal or by one instruction.

use std::collections::HashMap;
use std::io;
use std::mem::offset_of;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::ptr::without_provenance_mut;

use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::writer::{BEGINS, ENDS, told};

/// A traced process, stopped whenever nobody is in a method of this.
pub(crate) struct Tracee {
    // Kept so that its pipes stay open; it is waited for through its id.
    _child: Child,
    pid: Pid,
    /// Whether the instruction at an address enters the kernel. Code does not change.
    enters_kernel: HashMap<u64, bool>,
    gone: bool,
}

/// Where a step has led.
pub(crate) enum Stop {
    /// One instruction was executed.
    Stepped {
        /// Whether it was a system call.
        entered_kernel: bool,
    },
    /// The operation has returned.
    Ended,
}

impl Tracee {
    /// Starts this program as the writer of a queue, stopped before its first operation.
    pub(crate) fn start(queue: &Path, script: &str) -> Result<Self, String> {
        let program = std::env::current_exe().map_err(told)?;
        let child = Command::new(program)
            .arg("writer")
            .arg(queue)
            .arg(script)
            // Functions of shared libraries are found before the first step, not in it.
            .env("LD_BIND_NOW", "1")
            .stdin(Stdio::null())
            .spawn()
            .map_err(told)?;
        let pid = i32::try_from(child.id()).map_err(told)?;
        let enters_kernel = HashMap::new();
        let mut tracee =
            Self { _child: child, pid: Pid::from_raw(pid), enters_kernel, gone: false };
        match tracee.wait()? {
            Signal::SIGSTOP => {
                ptrace::setoptions(tracee.pid, Options::PTRACE_O_EXITKILL).map_err(told)?;
                Ok(tracee)
            }
            other => Err(format!("{other} before the first operation")),
        }
    }

    /// Whether processes can be traced here; the reason why not.
    pub(crate) fn probe() -> io::Result<()> {
        Self::start(Path::new("/"), "").and_then(Self::finish).map_err(io::Error::other)
    }

    /// Runs to the beginning of the next operation.
    pub(crate) fn run_to_begin(&mut self) -> Result<(), String> {
        self.run_to(BEGINS)
    }

    /// Runs to the end of the operation.
    pub(crate) fn run_to_end(&mut self) -> Result<(), String> {
        self.run_to(ENDS)
    }

    fn run_to(&mut self, wanted: Signal) -> Result<(), String> {
        ptrace::cont(self.pid, None).map_err(told)?;
        match self.wait()? {
            signal if signal == wanted => Ok(()),
            other => Err(format!("{other} in place of {wanted}")),
        }
    }

    /// Executes one instruction. A repeated string instruction is one for each repetition.
    pub(crate) fn step(&mut self) -> Result<Stop, String> {
        let at = self.instruction()?;
        let entered_kernel = self.enters_kernel(at)?;
        ptrace::step(self.pid, None).map_err(told)?;
        match self.wait()? {
            Signal::SIGTRAP => Ok(Stop::Stepped { entered_kernel }),
            signal if signal == ENDS => Ok(Stop::Ended),
            other => Err(format!("{other} at {at:#x}")),
        }
    }

    /// Address of the next instruction.
    fn instruction(&self) -> Result<u64, String> {
        // `struct user` of <sys/user.h> begins with the registers.
        let offset = offset_of!(libc::user, regs) + offset_of!(libc::user_regs_struct, rip);
        let word = ptrace::read_user(self.pid, without_provenance_mut(offset)).map_err(told)?;
        Ok(word.cast_unsigned())
    }

    fn enters_kernel(&mut self, at: u64) -> Result<bool, String> {
        if let Some(known) = self.enters_kernel.get(&at) {
            return Ok(*known);
        }
        let word = ptrace::read(self.pid, without_provenance_mut(at as usize)).map_err(told)?;
        // `syscall`, the only way that 64-bit code takes (syscall(2), "Architecture calling
        // conventions").
        let enters = word.to_le_bytes().starts_with(&[0x0f, 0x05]);
        self.enters_kernel.insert(at, enters);
        Ok(enters)
    }

    /// Runs to the end of the process, which must be a good one.
    pub(crate) fn finish(mut self) -> Result<(), String> {
        ptrace::cont(self.pid, None).map_err(told)?;
        match waitpid(self.pid, None).map_err(told)? {
            WaitStatus::Exited(_, 0) => {
                self.gone = true;
                Ok(())
            }
            other => Err(format!("{other:?} in place of the end")),
        }
    }

    fn wait(&mut self) -> Result<Signal, String> {
        match waitpid(self.pid, None).map_err(told)? {
            WaitStatus::Stopped(_, signal) => Ok(signal),
            other => {
                self.gone = matches!(other, WaitStatus::Exited(..) | WaitStatus::Signaled(..));
                Err(format!("the writer has ended: {other:?}"))
            }
        }
    }
}

impl Drop for Tracee {
    fn drop(&mut self) {
        if !self.gone && kill(self.pid, Signal::SIGKILL).is_ok() {
            let _ = waitpid(self.pid, None);
        }
    }
}
