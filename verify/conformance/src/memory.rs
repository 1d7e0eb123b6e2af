//! A backend on the heap, for tests: everything above the seam runs on it, under Miri and fuzzers too.
//!
//! All handles of one [`Memory`] are in one process, and waits meet between its threads. Power can be
//! lost ([`Memory::lose_power`]), if the memory was made [`durable`](Memory::durable): what was synced
//! since is then all that there is. Numbers and the clock's beginning are the same in every run.
//!
//! Unsafe lives here because a region is raw memory, which this module allocates.
#![allow(
    clippy::disallowed_types,
    reason = "a park is handed the word that it sleeps on, under chronicle-sync's name of it"
)]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::fmt;
use std::num::NonZeroU32;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant as StdInstant};

use chronicle_sync::format::Holder;
use chronicle_sync::{
    AtomicU32, Clock, Durability, Error, ErrorKind, Instant, LockState, Object, ObjectKind, Park,
    Platform, Region, RegionExt, RegionMut, RegionMutExt, Stage, Storage, Wake,
};

use crate::{Harness, PowerLoss};

/// An error of [`Memory`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryError(pub ErrorKind);

impl fmt::Display for MemoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl Error for MemoryError {
    fn kind(&self) -> ErrorKind {
        self.0
    }
}

/// A queue's surroundings in the memory of this process. Clones are handles on the same storage.
#[derive(Clone)]
pub struct Memory(Arc<World>);

struct World {
    state: Mutex<State>,
    woken: Condvar,
    begun: StdInstant,
    keeps_synced: bool,
    /// An object for which there is no space, so that fuzzed sizes stay small.
    largest: u64,
}

struct State {
    names: Vec<(Object, Arc<Bytes>)>,
    synced_names: Vec<(Object, Arc<Bytes>)>,
    locks: Vec<(Object, u64)>,
    holder: Option<Holder>,
    sleepers: Vec<Sleeper>,
    boot: u64,
    number: u64,
}

struct Sleeper {
    word: usize,
    number: u64,
    woken: bool,
}

impl Default for Memory {
    fn default() -> Self {
        Self::with(false, 1 << 32)
    }
}

impl Memory {
    /// Storage with nothing in it that forgets what was synced when.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Storage with nothing in it that can lose power.
    #[must_use]
    pub fn durable() -> Self {
        Self::with(true, 1 << 32)
    }

    /// As [`new`](Self::new); no object gets longer than `largest` bytes.
    #[must_use]
    pub fn limited(largest: u64) -> Self {
        Self::with(false, largest)
    }

    fn with(keeps_synced: bool, largest: u64) -> Self {
        let state = State {
            names: Vec::new(),
            synced_names: Vec::new(),
            locks: Vec::new(),
            holder: None,
            sleepers: Vec::new(),
            boot: 1,
            number: 0,
        };
        Self(Arc::new(World {
            state: Mutex::new(state),
            woken: Condvar::new(),
            begun: StdInstant::now(),
            keeps_synced,
            largest,
        }))
    }

    /// Puts an object with these bytes in place of whatever has its name.
    pub fn put(&self, object: &Object, bytes: &[u8]) {
        let region = Bytes::new(bytes.len());
        region.fill(bytes);
        let mut state = self.state();
        state.names.retain(|(name, _)| name != object);
        state.names.push((object.clone(), region));
    }

    /// The bytes of an object; `None` if there is none.
    #[must_use]
    pub fn get(&self, object: &Object) -> Option<Vec<u8>> {
        self.find(object).ok().map(|bytes| bytes.to_vec())
    }

    /// All objects that have a name.
    #[must_use]
    pub fn objects(&self) -> Vec<Object> {
        self.state().names.iter().map(|(object, _)| object.clone()).collect()
    }

    /// Begins another boot: whatever was true only in the one before is not any more.
    pub fn reboot(&self) {
        let mut state = self.state();
        state.boot += 1;
        state.locks.clear();
        state.holder = None;
    }

    /// Loses what was not synced, and begins another boot. Nothing is lost unless this memory was
    /// made [`durable`](Self::durable).
    pub fn lose_power(&self) {
        if self.0.keeps_synced {
            let state = &mut *self.state();
            state.names = state
                .synced_names
                .iter()
                .map(|(object, bytes)| (object.clone(), bytes.as_synced()))
                .collect();
            state.synced_names.clone_from(&state.names);
        }
        self.reboot();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What a panicking thread leaves is whole: each change below is a single step.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, object: &Object) -> Result<Arc<Bytes>, MemoryError> {
        let state = self.state();
        let found = state.names.iter().find(|(name, _)| name == object);
        found.map(|(_, bytes)| Arc::clone(bytes)).ok_or(MemoryError(ErrorKind::NotFound))
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Memory").field(&self.objects()).finish()
    }
}

impl Platform for Memory {
    type Error = MemoryError;
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
        let mut state = self.state();
        state.number += 1;
        // The finaliser of splitmix64 (Steele, Lea and Flood 2014): different inputs, different
        // outputs.
        let mut z = state.number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Clock for Memory {
    fn now(&self) -> Instant {
        let nanos = u64::try_from(self.0.begun.elapsed().as_nanos()).unwrap_or(u64::MAX - 1);
        Instant::from_nanos(nanos)
    }

    fn wall_ns(&self) -> u64 {
        1_700_000_000_000_000_000 + self.now().as_nanos()
    }

    fn boot(&self) -> u64 {
        self.state().boot
    }
}

impl Park for Memory {
    type Error = MemoryError;

    fn wait(&self, word: &AtomicU32, expected: u32, until: Instant) -> Result<Wake, MemoryError> {
        let mut state = self.state();
        // ORDER: SeqCst under the lock that `wake` takes: whoever stores and then wakes is seen here, or
        // finds the sleeper.
        if word.load(Ordering::SeqCst) != expected {
            return Ok(Wake::Woken);
        }
        state.number += 1;
        let number = state.number;
        let word = std::ptr::from_ref(word).addr();
        state.sleepers.push(Sleeper { word, number, woken: false });
        loop {
            let rest = until.since(self.now()).min(Duration::from_secs(3600));
            let woken = state.sleepers.iter().any(|one| one.number == number && one.woken);
            if woken || rest.is_zero() {
                state.sleepers.retain(|one| one.number != number);
                return Ok(if woken { Wake::Woken } else { Wake::TimedOut });
            }
            let waited = self.0.woken.wait_timeout(state, rest);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn wake(&self, word: &AtomicU32, at_most: NonZeroU32) -> Result<u32, MemoryError> {
        let mut state = self.state();
        let word = std::ptr::from_ref(word).addr();
        let mut count = 0;
        let sleepers = state.sleepers.iter_mut().filter(|one| one.word == word && !one.woken);
        for sleeper in sleepers.take(usize::try_from(at_most.get()).unwrap_or(usize::MAX)) {
            sleeper.woken = true;
            count += 1;
        }
        self.0.woken.notify_all();
        Ok(count)
    }
}

impl Storage for Memory {
    type Error = MemoryError;
    type View = MemoryRegion;
    type Map = MemoryRegion;
    type Staged = MemoryStaged;
    type Guard = MemoryGuard;

    fn stage(&self, object: &Object, stage: &Stage) -> Result<MemoryStaged, MemoryError> {
        if stage.reserved > stage.length {
            return Err(MemoryError(ErrorKind::Other));
        }
        let length = Some(stage.length).filter(|length| *length <= self.0.largest);
        let length = length.and_then(|length| usize::try_from(length).ok());
        let bytes = Bytes::new(length.ok_or(MemoryError(ErrorKind::NoSpace))?);
        Ok(MemoryStaged { object: object.clone(), region: MemoryRegion(bytes) })
    }

    fn sync_staged(&self, staged: &MemoryStaged) -> Result<(), MemoryError> {
        self.synced(&staged.region.0)
    }

    fn publish(&self, staged: MemoryStaged) -> Result<MemoryRegion, MemoryError> {
        let mut state = self.state();
        if state.names.iter().any(|(name, _)| *name == staged.object) {
            return Err(MemoryError(ErrorKind::AlreadyExists));
        }
        state.names.push((staged.object, Arc::clone(&staged.region.0)));
        Ok(staged.region)
    }

    fn open(&self, object: &Object) -> Result<MemoryRegion, MemoryError> {
        self.find(object).map(MemoryRegion)
    }

    fn view(&self, object: &Object) -> Result<MemoryRegion, MemoryError> {
        self.find(object).map(MemoryRegion)
    }

    fn copy_out(&self, object: &Object, at: u64, bytes: &mut [u8]) -> Result<usize, MemoryError> {
        let all = self.find(object)?.to_vec();
        let rest = usize::try_from(at).ok().and_then(|at| all.get(at..)).unwrap_or_default();
        let mut count = 0;
        for (to, from) in bytes.iter_mut().zip(rest) {
            *to = *from;
            count += 1;
        }
        Ok(count)
    }

    fn sync_object(&self, object: &Object) -> Result<(), MemoryError> {
        self.synced(&*self.find(object)?)
    }

    fn remove(&self, object: &Object) -> Result<(), MemoryError> {
        let mut state = self.state();
        let before = state.names.len();
        state.names.retain(|(name, _)| name != object);
        if state.names.len() == before { Err(MemoryError(ErrorKind::NotFound)) } else { Ok(()) }
    }

    fn visit(&self, kind: ObjectKind, mut visit: impl FnMut(Object)) -> Result<(), MemoryError> {
        // Copied, because what is visited may be opened on the way.
        for object in self.objects() {
            match (kind, &object) {
                (ObjectKind::Segments, Object::Segment(_))
                | (ObjectKind::Readers, Object::Reader(_)) => visit(object),
                _ => {}
            }
        }
        Ok(())
    }

    fn reserve(&self, map: &MemoryRegion, range: Range<u64>) -> Result<(), MemoryError> {
        let inside = range.end <= map.size() as u64;
        if inside { Ok(()) } else { Err(MemoryError(ErrorKind::Other)) }
    }

    fn sync(&self, map: &MemoryRegion, _: Range<u64>, _: Durability) -> Result<(), MemoryError> {
        // More than was asked for, which a medium may do too.
        self.synced(&map.0)
    }

    fn sync_names(&self) -> Result<(), MemoryError> {
        let state = &mut *self.state();
        state.synced_names.clone_from(&state.names);
        Ok(())
    }

    fn lock(&self, object: &Object) -> Result<MemoryGuard, MemoryError> {
        if *object != Object::WriterLock {
            self.find(object)?;
        }
        let mut state = self.state();
        if state.locks.iter().any(|(name, _)| name == object) {
            return Err(MemoryError(ErrorKind::Locked));
        }
        if *object == Object::WriterLock {
            state.holder = None;
        }
        state.number += 1;
        let number = state.number;
        state.locks.push((object.clone(), number));
        Ok(MemoryGuard { memory: self.clone(), object: object.clone(), number })
    }

    fn inscribe(&self, guard: &MemoryGuard, epoch: u32) -> Result<(), MemoryError> {
        if guard.object != Object::WriterLock {
            return Err(MemoryError(ErrorKind::Unsupported));
        }
        let mut state = self.state();
        let boot = state.boot;
        state.holder = Some(Holder { pid: self.process_id(), start_time: 0, boot, epoch });
        Ok(())
    }

    fn lock_state(&self, object: &Object) -> Result<LockState, MemoryError> {
        let state = self.state();
        if !state.locks.iter().any(|(name, _)| name == object) {
            return Ok(LockState::Free);
        }
        let holder = state.holder.filter(|_| *object == Object::WriterLock);
        Ok(LockState::Held(holder))
    }
}

impl Memory {
    fn synced(&self, bytes: &Bytes) -> Result<(), MemoryError> {
        if self.0.keeps_synced {
            let mut synced = bytes.synced.lock().unwrap_or_else(PoisonError::into_inner);
            *synced = bytes.to_vec();
        }
        Ok(())
    }
}

/// A lock, released when dropped.
pub struct MemoryGuard {
    memory: Memory,
    object: Object,
    /// Tells it from the lock of another boot.
    number: u64,
}

impl Drop for MemoryGuard {
    fn drop(&mut self) {
        self.memory.state().locks.retain(|(_, number)| *number != self.number);
    }
}

/// An object's bytes.
#[derive(Clone, Debug)]
pub struct MemoryRegion(Arc<Bytes>);

/// An object without a name.
#[derive(Debug)]
pub struct MemoryStaged {
    object: Object,
    region: MemoryRegion,
}

impl MemoryStaged {
    /// What it will be.
    #[must_use]
    pub fn object(&self) -> &Object {
        &self.object
    }
}

/// Memory of its own, aligned as a region is, with the last bytes of the size filled up to a word.
#[derive(Debug)]
struct Bytes {
    base: NonNull<u8>,
    size: usize,
    synced: Mutex<Vec<u8>>,
}

const ALIGNMENT: usize = 64;

impl Bytes {
    fn new(size: usize) -> Arc<Self> {
        let layout = Self::layout(size);
        // SAFETY: the layout has a size, of a word at least.
        let base = unsafe { alloc_zeroed(layout) };
        let Some(base) = NonNull::new(base) else { handle_alloc_error(layout) };
        Arc::new(Self { base, size, synced: Mutex::default() })
    }

    fn layout(size: usize) -> Layout {
        let size = size.max(1).next_multiple_of(8);
        // No size that an allocation can have overflows with this alignment.
        Layout::from_size_align(size, ALIGNMENT).unwrap_or(Layout::new::<u64>())
    }

    /// The object's bytes, word by word, as others may be storing to it.
    fn to_vec(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.size);
        for at in (0..self.size as u64).step_by(8) {
            let word = Words(self).read_u64(at).map_or(0, |word| word.load_relaxed());
            bytes.extend(word.to_le_bytes());
        }
        bytes.truncate(self.size);
        bytes
    }

    fn fill(&self, bytes: &[u8]) {
        for (i, chunk) in bytes.chunks(8).enumerate() {
            let mut word = [0; 8];
            for (to, from) in word.iter_mut().zip(chunk) {
                *to = *from;
            }
            // As many words as the bytes have lie inside.
            let _ = Words(self).store_words(i as u64 * 8, &[u64::from_le_bytes(word)]);
        }
    }

    /// What is left of it after a power loss.
    fn as_synced(&self) -> Arc<Self> {
        let synced = self.synced.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let left = Self::new(self.size);
        left.fill(&synced);
        left.synced.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&synced);
        left
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        // SAFETY: it was allocated with this layout, and nobody has it any more.
        unsafe { dealloc(self.base.as_ptr(), Self::layout(self.size)) };
    }
}

// SAFETY: the bytes belong to the value and not to a thread; who may store to them when is for the
// users of a region to agree on.
unsafe impl Send for Bytes {}

// SAFETY: as above; what is reached through a shared reference is an address and a size.
unsafe impl Sync for Bytes {}

/// The bytes up to the end of the last word.
struct Words<'b>(&'b Bytes);

// SAFETY: `Bytes` allocates this many at `base`, which does not move before it is dropped.
unsafe impl Region for Words<'_> {
    fn base(&self) -> NonNull<u8> {
        self.0.base
    }

    fn size(&self) -> usize {
        Bytes::layout(self.0.size).size()
    }
}

// SAFETY: as above, and allocated memory may be written.
unsafe impl RegionMut for Words<'_> {}

// SAFETY: as for `Words`, of which these bytes are the first; the value keeps them alive.
unsafe impl Region for MemoryRegion {
    fn base(&self) -> NonNull<u8> {
        self.0.base
    }

    fn size(&self) -> usize {
        self.0.size
    }
}

// SAFETY: as above, and allocated memory may be written.
unsafe impl RegionMut for MemoryRegion {}

// SAFETY: the region lies unchanged in this value.
unsafe impl Region for MemoryStaged {
    fn base(&self) -> NonNull<u8> {
        self.region.base()
    }

    fn size(&self) -> usize {
        self.region.size()
    }
}

// SAFETY: as above, and allocated memory may be written.
unsafe impl RegionMut for MemoryStaged {}

/// Runs the suite on a [`Memory`].
#[derive(Clone, Copy, Debug, Default)]
pub struct MemoryHarness;

impl Harness for MemoryHarness {
    type Platform = Memory;
    type Place = Memory;

    fn place(&self) -> Memory {
        Memory::durable()
    }

    fn open(&self, place: &Memory) -> Memory {
        place.clone()
    }
}

impl PowerLoss for MemoryHarness {
    fn lose_power(&self, place: &Memory) {
        place.lose_power();
    }
}
