use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use chronicle_core::Holder;
use chronicle_sync::{Clock, Error as _, ErrorKind, LockState};

use crate::backend::{SystemClock, SystemGuard, io_error};

/// A lock on a file that is no part of a queue, as writers hold one on a queue: for processes that are to
/// know whether another one lives.
///
/// It is the kernel's: it ends with the value, and with the process however that ends, and is seen from
/// other PID namespaces as it is from this one. What is written in the file is for people. Never remove
/// or replace a file that somebody may be about to lock: two processes could hold two files of one name.
#[derive(Debug)]
pub struct FileLock {
    guard: SystemGuard,
}

impl FileLock {
    /// Locks a file that is open for reading and writing; `None` if somebody has it locked, another open
    /// of this process included.
    ///
    /// # Errors
    /// The system's.
    pub fn try_acquire(file: File) -> io::Result<Option<Self>> {
        match SystemGuard::lock(OwnedFd::from(file)) {
            Ok(guard) => Ok(Some(Self { guard })),
            Err(error) if error.kind() == ErrorKind::Locked => Ok(None),
            Err(error) => Err(io_error(error)),
        }
    }

    /// Whether a file is locked, and what its holder has written there: for a moment after it was locked
    /// that may still be the line of the holder before. The file is open for reading at least, by an open
    /// of its own.
    ///
    /// # Errors
    /// The system's.
    pub fn state(file: &File) -> io::Result<LockState> {
        SystemGuard::state(file).map_err(io_error)
    }

    /// What the file says about its holder: about the one before, until [`inscribe`](Self::inscribe) is
    /// called. `None` if it is new, or does not say.
    #[must_use]
    pub fn holder(&self) -> Option<Holder> {
        self.guard.holder()
    }

    /// Writes down who holds the lock: process id, its start time, the boot, and `epoch`.
    ///
    /// # Errors
    /// The system's; the file may then say anything, and is locked.
    pub fn inscribe(&self, epoch: u32) -> io::Result<()> {
        self.guard.inscribe(epoch, SystemClock::new().boot()).map_err(io_error)
    }
}
