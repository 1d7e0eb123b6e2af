//! Each fault that is put into a backend between processes, or into its hints, makes the check fail
//! that is there for it. The good parts are the Linux backend's.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_types, reason = "a park is handed the word that it sleeps on")]

use std::cell::Cell;
use std::ffi::{CString, OsStr, OsString};
use std::fs::{self, File};
use std::num::NonZeroU32;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use chronicle_conformance::memory::Memory;
use chronicle_conformance::{
    Harness, Outcome, Processes, Report, Watches, process_level, run_child, watch_level,
};
use chronicle_platform_linux::{
    LinuxError, LinuxGuard, LinuxMap, LinuxPlatform, LinuxStaged, LinuxView, LinuxWatch,
};
use chronicle_sync::{
    AtomicU32, Clock, Durability, Instant, LockState, Object, ObjectKind, Park, Platform, Stage,
    Storage, Wake, Watch,
};
use tempfile::TempDir;

macro_rules! faults {
    ($($(#[$about:meta])* $name:ident,)+) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        enum Fault {
            $($(#[$about])* $name,)+
        }

        impl Fault {
            fn named(name: &str) -> Self {
                let all = [$(Self::$name),+];
                all.into_iter().find(|fault| format!("{fault:?}") == name).unwrap()
            }
        }
    };
}

faults! {
    None,
    /// Each process has files of its own.
    BytesArePrivate,
    /// A lock is a file, which whoever is killed leaves behind.
    LockIsAFile,
    /// A lock keeps out whoever is in the same process.
    LockIsPrivate,
    /// Sleepers are found in the same process only.
    SleepIsPrivate,
    /// A name is there for as long as its maker lives.
    NamesGoWithTheirMaker,
    /// What is staged has its name already.
    StagedIsNamed,
    /// Time begins anew in each process.
    ClockIsPrivate,
    /// Each process believes that it is alone since the start of the machine.
    BootIsPrivate,
    /// Numbers begin anew in each process.
    NumbersRepeat,
    /// No hint ever comes.
    WatchIsDeaf,
    /// A watch says that its time is up when it is not.
    WatchIsHasty,
    /// A watch that nothing happens to wakes again and again.
    WatchIsRestless,
}

/// A good backend with one fault.
struct Broken {
    good: LinuxPlatform,
    path: PathBuf,
    fault: Fault,
    own: Memory,
    number: Cell<u64>,
    _copy: Option<TempDir>,
}

impl Broken {
    fn open(path: &Path, fault: Fault) -> Self {
        // The child process opens the place by its address, and the parent its own.
        let copy = (fault == Fault::BytesArePrivate).then(|| copy_of(path));
        let place = copy.as_ref().map_or(path, TempDir::path);
        let name = CString::new(place.as_os_str().as_bytes()).unwrap();
        Self {
            good: LinuxPlatform::open(&name).unwrap(),
            path: path.to_owned(),
            fault,
            own: Memory::new(),
            number: Cell::new(0),
            _copy: copy,
        }
    }

    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    fn lock_file(&self) -> PathBuf {
        self.path.join("held")
    }

    fn storage(
        &self,
    ) -> &impl Storage<
        Error = LinuxError,
        View = LinuxView,
        Map = LinuxMap,
        Staged = LinuxStaged,
        Guard = LinuxGuard,
    > {
        Platform::storage(&self.good)
    }
}

fn copy_of(path: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(path).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
    }
    copy
}

/// The fault of a lock may be that it is no lock of the kernel's.
struct Guard {
    _kernel: Option<LinuxGuard>,
    file: Option<PathBuf>,
    epoch: Cell<u32>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(file) = &self.file {
            let _ = fs::remove_file(file);
        }
    }
}

/// An error of the kind, as the system would make it.
fn locked(broken: &Broken) -> LinuxError {
    let file = Object::WriterLock;
    let _held = broken.storage().lock(&file);
    broken.storage().lock(&file).map(drop).unwrap_err()
}

impl Storage for Broken {
    type Error = LinuxError;
    type View = LinuxView;
    type Map = LinuxMap;
    type Staged = LinuxStaged;
    type Guard = Guard;

    fn stage(&self, object: &Object, stage: &Stage) -> Result<LinuxStaged, LinuxError> {
        if self.is(Fault::StagedIsNamed) && *object != Object::Control {
            drop(self.storage().publish(self.storage().stage(object, stage)?)?);
        }
        self.storage().stage(object, stage)
    }

    fn sync_staged(&self, staged: &LinuxStaged) -> Result<(), LinuxError> {
        self.storage().sync_staged(staged)
    }

    fn publish(&self, staged: LinuxStaged) -> Result<LinuxMap, LinuxError> {
        let map = self.storage().publish(staged)?;
        let segment = Object::Segment(chronicle_sync::format::SegmentId::new(1).unwrap());
        if self.is(Fault::NamesGoWithTheirMaker) && self.storage().view(&segment).is_ok() {
            self.storage().remove(&segment)?;
        }
        Ok(map)
    }

    fn open(&self, object: &Object) -> Result<LinuxMap, LinuxError> {
        self.storage().open(object)
    }

    fn view(&self, object: &Object) -> Result<LinuxView, LinuxError> {
        self.storage().view(object)
    }

    fn copy_out(&self, object: &Object, at: u64, bytes: &mut [u8]) -> Result<usize, LinuxError> {
        self.storage().copy_out(object, at, bytes)
    }

    fn sync_object(&self, object: &Object) -> Result<(), LinuxError> {
        self.storage().sync_object(object)
    }

    fn remove(&self, object: &Object) -> Result<(), LinuxError> {
        self.storage().remove(object)
    }

    fn visit(&self, kind: ObjectKind, visit: impl FnMut(Object)) -> Result<(), LinuxError> {
        self.storage().visit(kind, visit)
    }

    fn reserve(&self, map: &LinuxMap, range: Range<u64>) -> Result<(), LinuxError> {
        self.storage().reserve(map, range)
    }

    fn sync(&self, map: &LinuxMap, range: Range<u64>, level: Durability) -> Result<(), LinuxError> {
        self.storage().sync(map, range, level)
    }

    fn sync_names(&self) -> Result<(), LinuxError> {
        self.storage().sync_names()
    }

    fn sweep(&self) {
        self.storage().sweep();
    }

    fn lock(&self, object: &Object) -> Result<Guard, LinuxError> {
        let guard = |kernel, file| Guard { _kernel: kernel, file, epoch: Cell::new(0) };
        match self.fault {
            Fault::LockIsAFile if *object == Object::WriterLock => {
                match File::create_new(self.lock_file()) {
                    Ok(_) => Ok(guard(None, Some(self.lock_file()))),
                    Err(_) => Err(locked(self)),
                }
            }
            Fault::LockIsPrivate => Ok(guard(None, None)),
            _ => Ok(guard(Some(self.storage().lock(object)?), None)),
        }
    }

    fn inscribe(&self, guard: &Guard, epoch: u32) -> Result<(), LinuxError> {
        guard.epoch.set(epoch);
        match &guard._kernel {
            Some(kernel) => self.storage().inscribe(kernel, epoch),
            None => Ok(()),
        }
    }

    fn lock_state(&self, object: &Object) -> Result<LockState, LinuxError> {
        match self.fault {
            Fault::LockIsAFile if self.lock_file().exists() => Ok(LockState::Held(None)),
            _ => self.storage().lock_state(object),
        }
    }

    fn process_id(&self) -> u32 {
        self.storage().process_id()
    }
}

impl Park for Broken {
    type Error = LinuxError;

    fn wait(&self, word: &AtomicU32, expected: u32, until: Instant) -> Result<Wake, LinuxError> {
        if self.is(Fault::SleepIsPrivate) {
            let rest = until.since(self.now());
            return Ok(self.own.wait(word, expected, self.own.now().after(rest)).unwrap());
        }
        self.good.park().wait(word, expected, until)
    }

    fn wake(&self, word: &AtomicU32, at_most: NonZeroU32) -> Result<u32, LinuxError> {
        if self.is(Fault::SleepIsPrivate) {
            return Ok(self.own.wake(word, at_most).unwrap());
        }
        self.good.park().wake(word, at_most)
    }
}

impl Clock for Broken {
    fn now(&self) -> Instant {
        if self.is(Fault::ClockIsPrivate) { self.own.now() } else { self.good.clock().now() }
    }

    fn wall_ns(&self) -> u64 {
        self.good.clock().wall_ns()
    }

    fn boot(&self) -> u64 {
        let boot = self.good.clock().boot();
        if self.is(Fault::BootIsPrivate) { boot ^ u64::from(std::process::id()) } else { boot }
    }
}

impl Platform for Broken {
    type Error = LinuxError;
    type Storage = Self;
    type Park = Self;
    type Clock = Self;

    fn storage(&self) -> &Self {
        self
    }

    fn park(&self) -> &Self {
        self
    }

    fn clock(&self) -> &Self {
        self
    }

    fn entropy(&self) -> u64 {
        if self.is(Fault::NumbersRepeat) {
            self.number.set(self.number.get() + 1);
            return self.number.get();
        }
        self.good.entropy()
    }
}

struct BrokenWatch(LinuxWatch, Fault);

impl Watch for BrokenWatch {
    type Error = LinuxError;

    fn wait(&mut self, until: Instant) -> Result<Wake, LinuxError> {
        match self.1 {
            Fault::WatchIsHasty => Ok(Wake::TimedOut),
            Fault::WatchIsRestless => Ok(Wake::Woken),
            Fault::WatchIsDeaf => {
                // What it would hear goes to another watch.
                let park = Memory::new();
                let rest = until.since(chronicle_platform_linux::LinuxClock::new().now());
                park.wait(&AtomicU32::new(0), 0, park.now().after(rest)).unwrap();
                Ok(Wake::TimedOut)
            }
            _ => self.0.wait(until),
        }
    }
}

struct Harnessed(Fault);

impl Harness for Harnessed {
    type Platform = Broken;
    type Place = TempDir;

    fn place(&self) -> TempDir {
        tempfile::tempdir().unwrap()
    }

    fn open(&self, place: &TempDir) -> Broken {
        let private = Fault::BytesArePrivate;
        Broken::open(place.path(), if self.0 == private { Fault::None } else { self.0 })
    }

    fn patience(&self) -> Duration {
        // As long as it takes on a busy machine, but where something is missing for good.
        Duration::from_secs(match self.0 {
            Fault::BytesArePrivate | Fault::WatchIsDeaf | Fault::WatchIsRestless => 1,
            // The child has to be there to be asleep.
            Fault::SleepIsPrivate => 5,
            Fault::None => 20,
            _ => 10,
        })
    }
}

/// The address names the fault too, for the child process.
impl Processes for Harnessed {
    fn address(&self, place: &TempDir) -> OsString {
        let mut address = OsString::from(format!("{:?}:", self.0));
        address.push(place.path());
        address
    }

    fn open_address(&self, address: &OsStr) -> Broken {
        let (fault, path) = address.to_str().unwrap().split_once(':').unwrap();
        Broken::open(Path::new(path), Fault::named(fault))
    }
}

impl Watches for Harnessed {
    type Watch = BrokenWatch;

    fn watch(&self, platform: &Broken) -> BrokenWatch {
        BrokenWatch(platform.good.watch().unwrap(), self.0)
    }
}

#[test]
#[ignore = "the suite runs it as a process of its own"]
fn process_of_the_suite() {
    run_child(&Harnessed(Fault::None));
}

fn between_processes(fault: Fault) -> Report {
    process_level(&Harnessed(fault), "process_of_the_suite")
}

/// Fails unless the check failed, for the reason that is there for it.
fn assert_seen(report: &Report, fault: Fault, check: &str, reason: &str) {
    let seen = report.failures().find(|one| one.name == check).map(|one| &one.outcome);
    let is_it = matches!(seen, Some(Outcome::Failed(how)) if how.contains(reason));
    assert!(is_it, "{fault:?} was not seen by {check}, {reason:?}:\n{report}");
}

#[test]
fn without_a_fault_both_levels_pass() {
    between_processes(Fault::None).assert_passed();
    watch_level(&Harnessed(Fault::None)).assert_passed();
}

#[test]
fn processes_see_what_is_wrong_between_them() {
    let faults = [
        (Fault::BytesArePrivate, "bytes_are_shared_with_other_processes", "the child"),
        (
            Fault::LockIsAFile,
            "a_lock_keeps_other_processes_out_until_its_holder_is_killed",
            "after its holder was killed",
        ),
        (
            Fault::LockIsPrivate,
            "a_lock_keeps_other_processes_out_until_its_holder_is_killed",
            "locking",
        ),
        (Fault::SleepIsPrivate, "a_sleeping_process_is_woken_by_another", "is not found"),
        (Fault::NamesGoWithTheirMaker, "what_a_killed_process_published_stays", "killed process"),
        (Fault::StagedIsNamed, "what_a_killed_process_staged_is_swept", "only staged"),
        (Fault::ClockIsPrivate, "clock_and_boot_are_the_same_in_all_processes", "another clock"),
        (Fault::BootIsPrivate, "clock_and_boot_are_the_same_in_all_processes", "in boot"),
        (Fault::NumbersRepeat, "numbers_differ_between_processes", "are the same"),
    ];
    // Most of them do nothing but wait.
    thread::scope(|scope| {
        for (fault, check, reason) in faults {
            scope.spawn(move || assert_seen(&between_processes(fault), fault, check, reason));
        }
    });
}

#[test]
fn hints_that_are_wrong_are_seen() {
    for (fault, check, reason) in [
        (Fault::WatchIsDeaf, "names_that_come_and_go_wake", "woke nobody"),
        (Fault::WatchIsHasty, "a_quiet_watch_times_out_and_not_early", "too early"),
        (Fault::WatchIsRestless, "a_quiet_watch_times_out_and_not_early", "again and again"),
    ] {
        assert_seen(&watch_level(&Harnessed(fault)), fault, check, reason);
    }
}
