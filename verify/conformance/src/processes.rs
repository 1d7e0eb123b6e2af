//! The same across processes, which are killed.
//!
//! A child process is this binary again: it runs one ignored test, which calls [`run_child`]. What it
//! is to do, where, and what it has done is told through the environment and through words of an
//! object of the storage under test.

use std::ffi::OsString;
use std::io::Read as _;
use std::num::NonZeroU32;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant as StdInstant};

use chronicle_sync::{
    Clock, ErrorKind, Instant, LockState, Object, Park, Platform, RegionExt, RegionMutExt, Storage,
    Wake,
};

use crate::bench::{Bench, done, fails, make, segment, stage, there};
use crate::names::visited;
use crate::report::{Stop, Verdict, ensure};
use crate::{MapOf, Processes};

const ROLE: &str = "CHRONICLE_CONFORMANCE_ROLE";
const ADDRESS: &str = "CHRONICLE_CONFORMANCE_ADDRESS";

/// The object whose words parent and child tell each other things by.
const BOARD: Object = Object::Control;
/// 1 once the child has done what it is for.
const READY: u64 = 64;
/// What the child found.
const FINDINGS: u64 = 128;
/// Slept on by the child.
const DOORBELL: u64 = 256;

pub(crate) struct Parent<'h, H> {
    pub(crate) harness: &'h H,
    pub(crate) child: &'h str,
}

/// What a child process of the suite does; returns at once in any other process.
///
/// To be called by an ignored test of the binary that calls `process_level`.
///
/// # Panics
/// If the child cannot do what it is for.
#[allow(clippy::panic, reason = "a test fails by panicking, and so does its child process")]
pub fn run_child<H: Processes>(harness: &H) {
    let (Some(role), Some(address)) = (std::env::var_os(ROLE), std::env::var_os(ADDRESS)) else {
        return;
    };
    let platform = harness.open_address(&address);
    if let Err(stop) = play(&platform, &role, harness.patience()) {
        panic!("{stop:?}");
    }
}

fn play<P: Platform>(platform: &P, role: &OsString, patience: Duration) -> Verdict {
    let storage = platform.storage();
    let board = done("open", storage.open(&BOARD))?;
    match role.to_str() {
        Some("store") => there("words", board.store_words(FINDINGS, &[1, 2, 3]))?,
        Some("lock") => {
            let guard = done("lock", storage.lock(&Object::WriterLock))?;
            done("inscribe", storage.inscribe(&guard, 77))?;
            ready(&board)?;
            stay(patience);
        }
        Some("sleep") => {
            let view = done("view", storage.view(&BOARD))?;
            let word = there("a word", view.read_u32(DOORBELL))?;
            let until = platform.clock().now().after(patience);
            ready(&board)?;
            while word.load_acquire() == 0 {
                let wake = done("wait", platform.park().wait(word.as_atomic(), 0, until))?;
                ensure!(wake == Wake::Woken, "nobody woke the child");
            }
        }
        Some("publish") => {
            let map = make(storage, &segment(1), 4096)?;
            there("a word", map.store_words(0, &[9]))?;
            ready(&board)?;
            stay(patience);
        }
        Some("stage") => {
            let _staged = done("stage", storage.stage(&segment(1), &stage(4096)))?;
            ready(&board)?;
            stay(patience);
        }
        Some("clock") => {
            let now = platform.clock().now().as_nanos();
            let id = storage.process_id().into();
            let words = [now, platform.clock().boot(), id, platform.entropy()];
            there("words", board.store_words(FINDINGS, &words))?;
        }
        other => return Err(Stop::Failed(format!("no such role: {other:?}"))),
    }
    ready(&board)
}

fn ready<M: RegionMutExt>(board: &M) -> Verdict {
    there("a word", board.publish_u64(READY, 1))
}

/// Is there to be killed; ends by itself should the parent have died.
fn stay(patience: Duration) {
    thread::sleep(patience * 2);
}

/// A child process that is killed when dropped.
struct Running(Child);

impl Running {
    /// What a child that has ended said of it: the suite may be there to see it fail, so that it says nothing
    /// by itself.
    fn last_words(&mut self) -> String {
        let mut said = Vec::new();
        if let Some(mut stderr) = self.0.stderr.take()
            && stderr.read_to_end(&mut said).is_ok()
            && !said.is_empty()
        {
            return format!("; it said:\n{}", String::from_utf8_lossy(&said));
        }
        String::new()
    }

    fn kill(&mut self) -> Verdict {
        done("kill", self.0.kill())?;
        done("wait for the killed child", self.0.wait()).map(drop)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A place with a board on it.
struct Stage<H: Processes> {
    board: MapOf<H::Platform>,
    bench: Bench<H>,
}

impl<H: Processes> Parent<'_, H> {
    fn stage(&self) -> Result<Stage<H>, Stop> {
        let bench = Bench::new(self.harness);
        Ok(Stage { board: bench.make(&BOARD, 4096)?, bench })
    }

    fn start(&self, stage: &Stage<H>, role: &str) -> Result<Running, Stop> {
        let program = done("find this program", std::env::current_exe())?;
        let mut command = Command::new(program);
        command
            .args([self.child, "--ignored", "--nocapture", "--test-threads=1"])
            .env(ROLE, role)
            .env(ADDRESS, self.harness.address(&stage.bench.place))
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        done("start a child", command.spawn()).map(Running)
    }

    /// Starts a child and waits until it has done what it is for.
    fn started(&self, stage: &Stage<H>, role: &str) -> Result<Running, Stop> {
        let mut child = self.start(stage, role)?;
        let begun = StdInstant::now();
        while stage.board.copy_words(READY) != Some([1]) {
            if let Some(status) = done("look at the child", child.0.try_wait())? {
                // It may have told before it ended.
                ensure!(
                    stage.board.copy_words(READY) == Some([1]),
                    "the child ended ({status}) and what it told is not seen{}",
                    child.last_words()
                );
            }
            ensure!(begun.elapsed() < self.harness.patience(), "nothing is seen of the child");
            thread::sleep(Duration::from_millis(1));
        }
        Ok(child)
    }
}

pub(crate) fn bytes_are_shared_with_other_processes<H: Processes>(
    parent: &Parent<'_, H>,
) -> Verdict {
    let stage = parent.stage()?;
    let view = done("view", stage.bench.other().view(&BOARD))?;
    let _child = parent.started(&stage, "store")?;
    let words = view.copy_words(FINDINGS);
    ensure!(words == Some([1, 2, 3]), "another process stored [1, 2, 3], and seen is {words:?}");
    Ok(())
}

pub(crate) fn a_lock_keeps_other_processes_out_until_its_holder_is_killed<H: Processes>(
    parent: &Parent<'_, H>,
) -> Verdict {
    let stage = parent.stage()?;
    let storage = stage.bench.storage();
    let mut child = parent.started(&stage, "lock")?;
    fails("locking", ErrorKind::Locked, storage.lock(&Object::WriterLock))?;
    match done("look at the lock", storage.lock_state(&Object::WriterLock))? {
        LockState::Held(Some(holder)) => {
            ensure!(holder.epoch == 77, "the holder is not told: {holder:?}");
            ensure!(holder.pid != storage.process_id(), "the holder is told to be this process");
        }
        LockState::Free => ensure!(false, "the lock is free though another process holds it"),
        LockState::Held(None) | LockState::Unknown => {}
    }
    child.kill()?;
    let state = done("look at the lock", storage.lock_state(&Object::WriterLock))?;
    ensure!(!matches!(state, LockState::Held(_)), "after its holder was killed it is {state:?}");
    drop(done("lock after the holder was killed", storage.lock(&Object::WriterLock))?);
    Ok(())
}

pub(crate) fn a_sleeping_process_is_woken_by_another<H: Processes>(
    parent: &Parent<'_, H>,
) -> Verdict {
    let stage = parent.stage()?;
    let mut child = parent.started(&stage, "sleep")?;
    let word = there("a word", stage.board.word_u32(DOORBELL))?;
    let begun = StdInstant::now();
    // Woken before the word moves, so that it is the wake that reaches the sleeper.
    while done("wake", stage.bench.one.park().wake(word, NonZeroU32::MAX))? == 0 {
        ensure!(begun.elapsed() < parent.harness.patience(), "the sleeping process is not found");
        thread::sleep(Duration::from_millis(1));
    }
    there("a word", stage.board.publish_u32(DOORBELL, 1))?;
    done("wake", stage.bench.one.park().wake(word, NonZeroU32::MAX))?;
    let status = done("wait for the child", child.0.wait())?;
    ensure!(status.success(), "the sleeping process was not woken: {status}{}", child.last_words());
    Ok(())
}

pub(crate) fn what_a_killed_process_published_stays<H: Processes>(
    parent: &Parent<'_, H>,
) -> Verdict {
    let stage = parent.stage()?;
    parent.started(&stage, "publish")?.kill()?;
    let storage = stage.bench.storage();
    storage.sweep();
    let view = done("view what a killed process made", storage.view(&segment(1)))?;
    ensure!(view.copy_words(0) == Some([9]), "the bytes of a killed process are gone");
    let names = visited(storage, chronicle_sync::ObjectKind::Segments)?;
    ensure!(names.len() == 1, "a visit shows {names:?}");
    drop(done("lock what a killed process made", storage.lock(&segment(1)))?);
    Ok(())
}

pub(crate) fn what_a_killed_process_staged_is_swept<H: Processes>(
    parent: &Parent<'_, H>,
) -> Verdict {
    let stage = parent.stage()?;
    let storage = stage.bench.storage();
    let mut child = parent.started(&stage, "stage")?;
    storage.sweep();
    child.kill()?;
    storage.sweep();
    fails("viewing what was only staged", ErrorKind::NotFound, storage.view(&segment(1)))?;
    let names = visited(storage, chronicle_sync::ObjectKind::Segments)?;
    ensure!(names.is_empty(), "a visit shows {names:?}");
    make(storage, &segment(1), 4096).map(drop)
}

pub(crate) fn clock_and_boot_are_the_same_in_all_processes<H: Processes>(
    parent: &Parent<'_, H>,
) -> Verdict {
    let stage = parent.stage()?;
    let clock = stage.bench.one.clock();
    let before = clock.now();
    let _child = parent.started(&stage, "clock")?;
    let after = clock.now();
    let [now, boot, id] = there("words", stage.board.copy_words(FINDINGS))?;
    let now = Instant::from_nanos(now);
    ensure!(before <= now && now <= after, "the other process has another clock");
    ensure!(
        boot == clock.boot(),
        "the other process is in boot {boot:#x}, not {:#x}",
        clock.boot()
    );
    let mine = u64::from(stage.bench.storage().process_id());
    ensure!(id != mine || id == 0, "two processes are known as {id}");
    Ok(())
}

pub(crate) fn numbers_differ_between_processes<H: Processes>(parent: &Parent<'_, H>) -> Verdict {
    let mut numbers = Vec::new();
    for _ in 0..3 {
        let stage = parent.stage()?;
        let _child = parent.started(&stage, "clock")?;
        let [number] = there("a word", stage.board.copy_words(FINDINGS + 24))?;
        numbers.extend([number, stage.bench.one.entropy()]);
    }
    let count = numbers.len();
    numbers.sort_unstable();
    numbers.dedup();
    ensure!(numbers.len() == count, "of {count} numbers some are the same");
    Ok(())
}
