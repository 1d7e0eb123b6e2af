//! Making good a sync that failed.
//!
//! After a failed write-back the kernel may mark the pages clean, so that another sync has nothing to
//! do and succeeds (fsync(2), "EIO"). And ext4 may write pages that were made dirty again to their
//! blocks and leave the blocks marked as never written, so that they read as zeros (seen on Linux
//! 6.18, where the first write to a preallocated block had failed). It goes on like that for as long as
//! it remembers the pages: what is appended to such a block later is lost as well, though every sync
//! succeeds. Where a block holds zeros so far, comparing cannot tell.
//!
//! So every page is made dirty and synced, the medium is read past the page cache and compared, what
//! differs or holds zeros is written past the page cache, which marks its blocks as written and has the
//! kernel forget the pages, and all of it is compared once more: nothing is believed.

use core::ops::Range;

use chronicle_sync::{Region, RegionExt, RegionMutExt};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{Mode, OFlags, fdatasync, openat};
use rustix::io::{Errno, pread, pwrite};
use rustix::param::page_size;

use crate::error::{Call, LinuxError};
use crate::lock::size_is_allowed;
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
    let mut proven = true;
    let written = blocks(map, &range, |at, wanted| {
        if compare(map, direct.as_fd(), at, wanted)? != Medium::Holds {
            proven = false;
            write(map, direct.as_fd(), at, wanted)?;
        }
        Ok(())
    });
    match written {
        // Opened, but the file system reads through its cache only.
        Err(error) if error.is(Errno::INVAL) => return Ok(false),
        written => written?,
    }
    if !proven {
        Call::SyncData.make(|| fdatasync(&direct))?;
        blocks(map, &range, |at, wanted| match compare(map, direct.as_fd(), at, wanted)? {
            Medium::Differs => Err(Call::Read.failed(Errno::IO)),
            Medium::Holds | Medium::HoldsZeros => Ok(()),
        })?;
    }
    Ok(true)
}

/// What the medium says of a piece of the mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Medium {
    /// It has the same bytes, and they were written there.
    Holds,
    /// It has the same bytes, and some of them are the zeros of which a block that was never written
    /// reads as well.
    HoldsZeros,
    Differs,
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

/// The smallest block that a file system marks as written.
const SECTOR: usize = 512;

/// Reads a piece past the page cache.
fn compare(
    map: &LinuxMap,
    file: BorrowedFd<'_>,
    at: u64,
    wanted: usize,
) -> Result<Medium, LinuxError> {
    let mut block = Aligned([0; BLOCK]);
    let read = Call::Read.make(|| pread(file, &mut block.0, at))?;
    let bytes = block.0.get(..read.min(wanted)).unwrap_or_default();
    let words = bytes.as_chunks::<8>().0;
    let same = words.iter().zip((at..).step_by(8)).all(|(bytes, at)| {
        map.read_u64(at).is_some_and(|word| word.load_relaxed() == u64::from_le_bytes(*bytes))
    });
    if read < wanted || !same {
        return Ok(Medium::Differs);
    }
    let zeros = bytes.chunks(SECTOR).any(|sector| sector.iter().all(|byte| *byte == 0));
    Ok(if zeros { Medium::HoldsZeros } else { Medium::Holds })
}

/// Writes what the mapping shows past the page cache.
fn write(map: &LinuxMap, file: BorrowedFd<'_>, at: u64, wanted: usize) -> Result<(), LinuxError> {
    if !size_is_allowed(at.saturating_add(wanted as u64)) {
        return Err(Call::Write.failed(Errno::FBIG));
    }
    let mut block = Aligned([0; BLOCK]);
    for (bytes, at) in block.0.as_chunks_mut::<8>().0.iter_mut().zip((at..).step_by(8)) {
        let Some(word) = map.read_u64(at) else { break };
        *bytes = word.load_relaxed().to_le_bytes();
    }
    let bytes = block.0.get(..wanted).unwrap_or_default();
    let written = Call::Write.make(|| pwrite(file, bytes, at))?;
    if written == wanted { Ok(()) } else { Err(Call::Write.failed(Errno::IO)) }
}
