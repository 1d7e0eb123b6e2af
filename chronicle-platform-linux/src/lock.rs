//! Locks on open file descriptions (`fcntl_locking(2)`).
//!
//! They exclude each other between processes and, unlike `F_SETLK`, between two opens in one
//! process; they end when the last descriptor of the open is closed, which the kernel does for a
//! process that is killed. rustix does not have them: unsafe lives here to call the
//! C library.

use core::ffi::c_int;

use chronicle_sync::LockState;
use chronicle_sync::format::Holder;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::ftruncate;
use rustix::io::{Errno, pread, pwrite};
use rustix::process::{Resource, getrlimit};

use crate::clock::read_text;
use crate::error::{Call, LinuxError};

/// Which bytes of a file a lock is on. The two do not overlap: an object can be locked by others
/// as soon as it has its name, though its maker has yet to let go of the temporary file's lock.
#[derive(Clone, Copy)]
pub(crate) enum Extent {
    /// All bytes that a file can have.
    Object,
    /// The byte behind them: held while the file is staged.
    Staged,
}

/// A lock on an object, released when dropped or when the process ends.
#[derive(Debug)]
pub struct LinuxGuard {
    file: OwnedFd,
    inscribable: bool,
    /// The process that took the lock.
    owner: u32,
}

impl LinuxGuard {
    pub(crate) fn new(file: OwnedFd, inscribable: bool) -> Self {
        Self { file, inscribable, owner: process_id() }
    }

    /// Locks a file that is no object of a queue, without waiting for whoever has it. Its bytes are the
    /// holder's line. Open for reading and writing.
    ///
    /// # Errors
    /// [`Call::Lock`]; somebody has it if the error's kind is
    /// [`Locked`](chronicle_sync::ErrorKind::Locked).
    pub fn lock(file: OwnedFd) -> Result<Self, LinuxError> {
        try_lock(file.as_fd(), Extent::Object)?;
        Ok(Self::new(file, true))
    }

    /// Whether somebody has locked such a file, and the line in it. The file is open for reading at
    /// least, and not the open that has the lock.
    ///
    /// # Errors
    /// [`Call::LockQuery`]
    pub fn state(file: impl AsFd) -> Result<LockState, LinuxError> {
        let file = file.as_fd();
        let held = is_locked(file, Extent::Object)?;
        Ok(if held { LockState::Held(holder(file)) } else { LockState::Free })
    }

    /// The line that is there, whoever wrote it.
    #[must_use]
    pub fn holder(&self) -> Option<Holder> {
        holder(self.file.as_fd())
    }

    /// What a line of this process says.
    #[must_use]
    pub fn this_process(epoch: u32, boot: u64) -> Holder {
        let start_time = start_time();
        Holder { pid: process_id(), start_time, boot, epoch }
    }

    /// Writes the holder's line over the one that is there.
    ///
    /// # Errors
    /// [`Call::Write`], [`Call::Truncate`]
    pub fn inscribe(&self, epoch: u32, boot: u64) -> Result<(), LinuxError> {
        if !self.inscribable {
            // Every other object has bytes of its own.
            return Err(Call::Write.failed(Errno::OPNOTSUPP));
        }
        let text = Self::this_process(epoch, boot).encode();
        if !size_is_allowed(text.len() as u64) {
            return Err(Call::Write.failed(Errno::FBIG));
        }
        let mut written = 0;
        while let Some(rest) = text.as_bytes().get(written..)
            && !rest.is_empty()
        {
            let more = Call::Write.make(|| pwrite(&self.file, rest, written as u64))?;
            if more == 0 {
                return Err(Call::Write.failed(Errno::IO));
            }
            written += more;
        }
        // The length comes last, so that the text is never empty: what a longer line before it
        // leaves behind for a moment comes after the end of this line, where `holder` does not look.
        Call::Truncate.make(|| ftruncate(&self.file, written as u64))
    }
}

impl Drop for LinuxGuard {
    /// Closing the file is not enough: a child that another thread is just starting has the same open
    /// until it executes its program, and would keep the lock for that long. The child itself lets the
    /// lock be, which is its parent's.
    fn drop(&mut self) {
        if process_id() == self.owner {
            // If it fails, closing does it.
            let _ = unlock(self.file.as_fd(), Extent::Object);
        }
    }
}

/// Whether this process may make a file so long. Beyond `RLIMIT_FSIZE` the kernel does not only refuse
/// but raises SIGXFSZ, whose default is to end the process (`setrlimit(2)`).
pub(crate) fn size_is_allowed(length: u64) -> bool {
    getrlimit(Resource::Fsize).current.is_none_or(|limit| length <= limit)
}

/// The line of whoever holds the lock, if it is one.
pub(crate) fn holder(file: BorrowedFd<'_>) -> Option<Holder> {
    let mut buffer = [0; 128];
    let length = Call::Read.make(|| pread(file, &mut buffer, 0)).ok()?;
    let text = core::str::from_utf8(buffer.get(..length)?).ok()?;
    Holder::decode(text.split_once('\n')?.0)
}

/// The process id in this process's namespace.
pub(crate) fn process_id() -> u32 {
    rustix::process::getpid().as_raw_nonzero().get().cast_unsigned()
}

/// When this process started, in clock ticks since boot; 0 if `/proc` does not say.
fn start_time() -> u64 {
    let mut buffer = [0; 1024];
    let mut read = || {
        // proc_pid_stat(5): the start time is field 22. Field 2 is the program's name in brackets,
        // which may itself hold blanks, brackets and any bytes; field 3 follows the last bracket.
        let fields = read_text("/proc/self/stat", &mut buffer)?.rsplit(|byte| *byte == b')').next();
        core::str::from_utf8(fields?).ok()?.split_ascii_whitespace().nth(22 - 3)?.parse().ok()
    };
    read().unwrap_or(0)
}

/// Takes the lock without waiting.
pub(crate) fn try_lock(file: BorrowedFd<'_>, extent: Extent) -> Result<(), LinuxError> {
    let mut lock = description(libc::F_WRLCK, extent);
    Call::Lock.make(|| control(file, libc::F_OFD_SETLK, &mut lock))
}

/// Releases the lock before the file is closed.
pub(crate) fn unlock(file: BorrowedFd<'_>, extent: Extent) -> Result<(), LinuxError> {
    let mut lock = description(libc::F_UNLCK, extent);
    Call::Lock.make(|| control(file, libc::F_OFD_SETLK, &mut lock))
}

/// Whether someone else, another open of this process included, has the lock. The file may be
/// open for reading only: the question is not a request.
pub(crate) fn is_locked(file: BorrowedFd<'_>, extent: Extent) -> Result<bool, LinuxError> {
    let mut lock = description(libc::F_WRLCK, extent);
    Call::LockQuery.make(|| control(file, libc::F_OFD_GETLK, &mut lock))?;
    Ok(c_int::from(lock.l_type) != libc::F_UNLCK)
}

fn description(kind: c_int, extent: Extent) -> libc::flock {
    let (start, length) = match extent {
        Extent::Object => (0, libc::off_t::MAX),
        Extent::Staged => (libc::off_t::MAX, 1),
    };
    // SAFETY: `flock` is a C structure of integers, for all of which zero is a value. It cannot be
    // written out because some architectures have more fields than these.
    let mut lock: libc::flock = unsafe { core::mem::zeroed() };
    // The constants are small; only the width of the field differs. `l_pid` must be 0.
    lock.l_type = kind as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    lock.l_start = start;
    lock.l_len = length;
    lock
}

fn control(file: BorrowedFd<'_>, command: c_int, lock: &mut libc::flock) -> Result<(), Errno> {
    // SAFETY: the descriptor is open while it is borrowed. Both commands take a pointer to a
    // `flock`, which `lock` is, read it and write nothing behind its end.
    let done = unsafe { libc::fcntl(file.as_fd().as_raw_fd(), command, core::ptr::from_mut(lock)) };
    if done == -1 { Err(last_errno()) } else { Ok(()) }
}

pub(crate) fn last_errno() -> Errno {
    // SAFETY: takes nothing and returns the address of this thread's variable.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: the variable lives as long as the thread and only this thread uses it.
    Errno::from_raw_os_error(unsafe { *errno })
}
