//! A queue whose segments change under the reader's eyes.
//!
//! Every access to a region asks for its address first. This backend takes each of these moments to
//! store something, so that bytes change between any two loads of the engine's, and every run is
//! repeatable.
//!
//! Unsafe lives here because a region is raw memory: the one that it wraps.

use std::cell::Cell;
use std::ops::Range;
use std::ptr::NonNull;
use std::rc::Rc;

use chronicle_conformance::memory::{Memory, MemoryError, MemoryGuard, MemoryRegion, MemoryStaged};
use chronicle_sync::{
    Durability, LockState, Object, ObjectKind, Platform, Region, RegionMut, RegionMutExt, Stage,
    Storage,
};

/// What is stored, one after the other: where, in words, and what.
pub type Script = Rc<[(u16, u64)]>;

/// A platform that stores what a script says into whatever segment is looked at.
#[derive(Clone)]
pub struct Scribbled {
    memory: Memory,
    script: Script,
    next: Rc<Cell<usize>>,
}

impl Scribbled {
    /// The memory, scribbled over by a script.
    #[must_use]
    pub fn new(memory: Memory, script: Script) -> Self {
        Self { memory, script, next: Rc::default() }
    }

    fn region(&self, object: &Object, region: MemoryRegion) -> ScribbledRegion {
        let by = crate::is_segment(object).then(|| self.clone());
        ScribbledRegion { region, by, busy: Cell::new(false) }
    }
}

/// A region that changes whenever somebody asks where it is.
pub struct ScribbledRegion {
    region: MemoryRegion,
    by: Option<Scribbled>,
    busy: Cell<bool>,
}

impl ScribbledRegion {
    fn scribble(&self) {
        let Some(by) = self.by.as_ref().filter(|_| !self.busy.replace(true)) else { return };
        let at = by.next.get();
        if let Some((word, value)) = by.script.get(at) {
            by.next.set(at + 1);
            let at = u64::from(*word) * 8 % self.region.size().max(8) as u64;
            // Not every place lies inside an odd size.
            let _ = self.region.store_words(at, &[*value]);
        }
        self.busy.set(false);
    }
}

// SAFETY: the region inside is one, and stays where it is.
unsafe impl Region for ScribbledRegion {
    fn base(&self) -> NonNull<u8> {
        self.scribble();
        self.region.base()
    }

    fn size(&self) -> usize {
        self.region.size()
    }
}

// SAFETY: as above, and it may be written.
unsafe impl RegionMut for ScribbledRegion {}

impl Storage for Scribbled {
    type Error = MemoryError;
    type View = ScribbledRegion;
    type Map = ScribbledRegion;
    type Staged = MemoryStaged;
    type Guard = MemoryGuard;

    fn stage(&self, object: &Object, stage: &Stage) -> Result<MemoryStaged, MemoryError> {
        self.memory.stage(object, stage)
    }

    fn sync_staged(&self, staged: &MemoryStaged) -> Result<(), MemoryError> {
        self.memory.sync_staged(staged)
    }

    fn publish(&self, staged: MemoryStaged) -> Result<ScribbledRegion, MemoryError> {
        let object = staged.object().clone();
        self.memory.publish(staged).map(|region| self.region(&object, region))
    }

    fn open(&self, object: &Object) -> Result<ScribbledRegion, MemoryError> {
        self.memory.open(object).map(|region| self.region(object, region))
    }

    fn view(&self, object: &Object) -> Result<ScribbledRegion, MemoryError> {
        self.memory.view(object).map(|region| self.region(object, region))
    }

    fn copy_out(&self, object: &Object, at: u64, bytes: &mut [u8]) -> Result<usize, MemoryError> {
        self.memory.copy_out(object, at, bytes)
    }

    fn sync_object(&self, object: &Object) -> Result<(), MemoryError> {
        self.memory.sync_object(object)
    }

    fn remove(&self, object: &Object) -> Result<(), MemoryError> {
        self.memory.remove(object)
    }

    fn visit(&self, kind: ObjectKind, visit: impl FnMut(Object)) -> Result<(), MemoryError> {
        self.memory.visit(kind, visit)
    }

    fn reserve(&self, map: &ScribbledRegion, range: Range<u64>) -> Result<(), MemoryError> {
        self.memory.reserve(&map.region, range)
    }

    fn sync(
        &self,
        map: &ScribbledRegion,
        range: Range<u64>,
        level: Durability,
    ) -> Result<(), MemoryError> {
        self.memory.sync(&map.region, range, level)
    }

    fn sync_names(&self) -> Result<(), MemoryError> {
        self.memory.sync_names()
    }

    fn lock(&self, object: &Object) -> Result<MemoryGuard, MemoryError> {
        self.memory.lock(object)
    }

    fn inscribe(&self, guard: &MemoryGuard, epoch: u32) -> Result<(), MemoryError> {
        self.memory.inscribe(guard, epoch)
    }

    fn lock_state(&self, object: &Object) -> Result<LockState, MemoryError> {
        self.memory.lock_state(object)
    }
}

impl Platform for Scribbled {
    type Error = MemoryError;
    type Storage = Self;
    type Park = Memory;
    type Clock = Memory;

    fn storage(&self) -> &Self {
        self
    }

    fn park(&self) -> &Memory {
        &self.memory
    }

    fn clock(&self) -> &Memory {
        &self.memory
    }

    fn entropy(&self) -> u64 {
        self.memory.entropy()
    }
}
