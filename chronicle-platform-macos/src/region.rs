//! Files mapped into memory.
//!
//! Unsafe lives here because a mapping is raw memory that the kernel is asked for and given back.

use core::ffi::c_void;
use core::ops::Range;
use core::ptr::{NonNull, null_mut};

use chronicle_sync::{Region, RegionMut};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::fstat;
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, MsyncFlags, ProtFlags, madvise, mmap, msync, munmap};
use rustix::param::page_size;

use crate::darwin::do_not_inherit;
use crate::error::{Call, MacosError};

/// An object mapped for reading: a store to it is a fault.
#[derive(Debug)]
pub struct MacosView {
    mapping: Mapping,
}

/// An object mapped for reading and writing, with the file that it maps.
///
/// The mapping does not exist in a forked child (`minherit(2)`).
#[derive(Debug)]
pub struct MacosMap {
    mapping: Mapping,
    /// For syncs, which are the file's and not the mapping's.
    file: OwnedFd,
}

impl MacosView {
    /// Maps a file that is no object of a queue, all of it. Open for reading.
    ///
    /// # Errors
    /// [`Call::Stat`], [`Call::Map`]
    pub fn of(file: impl AsFd) -> Result<Self, MacosError> {
        let file = file.as_fd();
        let stat = Call::Stat.make(|| fstat(file))?;
        Self::new(file, u64::try_from(stat.st_size).unwrap_or(0))
    }

    /// Maps a file that is open for reading; the mapping outlives the descriptor (mmap(2)).
    pub(crate) fn new(file: BorrowedFd<'_>, size: u64) -> Result<Self, MacosError> {
        Ok(Self { mapping: Mapping::new(file, size, ProtFlags::READ)? })
    }

    /// As [`MacosMap::write_back`], for all of the object, whoever stored to it: the pages are those
    /// of one memory object.
    pub(crate) fn write_back(&self) -> Result<(), MacosError> {
        self.mapping.write_back(0..self.mapping.size)
    }
}

impl MacosMap {
    /// Maps a file that is no object of a queue, all of it. Open for reading and writing, and with space
    /// for every byte: a store to a page without is a fatal signal.
    ///
    /// # Errors
    /// [`Call::Stat`], [`Call::Map`]
    pub fn of(file: OwnedFd) -> Result<Self, MacosError> {
        let stat = Call::Stat.make(|| fstat(&file))?;
        Self::new(file, u64::try_from(stat.st_size).unwrap_or(0))
    }

    /// Maps a file that is open for reading and writing.
    pub(crate) fn new(file: OwnedFd, size: u64) -> Result<Self, MacosError> {
        let mapping = Mapping::new(file.as_fd(), size, ProtFlags::READ | ProtFlags::WRITE)?;
        mapping.keep_from_children();
        Ok(Self { mapping, file })
    }

    pub(crate) fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Hands the dirty pages of a range to the file system, and has it write them to the drive
    /// (msync(2) with `MS_SYNC`).
    pub(crate) fn write_back(&self, range: Range<u64>) -> Result<(), MacosError> {
        self.mapping.write_back(self.clamp(range))
    }

    fn clamp(&self, range: Range<u64>) -> Range<usize> {
        let clamp = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(self.mapping.size);
        clamp(range.start)..clamp(range.end)
    }

    /// Asks for the pages of a range (madvise(2)). The first store to each of them is still a fault:
    /// nothing makes pages writable ahead of it without storing to them.
    pub(crate) fn populate(&self, range: Range<u64>) {
        self.mapping.will_need(self.clamp(range));
    }
}

// SAFETY: a `Mapping` is what the trait asks for.
unsafe impl Region for MacosView {
    #[inline(always)]
    fn base(&self) -> NonNull<u8> {
        self.mapping.base
    }

    #[inline(always)]
    fn size(&self) -> usize {
        self.mapping.size
    }
}

// SAFETY: a `Mapping` is what the trait asks for.
unsafe impl Region for MacosMap {
    #[inline(always)]
    fn base(&self) -> NonNull<u8> {
        self.mapping.base
    }

    #[inline(always)]
    fn size(&self) -> usize {
        self.mapping.size
    }
}

// SAFETY: `MacosMap::new` maps with PROT_WRITE, and nothing takes that away.
unsafe impl RegionMut for MacosMap {}

/// Memory that shows a file, from its first byte on; nothing if the size is 0.
///
/// For as long as the value lives, the `size` bytes from `base` on are one mapping of this
/// process's: nothing but `drop` unmaps, remaps or protects it. `base` is aligned to a page, or to
/// 64 bytes if the size is 0.
#[derive(Debug)]
struct Mapping {
    base: NonNull<u8>,
    size: usize,
}

// SAFETY: a mapping belongs to the process and not to a thread, and nothing here depends on which
// thread unmaps it.
unsafe impl Send for Mapping {}

// SAFETY: through a shared reference one gets the address and the size, which do not change, and
// advice, which the kernel serialises. What may be done with the bytes is up to `Region`.
unsafe impl Sync for Mapping {}

/// Has the alignment that a region promises, for an address where nothing is.
#[repr(align(64))]
struct Aligned;

impl Mapping {
    fn new(file: BorrowedFd<'_>, size: u64, protection: ProtFlags) -> Result<Self, MacosError> {
        // No object in memory is larger than `isize::MAX` (`core::ptr`, "Allocation").
        let too_large = Call::Map.failed(Errno::FBIG);
        let size = usize::try_from(size).map_err(|_| too_large)?;
        if isize::try_from(size).is_err() {
            return Err(too_large);
        }
        if size == 0 {
            // mmap(2) refuses a length of 0.
            return Ok(Self { base: NonNull::<Aligned>::dangling().cast(), size });
        }
        let map = || {
            // SAFETY: without an address of the caller's and without MAP_FIXED the kernel takes
            // addresses that nothing uses.
            unsafe { mmap(null_mut(), size, protection, MapFlags::SHARED, file, 0) }
        };
        let address = Call::Map.make(map)?;
        let base = NonNull::new(address.cast()).ok_or(Call::Map.failed(Errno::FAULT))?;
        Ok(Self { base, size })
    }

    /// Keeps the pages from being there in a forked child: one that appended would give out the
    /// parent's claims a second time. If the system refuses, only this safety net is missing.
    fn keep_from_children(&self) {
        let Some((address, length)) = self.pages(0..self.size) else { return };
        // SAFETY: the pages are this mapping's.
        let _ = unsafe { do_not_inherit(address, length) };
    }

    /// Errors are ignored.
    fn will_need(&self, range: Range<usize>) {
        let Some((address, length)) = self.pages(range) else { return };
        // SAFETY: the pages are this mapping's, and this advice neither changes their contents nor
        // takes them away from this process.
        let _ = unsafe { madvise(address, length, Advice::WillNeed) };
    }

    fn write_back(&self, range: Range<usize>) -> Result<(), MacosError> {
        let Some((address, length)) = self.pages(range) else { return Ok(()) };
        // SAFETY: the pages are this mapping's, and writing them out changes nothing about them.
        Call::SyncData.make(|| unsafe { msync(address, length, MsyncFlags::SYNC) })
    }

    /// Address and length of the pages that hold a range; these calls want the start at a page and
    /// round the length up by themselves.
    fn pages(&self, range: Range<usize>) -> Option<(*mut c_void, usize)> {
        let start = range.start - range.start % page_size();
        let length = range.end.min(self.size).saturating_sub(start);
        if length == 0 || range.is_empty() {
            return None;
        }
        // SAFETY: `start` is at most `range.start`, which is below `range.end` and so inside the
        // mapping.
        let address = unsafe { self.base.add(start) };
        Some((address.as_ptr().cast::<c_void>(), length))
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.size != 0 {
            // SAFETY: `base` and `size` are what mmap returned and was given, nothing unmapped them
            // since, and references into the region have ended with the borrow of its owner.
            let _ = unsafe { munmap(self.base.as_ptr().cast(), self.size) };
        }
    }
}
