//! Files mapped into memory.
//!
//! Unsafe lives here because a mapping is raw memory that the kernel is asked for and given back.

use core::ffi::{c_int, c_void};
use core::ops::Range;
use core::ptr::{NonNull, null_mut};

use chronicle_sync::{Region, RegionMut};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::fstat;
use rustix::io::Errno;
use rustix::mm::{
    Advice, MapFlags, MsyncFlags, ProtFlags, madvise, mmap, mmap_anonymous, msync, munmap,
};
use rustix::param::page_size;

use crate::error::{Call, LinuxError};
use crate::lock::last_errno;
use crate::space::is_in_memory;

/// Bytes that the processor maps with one entry, if the kernel has them in one piece and they lie at a multiple of
/// that in the file and in memory: on x86-64, and on aarch64 with small pages of 4 KiB. Where it is another number,
/// large pages are not made.
pub(crate) const LARGE_PAGE: u64 = 2 << 20;

/// `MADV_COLLAPSE`, since Linux 6.1 (madvise(2), asm-generic/mman-common.h).
const COLLAPSE: c_int = 25;

/// An object mapped for reading: a store to it is a fault.
#[derive(Debug)]
pub struct LinuxView {
    mapping: Mapping,
}

/// An object mapped for reading and writing, with the file that it maps.
///
/// The mapping does not exist in a forked child (`MADV_DONTFORK`).
#[derive(Debug)]
pub struct LinuxMap {
    mapping: Mapping,
    /// Open since before the first store: a write error that the kernel meets later is reported on
    /// this descriptor, and on one that is opened afterwards perhaps not (fsync(2), "EIO").
    file: OwnedFd,
}

impl LinuxView {
    /// Maps a file that is no object of a queue, all of it. Open for reading.
    ///
    /// # Errors
    /// [`Call::Stat`], [`Call::Map`]
    pub fn of(file: impl AsFd) -> Result<Self, LinuxError> {
        let file = file.as_fd();
        let stat = Call::Stat.make(|| fstat(file))?;
        Self::new(file, u64::try_from(stat.st_size).unwrap_or(0))
    }

    /// Maps a file that is open for reading; the mapping outlives the descriptor (mmap(2)).
    pub(crate) fn new(file: BorrowedFd<'_>, size: u64) -> Result<Self, LinuxError> {
        Ok(Self { mapping: Mapping::new(file, size, ProtFlags::READ)? })
    }
}

impl LinuxMap {
    /// Maps a file that is no object of a queue, all of it. Open for reading and writing, and with space
    /// for every byte: a store to a page without is a fatal signal.
    ///
    /// # Errors
    /// [`Call::Stat`], [`Call::Map`]
    pub fn of(file: OwnedFd) -> Result<Self, LinuxError> {
        let stat = Call::Stat.make(|| fstat(&file))?;
        Self::new(file, u64::try_from(stat.st_size).unwrap_or(0))
    }

    /// Maps a file that is open for reading and writing.
    pub(crate) fn new(file: OwnedFd, size: u64) -> Result<Self, LinuxError> {
        let mapping = Mapping::new(file.as_fd(), size, ProtFlags::READ | ProtFlags::WRITE)?;
        // A forked child that appended would give out the parent's claims a second time. If the
        // advice is not taken, only this safety net is missing.
        mapping.advise(0..mapping.size, Advice::LinuxDontFork);
        Ok(Self { mapping, file })
    }

    /// Whether the file is in tmpfs. Not known of files that are smaller than a large page.
    pub(crate) fn is_in_memory(&self) -> bool {
        self.mapping.is_in_memory
    }

    /// Makes one large page of a range of that size, which begins at a multiple of it; whether that was done. For other
    /// processes nothing changes but the time that their accesses take.
    pub(crate) fn make_large(&self, range: Range<u64>) -> bool {
        let range = self.clamp(range);
        // Where there is no page at all the kernel refuses.
        self.mapping.advise(range.start..range.start + 1, Advice::LinuxPopulateWrite);
        self.mapping.collapse(range)
    }

    pub(crate) fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Brings a range to the medium: its dirty pages, and what of the file's metadata is needed to read
    /// them back (msync(2) with `MS_SYNC`, which is fdatasync(2) of a range). Reports on the same open
    /// file description as `file`, through which the mapping was made.
    pub(crate) fn sync(&self, range: Range<u64>) -> Result<(), LinuxError> {
        self.mapping.sync(self.clamp(range))
    }

    /// Makes the pages of a range and writes them, and waits for that and for nothing else (sync_file_range(2)): the file
    /// system's own records are changed by it, but not brought to the medium.
    pub(crate) fn write(&self, range: Range<u64>) -> Result<(), LinuxError> {
        if self.is_in_memory() {
            return Ok(());
        }
        self.populate(range.clone());
        let flags = libc::SYNC_FILE_RANGE_WAIT_BEFORE
            | libc::SYNC_FILE_RANGE_WRITE
            | libc::SYNC_FILE_RANGE_WAIT_AFTER;
        let range = self.clamp(range);
        let (start, length) = (range.start as libc::off64_t, range.len() as libc::off64_t);
        if length == 0 {
            // To the kernel that is everything behind the start.
            return Ok(());
        }
        Call::SyncData.make(|| {
            // SAFETY: the call takes no pointer, and the descriptor is open for as long as `file` lives.
            let result =
                unsafe { libc::sync_file_range(self.file.as_raw_fd(), start, length, flags) };
            if result == 0 { Ok(()) } else { Err(last_errno()) }
        })
    }

    fn clamp(&self, range: Range<u64>) -> Range<usize> {
        let clamp = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(self.mapping.size);
        clamp(range.start)..clamp(range.end)
    }

    /// Makes the pages of a range present and writable (madvise(2), since Linux 5.14), each for itself.
    ///
    /// Where the kernel reads ahead, it puts neighbours into one folio, of which it knows only as a whole
    /// whether it is dirty: each sync would write its rest, zeros, once more.
    pub(crate) fn populate(&self, range: Range<u64>) {
        let range = self.clamp(range);
        if self.is_in_memory() {
            // Nothing is read ahead, and advice for a part of a large page would take it apart.
            return self.mapping.advise(range, Advice::LinuxPopulateWrite);
        }
        for advice in [Advice::Random, Advice::LinuxPopulateWrite, Advice::Normal] {
            self.mapping.advise(range.clone(), advice);
        }
    }
}

// SAFETY: a `Mapping` is what the trait asks for.
unsafe impl Region for LinuxView {
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
unsafe impl Region for LinuxMap {
    #[inline(always)]
    fn base(&self) -> NonNull<u8> {
        self.mapping.base
    }

    #[inline(always)]
    fn size(&self) -> usize {
        self.mapping.size
    }
}

// SAFETY: `LinuxMap::new` maps with PROT_WRITE, and nothing takes that away.
unsafe impl RegionMut for LinuxMap {}

/// Memory that shows a file, from its first byte on; nothing if the size is 0.
///
/// For as long as the value lives, the `size` bytes from `base` on are one mapping of this
/// process's: nothing but `drop` unmaps, remaps or protects it. `base` is aligned to a page, or to
/// 64 bytes if the size is 0.
#[derive(Debug)]
struct Mapping {
    base: NonNull<u8>,
    size: usize,
    /// The file is in tmpfs, and no smaller than a large page.
    is_in_memory: bool,
}

// SAFETY: a mapping belongs to the process and not to a thread, and nothing here depends on which
// thread unmaps it.
unsafe impl Send for Mapping {}

// SAFETY: through a shared reference one gets the address and the size, which do not change, and
// advice, which the kernel serialises. What may be done with the bytes is up to `Region`.
unsafe impl Sync for Mapping {}

/// Addresses where a mapping of some size can begin at a multiple of a large page, kept free by a mapping of nothing.
struct Place {
    start: *mut c_void,
    length: usize,
}

impl Place {
    /// `None` if there are none: then the mapping goes wherever it can.
    fn new(size: usize) -> Option<Self> {
        let length =
            size.checked_next_multiple_of(page_size())?.checked_add(LARGE_PAGE as usize)?;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: the kernel takes addresses that nothing uses.
        let start = unsafe { mmap_anonymous(null_mut(), length, ProtFlags::empty(), flags) };
        start.ok().map(|start| Self { start, length })
    }

    fn aligned(&self) -> *mut c_void {
        let before = self.start.addr().next_multiple_of(LARGE_PAGE as usize) - self.start.addr();
        self.start.wrapping_byte_add(before)
    }

    /// Gives back what is around the `size` bytes from `aligned` on, where a mapping was made. If that failed, nobody knows
    /// whether these addresses are still kept free, so they are left alone.
    fn leave(self, size: usize) {
        let end = self.aligned().wrapping_byte_add(size.next_multiple_of(page_size()));
        let whole_end = self.start.wrapping_byte_add(self.length);
        for (from, to) in [(self.start, self.aligned()), (end, whole_end)] {
            if from < to {
                // SAFETY: the addresses are this value's, and nothing was mapped over them.
                let _ = unsafe { munmap(from, to.addr() - from.addr()) };
            }
        }
    }
}

/// Has the alignment that a region promises, for an address where nothing is.
#[repr(align(64))]
struct Aligned;

impl Mapping {
    fn new(file: BorrowedFd<'_>, size: u64, protection: ProtFlags) -> Result<Self, LinuxError> {
        // No object in memory is larger than `isize::MAX` (`core::ptr`, "Allocation").
        let too_large = Call::Map.failed(Errno::FBIG);
        let size = usize::try_from(size).map_err(|_| too_large)?;
        if isize::try_from(size).is_err() {
            return Err(too_large);
        }
        if size == 0 {
            // mmap(2) refuses a length of 0.
            let base = NonNull::<Aligned>::dangling().cast();
            return Ok(Self { base, size, is_in_memory: false });
        }
        let is_in_memory = size as u64 >= LARGE_PAGE && is_in_memory(file);
        let map = |place: Option<&Place>| {
            let (at, fixed) = match place {
                Some(place) => (place.aligned(), MapFlags::FIXED),
                None => (null_mut(), MapFlags::empty()),
            };
            // SAFETY: without an address of the caller's the kernel takes addresses that nothing uses, and a `Place` has
            // so many from `aligned` on that nothing else uses.
            unsafe { mmap(at, size, protection, MapFlags::SHARED | fixed, file, 0) }
        };
        let place = if is_in_memory { Place::new(size) } else { None };
        let address = Call::Map.make(|| map(place.as_ref()));
        if let Some(place) = place {
            place.leave(size);
        }
        let base = NonNull::new(address?.cast()).ok_or(Call::Map.failed(Errno::FAULT))?;
        Ok(Self { base, size, is_in_memory })
    }

    /// Makes a large page of each part of the range that can be one (madvise(2), `MADV_COLLAPSE`); whether all are.
    fn collapse(&self, range: Range<usize>) -> bool {
        let Some((address, length)) = self.pages(range) else { return false };
        // SAFETY: the pages are this mapping's, and keep their contents.
        unsafe { libc::madvise(address, length, COLLAPSE) == 0 }
    }

    /// Gives advice about the pages that hold a range inside the mapping; errors are ignored.
    fn advise(&self, range: Range<usize>, advice: Advice) {
        debug_assert!(matches!(
            advice,
            Advice::LinuxDontFork | Advice::LinuxPopulateWrite | Advice::Random | Advice::Normal
        ));
        let Some((address, length)) = self.pages(range) else { return };
        // SAFETY: the pages are this mapping's. The kinds of advice given here neither change their
        // contents nor take them away from this process.
        let _ = unsafe { madvise(address, length, advice) };
    }

    fn sync(&self, range: Range<usize>) -> Result<(), LinuxError> {
        let Some((address, length)) = self.pages(range) else { return Ok(()) };
        // SAFETY: the pages are this mapping's, and writing them out changes nothing about them.
        Call::SyncData.make(|| unsafe { msync(address, length, MsyncFlags::SYNC) })
    }

    /// Address and length of the pages that hold a range; madvise(2) and msync(2) want the start at a
    /// page and round the length up by themselves.
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
