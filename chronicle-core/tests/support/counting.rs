//! A platform that counts what is asked of the operating system.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::ops::Range;
use std::rc::Rc;

use chronicle_platform_linux::{
    LinuxClock, LinuxError, LinuxGuard, LinuxMap, LinuxPlatform, LinuxStaged, LinuxView,
};
use chronicle_sync::notify::Barrier;
use chronicle_sync::{
    Durability, Instant, LockState, Object, ObjectKind, Park, Platform, Stage, Storage, Wake,
};

/// How often each call across the seam was made. Reading the clock is not among them: it enters no
/// kernel (vdso(7)).
#[derive(Clone, Default)]
pub struct Calls(Rc<RefCell<BTreeMap<&'static str, u32>>>);

impl Calls {
    fn count(&self, call: &'static str) {
        *self.0.borrow_mut().entry(call).or_default() += 1;
    }

    /// What was counted since the last time.
    pub fn take(&self) -> BTreeMap<&'static str, u32> {
        std::mem::take(&mut *self.0.borrow_mut())
    }
}

/// The real files; counts are shared by its storage and its means to sleep.
pub struct Counting {
    storage: CountingStorage,
    park: CountingPark,
}

impl Counting {
    pub fn new(inner: LinuxPlatform, calls: &Calls) -> Self {
        let inner = Rc::new(inner);
        Self {
            storage: CountingStorage { inner: Rc::clone(&inner), calls: calls.clone() },
            park: CountingPark { inner, calls: calls.clone() },
        }
    }
}

impl Platform for Counting {
    type Error = LinuxError;
    type Storage = CountingStorage;
    type Park = CountingPark;
    type Clock = LinuxClock;

    fn storage(&self) -> &CountingStorage {
        &self.storage
    }

    fn park(&self) -> &CountingPark {
        &self.park
    }

    fn clock(&self) -> &LinuxClock {
        self.park.inner.clock()
    }

    fn entropy(&self) -> u64 {
        self.park.calls.count("entropy");
        self.park.inner.entropy()
    }
}

pub struct CountingPark {
    inner: Rc<LinuxPlatform>,
    calls: Calls,
}

#[allow(clippy::disallowed_types, reason = "the seam hands shared words over under this name")]
impl Park for CountingPark {
    type Error = LinuxError;

    fn wait(
        &self,
        word: &chronicle_sync::AtomicU32,
        expected: u32,
        until: Instant,
    ) -> Result<Wake, LinuxError> {
        self.calls.count("wait");
        self.inner.park().wait(word, expected, until)
    }

    fn wake(
        &self,
        word: &chronicle_sync::AtomicU32,
        at_most: NonZeroU32,
    ) -> Result<u32, LinuxError> {
        self.calls.count("wake");
        self.inner.park().wake(word, at_most)
    }

    fn enlist(&self) -> Barrier {
        self.calls.count("enlist");
        self.inner.park().enlist()
    }

    fn heavy_barrier(&self) -> bool {
        self.calls.count("heavy_barrier");
        self.inner.park().heavy_barrier()
    }
}

pub struct CountingStorage {
    inner: Rc<LinuxPlatform>,
    calls: Calls,
}

impl Storage for CountingStorage {
    type Error = LinuxError;
    type View = LinuxView;
    type Map = LinuxMap;
    type Staged = LinuxStaged;
    type Guard = LinuxGuard;

    fn prepare(&self, group_readable: bool) -> Result<(), LinuxError> {
        self.calls.count("prepare");
        self.inner.storage().prepare(group_readable)
    }

    fn stage(&self, object: &Object, stage: &Stage) -> Result<LinuxStaged, LinuxError> {
        self.calls.count("stage");
        self.inner.storage().stage(object, stage)
    }

    fn write_staged(&self, staged: &LinuxStaged, range: Range<u64>) -> Result<(), LinuxError> {
        self.calls.count("write_staged");
        self.inner.storage().write_staged(staged, range)
    }

    fn sync_staged(&self, staged: &LinuxStaged) -> Result<(), LinuxError> {
        self.calls.count("sync_staged");
        self.inner.storage().sync_staged(staged)
    }

    fn publish(&self, staged: LinuxStaged) -> Result<LinuxMap, LinuxError> {
        self.calls.count("publish");
        self.inner.storage().publish(staged)
    }

    fn open(&self, object: &Object) -> Result<LinuxMap, LinuxError> {
        self.calls.count("open");
        self.inner.storage().open(object)
    }

    fn view(&self, object: &Object) -> Result<LinuxView, LinuxError> {
        self.calls.count("view");
        self.inner.storage().view(object)
    }

    fn copy_out(&self, object: &Object, at: u64, bytes: &mut [u8]) -> Result<usize, LinuxError> {
        self.calls.count("copy_out");
        self.inner.storage().copy_out(object, at, bytes)
    }

    fn sync_object(&self, object: &Object) -> Result<(), LinuxError> {
        self.calls.count("sync_object");
        self.inner.storage().sync_object(object)
    }

    fn remove(&self, object: &Object) -> Result<(), LinuxError> {
        self.calls.count("remove");
        self.inner.storage().remove(object)
    }

    fn visit(&self, kind: ObjectKind, visit: impl FnMut(Object)) -> Result<(), LinuxError> {
        self.calls.count(match kind {
            ObjectKind::Segments => "visit_segments",
            ObjectKind::Readers => "visit_readers",
            _ => "visit",
        });
        self.inner.storage().visit(kind, visit)
    }

    fn reserve(&self, map: &LinuxMap, range: Range<u64>) -> Result<(), LinuxError> {
        self.calls.count("reserve");
        self.inner.storage().reserve(map, range)
    }

    fn prefault(&self, map: &LinuxMap, range: Range<u64>) {
        self.calls.count("prefault");
        self.inner.storage().prefault(map, range);
    }

    fn sync(&self, map: &LinuxMap, range: Range<u64>, level: Durability) -> Result<(), LinuxError> {
        self.calls.count("sync");
        self.inner.storage().sync(map, range, level)
    }

    fn sync_names(&self) -> Result<(), LinuxError> {
        self.calls.count("sync_names");
        self.inner.storage().sync_names()
    }

    fn sweep(&self) {
        self.calls.count("sweep");
        self.inner.storage().sweep();
    }

    fn lock(&self, object: &Object) -> Result<LinuxGuard, LinuxError> {
        self.calls.count("lock");
        self.inner.storage().lock(object)
    }

    fn inscribe(&self, guard: &LinuxGuard, epoch: u32) -> Result<(), LinuxError> {
        self.calls.count("inscribe");
        self.inner.storage().inscribe(guard, epoch)
    }

    fn lock_state(&self, object: &Object) -> Result<LockState, LinuxError> {
        self.calls.count("lock_state");
        self.inner.storage().lock_state(object)
    }

    fn process_id(&self) -> u32 {
        self.inner.storage().process_id()
    }
}
