//! A descriptor that shows that something was heard, on systems without `eventfd`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::{Errno, FdFlags, fcntl_setfd, read, write};
use rustix::pipe::pipe;

/// How many bytes are read at once, and how often, to make the descriptor unreadable. Together they
/// are more than a pipe holds (64 KiB, `BIG_PIPE_SIZE` in sys/pipe.h of macOS); what is signalled
/// meanwhile makes the reader look once more for nothing.
const BYTES: usize = 4096;
const READS: usize = 32;

/// A pipe that does not block: readable from a signal until it is cleared.
#[derive(Debug)]
pub(crate) struct EventFd {
    readable: OwnedFd,
    writable: OwnedFd,
}

impl EventFd {
    pub(crate) fn new() -> io::Result<Self> {
        let (readable, writable) = pipe()?;
        for end in [&readable, &writable] {
            // A program that another thread starts right now inherits the ends all the same: this
            // system makes no pipe that is not inherited from the beginning.
            fcntl_setfd(end, FdFlags::CLOEXEC)?;
            fcntl_setfl(end, fcntl_getfl(end)? | OFlags::NONBLOCK)?;
        }
        Ok(Self { readable, writable })
    }

    /// Makes it readable.
    pub(crate) fn signal(&self) -> Result<(), Errno> {
        match write(&self.writable, &[0]) {
            // Full, and so readable.
            Err(Errno::AGAIN) => Ok(()),
            signalled => signalled.map(drop),
        }
    }

    /// Makes it unreadable.
    pub(crate) fn clear(&self) {
        for _ in 0..READS {
            // Not readable any more: there is nothing left to clear.
            if !matches!(read(&self.readable, &mut [0u8; BYTES]), Ok(BYTES)) {
                return;
            }
        }
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.readable.as_fd()
    }
}
