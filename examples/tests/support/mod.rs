//! Running programs, with an end.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::env;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long a program may take, the time to build it included.
const PATIENCE: Duration = Duration::from_secs(300);

/// How a program ended.
#[derive(Debug)]
pub struct Ended {
    pub success: bool,
    pub printed: String,
    pub errors: String,
}

impl Ended {
    /// Fails unless the program ended well and printed exactly this.
    pub fn assert_printed(&self, expected: &str) {
        assert!(self.success, "{}{}", self.printed, self.errors);
        assert_eq!(self.printed, expected);
    }
}

pub fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

pub fn target_directory() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// The cargo that runs this test, in the workspace's directory.
pub fn cargo() -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(root());
    command
}

pub fn run(command: Command) -> Ended {
    run_within(command, PATIENCE)
}

/// Runs a program, and kills it when its time is up.
pub fn run_within(mut command: Command, patience: Duration) -> Ended {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut output, mut errors) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let mut read = String::new();
    let printed = thread::spawn(move || output.read_to_string(&mut read).map(|_| read));
    let mut read = String::new();
    let errors = thread::spawn(move || errors.read_to_string(&mut read).map(|_| read));
    let begun = Instant::now();
    let success = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status.success();
        }
        if begun.elapsed() > patience {
            child.kill().unwrap();
            child.wait().unwrap();
            break false;
        }
        thread::sleep(Duration::from_millis(5));
    };
    let (printed, errors) = (printed.join().unwrap().unwrap(), errors.join().unwrap().unwrap());
    Ended { success, printed, errors }
}
