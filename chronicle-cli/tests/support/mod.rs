//! Runs the real program on real directories.
#![allow(dead_code, reason = "no test file uses all of it")]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// No command of these tests takes so long, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_chron-cli"))
}

/// What a command that has ended said.
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) output: Vec<u8>,
    pub(crate) errors: String,
    pub(crate) took: Duration,
}

impl Outcome {
    pub(crate) fn succeeded(self) -> Self {
        assert_eq!(self.code, Some(0), "{}", self.errors);
        self
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.output).unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.output).unwrap()
    }
}

/// Runs a command to its end, with these bytes as its input.
pub(crate) fn run<A: AsRef<OsStr>>(
    arguments: impl IntoIterator<Item = A>,
    input: &[u8],
) -> Outcome {
    let started = Instant::now();
    let mut running = Running::start(arguments);
    let mut stdin = running.input.take().unwrap();
    let input = input.to_vec();
    // A command that refuses does not read its input.
    let feeder = thread::spawn(move || stdin.write_all(&input).is_ok());
    let outcome = running.finish();
    feeder.join().unwrap();
    Outcome { took: started.elapsed(), ..outcome }
}

/// A command at work. It does not outlive its test.
pub(crate) struct Running {
    child: Child,
    pub(crate) input: Option<ChildStdin>,
    output: Option<BufReader<ChildStdout>>,
}

impl Running {
    pub(crate) fn start<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Self {
        Self::spawn(program().args(arguments).stdin(Stdio::piped()))
    }

    pub(crate) fn spawn(command: &mut Command) -> Self {
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let input = child.stdin.take();
        let output = child.stdout.take().map(BufReader::new);
        Self { child, input, output }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.input.as_mut().unwrap().write_all(bytes).unwrap();
    }

    /// The next line of its output, newline included; empty at the end.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.as_mut().unwrap().read_line(&mut line).unwrap();
        line
    }

    pub(crate) fn take_output(&mut self) -> BufReader<ChildStdout> {
        self.output.take().unwrap()
    }

    pub(crate) fn close_input(&mut self) {
        self.input = None;
    }

    /// `kill -9`, waits for the end, and gives what was still on its way out.
    pub(crate) fn kill(mut self) -> Vec<u8> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let mut rest = Vec::new();
        if let Some(output) = &mut self.output {
            output.read_to_end(&mut rest).unwrap();
        }
        rest
    }

    /// Closes its input and waits for its end.
    pub(crate) fn finish(mut self) -> Outcome {
        let started = Instant::now();
        self.close_input();
        let output = self.output.take();
        let reader = thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(mut output) = output {
                output.read_to_end(&mut bytes).unwrap();
            }
            bytes
        });
        let mut stderr = self.child.stderr.take().unwrap();
        let complaints = thread::spawn(move || {
            let mut text = String::new();
            stderr.read_to_string(&mut text).unwrap();
            text
        });
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(started.elapsed() < PATIENCE, "the command does not end");
            thread::sleep(Duration::from_millis(2));
        };
        Outcome {
            code: status.code(),
            output: reader.join().unwrap(),
            errors: complaints.join().unwrap(),
            took: started.elapsed(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A temporary directory and the path of a queue in it that is not there yet.
pub(crate) struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn queue(&self) -> String {
        self.path("queue")
    }

    pub(crate) fn root(&self) -> &Path {
        self.directory.path()
    }

    /// Appends lines in segments of 64 KiB.
    pub(crate) fn append(&self, input: &[u8]) -> Outcome {
        run(["append", &self.queue(), "--segment-size", "64KiB"], input).succeeded()
    }

    /// Everything in the queue as `--format raw` prints it.
    pub(crate) fn contents(&self) -> Vec<u8> {
        run(["tail", &self.queue(), "--format", "raw"], b"").succeeded().output
    }
}

/// Lines of printable characters of many lengths, the same for the same seed.
pub(crate) fn lines(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut bytes = Vec::new();
    for index in 0..count {
        bytes.extend_from_slice(format!("{index} ").as_bytes());
        for _ in 0..random() % 400 {
            bytes.push(b' ' + (random() % 95) as u8);
        }
        bytes.push(b'\n');
    }
    bytes
}

/// Every name below a directory, with mode and contents.
pub(crate) fn snapshot(directory: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(path) = pending.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let contents = if metadata.is_dir() {
            pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            Vec::new()
        } else if metadata.is_symlink() {
            fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
        } else {
            fs::read(&path).unwrap()
        };
        found.insert(path, (metadata.permissions().mode(), contents));
    }
    found
}

/// The same once it stays as it is: threads beside writers in this process count what they have looked at, which they do
/// once a second at least.
pub(crate) fn settled(directory: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut before = snapshot(directory);
    loop {
        thread::sleep(Duration::from_millis(1500));
        let now = snapshot(directory);
        if now == before {
            return now;
        }
        before = now;
    }
}

/// Puts bytes into a file.
pub(crate) fn patch(file: &Path, offset: u64, bytes: &[u8]) {
    fs::OpenOptions::new().write(true).open(file).unwrap().write_all_at(bytes, offset).unwrap();
}

pub(crate) fn output_of(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}");
    output
}
