//! A queue in memory that is there from the start: no operating system, no standard library, no
//! allocator. Where to begin with a backend for a machine of one's own.
//!
//! Everything runs in one thread. Where there are several, or interrupts append, the cells become
//! what the machine excludes others by, and waiting becomes what it sleeps by. Nothing survives a
//! power loss, so syncs have nothing to do.
//!
//! Unsafe lives here because a region is raw memory: that of a slot.
#![allow(clippy::disallowed_types, reason = "a park is handed the word that it sleeps on")]

use core::cell::{Cell, RefCell, UnsafeCell};
use core::fmt;
use core::num::NonZeroU32;
use core::ops::Range;
use core::ptr::NonNull;

use chronicle_sync::{
    AtomicU32, Clock, Durability, Error, ErrorKind, Instant, LockState, Object, ObjectKind, Park,
    Platform, Region, RegionMut, Stage, Storage, Wake,
};

/// Room for so many objects of up to `SIZE` bytes each.
pub struct Slots<const COUNT: usize, const SIZE: usize> {
    slots: [Slot<SIZE>; COUNT],
    writer: Cell<bool>,
    ticks: Cell<u64>,
}

#[repr(C, align(64))]
struct Slot<const SIZE: usize> {
    bytes: UnsafeCell<[u8; SIZE]>,
    length: Cell<usize>,
    name: RefCell<Option<Object>>,
    regions: Cell<u32>,
    locked: Cell<bool>,
}

impl<const COUNT: usize, const SIZE: usize> Slots<COUNT, SIZE> {
    /// Storage with nothing in it.
    pub const fn new() -> Self {
        let slots = [const {
            Slot {
                bytes: UnsafeCell::new([0; SIZE]),
                length: Cell::new(0),
                name: RefCell::new(None),
                regions: Cell::new(0),
                locked: Cell::new(false),
            }
        }; COUNT];
        Self { slots, writer: Cell::new(false), ticks: Cell::new(0) }
    }
}

/// A handle on the slots.
#[derive(Clone, Copy)]
pub struct StaticMemory<const COUNT: usize, const SIZE: usize>(pub &'static Slots<COUNT, SIZE>);

/// What went wrong.
#[derive(Clone, Copy, Debug)]
pub struct Failed(ErrorKind);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl Error for Failed {
    fn kind(&self) -> ErrorKind {
        self.0
    }
}

/// A slot in use: it is free again when it has neither a name nor a region.
pub struct Bytes<const SIZE: usize>(&'static Slot<SIZE>);

impl<const SIZE: usize> Bytes<SIZE> {
    fn of(slot: &'static Slot<SIZE>) -> Self {
        slot.regions.set(slot.regions.get() + 1);
        Self(slot)
    }
}

impl<const SIZE: usize> Drop for Bytes<SIZE> {
    fn drop(&mut self) {
        self.0.regions.set(self.0.regions.get() - 1);
    }
}

// SAFETY: a slot is static and so are its bytes, of which `length` is at most `SIZE` and does not
// change while there is a region of it. Slots are aligned to 64 bytes and begin with their bytes.
unsafe impl<const SIZE: usize> Region for Bytes<SIZE> {
    fn base(&self) -> NonNull<u8> {
        NonNull::from(&self.0.bytes).cast()
    }

    fn size(&self) -> usize {
        self.0.length.get()
    }
}

// SAFETY: as above, and the bytes lie in a cell.
unsafe impl<const SIZE: usize> RegionMut for Bytes<SIZE> {}

/// Bytes that will be this object.
pub struct Staged<const SIZE: usize>(Bytes<SIZE>, Object);

// SAFETY: the region lies unchanged in this value.
unsafe impl<const SIZE: usize> Region for Staged<SIZE> {
    fn base(&self) -> NonNull<u8> {
        self.0.base()
    }

    fn size(&self) -> usize {
        self.0.size()
    }
}

// SAFETY: as above.
unsafe impl<const SIZE: usize> RegionMut for Staged<SIZE> {}

/// A lock, and whether it is the writer's.
pub struct Guard(&'static Cell<bool>, bool);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

impl<const COUNT: usize, const SIZE: usize> StaticMemory<COUNT, SIZE> {
    fn find(&self, object: &Object) -> Result<&'static Slot<SIZE>, Failed> {
        let is_it = |slot: &&Slot<SIZE>| slot.name.borrow().as_ref() == Some(object);
        self.0.slots.iter().find(is_it).ok_or(Failed(ErrorKind::NotFound))
    }
}

impl<const COUNT: usize, const SIZE: usize> Storage for StaticMemory<COUNT, SIZE> {
    type Error = Failed;
    type View = Bytes<SIZE>;
    type Map = Bytes<SIZE>;
    type Staged = Staged<SIZE>;
    type Guard = Guard;

    fn stage(&self, object: &Object, stage: &Stage) -> Result<Staged<SIZE>, Failed> {
        let is_free = |slot: &&Slot<SIZE>| slot.regions.get() == 0 && slot.name.borrow().is_none();
        let slot = self.0.slots.iter().find(is_free).ok_or(Failed(ErrorKind::NoSpace))?;
        if stage.length > SIZE as u64 || stage.reserved > stage.length {
            return Err(Failed(ErrorKind::NoSpace));
        }
        // SAFETY: nobody has a region of this slot, so nobody has a reference into its bytes.
        unsafe { slot.bytes.get().write([0; SIZE]) };
        slot.length.set(stage.length as usize);
        Ok(Staged(Bytes::of(slot), object.clone()))
    }

    fn sync_staged(&self, _: &Staged<SIZE>) -> Result<(), Failed> {
        Ok(())
    }

    fn publish(&self, Staged(bytes, object): Staged<SIZE>) -> Result<Bytes<SIZE>, Failed> {
        if self.find(&object).is_ok() {
            return Err(Failed(ErrorKind::AlreadyExists));
        }
        bytes.0.name.replace(Some(object));
        Ok(bytes)
    }

    fn open(&self, object: &Object) -> Result<Bytes<SIZE>, Failed> {
        self.find(object).map(Bytes::of)
    }

    fn view(&self, object: &Object) -> Result<Bytes<SIZE>, Failed> {
        self.find(object).map(Bytes::of)
    }

    fn copy_out(&self, object: &Object, at: u64, bytes: &mut [u8]) -> Result<usize, Failed> {
        let slot = self.find(object)?;
        let rest = slot.length.get().saturating_sub(usize::try_from(at).unwrap_or(usize::MAX));
        let count = rest.min(bytes.len());
        for (i, byte) in bytes.iter_mut().take(count).enumerate() {
            // SAFETY: `at + i` lies before `length`, and so inside the slot's bytes.
            let from = unsafe { slot.bytes.get().cast::<u8>().add(at as usize + i) };
            // SAFETY: as above, and in one thread nobody stores meanwhile.
            *byte = unsafe { from.read() };
        }
        Ok(count)
    }

    fn sync_object(&self, object: &Object) -> Result<(), Failed> {
        self.find(object).map(drop)
    }

    fn remove(&self, object: &Object) -> Result<(), Failed> {
        self.find(object).map(|slot| drop(slot.name.take()))
    }

    fn visit(&self, kind: ObjectKind, mut visit: impl FnMut(Object)) -> Result<(), Failed> {
        for slot in &self.0.slots {
            let name = slot.name.borrow().clone();
            match (kind, name) {
                (ObjectKind::Segments, Some(name @ Object::Segment(_)))
                | (ObjectKind::Readers, Some(name @ Object::Reader(_))) => visit(name),
                _ => {}
            }
        }
        Ok(())
    }

    fn reserve(&self, map: &Bytes<SIZE>, range: Range<u64>) -> Result<(), Failed> {
        let inside = range.end <= map.size() as u64;
        if inside { Ok(()) } else { Err(Failed(ErrorKind::NoSpace)) }
    }

    fn sync(&self, _: &Bytes<SIZE>, _: Range<u64>, _: Durability) -> Result<(), Failed> {
        Ok(())
    }

    fn sync_names(&self) -> Result<(), Failed> {
        Ok(())
    }

    fn lock(&self, object: &Object) -> Result<Guard, Failed> {
        let is_writer = *object == Object::WriterLock;
        let lock = if is_writer { &self.0.writer } else { &self.find(object)?.locked };
        if lock.replace(true) { Err(Failed(ErrorKind::Locked)) } else { Ok(Guard(lock, is_writer)) }
    }

    fn inscribe(&self, guard: &Guard, _epoch: u32) -> Result<(), Failed> {
        if guard.1 { Ok(()) } else { Err(Failed(ErrorKind::Unsupported)) }
    }

    fn lock_state(&self, object: &Object) -> Result<LockState, Failed> {
        let held = match object {
            Object::WriterLock => self.0.writer.get(),
            _ => self.find(object).is_ok_and(|slot| slot.locked.get()),
        };
        Ok(if held { LockState::Held(None) } else { LockState::Free })
    }
}

impl<const COUNT: usize, const SIZE: usize> Park for StaticMemory<COUNT, SIZE> {
    type Error = Failed;

    /// Returns at once, which is always allowed: whoever waits looks again.
    fn wait(&self, _: &AtomicU32, _: u32, _: Instant) -> Result<Wake, Failed> {
        Ok(Wake::Woken)
    }

    fn wake(&self, _: &AtomicU32, _: NonZeroU32) -> Result<u32, Failed> {
        Ok(0)
    }
}

/// Here a timer of the machine would be read; counting keeps time going.
impl<const COUNT: usize, const SIZE: usize> Clock for StaticMemory<COUNT, SIZE> {
    fn now(&self) -> Instant {
        self.0.ticks.set(self.0.ticks.get() + 1000);
        Instant::from_nanos(self.0.ticks.get())
    }

    fn wall_ns(&self) -> u64 {
        self.now().as_nanos()
    }

    fn boot(&self) -> u64 {
        1
    }
}

impl<const COUNT: usize, const SIZE: usize> Platform for StaticMemory<COUNT, SIZE> {
    type Error = Failed;
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

    /// Here a source of random numbers of the machine would be read.
    fn entropy(&self) -> u64 {
        self.now().as_nanos().wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}
