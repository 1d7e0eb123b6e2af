//! A descriptor that shows that something was heard.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{Errno, read, write};

/// An `eventfd(2)` that does not block: readable from a signal until it is cleared.
#[derive(Debug)]
pub(crate) struct EventFd(OwnedFd);

impl EventFd {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    /// Makes it readable.
    pub(crate) fn signal(&self) -> Result<(), Errno> {
        // Full only after 2^64 - 2 signals without a look, and readable then.
        write(&self.0, &1u64.to_ne_bytes()).map(drop)
    }

    /// Makes it unreadable.
    pub(crate) fn clear(&self) {
        // Not readable before: there is nothing to clear.
        let _ = read(&self.0, &mut [0u8; 8]);
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
