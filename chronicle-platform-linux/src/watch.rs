use core::fmt::Write;

use chronicle_sync::{Instant, Wake, Watch};
use heapless::String;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::{Errno, read};

use crate::clock::{monotonic, timespec};
use crate::error::{Call, LinuxError};

/// How many buffers full of hints one wait throws away. A directory that changes faster than they
/// are read would keep it from returning; what is left makes the next wait return at once.
const DRAINS: usize = 64;

/// Watches the names of one directory (`inotify(7)`).
///
/// That the directory itself was removed is noticed when nobody has it open any more, this process
/// included.
///
/// Changes that other hosts make to a network file system are not seen (`inotify(7)`,
/// "Limitations and caveats").
#[derive(Debug)]
pub struct LinuxWatch {
    notices: OwnedFd,
}

impl LinuxWatch {
    /// Watches a directory from now on. It is found through `/proc/self/fd`, so `/proc` must be
    /// mounted; the descriptor may be closed afterwards.
    ///
    /// # Errors
    /// [`Call::WatchInit`], [`Call::WatchAdd`]: the user has no watches left, or there is no
    /// `/proc`.
    pub fn new(directory: impl AsFd) -> Result<Self, LinuxError> {
        let flags = CreateFlags::CLOEXEC | CreateFlags::NONBLOCK;
        let notices = Call::WatchInit.make(|| inotify::init(flags))?;
        let mut path = String::<32>::new();
        // 14 characters and a number of at most 10 fit.
        let _ = write!(path, "/proc/self/fd/{}", directory.as_fd().as_raw_fd());
        let changes = WatchFlags::CREATE
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::DELETE
            | WatchFlags::DELETE_SELF
            | WatchFlags::ONLYDIR;
        Call::WatchAdd.make(|| inotify::add_watch(&notices, path.as_str(), changes))?;
        Ok(Self { notices })
    }

    /// Throws away what has been noticed; the caller scans anyway.
    fn drain(&self) -> Result<(), LinuxError> {
        // At least one notice with the longest name must fit (inotify(7), "Reading events").
        let mut buffer = [0; 4096];
        for _ in 0..DRAINS {
            match read(&self.notices, &mut buffer) {
                Ok(0) | Err(Errno::AGAIN) => break,
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(Call::Read.failed(errno)),
            }
        }
        Ok(())
    }
}

impl Watch for LinuxWatch {
    type Error = LinuxError;

    fn wait(&mut self, until: Instant) -> Result<Wake, LinuxError> {
        let rest = until.as_nanos().saturating_sub(monotonic());
        let mut notices = [PollFd::new(&self.notices, PollFlags::IN)];
        match poll(&mut notices, Some(&timespec(rest))) {
            Ok(0) => Ok(Wake::TimedOut),
            Ok(_) => self.drain().map(|()| Wake::Woken),
            // Not retried: like a wait on a word, this may return for no reason.
            Err(Errno::INTR) => Ok(Wake::Woken),
            Err(errno) => Err(Call::Poll.failed(errno)),
        }
    }
}
