//! Tests in several processes: a body, which is one of the tests of a file, runs in a process of its
//! own, told by its environment what to do. Run as a test like the others it does nothing.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::env;
use std::fmt::Display;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::str::FromStr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// No process of these tests is silent for so long, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(120);

const PREFIX: &str = "CHRONICLE_BODY_";

/// In a body: what it was told under this name; `None` where it runs as a test.
pub fn told<T: FromStr>(name: &str) -> Option<T> {
    let text = env::var(format!("{PREFIX}{name}")).ok()?;
    Some(text.parse().ok().unwrap_or_else(|| panic!("{name}={text}")))
}

/// A setting of a test run: how long, how often. `None` where it is left to the test.
pub fn setting(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().ok().unwrap_or_else(|| panic!("{name}={text}")))
}

/// How long a test that runs for a time does so: `CHRONICLE_TEST_SECONDS`, or else so many.
pub fn seconds(usual: u64) -> Duration {
    Duration::from_secs(setting("CHRONICLE_TEST_SECONDS").unwrap_or(usual))
}

/// A body that is to be started.
pub struct Body(Command);

impl Body {
    /// The body of this name in this test program.
    pub fn named(name: &str) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(Self::arguments(name));
        Self(command)
    }

    /// The same, started by another program that is given the test program and its arguments.
    pub fn named_through(mut command: Command, name: &str) -> Self {
        command.arg(env::current_exe().unwrap()).args(Self::arguments(name));
        Self(command)
    }

    fn arguments(name: &str) -> [&str; 4] {
        [name, "--exact", "--nocapture", "--test-threads=1"]
    }

    /// Tells it something.
    pub fn tell(mut self, name: &str, value: impl Display) -> Self {
        self.0.env(format!("{PREFIX}{name}"), value.to_string());
        self
    }

    /// Throws away what it complains about: it is meant to die.
    pub fn quietly(mut self) -> Self {
        self.0.stderr(Stdio::null());
        self
    }

    pub fn command(&mut self) -> &mut Command {
        &mut self.0
    }

    pub fn start(mut self) -> Process {
        let mut child = self.0.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        // Read to its end whether anybody asks or not, or the process could not finish.
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Process { child, lines }
    }
}

/// A body at work. It does not outlive its test.
pub struct Process {
    child: Child,
    lines: Receiver<String>,
}

impl Process {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What follows `mark` on the next line of its output that has it; `None` once it has ended. The
    /// test runner may have begun the line.
    pub fn said(&mut self, mark: &str) -> Option<String> {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    if let Some((_, rest)) = line.split_once(mark) {
                        return Some(rest.trim().to_owned());
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => panic!("nothing from the process for so long"),
            }
        }
    }

    /// The numbers that follow `mark`, until it ends.
    pub fn numbers(&mut self, mark: &str) -> impl Iterator<Item = u64> {
        std::iter::from_fn(move || Some(self.said(mark)?.parse().unwrap()))
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// `kill -9`.
    pub fn kill(&mut self) -> ExitStatus {
        self.child.kill().unwrap();
        self.child.wait().unwrap()
    }

    /// Waits for its end.
    pub fn end(&mut self) -> ExitStatus {
        self.end_within(PATIENCE)
    }

    /// Waits for its end for so long at most.
    pub fn end_within(&mut self, patience: Duration) -> ExitStatus {
        let until = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < until, "the process does not end");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits for its end, which is a good one.
    pub fn succeed(&mut self) {
        let status = self.end();
        assert!(status.success(), "the process ended with {status}, signal {:?}", status.signal());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
