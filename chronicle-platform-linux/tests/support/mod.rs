//! What the tests share: queues in temporary directories, processes of their own, and system calls
//! that fail on demand.
#![allow(dead_code, reason = "every test file uses a part of it")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant as StdInstant};

use chronicle_platform_linux::{LinuxMap, LinuxPlatform, LinuxStorage};
use chronicle_sync::format::{ReaderName, SegmentId};
use chronicle_sync::{Object, Platform, Stage, Storage};
use rustix::fs::{Mode, OFlags, open};
use tempfile::TempDir;

const DIRECTORY: &str = "CHRONICLE_TEST_DIRECTORY";
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Queue {
    pub(crate) directory: TempDir,
    pub(crate) platform: LinuxPlatform,
}

impl Queue {
    pub(crate) fn new() -> Self {
        Self::in_directory(TempDir::new().unwrap())
    }

    pub(crate) fn in_directory(directory: TempDir) -> Self {
        let platform = platform(directory.path());
        Self { directory, platform }
    }

    pub(crate) fn storage(&self) -> &LinuxStorage {
        self.platform.storage()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn make(&self, object: &Object, length: u64) -> LinuxMap {
        make(self.storage(), object, length)
    }

    pub(crate) fn names(&self) -> Vec<String> {
        names(self.directory.path())
    }
}

pub(crate) fn platform(directory: &Path) -> LinuxPlatform {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    LinuxPlatform::new(open(directory.to_str().unwrap(), flags, Mode::empty()).unwrap()).unwrap()
}

pub(crate) fn stage(length: u64) -> Stage {
    Stage { length, reserved: length, group_readable: false }
}

pub(crate) fn make(storage: &LinuxStorage, object: &Object, length: u64) -> LinuxMap {
    storage.publish(storage.stage(object, &stage(length)).unwrap()).unwrap()
}

pub(crate) fn segment(id: u64) -> Object {
    Object::Segment(SegmentId::new(id).unwrap())
}

pub(crate) fn reader(name: &str) -> Object {
    Object::Reader(ReaderName::new(name).unwrap())
}

/// The names in a directory, sorted.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A process that runs one ignored test of this file on a directory. Killed when dropped.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn run(test: &str, directory: &Path) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args([test, "--exact", "--ignored", "--nocapture", "--test-threads=1"])
            .env(DIRECTORY, directory)
            .spawn();
        Self(child.unwrap())
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    pub(crate) fn succeeds(mut self) {
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The directory that this process was started on; `None` if it is not one of [`Process::run`].
pub(crate) fn given_directory() -> Option<PathBuf> {
    std::env::var_os(DIRECTORY).map(PathBuf::from)
}

/// Tells the process that waits in [`until_told`].
pub(crate) fn tell(directory: &Path, word: &str) {
    std::fs::write(directory.join(word), "").unwrap();
}

pub(crate) fn until_told(directory: &Path, word: &str) {
    until(word, || directory.join(word).exists());
}

pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = StdInstant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Does something in a thread and fails, instead of hanging, if that does not end.
pub(crate) fn without_hanging<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, result) = std::sync::mpsc::channel();
    std::thread::spawn(move || done.send(act()));
    result.recv_timeout(PATIENCE).unwrap()
}

/// Does something in a thread for which a system call fails with an error of the test's choice.
pub(crate) fn with_failing<T: Send>(
    call: libc::c_long,
    errno: i32,
    act: impl FnOnce() -> T + Send,
) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            fail(call, errno);
            act()
        });
        thread.join().unwrap()
    })
}

/// Installs a filter (seccomp(2)) for this thread.
fn fail(call: libc::c_long, errno: i32) {
    let statement = |code: u32, yes, no, k| libc::sock_filter {
        code: u16::try_from(code).unwrap(),
        jt: yes,
        jf: no,
        k,
    };
    let mut filter = [
        // The number of the call is the first word of `seccomp_data`.
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, u32::try_from(call).unwrap()),
        statement(
            libc::BPF_RET | libc::BPF_K,
            0,
            0,
            libc::SECCOMP_RET_ERRNO | u32::try_from(errno).unwrap(),
        ),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program =
        libc::sock_fprog { len: u16::try_from(filter.len()).unwrap(), filter: filter.as_mut_ptr() };
    // SAFETY: takes numbers only.
    let done = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    assert_eq!(done, 0);
    // SAFETY: the program and its statements live until the call has copied them.
    let done = unsafe {
        libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, core::ptr::from_ref(&program))
    };
    assert_eq!(done, 0);
}
