use core::ffi::CStr;

use chronicle_sync::{Clock, Platform};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags};

use crate::clock::{MacosClock, hash};
use crate::darwin;
use crate::error::{Call, MacosError};
use crate::file_system::{check, check_path};
use crate::lock::{process_id, size_is_allowed};
use crate::park::MacosPark;
use crate::storage::MacosStorage;
use crate::watch::MacosWatch;

/// A queue in a directory of a macOS file system.
#[derive(Debug)]
pub struct MacosPlatform {
    storage: MacosStorage,
    park: MacosPark,
    clock: MacosClock,
}

impl MacosPlatform {
    /// The queue in this directory, which is opened anew through the descriptor.
    ///
    /// # Errors
    /// [`Call::Open`] if it is not a directory, or not one that may be read;
    /// [`Call::StatFileSystem`] with [`MacosError::foreign_file_system`] on a file system that other
    /// hosts may share, where neither mappings nor locks do what a queue needs: NFS, SMB, FUSE,
    /// virtiofs, and whatever the system does not call local.
    pub fn new(directory: OwnedFd) -> Result<Self, MacosError> {
        let platform = Self::on_any_file_system(directory)?;
        check(platform.storage.as_fd())?;
        Ok(platform)
    }

    /// As [`new`](Self::new), on whatever file system: for whoever knows that all processes that use
    /// the queue are this host's, and that its file system maps and locks as a local one does.
    ///
    /// # Errors
    /// [`Call::Open`] if it is not a directory, or not one that may be read.
    pub fn on_any_file_system(directory: OwnedFd) -> Result<Self, MacosError> {
        let clock = MacosClock::new();
        let storage = MacosStorage::new(directory, clock.boot())?;
        Ok(Self { storage, park: MacosPark::new(), clock })
    }

    /// The queue in the directory at `path`.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn open(path: &CStr) -> Result<Self, MacosError> {
        Self::new(open_directory(path)?)
    }

    /// The queue in the directory at `path`, on whatever file system.
    ///
    /// # Errors
    /// As [`on_any_file_system`](Self::on_any_file_system).
    pub fn open_on_any_file_system(path: &CStr) -> Result<Self, MacosError> {
        Self::on_any_file_system(open_directory(path)?)
    }

    /// Whether a queue may be made below the directory at `path`, which need not be readable.
    ///
    /// # Errors
    /// [`Call::StatFileSystem`] as for [`new`](Self::new).
    pub fn check_file_system(path: &CStr) -> Result<(), MacosError> {
        check_path(path)
    }

    /// Whether this process may make a file so long. Beyond `RLIMIT_FSIZE` the kernel does not only
    /// refuse but raises `SIGXFSZ`, whose default is to end the process (`setrlimit(2)`): whoever writes
    /// files beside the storage asks first.
    #[must_use]
    pub fn size_is_allowed(length: u64) -> bool {
        size_is_allowed(length)
    }

    /// Watches the queue's directory for segments and other objects that come and go, readers not
    /// included.
    ///
    /// # Errors
    /// [`Call::Open`], [`Call::WatchAdd`]
    pub fn watch(&self) -> Result<MacosWatch, MacosError> {
        MacosWatch::new(&self.storage)
    }
}

fn open_directory(path: &CStr) -> Result<OwnedFd, MacosError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Call::Open.make(|| rustix::fs::open(path, flags, Mode::empty()))
}

impl Platform for MacosPlatform {
    type Error = MacosError;
    type Storage = MacosStorage;
    type Park = MacosPark;
    type Clock = MacosClock;

    fn storage(&self) -> &MacosStorage {
        &self.storage
    }

    fn park(&self) -> &MacosPark {
        &self.park
    }

    fn clock(&self) -> &MacosClock {
        &self.clock
    }

    fn entropy(&self) -> u64 {
        random().unwrap_or_else(|_| {
            // A sandbox may forbid it. Time and process are different each time too, if not unforeseeable.
            let now = hash(self.clock.boot(), &self.clock.now().as_nanos().to_le_bytes());
            let wall = hash(now, &self.clock.wall_ns().to_le_bytes());
            hash(wall, &process_id().to_le_bytes())
        })
    }
}

/// A random number from the kernel.
pub(crate) fn random() -> Result<u64, MacosError> {
    let mut bytes = [0; 8];
    // Up to 256 bytes come whole or not at all (getentropy(2)).
    Call::Random.make(|| darwin::random(&mut bytes))?;
    Ok(u64::from_le_bytes(bytes))
}
