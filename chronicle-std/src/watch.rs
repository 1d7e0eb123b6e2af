use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chronicle_sync::{Clock, Wake, Watch};

use crate::QueueError;
use crate::backend::{SystemClock, SystemWatch, io_error};
use crate::queue::nearest_directory;

/// How often a watch is made anew because a nearer directory was made meanwhile. Directories that are made
/// and removed all the time would keep it from ending.
const ATTEMPTS: u32 = 64;

/// Hears that names in a directory came, went or changed (`inotify(7)`, `kqueue(2)`).
///
/// What it says is a hint: hints may get lost, and one may come for nothing. Look after each, and now
/// and then without one. Begin to watch before the first look, so that nothing falls in between.
#[derive(Debug)]
pub struct DirectoryWatch {
    watch: SystemWatch,
    clock: SystemClock,
    path: PathBuf,
}

impl DirectoryWatch {
    /// Watches the directory at `path`, or the nearest one above it that exists.
    ///
    /// # Errors
    /// [`QueueError::NotFound`] if there is none; the system's, which has a limited number of watches.
    pub fn nearest(path: impl AsRef<Path>) -> Result<Self, QueueError> {
        let target = path.as_ref();
        let mut watch = Self::of(nearest_directory(target)?)?;
        for _ in 0..ATTEMPTS {
            // A nearer one that was made before the watch was there has given no hint, and what is made
            // in that one gives none here.
            let nearest = nearest_directory(target)?;
            if nearest == watch.path {
                break;
            }
            watch = Self::of(nearest)?;
        }
        Ok(watch)
    }

    fn of(path: PathBuf) -> Result<Self, QueueError> {
        let failed = |error: io::Error| QueueError::io(&path, "watch", error);
        let directory = OwnedFd::from(File::open(&path).map_err(failed)?);
        let watch = SystemWatch::new(directory).map_err(|error| failed(io_error(error)))?;
        Ok(Self { watch, clock: SystemClock::new(), path })
    }

    /// The directory that is watched.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for a hint, at most for `timeout`; whether there was one. All hints so far are one.
    ///
    /// # Errors
    /// The system's.
    pub fn wait(&mut self, timeout: Duration) -> Result<bool, QueueError> {
        let until = self.clock.now().after(timeout);
        match self.watch.wait(until) {
            Ok(wake) => Ok(wake == Wake::Woken),
            Err(error) => Err(QueueError::io(&self.path, "watch", io_error(error))),
        }
    }
}
