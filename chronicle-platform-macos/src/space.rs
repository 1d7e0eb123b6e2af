//! Real space for the bytes of a file. There are two ways to it only: `F_PREALLOCATE` behind the last
//! byte that has some, and writing.

use core::ops::Range;

use rustix::fd::BorrowedFd;
use rustix::fs::{fstat, ftruncate};
use rustix::io::{Errno, pread, pwrite};

use crate::darwin::preallocate;
use crate::error::{Call, MacosError};
use crate::lock::size_is_allowed;

/// Bytes of a file that are given space at a time by writing them.
const BLOCK: usize = 32 << 10;

/// Makes a new, empty file so long, with space for so many bytes from its start on.
///
/// `F_PREALLOCATE` provides space behind the last byte that has some (fcntl(2), `F_PEOFPOSMODE`), so
/// it can do this for a file that is empty, and for no other: the holes of a longer one stay. What it
/// provided is believed only if the file has it once it is longer.
pub(crate) fn extend(file: BorrowedFd<'_>, length: u64, reserved: u64) -> Result<(), MacosError> {
    /// The unit of `st_blocks` (stat(2)).
    const UNIT: u64 = 512;

    if reserved != 0 {
        match Call::Allocate.make(|| preallocate(file, reserved)) {
            Err(error) if !error.is_refusal() => return Err(error),
            _ => {}
        }
    }
    Call::Truncate.make(|| ftruncate(file, length))?;
    let stat = Call::Stat.make(|| fstat(file))?;
    if u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(UNIT) < reserved {
        fill(file, 0..reserved)?;
    }
    Ok(())
}

/// Provides space for a range of a file by writing its bytes over themselves; holes are written as
/// zeros. The system has no other way to give space to a hole.
///
/// Nobody else stores to the range meanwhile: space of an object is provided by whoever has not
/// published it yet, or holds the lock that says that it alone writes.
pub(crate) fn fill(file: BorrowedFd<'_>, range: Range<u64>) -> Result<(), MacosError> {
    if range.is_empty() {
        return Ok(());
    }
    // What is written counts as the file's size, though it has it already.
    if !size_is_allowed(range.end) {
        return Err(Call::Write.failed(Errno::FBIG));
    }
    let mut block = [0; BLOCK];
    let mut at = range.start;
    while at < range.end {
        let wanted = (range.end - at).min(BLOCK as u64) as usize;
        let bytes = block.get_mut(..wanted).unwrap_or_default();
        let read = Call::Read.make(|| pread(file, &mut *bytes, at))?;
        let bytes = bytes.get(..read).unwrap_or_default();
        let written = Call::Write.make(|| pwrite(file, bytes, at))?;
        if written == 0 {
            // Shorter than its mapping, or a write that comes to nothing.
            return Err(Call::Write.failed(Errno::IO));
        }
        at += written as u64;
    }
    Ok(())
}
