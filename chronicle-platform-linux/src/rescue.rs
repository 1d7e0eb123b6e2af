//! Making good a sync that failed.
//!
//! After a failed write-back the kernel may mark the pages clean, so that another sync has nothing to
//! do and succeeds (fsync(2), "EIO"). And ext4 may write pages that were made dirty again to their
//! blocks and leave the blocks marked as never written, so that they read as zeros (seen on Linux
//! 6.18, where the first write to a preallocated block had failed). So every page is made dirty and
//! synced, the medium is read past the page cache and compared, what differs is written past the page
//! cache, and all of it is compared once more: nothing is believed.

use core::ops::Range;

use chronicle_sync::{Region, RegionExt, RegionMutExt};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{Mode, OFlags, fdatasync, openat};
use rustix::io::{Errno, pread, pwrite};
use rustix::param::page_size;

use crate::error::{Call, LinuxError};
use crate::region::LinuxMap;

/// Bytes that are compared at a time: a multiple of every block size.
const BLOCK: usize = 32 << 10;

/// Direct reads and writes want memory that is aligned to the device's blocks (open(2), "O_DIRECT").
#[repr(align(4096))]
struct Aligned([u8; BLOCK]);

/// See [`chronicle_sync::Storage::rescue`]. `name` is the object that `map` maps.
pub(crate) fn rescue(
    directory: BorrowedFd<'_>,
    name: &str,
    map: &LinuxMap,
    range: Range<u64>,
) -> Result<bool, LinuxError> {
    let flags = OFlags::RDWR | OFlags::DIRECT | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let direct = match Call::Open.make(|| openat(directory, name, flags, Mode::empty())) {
        // A file system in memory has no medium to read from.
        Err(error) if error.is(Errno::INVAL) => return Ok(false),
        direct => direct?,
    };
    dirty(map, &range);
    map.sync(range.clone())?;
    let mut same = true;
    let written = blocks(map, &range, |at, wanted| {
        if !is_same(map, direct.as_fd(), at, wanted)? {
            same = false;
            write(map, direct.as_fd(), at, wanted)?;
        }
        Ok(())
    });
    match written {
        // Opened, but the file system reads through its cache only.
        Err(error) if error.is(Errno::INVAL) => return Ok(false),
        written => written?,
    }
    if !same {
        Call::SyncData.make(|| fdatasync(&direct))?;
        blocks(map, &range, |at, wanted| {
            let same = is_same(map, direct.as_fd(), at, wanted)?;
            if same { Ok(()) } else { Err(Call::Read.failed(Errno::IO)) }
        })?;
    }
    Ok(true)
}

/// Stores a word of every page over itself. Nobody else stores to the range meanwhile: the caller
/// holds the lock that says so.
fn dirty(map: &LinuxMap, range: &Range<u64>) {
    let page = page_size() as u64;
    let mut at = range.start - range.start % page;
    while at < range.end {
        if let Some(word) = map.read_u64(at) {
            map.store_words(at, &[word.load_relaxed()]);
        }
        at += page;
    }
}

/// Goes through the blocks of a range: offset, and bytes that count.
fn blocks(
    map: &LinuxMap,
    range: &Range<u64>,
    mut visit: impl FnMut(u64, usize) -> Result<(), LinuxError>,
) -> Result<(), LinuxError> {
    let mut at = range.start - range.start % BLOCK as u64;
    // Whole pages, for direct writes; a file's size is a multiple of them.
    let end = range.end.next_multiple_of(page_size() as u64).min(map.size() as u64);
    while at < end {
        visit(at, (end - at).min(BLOCK as u64) as usize)?;
        at += BLOCK as u64;
    }
    Ok(())
}

/// Whether the medium holds what the mapping shows.
fn is_same(
    map: &LinuxMap,
    file: BorrowedFd<'_>,
    at: u64,
    wanted: usize,
) -> Result<bool, LinuxError> {
    let mut block = Aligned([0; BLOCK]);
    let read =
        retried(|| pread(file, &mut block.0, at)).map_err(|errno| Call::Read.failed(errno))?;
    let words = block.0.get(..read.min(wanted)).unwrap_or_default().as_chunks::<8>().0;
    let same = words.iter().zip((at..).step_by(8)).all(|(bytes, at)| {
        map.read_u64(at).is_some_and(|word| word.load_relaxed() == u64::from_le_bytes(*bytes))
    });
    Ok(read >= wanted && same)
}

/// Writes what the mapping shows past the page cache.
fn write(map: &LinuxMap, file: BorrowedFd<'_>, at: u64, wanted: usize) -> Result<(), LinuxError> {
    let mut block = Aligned([0; BLOCK]);
    for (bytes, at) in block.0.as_chunks_mut::<8>().0.iter_mut().zip((at..).step_by(8)) {
        let Some(word) = map.read_u64(at) else { break };
        *bytes = word.load_relaxed().to_le_bytes();
    }
    let bytes = block.0.get(..wanted).unwrap_or_default();
    let written = retried(|| pwrite(file, bytes, at)).map_err(|errno| Call::Write.failed(errno))?;
    if written == wanted { Ok(()) } else { Err(Call::Write.failed(Errno::IO)) }
}

fn retried<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}
