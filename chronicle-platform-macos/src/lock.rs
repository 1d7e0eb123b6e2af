//! Locks on open files (`flock(2)`).
//!
//! They exclude each other between processes and between two opens in one process; they end when the
//! last descriptor of the open is closed, which the kernel does for a process that is killed.
//!
//! Such a lock is on a whole file, and nobody can ask who has it without taking it. So an object is
//! locked exclusively, and whoever looks whether it is locked takes a shared lock for a moment. Who
//! finds only shared locks in the way knows that they go by themselves, and tries again.

use core::time::Duration;

use chronicle_sync::LockState;
use chronicle_sync::format::Holder;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{FlockOperation, flock, ftruncate};
use rustix::io::{Errno, pread, pwrite};
use rustix::process::{Resource, getrlimit};
use rustix::thread::{Timespec, nanosleep};

use crate::darwin::start_time;
use crate::error::{Call, MacosError};

/// How often a lock is tried again that others look at. A process that is stopped while it looks does
/// not go by itself.
const LOOKS: u32 = 100;
/// Time between two tries: as long as a look takes, many times over.
const PAUSE: Duration = Duration::from_micros(100);

/// A lock on an object, released when dropped or when the process ends.
#[derive(Debug)]
pub struct MacosGuard {
    file: OwnedFd,
    inscribable: bool,
    /// The process that took the lock.
    owner: u32,
}

impl MacosGuard {
    pub(crate) fn new(file: OwnedFd, inscribable: bool) -> Self {
        Self { file, inscribable, owner: process_id() }
    }

    /// Locks a file that is no object of a queue, without waiting for whoever has it. Its bytes are the
    /// holder's line. Open for reading and writing.
    ///
    /// # Errors
    /// [`Call::Lock`]; somebody has it if the error's kind is
    /// [`Locked`](chronicle_sync::ErrorKind::Locked).
    pub fn lock(file: OwnedFd) -> Result<Self, MacosError> {
        try_lock(file.as_fd())?;
        Ok(Self::new(file, true))
    }

    /// Whether somebody has locked such a file, and the line in it. The file is open for reading at
    /// least, and not the open that has the lock.
    ///
    /// # Errors
    /// [`Call::Lock`]
    pub fn state(file: impl AsFd) -> Result<LockState, MacosError> {
        let file = file.as_fd();
        let held = is_locked(file)?;
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
        let start_time = start_time(process_id()).unwrap_or(0);
        Holder { pid: process_id(), start_time, boot, epoch }
    }

    /// Writes the holder's line over the one that is there.
    ///
    /// # Errors
    /// [`Call::Write`], [`Call::Truncate`]
    pub fn inscribe(&self, epoch: u32, boot: u64) -> Result<(), MacosError> {
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

impl Drop for MacosGuard {
    /// Closing the file is not enough: a child that another thread is just starting has the same open
    /// until it executes its program, and would keep the lock for that long. The child itself lets the
    /// lock be, which is its parent's.
    fn drop(&mut self) {
        if process_id() == self.owner {
            // If it fails, closing does it.
            let _ = unlock(self.file.as_fd());
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

/// Locks an object without waiting for a holder.
pub(crate) fn try_lock(file: BorrowedFd<'_>) -> Result<(), MacosError> {
    let mut refused = Ok(());
    for _ in 0..LOOKS {
        refused = lock(file, FlockOperation::NonBlockingLockExclusive);
        match refused {
            Err(error) if error.is(Errno::WOULDBLOCK) && !is_locked(file)? => pause(),
            _ => break,
        }
    }
    refused
}

/// Releases what this open has before the file is closed.
pub(crate) fn unlock(file: BorrowedFd<'_>) -> Result<(), MacosError> {
    lock(file, FlockOperation::Unlock)
}

/// Whether someone else, another open of this process included, has locked the object. The file may
/// be open for reading only, and has no lock of this open's afterwards.
pub(crate) fn is_locked(file: BorrowedFd<'_>) -> Result<bool, MacosError> {
    match lock(file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => unlock(file).map(|()| false),
        Err(error) if error.is(Errno::WOULDBLOCK) => Ok(true),
        Err(error) => Err(error),
    }
}

fn lock(file: BorrowedFd<'_>, operation: FlockOperation) -> Result<(), MacosError> {
    Call::Lock.make(|| flock(file, operation))
}

fn pause() {
    // Cut short by a signal, the next try comes sooner.
    let _ = nanosleep(&Timespec { tv_sec: 0, tv_nsec: PAUSE.subsec_nanos().into() });
}
