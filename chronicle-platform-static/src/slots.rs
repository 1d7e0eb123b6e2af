//! Objects in slots of static memory.
//!
//! Unsafe lives here because a region is raw memory: that of a slot.

use core::cell::UnsafeCell;
use core::fmt;
use core::ops::Range;
use core::ptr::NonNull;

use chronicle_sync::{
    Durability, ErrorKind, LockState, Object, ObjectKind, Region, RegionExt, RegionMut, Stage,
    Storage,
};
use spin::mutex::{SpinMutex, SpinMutexGuard};

use crate::{StaticError, StaticPlatform};

/// Room for `COUNT` objects of up to `SIZE` bytes each, `SIZE` being a multiple of 64 and at least the
/// size of a segment, 4 KiB or more.
///
/// A queue needs a slot for each of its segments and one more while it rolls, one for each named
/// reader, and three for itself. Segments of more than 64 KiB have an index each, which takes another.
pub struct Slots<const COUNT: usize, const SIZE: usize> {
    memory: [Memory<SIZE>; COUNT],
    table: SpinMutex<Table<COUNT>>,
}

/// The bytes of a slot.
#[repr(C, align(64))]
struct Memory<const SIZE: usize>(UnsafeCell<[u8; SIZE]>);

// SAFETY: the bytes are reached through regions only, and who may store to which of them when is for
// the users of a region to agree on, as the contract of `Region` says.
unsafe impl<const SIZE: usize> Sync for Memory<SIZE> {}

/// What is in the slots.
struct Table<const COUNT: usize> {
    entries: [Entry; COUNT],
    /// Whether the writer's lock is held. It has no bytes, so it takes no slot.
    writer: bool,
    /// How many numbers were given out.
    numbers: u64,
}

#[derive(Debug)]
struct Entry {
    name: Option<Object>,
    length: usize,
    /// Regions and locks of the slot: it is free when there are none, and no name.
    users: u32,
    locked: bool,
}

const FREE: Entry = Entry { name: None, length: 0, users: 0, locked: false };

impl<const COUNT: usize, const SIZE: usize> Slots<COUNT, SIZE> {
    /// Memory with nothing in it.
    #[must_use]
    #[allow(
        clippy::new_without_default,
        reason = "only a static needs one, and it cannot use Default"
    )]
    pub const fn new() -> Self {
        const {
            assert!(SIZE.is_multiple_of(64), "regions are aligned to 64 bytes");
        };
        Self {
            memory: [const { Memory(UnsafeCell::new([0; SIZE])) }; COUNT],
            table: SpinMutex::new(Table { entries: [FREE; COUNT], writer: false, numbers: 0 }),
        }
    }

    /// The memory as a queue's storage.
    #[must_use]
    pub const fn storage(&'static self) -> StaticStorage<COUNT, SIZE> {
        StaticStorage(self)
    }

    /// The memory, and the machine's clock and means to sleep.
    #[must_use]
    pub const fn platform<M>(&'static self, machine: M) -> StaticPlatform<M, COUNT, SIZE> {
        StaticPlatform::new(self.storage(), machine)
    }
}

impl<const COUNT: usize> Table<COUNT> {
    fn find(&mut self, object: &Object) -> Result<(usize, &mut Entry), StaticError> {
        let mut entries = self.entries.iter_mut().enumerate();
        let found = entries.find(|(_, entry)| entry.name.as_ref() == Some(object));
        found.ok_or(StaticError::new(ErrorKind::NotFound))
    }
}

/// The objects of one queue in static memory. Made by [`Slots::storage`].
#[derive(Clone, Copy)]
pub struct StaticStorage<const COUNT: usize, const SIZE: usize>(&'static Slots<COUNT, SIZE>);

impl<const COUNT: usize, const SIZE: usize> fmt::Debug for StaticStorage<COUNT, SIZE> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.table().entries).finish()
    }
}

impl<const COUNT: usize, const SIZE: usize> StaticStorage<COUNT, SIZE> {
    fn table(&self) -> SpinMutexGuard<'static, Table<COUNT>> {
        self.0.table.lock()
    }

    pub(crate) fn number(&self) -> u64 {
        let mut table = self.table();
        table.numbers += 1;
        // The finaliser of splitmix64 (Steele, Lea and Flood 2014): different inputs, different
        // outputs.
        let mut z = table.numbers.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn region(&self, object: &Object) -> Result<StaticRegion<COUNT, SIZE>, StaticError> {
        let mut table = self.table();
        let (slot, entry) = table.find(object)?;
        self.region_of(slot, entry)
    }

    /// A region of a slot, which is used by one more from here on.
    fn region_of(
        &self,
        slot: usize,
        entry: &mut Entry,
    ) -> Result<StaticRegion<COUNT, SIZE>, StaticError> {
        // There is memory for each entry.
        let memory = self.0.memory.get(slot).ok_or(StaticError::new(ErrorKind::NotFound))?;
        entry.users += 1;
        Ok(StaticRegion { storage: *self, slot, memory: Whole(memory), length: entry.length })
    }

    fn change(&self, slot: usize, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.table().entries.get_mut(slot) {
            change(entry);
        }
    }
}

/// All bytes of a slot, whatever the length of the object in it.
#[derive(Clone, Copy)]
struct Whole<const SIZE: usize>(&'static Memory<SIZE>);

// SAFETY: the memory is static, so it stays where it is; it is aligned to 64 bytes and has `SIZE`.
unsafe impl<const SIZE: usize> Region for Whole<SIZE> {
    fn base(&self) -> NonNull<u8> {
        NonNull::from(&self.0.0).cast()
    }

    fn size(&self) -> usize {
        SIZE
    }
}

// SAFETY: as above, and the bytes lie in a cell.
unsafe impl<const SIZE: usize> RegionMut for Whole<SIZE> {}

/// The bytes of an object. Its slot is not used for anything else while there is one, even if the
/// object is removed.
pub struct StaticRegion<const COUNT: usize, const SIZE: usize> {
    storage: StaticStorage<COUNT, SIZE>,
    slot: usize,
    memory: Whole<SIZE>,
    length: usize,
}

impl<const COUNT: usize, const SIZE: usize> Drop for StaticRegion<COUNT, SIZE> {
    fn drop(&mut self) {
        self.storage.change(self.slot, |entry| entry.users -= 1);
    }
}

// SAFETY: as `Whole`. `length` is at most `SIZE`, which `stage` has checked, and does not change.
unsafe impl<const COUNT: usize, const SIZE: usize> Region for StaticRegion<COUNT, SIZE> {
    #[inline]
    fn base(&self) -> NonNull<u8> {
        self.memory.base()
    }

    #[inline]
    fn size(&self) -> usize {
        self.length
    }
}

// SAFETY: as above.
unsafe impl<const COUNT: usize, const SIZE: usize> RegionMut for StaticRegion<COUNT, SIZE> {}

/// A slot whose object has no name yet.
pub struct StaticStaged<const COUNT: usize, const SIZE: usize> {
    region: StaticRegion<COUNT, SIZE>,
    object: Object,
}

// SAFETY: the region lies unchanged in this value.
unsafe impl<const COUNT: usize, const SIZE: usize> Region for StaticStaged<COUNT, SIZE> {
    fn base(&self) -> NonNull<u8> {
        self.region.base()
    }

    fn size(&self) -> usize {
        self.region.size()
    }
}

// SAFETY: as above.
unsafe impl<const COUNT: usize, const SIZE: usize> RegionMut for StaticStaged<COUNT, SIZE> {}

/// A lock, released when dropped.
pub struct StaticGuard<const COUNT: usize, const SIZE: usize> {
    storage: StaticStorage<COUNT, SIZE>,
    /// The slot of the object; `None` for the writer's lock.
    slot: Option<usize>,
}

impl<const COUNT: usize, const SIZE: usize> Drop for StaticGuard<COUNT, SIZE> {
    fn drop(&mut self) {
        match self.slot {
            None => self.storage.table().writer = false,
            Some(slot) => self.storage.change(slot, |entry| {
                entry.locked = false;
                entry.users -= 1;
            }),
        }
    }
}

impl<const COUNT: usize, const SIZE: usize> Storage for StaticStorage<COUNT, SIZE> {
    type Error = StaticError;
    type View = StaticRegion<COUNT, SIZE>;
    type Map = StaticRegion<COUNT, SIZE>;
    type Staged = StaticStaged<COUNT, SIZE>;
    type Guard = StaticGuard<COUNT, SIZE>;

    fn stage(&self, object: &Object, stage: &Stage) -> Result<Self::Staged, StaticError> {
        let no_space = StaticError::new(ErrorKind::NoSpace);
        let length = usize::try_from(stage.length).ok().filter(|length| *length <= SIZE);
        let length = length.filter(|_| stage.reserved <= stage.length).ok_or(no_space)?;
        let mut table = self.table();
        let mut entries = table.entries.iter_mut().enumerate();
        let free = entries.find(|(_, entry)| entry.users == 0 && entry.name.is_none());
        let (slot, entry) = free.ok_or(no_space)?;
        *entry = Entry { length, ..FREE };
        let region = self.region_of(slot, entry)?;
        drop(table);
        // SAFETY: the slot was free, so this is its only region. What earlier ones did came before they
        // were dropped under the table's lock, which was taken since.
        unsafe { region.memory.0.0.get().write_bytes(0, 1) };
        Ok(StaticStaged { region, object: object.clone() })
    }

    fn sync_staged(&self, _staged: &Self::Staged) -> Result<(), StaticError> {
        Ok(())
    }

    fn publish(&self, staged: Self::Staged) -> Result<Self::Map, StaticError> {
        let StaticStaged { region, object } = staged;
        let mut table = self.table();
        let is_taken = table.find(&object).is_ok();
        if let Some(entry) = table.entries.get_mut(region.slot)
            && !is_taken
        {
            entry.name = Some(object);
        }
        // Before the region may be dropped, which takes the lock again.
        drop(table);
        if is_taken { Err(StaticError::new(ErrorKind::AlreadyExists)) } else { Ok(region) }
    }

    fn open(&self, object: &Object) -> Result<Self::Map, StaticError> {
        self.region(object)
    }

    fn view(&self, object: &Object) -> Result<Self::View, StaticError> {
        self.region(object)
    }

    fn copy_out(&self, object: &Object, at: u64, bytes: &mut [u8]) -> Result<usize, StaticError> {
        let region = self.region(object)?;
        let end = region.length as u64;
        let mut copied = 0;
        // Word by word, as others may be storing to it.
        while let Some(rest) = bytes.get_mut(copied..).filter(|rest| !rest.is_empty()) {
            let from = at.saturating_add(copied as u64);
            let Some(word) = region.memory.read_u64(from / 8 * 8).filter(|_| from < end) else {
                break;
            };
            let word = word.load_relaxed().to_le_bytes();
            let inside = word.iter().zip(from / 8 * 8..end).skip((from % 8) as usize);
            for (to, (byte, _)) in rest.iter_mut().zip(inside) {
                *to = *byte;
                copied += 1;
            }
        }
        Ok(copied)
    }

    fn sync_object(&self, object: &Object) -> Result<(), StaticError> {
        self.table().find(object).map(drop)
    }

    fn remove(&self, object: &Object) -> Result<(), StaticError> {
        let mut table = self.table();
        let (_, entry) = table.find(object)?;
        entry.name = None;
        Ok(())
    }

    fn visit(&self, kind: ObjectKind, mut visit: impl FnMut(Object)) -> Result<(), StaticError> {
        for slot in 0..COUNT {
            // Not under the lock: what is visited may be opened on the way.
            let name = self.table().entries.get(slot).and_then(|entry| entry.name.clone());
            match (kind, name) {
                (ObjectKind::Segments, Some(name @ Object::Segment(_)))
                | (ObjectKind::Readers, Some(name @ Object::Reader(_))) => visit(name),
                _ => {}
            }
        }
        Ok(())
    }

    fn reserve(&self, map: &Self::Map, range: Range<u64>) -> Result<(), StaticError> {
        let is_inside = range.end <= map.length as u64;
        if is_inside { Ok(()) } else { Err(StaticError::new(ErrorKind::NoSpace)) }
    }

    fn sync(
        &self,
        _map: &Self::Map,
        _range: Range<u64>,
        _level: Durability,
    ) -> Result<(), StaticError> {
        Ok(())
    }

    fn sync_names(&self) -> Result<(), StaticError> {
        Ok(())
    }

    fn lock(&self, object: &Object) -> Result<Self::Guard, StaticError> {
        let mut table = self.table();
        let (is_held, slot) = if *object == Object::WriterLock {
            (core::mem::replace(&mut table.writer, true), None)
        } else {
            let (slot, entry) = table.find(object)?;
            let is_held = core::mem::replace(&mut entry.locked, true);
            entry.users += u32::from(!is_held);
            (is_held, Some(slot))
        };
        if is_held {
            return Err(StaticError::new(ErrorKind::Locked));
        }
        Ok(StaticGuard { storage: *self, slot })
    }

    /// Nobody needs to be told who holds the lock where there is one program.
    fn inscribe(&self, guard: &Self::Guard, _epoch: u32) -> Result<(), StaticError> {
        let is_for_it = guard.slot.is_none();
        if is_for_it { Ok(()) } else { Err(StaticError::new(ErrorKind::Unsupported)) }
    }

    fn lock_state(&self, object: &Object) -> Result<LockState, StaticError> {
        let mut table = self.table();
        let is_held = match object {
            Object::WriterLock => table.writer,
            _ => table.find(object).is_ok_and(|(_, entry)| entry.locked),
        };
        Ok(if is_held { LockState::Held(None) } else { LockState::Free })
    }
}
