use core::ffi::CStr;

use chronicle_sync::{Clock, Platform};
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use rustix::rand::{GetRandomFlags, getrandom};

use crate::clock::{LinuxClock, hash};
use crate::error::{Call, LinuxError};
use crate::lock::process_id;
use crate::park::LinuxPark;
use crate::storage::LinuxStorage;
use crate::watch::LinuxWatch;

/// A queue in a directory of a Linux file system.
#[derive(Debug)]
pub struct LinuxPlatform {
    storage: LinuxStorage,
    park: LinuxPark,
    clock: LinuxClock,
}

impl LinuxPlatform {
    /// The queue in this directory, which is opened anew through the descriptor: the descriptor may
    /// be of any kind that leads to the directory, `O_PATH` included.
    ///
    /// # Errors
    /// [`Call::Open`] if it is not a directory, or not one that may be read.
    pub fn new(directory: OwnedFd) -> Result<Self, LinuxError> {
        let clock = LinuxClock::new();
        let storage = LinuxStorage::new(directory, clock.boot())?;
        Ok(Self { storage, park: LinuxPark::new(), clock })
    }

    /// The queue in the directory at `path`.
    ///
    /// # Errors
    /// [`Call::Open`] if it is not a directory, or not one that may be read.
    pub fn open(path: &CStr) -> Result<Self, LinuxError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Self::new(Call::Open.make(|| rustix::fs::open(path, flags, Mode::empty()))?)
    }

    /// Watches the queue's directory for segments and other objects that come and go, readers not
    /// included.
    ///
    /// # Errors
    /// [`Call::WatchInit`], [`Call::WatchAdd`]
    pub fn watch(&self) -> Result<LinuxWatch, LinuxError> {
        LinuxWatch::new(&self.storage)
    }
}

impl Platform for LinuxPlatform {
    type Error = LinuxError;
    type Storage = LinuxStorage;
    type Park = LinuxPark;
    type Clock = LinuxClock;

    fn storage(&self) -> &LinuxStorage {
        &self.storage
    }

    fn park(&self) -> &LinuxPark {
        &self.park
    }

    fn clock(&self) -> &LinuxClock {
        &self.clock
    }

    fn entropy(&self) -> u64 {
        random().unwrap_or_else(|_| {
            // getrandom(2) exists since Linux 3.17, but a sandbox may forbid it. Time and process
            // are different each time too, if not unforeseeable.
            let now = hash(self.clock.boot(), &self.clock.now().as_nanos().to_le_bytes());
            let wall = hash(now, &self.clock.wall_ns().to_le_bytes());
            hash(wall, &process_id().to_le_bytes())
        })
    }
}

/// A random number from the kernel.
pub(crate) fn random() -> Result<u64, LinuxError> {
    let mut bytes = [0; 8];
    // Up to 256 bytes come whole or not at all (getrandom(2)).
    Call::Random.make(|| getrandom(&mut bytes, GetRandomFlags::empty()))?;
    Ok(u64::from_le_bytes(bytes))
}
