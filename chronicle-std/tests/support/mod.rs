//! What the tests of sets share: many queues in one directory, and processes of their own.
#![allow(dead_code, reason = "every test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::env;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use chronicle_std::{Queue, WriterConfig};

pub const TYPE: u16 = 0x8000;
const QUEUE: &str = "CHRONICLE_TEST_QUEUE";

/// Queues of small files, without threads: a test has hundreds of them.
pub fn small() -> WriterConfig {
    let mut config = WriterConfig::default();
    config.segment_size = 65536;
    config.allocation_step = 4096;
    config.background = false;
    config
}

/// One of the queues of a directory.
pub fn queue(directory: &Path, number: usize) -> PathBuf {
    directory.join(format!("q{number:03}"))
}

pub fn make_queues(directory: &Path, count: usize) {
    for number in 0..count {
        drop(Queue::create(queue(directory, number), small()).unwrap());
    }
}

/// One of a test file's bodies as a process of its own.
pub fn command(body: &str, queue: &Path) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args([body, "--exact", "--nocapture", "--test-threads=1"])
        .env(QUEUE, queue)
        .stdout(Stdio::piped());
    command
}

pub fn start(body: &str, queue: &Path) -> Child {
    command(body, queue).spawn().unwrap()
}

/// The path that this process was started on; `None` if it was not started by [`command`].
pub fn given_queue() -> Option<PathBuf> {
    env::var_os(QUEUE).map(PathBuf::from)
}

/// Waits for a line of a child's output that contains `text`.
pub fn await_line(child: &mut Child, text: &str) -> String {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines.find(|line| line.as_ref().is_ok_and(|line| line.contains(text)));
    // The rest is read as well, or the child could not finish its output.
    std::thread::spawn(move || lines.for_each(drop));
    line.unwrap().unwrap()
}

pub fn wall_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64
}
