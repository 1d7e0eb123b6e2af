//! The real files, with a storage that counts its calls and fails those that a test names.
#![allow(clippy::disallowed_types, reason = "a park is handed the word that it sleeps on")]

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::rc::Rc;

use chronicle_platform_linux::{LinuxClock, LinuxError, LinuxPark, LinuxPlatform, LinuxStorage};
use chronicle_sync::{
    Durability, Error, ErrorKind, LockState, Object, ObjectKind, Park, Platform, Stage, Storage,
    Wake,
};
use chronicle_sync::{Instant, notify};

/// A call of the storage, or of its park.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    Prepare,
    Stage,
    /// Made only for segments that are [written](chronicle_core::Space::Written) ahead.
    WriteStaged,
    SyncStaged,
    Publish,
    Open,
    View,
    CopyOut,
    SyncObject,
    Remove,
    Visit,
    Reserve,
    Prefault,
    Sync,
    Rescue,
    SyncNames,
    Sweep,
    Lock,
    Inscribe,
    LockState,
    Wait,
    Wake,
}

impl Call {
    /// Those that can fail.
    pub const FALLIBLE: [Self; 17] = [
        Self::Prepare,
        Self::Stage,
        Self::SyncStaged,
        Self::Publish,
        Self::Open,
        Self::View,
        Self::CopyOut,
        Self::SyncObject,
        Self::Remove,
        Self::Visit,
        Self::Reserve,
        Self::Sync,
        Self::SyncNames,
        Self::Lock,
        Self::Inscribe,
        Self::LockState,
        Self::Wake,
    ];
}

/// An error of the system's, or one that a test asked for.
#[derive(Clone, Copy, Debug)]
pub enum FaultyError {
    Real(LinuxError),
    Injected(Call, ErrorKind),
}

impl fmt::Display for FaultyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Real(error) => error.fmt(f),
            Self::Injected(call, kind) => write!(f, "injected into {call:?}: {kind:?}"),
        }
    }
}

impl Error for FaultyError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Real(error) => error.kind(),
            Self::Injected(_, kind) => *kind,
        }
    }
}

/// What is to fail, and what was called.
#[derive(Default)]
struct Script {
    /// The n-th call from now on, counted from 0, fails so.
    fail: Option<(Call, u64, ErrorKind)>,
    calls: HashMap<Call, u64>,
    /// What looks at the queue behind each call of a kind.
    watch: Option<(Call, Rc<dyn Fn()>)>,
}

/// A handle on the script, shared with the platform.
#[derive(Clone, Default)]
pub struct Faults(Rc<RefCell<Script>>);

impl Faults {
    /// Has the `nth` call from now on fail, counted from 0; the others work.
    pub fn fail(&self, call: Call, nth: u64, kind: ErrorKind) {
        self.0.borrow_mut().fail = Some((call, nth, kind));
    }

    /// Has everything work; whether the call that was to fail is still to come.
    pub fn heal(&self) -> bool {
        self.0.borrow_mut().fail.take().is_some()
    }

    /// How often this was called.
    pub fn count(&self, call: Call) -> u64 {
        self.0.borrow().calls.get(&call).copied().unwrap_or(0)
    }

    /// How many calls there were in all.
    pub fn total(&self) -> u64 {
        self.0.borrow().calls.values().sum()
    }

    /// Has `look` run behind each call of this kind that worked.
    pub fn watch(&self, call: Call, look: impl Fn() + 'static) {
        self.0.borrow_mut().watch = Some((call, Rc::new(look)));
    }

    fn at(&self, call: Call) -> Result<(), FaultyError> {
        let script = &mut *self.0.borrow_mut();
        *script.calls.entry(call).or_default() += 1;
        match &mut script.fail {
            Some((failing, nth, kind)) if *failing == call => {
                if *nth > 0 {
                    *nth -= 1;
                    return Ok(());
                }
                let kind = *kind;
                script.fail = None;
                Err(FaultyError::Injected(call, kind))
            }
            _ => Ok(()),
        }
    }

    fn make<T>(
        &self,
        call: Call,
        real: impl FnOnce() -> Result<T, LinuxError>,
    ) -> Result<T, FaultyError> {
        self.at(call)?;
        let made = real().map_err(FaultyError::Real)?;
        let watch = self.0.borrow().watch.clone();
        if let Some((_, look)) = watch.filter(|(watched, _)| *watched == call) {
            look();
        }
        Ok(made)
    }
}

pub struct Faulty {
    inner: LinuxPlatform,
    storage: FaultyStorage,
    park: FaultyPark,
}

pub struct FaultyStorage {
    inner: LinuxPlatform,
    faults: Faults,
}

pub struct FaultyPark {
    inner: LinuxPark,
    faults: Faults,
}

impl Faulty {
    pub fn new(open: impl Fn() -> LinuxPlatform, faults: &Faults) -> Self {
        let inner = open();
        let park = FaultyPark { inner: *inner.park(), faults: faults.clone() };
        let storage = FaultyStorage { inner: open(), faults: faults.clone() };
        Self { inner, storage, park }
    }
}

impl Platform for Faulty {
    type Error = FaultyError;
    type Storage = FaultyStorage;
    type Park = FaultyPark;
    type Clock = LinuxClock;

    fn storage(&self) -> &FaultyStorage {
        &self.storage
    }

    fn park(&self) -> &FaultyPark {
        &self.park
    }

    fn clock(&self) -> &LinuxClock {
        self.inner.clock()
    }

    fn entropy(&self) -> u64 {
        self.inner.entropy()
    }
}

impl FaultyStorage {
    fn real(&self) -> &LinuxStorage {
        self.inner.storage()
    }
}

impl Storage for FaultyStorage {
    type Error = FaultyError;
    type View = <LinuxStorage as Storage>::View;
    type Map = <LinuxStorage as Storage>::Map;
    type Staged = <LinuxStorage as Storage>::Staged;
    type Guard = <LinuxStorage as Storage>::Guard;

    fn prepare(&self, group_readable: bool) -> Result<(), FaultyError> {
        self.faults.make(Call::Prepare, || self.real().prepare(group_readable))
    }

    fn stage(&self, object: &Object, stage: &Stage) -> Result<Self::Staged, FaultyError> {
        self.faults.make(Call::Stage, || self.real().stage(object, stage))
    }

    fn write_staged(&self, staged: &Self::Staged, range: Range<u64>) -> Result<(), FaultyError> {
        self.faults.make(Call::WriteStaged, || self.real().write_staged(staged, range))
    }

    fn sync_staged(&self, staged: &Self::Staged) -> Result<(), FaultyError> {
        self.faults.make(Call::SyncStaged, || self.real().sync_staged(staged))
    }

    fn publish(&self, staged: Self::Staged) -> Result<Self::Map, FaultyError> {
        self.faults.make(Call::Publish, || self.real().publish(staged))
    }

    fn open(&self, object: &Object) -> Result<Self::Map, FaultyError> {
        self.faults.make(Call::Open, || self.real().open(object))
    }

    fn view(&self, object: &Object) -> Result<Self::View, FaultyError> {
        self.faults.make(Call::View, || self.real().view(object))
    }

    fn copy_out(&self, object: &Object, at: u64, bytes: &mut [u8]) -> Result<usize, FaultyError> {
        self.faults.make(Call::CopyOut, || self.real().copy_out(object, at, bytes))
    }

    fn sync_object(&self, object: &Object) -> Result<(), FaultyError> {
        self.faults.make(Call::SyncObject, || self.real().sync_object(object))
    }

    fn remove(&self, object: &Object) -> Result<(), FaultyError> {
        self.faults.make(Call::Remove, || self.real().remove(object))
    }

    fn visit(&self, kind: ObjectKind, visit: impl FnMut(Object)) -> Result<(), FaultyError> {
        self.faults.make(Call::Visit, || self.real().visit(kind, visit))
    }

    fn reserve(&self, map: &Self::Map, range: Range<u64>) -> Result<(), FaultyError> {
        self.faults.make(Call::Reserve, || self.real().reserve(map, range))
    }

    fn prefault(&self, map: &Self::Map, range: Range<u64>) {
        // A hint, so there is nothing to fail.
        let _ = self.faults.at(Call::Prefault);
        self.real().prefault(map, range);
    }

    fn sync(
        &self,
        map: &Self::Map,
        range: Range<u64>,
        level: Durability,
    ) -> Result<(), FaultyError> {
        self.faults.make(Call::Sync, || self.real().sync(map, range, level))
    }

    fn rescue(
        &self,
        object: &Object,
        map: &Self::Map,
        range: Range<u64>,
    ) -> Result<bool, FaultyError> {
        self.faults.make(Call::Rescue, || self.real().rescue(object, map, range))
    }

    fn sync_names(&self) -> Result<(), FaultyError> {
        self.faults.make(Call::SyncNames, || self.real().sync_names())
    }

    fn sweep(&self) {
        let _ = self.faults.at(Call::Sweep);
        self.real().sweep();
    }

    fn lock(&self, object: &Object) -> Result<Self::Guard, FaultyError> {
        self.faults.make(Call::Lock, || self.real().lock(object))
    }

    fn inscribe(&self, guard: &Self::Guard, epoch: u32) -> Result<(), FaultyError> {
        self.faults.make(Call::Inscribe, || self.real().inscribe(guard, epoch))
    }

    fn lock_state(&self, object: &Object) -> Result<LockState, FaultyError> {
        self.faults.make(Call::LockState, || self.real().lock_state(object))
    }

    fn process_id(&self) -> u32 {
        self.real().process_id()
    }
}

impl Park for FaultyPark {
    type Error = FaultyError;

    fn wait(
        &self,
        word: &chronicle_sync::AtomicU32,
        expected: u32,
        until: Instant,
    ) -> Result<Wake, FaultyError> {
        self.faults.make(Call::Wait, || self.inner.wait(word, expected, until))
    }

    fn wake(
        &self,
        word: &chronicle_sync::AtomicU32,
        at_most: std::num::NonZeroU32,
    ) -> Result<u32, FaultyError> {
        self.faults.make(Call::Wake, || self.inner.wake(word, at_most))
    }

    fn enlist(&self) -> notify::Barrier {
        self.inner.enlist()
    }

    fn heavy_barrier(&self) -> bool {
        self.inner.heavy_barrier()
    }
}
