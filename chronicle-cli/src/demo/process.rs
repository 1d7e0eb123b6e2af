//! The demo's other processes, which are this program again.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde::de::DeserializeOwned;

use crate::failure::Failure;

/// What a process prints once the other side may begin.
pub(crate) const READY: &str = "ready\n";

/// A process of the demo. It does not outlive this value.
pub(crate) struct Process {
    child: Child,
    output: BufReader<ChildStdout>,
    role: String,
}

impl Process {
    /// Starts this program in another role.
    pub(crate) fn start(role: &str, arguments: Vec<OsString>) -> Result<Self, Failure> {
        let failed =
            |reason: String| Failure::Internal(format!("demo: cannot start a process: {reason}"));
        let program = std::env::current_exe().map_err(|error| failed(error.to_string()))?;
        let mut child = Command::new(program)
            .arg("demo-child")
            .arg(role)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| failed(error.to_string()))?;
        let output = child.stdout.take().ok_or_else(|| failed("it has no output".to_owned()))?;
        Ok(Self { child, output: BufReader::new(output), role: role.to_owned() })
    }

    /// Waits until the process has opened its queues.
    pub(crate) fn wait_until_ready(mut self) -> Result<Self, Failure> {
        let mut line = String::new();
        match self.output.read_line(&mut line) {
            Ok(_) if line == READY => Ok(self),
            _ => Err(self.failed()),
        }
    }

    /// Waits until the process ends, and gives what it found out.
    pub(crate) fn finish<T: DeserializeOwned>(mut self) -> Result<T, Failure> {
        let mut text = String::new();
        let read = self.output.read_to_string(&mut text);
        let succeeded = self.child.wait().is_ok_and(|status| status.success());
        match serde_json::from_str(&text) {
            Ok(result) if succeeded && read.is_ok() => Ok(result),
            _ => Err(self.failed()),
        }
    }

    /// Its standard output, as far as it was not read.
    pub(crate) fn output(&mut self) -> &mut impl Read {
        &mut self.output
    }

    /// Ends the process as `kill -9` does.
    pub(crate) fn kill(&mut self) -> Result<(), Failure> {
        let killed = self.child.kill().and_then(|()| self.child.wait());
        killed.map(drop).map_err(|error| Failure::Internal(format!("demo: cannot kill: {error}")))
    }

    fn failed(&self) -> Failure {
        Failure::Internal(format!("demo: the process that was to {} failed", self.role))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail where the process has ended, which is all that is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
