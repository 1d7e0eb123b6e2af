//! Heap memory that stands for a file's pages in the page cache.
//!
//! Unsafe lives here because a region is raw memory that several mappings show at once. One thread
//! runs a simulated world, and it looks at or replaces whole pages only inside calls of the seam or
//! between the steps of processes, when the engine holds no slice of uncommitted bytes.

use std::cell::UnsafeCell;
use std::ptr::{self, NonNull};
use std::rc::Rc;

use chronicle_sync::{Region, RegionMut};

pub(crate) const PAGE: usize = 4096;

#[repr(C, align(4096))]
struct Page(UnsafeCell<[u8; PAGE]>);

/// Pages at a fixed address, zeroed when made.
pub(crate) struct Memory {
    pages: Box<[Page]>,
    size: usize,
}

impl Memory {
    pub(crate) fn zeroed(size: usize) -> Self {
        let pages = (0..size.div_ceil(PAGE)).map(|_| Page(UnsafeCell::new([0; PAGE]))).collect();
        Self { pages, size }
    }

    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// The address of all pages, from which each of them can be reached.
    fn base(&self) -> NonNull<u8> {
        NonNull::from(&*self.pages).cast()
    }

    /// What is there now.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the pages are initialised and hold at least `size` bytes. Nobody stores to them
        // while the slice lives: its users compare and copy, and call nothing of the engine.
        unsafe { std::slice::from_raw_parts(self.base().as_ptr(), self.size) }
    }

    /// Puts bytes in place of what is there.
    pub(crate) fn write(&self, at: usize, bytes: &[u8]) {
        let Some(end) = at.checked_add(bytes.len()).filter(|end| *end <= self.size) else { return };
        debug_assert!(end <= self.size);
        // SAFETY: `at` lies inside the pages, as checked above.
        let target = unsafe { self.base().as_ptr().add(at) };
        // SAFETY: source and target hold so many bytes and do not overlap, since the source is
        // borrowed from elsewhere. The memory lies in `UnsafeCell`s.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), target, bytes.len()) };
    }
}

/// A file: what its name, and every mapping of it, leads to.
pub(crate) struct File {
    pub(crate) id: usize,
    pub(crate) memory: Memory,
}

macro_rules! region {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        pub struct $name(pub(crate) Rc<File>);

        // SAFETY: the pages stay where they are until the last owner of the file is gone, are aligned
        // to 4096, and may be read and written.
        unsafe impl Region for $name {
            #[inline]
            fn base(&self) -> NonNull<u8> {
                self.0.memory.base()
            }

            #[inline]
            fn size(&self) -> usize {
                self.0.memory.size()
            }
        }
    };
}

region! {
    /// A simulated file mapped for reading.
    SimView
}
region! {
    /// A simulated file mapped for reading and writing.
    SimMap
}

// SAFETY: the pages lie in `UnsafeCell`s and may be written.
unsafe impl RegionMut for SimMap {}

/// A simulated file that has no name yet.
pub struct SimStaged {
    pub(crate) object: chronicle_sync::Object,
    pub(crate) map: SimMap,
}

// SAFETY: the map is a region and lies unchanged in this value.
unsafe impl Region for SimStaged {
    #[inline]
    fn base(&self) -> NonNull<u8> {
        self.map.base()
    }

    #[inline]
    fn size(&self) -> usize {
        self.map.size()
    }
}

// SAFETY: as above, and the map may be written to.
unsafe impl RegionMut for SimStaged {}
