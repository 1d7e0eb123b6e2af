//! Making good a sync that failed.
//!
//! After a failed write-back the kernel may mark the pages clean, so that another sync has nothing to
//! do and succeeds (fsync(2), "EIO"). Here every page is made dirty again first, and afterwards the
//! medium is read past the page cache and compared: nothing is believed.

use core::ops::Range;

use chronicle_sync::{Region, RegionExt, RegionMutExt};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::{Errno, pread};
use rustix::param::page_size;

use crate::error::{Call, LinuxError};
use crate::region::LinuxMap;

/// Bytes that are compared at a time: a multiple of every block size.
const BLOCK: usize = 32 << 10;

/// Direct reads want memory that is aligned to the device's blocks (open(2), "O_DIRECT").
#[repr(align(4096))]
struct Aligned([u8; BLOCK]);

/// See [`chronicle_sync::Storage::rescue`]. `name` is the object that `map` maps.
pub(crate) fn rescue(
    directory: BorrowedFd<'_>,
    name: &str,
    map: &LinuxMap,
    range: Range<u64>,
) -> Result<bool, LinuxError> {
    let flags = OFlags::RDONLY | OFlags::DIRECT | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let direct = match Call::Open.make(|| openat(directory, name, flags, Mode::empty())) {
        // A file system in memory has no medium to read from.
        Err(error) if error.is(Errno::INVAL) => return Ok(false),
        direct => direct?,
    };
    dirty(map, &range);
    map.sync(range.clone())?;
    compare(map, direct.as_fd(), range)
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

fn compare(map: &LinuxMap, file: BorrowedFd<'_>, range: Range<u64>) -> Result<bool, LinuxError> {
    let mut block = Aligned([0; BLOCK]);
    let mut at = range.start - range.start % BLOCK as u64;
    let end = range.end.min(map.size() as u64);
    while at < end {
        let read = match pread(file, &mut block.0, at) {
            Err(Errno::INTR) => continue,
            // Opened, but the file system reads through its cache only.
            Err(Errno::INVAL) => return Ok(false),
            Err(errno) => return Err(Call::Read.failed(errno)),
            Ok(read) => read,
        };
        let wanted = (end - at).min(BLOCK as u64) as usize;
        let words = block.0.get(..read.min(wanted)).unwrap_or_default().as_chunks::<8>().0;
        let same = words.iter().zip((at..).step_by(8)).all(|(bytes, at)| {
            map.read_u64(at).is_some_and(|word| word.load_relaxed() == u64::from_le_bytes(*bytes))
        });
        if read < wanted || !same {
            return Err(Call::Read.failed(Errno::IO));
        }
        at += BLOCK as u64;
    }
    Ok(true)
}
