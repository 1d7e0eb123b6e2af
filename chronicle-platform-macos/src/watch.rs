use chronicle_sync::{Instant, Wake, Watch};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;

use crate::clock::{monotonic, rest};
use crate::darwin::{changed, watch};
use crate::error::{Call, MacosError};

/// Watches the names of one directory (`kqueue(2)`, `EVFILT_VNODE`).
///
/// The kernel says that names changed, and not which. As long as the directory is watched its file
/// system cannot be unmounted.
#[derive(Debug)]
pub struct MacosWatch {
    notices: OwnedFd,
    /// What is noted of a descriptor is forgotten when it is closed.
    _directory: OwnedFd,
}

impl MacosWatch {
    /// Watches a directory from now on; the descriptor may be closed afterwards.
    ///
    /// # Errors
    /// [`Call::Open`]; [`Call::WatchAdd`]: there are no descriptors left.
    pub fn new(directory: impl AsFd) -> Result<Self, MacosError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = Call::Open.make(|| openat(&directory, ".", flags, Mode::empty()))?;
        let notices = Call::WatchAdd.make(|| watch(directory.as_fd()))?;
        Ok(Self { notices, _directory: directory })
    }
}

impl Watch for MacosWatch {
    type Error = MacosError;

    fn wait(&mut self, until: Instant) -> Result<Wake, MacosError> {
        match changed(self.notices.as_fd(), rest(until)) {
            // The time-out is a duration, and the kernel may count it by another clock.
            Ok(false) if monotonic() >= until.as_nanos() => Ok(Wake::TimedOut),
            // Not retried: like a wait on a word, this may return for no reason.
            Ok(_) | Err(Errno::INTR) => Ok(Wake::Woken),
            Err(errno) => Err(Call::WatchWait.failed(errno)),
        }
    }
}
