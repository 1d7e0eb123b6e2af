//! Space for files, in large pages where there is memory for them.
//!
//! In tmpfs space is memory. The kernel gives it page by page, and every process that maps the file pays for each page
//! once more: a pass over messages that nobody has read yet costs more for its pages than for its bytes. Large
//! pages take that away, and are not what a tmpfs gives by itself (`huge=never`): it is asked for them.

use core::ops::Range;

use chronicle_sync::Region;
use rustix::fd::BorrowedFd;
use rustix::fs::{FallocateFlags, SeekFrom, fallocate, fstatfs, seek};
use rustix::io::Errno;
use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::error::{Call, LinuxError};
use crate::region::{LARGE_PAGE, LinuxMap};

/// Where a large page takes longer, memory has to be gathered for it, and what is still missing comes in small ones: some
/// 3 ms for as much. A large one takes 0.2 ms, and 5 ms of memory that a virtual machine has never used.
const SLOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
/// `TMPFS_MAGIC`, statfs(2).
const TMPFS: u32 = 0x0102_1994;

/// Whether a file is in tmpfs.
pub(crate) fn is_in_memory(file: BorrowedFd<'_>) -> bool {
    // The type differs from one architecture to the next; the numbers have 32 bits (statfs(2)).
    fstatfs(file).is_ok_and(|stat| stat.f_type as u32 == TMPFS)
}

/// Provides space for a range inside the mapping; what has some keeps its bytes.
pub(crate) fn provide(map: &LinuxMap, range: Range<u64>) -> Result<(), LinuxError> {
    provide_large(map, &range);
    allocate(map.file(), range)
}

/// Provides space for a file that nobody else has and that has some up to `reserved`: up to `wanted` in large pages where
/// they are to be had, and otherwise for all of it, which is one call. Returns up to where there is space now.
pub(crate) fn provide_in_pieces(
    map: &LinuxMap,
    reserved: u64,
    wanted: u64,
) -> Result<u64, LinuxError> {
    let size = map.size() as u64;
    let wanted = wanted.min(size);
    // What there is of the first page becomes a part of it.
    let begin = reserved - reserved % LARGE_PAGE;
    if map.is_in_memory() {
        let end = make_large(map, begin..wanted.next_multiple_of(LARGE_PAGE).min(size));
        if end >= wanted {
            // The kernel's word for a range in which no large page can lie is that all are made.
            let end = end.max(reserved);
            return allocate(map.file(), reserved..end).map(|()| end);
        }
    }
    allocate(map.file(), reserved..size).map(|()| size)
}

/// Provides space in large pages from the beginning of a range on, as far as they are to be had and there were no bytes
/// before. What that does not reach is left to [`allocate`], and so is every error.
fn provide_large(map: &LinuxMap, range: &Range<u64>) {
    let at = range.start.next_multiple_of(LARGE_PAGE);
    if !map.is_in_memory() || range.end < at + LARGE_PAGE {
        return;
    }
    let until = match seek(map.file(), SeekFrom::Data(at)) {
        Ok(data) => data.min(range.end),
        // No data from there on.
        Err(Errno::NXIO) => range.end,
        Err(_) => return,
    };
    make_large(map, at..until);
}

/// Makes large pages of a range that begins at a multiple of their size, as far as it contains whole ones and they are to be
/// had in time. Returns up to where that was done.
fn make_large(map: &LinuxMap, range: Range<u64>) -> u64 {
    let mut at = range.start;
    while at + LARGE_PAGE <= range.end {
        let before = clock_gettime(ClockId::Monotonic);
        let is_made = map.make_large(at..at + LARGE_PAGE);
        if !is_made || clock_gettime(ClockId::Monotonic) - before > SLOW {
            break;
        }
        at += LARGE_PAGE;
    }
    at
}

/// Provides space (`fallocate(2)`); what has some keeps its bytes.
fn allocate(file: BorrowedFd<'_>, range: Range<u64>) -> Result<(), LinuxError> {
    // tmpfs undoes a call that a signal interrupts (`shmem_fallocate` in Linux), so a timer's
    // signals could interrupt a large one forever: it is continued in ever smaller pieces.
    const INTERRUPTIONS: u32 = 100;
    const SMALLEST: u64 = 64 << 10;

    let mut at = range.start;
    let mut piece = range.end.saturating_sub(at);
    let mut interrupted = 0;
    while at < range.end {
        let length = piece.min(range.end - at);
        match fallocate(file, FallocateFlags::empty(), at, length) {
            Ok(()) => at += length,
            Err(Errno::INTR) if interrupted < INTERRUPTIONS => {
                interrupted += 1;
                piece = (length / 2).max(SMALLEST);
            }
            Err(errno) => return Err(Call::Allocate.failed(errno)),
        }
    }
    Ok(())
}
