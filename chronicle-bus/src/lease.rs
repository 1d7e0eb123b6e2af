use std::fs::File;
use std::os::unix::fs::FileExt as _;

use chronicle_std::format::Holder;
use chronicle_std::{FileLock, LockState};

use crate::directory::{Directory, Identity};
use crate::{BusError, StrategyEndpoints};

/// Held by whoever runs the strategy. Never removed: a lock on a file that has lost its name keeps
/// nobody out.
pub(crate) const LEASE: &str = "LEASE";
/// There while the strategy can be talked to, and locked by the process that put it there.
pub(crate) const READY: &str = "READY";

/// How often a lease is tried again whose file was replaced meanwhile.
const ATTEMPTS: u32 = 16;

/// The right to run a strategy, held by one process at a time.
///
/// The right is a lock of the kernel's on the file `LEASE`: it ends with this value, and with the process
/// however that ends, and is the same in every PID namespace. Process id, its start time, the boot and the
/// epoch, which each lease raises, are in the file for people.
///
/// [`mark_ready`](Self::mark_ready) says that others may talk to the strategy, and dropping the lease
/// takes that back.
#[derive(Debug)]
pub struct Lease {
    endpoints: StrategyEndpoints,
    /// The directory above the strategy's, which those who look for strategies watch.
    strategies: Directory,
    directory: Directory,
    epoch: u32,
    lock: FileLock,
    ready: Option<FileLock>,
}

impl StrategyEndpoints {
    /// Takes the right to run the strategy, and makes its directory if it is not there. A `READY` that a
    /// dead process left is removed.
    ///
    /// # Errors
    /// [`BusError::StrategyAlreadyActive`]; [`BusError::Refused`]; the system's.
    pub fn write_lease(&self) -> Result<Lease, BusError> {
        let strategies = self.make_strategies()?;
        let directory = strategies.make_inner(self.id().as_str())?;
        let lock = self.lock(&directory)?;
        // Both are asked, so that an epoch is used again only if both files are lost.
        let left_behind = directory.file(READY).ok().and_then(|file| line(&file));
        let last = lock.holder().into_iter().chain(left_behind).map(|holder| holder.epoch).max();
        let epoch = last.unwrap_or(0).saturating_add(1);
        let path = directory.path().join(LEASE);
        lock.inscribe(epoch).map_err(|error| BusError::io(path, "write", error))?;
        directory.remove(READY)?;
        Ok(Lease { endpoints: self.clone(), strategies, directory, epoch, lock, ready: None })
    }

    fn lock(&self, directory: &Directory) -> Result<FileLock, BusError> {
        let path = directory.path().join(LEASE);
        let failed = |error| BusError::io(&path, "lock", error);
        for _ in 0..ATTEMPTS {
            let file = directory.make_file(LEASE)?;
            let locked = Identity::of(&file.metadata().map_err(failed)?);
            let Some(lock) = FileLock::try_acquire(file).map_err(failed)? else {
                let holder = line(&directory.file(LEASE)?);
                return Err(BusError::StrategyAlreadyActive { lease: path, holder });
            };
            // Somebody may have put another file in its place in between.
            match directory.file(LEASE) {
                Ok(named) if Identity::of(&named.metadata().map_err(failed)?) == locked => {
                    return Ok(lock);
                }
                Err(error) if !error.is_not_found() => return Err(error),
                _ => {}
            }
        }
        Err(failed(std::io::ErrorKind::ResourceBusy.into()))
    }

    /// Who runs the strategy and has said that others may talk to it; `None` if nobody does.
    ///
    /// # Errors
    /// [`BusError::Refused`]; the system's, no descriptors left among them.
    pub fn ready_holder(&self) -> Result<Option<Holder>, BusError> {
        match self.open() {
            Ok(directory) => Ok(incarnation(&directory)?.map(|found| found.holder)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Lease {
    /// Says that others may talk to the strategy: its queues are there. Said already, it is nothing.
    ///
    /// The file `READY` is written under another name, locked, synced, and renamed. Its lock is what
    /// tells that this process lives; what it says never changes.
    ///
    /// # Errors
    /// The system's. Where only the last sync failed, the strategy is ready, if not for sure after a
    /// power loss, which it would not survive either.
    pub fn mark_ready(&mut self) -> Result<(), BusError> {
        if self.ready.is_some() {
            return Ok(());
        }
        // Staged in the directory above, so that the rename is a change in both: it is what tells those
        // who watch the one directory for all strategies.
        let staged = self.staged();
        match self.publish(&staged) {
            Ok(lock) => self.ready = Some(lock),
            Err(error) => {
                // As where the disk is full: nothing is left of it. If that fails too, the next try
                // replaces it.
                let _ = self.strategies.remove(&staged);
                return Err(error);
            }
        }
        self.directory.sync()?;
        self.strategies.sync()
    }

    /// Makes the mark under its other name, and gives it its own.
    fn publish(&self, staged: &str) -> Result<FileLock, BusError> {
        let path = self.strategies.path().join(staged);
        let failed = |error| BusError::io(&path, "write", error);
        let file = self.strategies.new_file(staged)?;
        let copy = file.try_clone().map_err(failed)?;
        let Some(lock) = FileLock::try_acquire(file).map_err(failed)? else {
            return Err(failed(std::io::ErrorKind::ResourceBusy.into()));
        };
        lock.inscribe(self.epoch).map_err(failed)?;
        copy.sync_all().map_err(failed)?;
        self.strategies.rename(staged, &self.directory, READY)?;
        Ok(lock)
    }

    /// Takes back that others may talk to the strategy. Not said before, it is nothing.
    ///
    /// # Errors
    /// The system's; the strategy is not ready any more all the same.
    pub fn withdraw(&mut self) -> Result<(), BusError> {
        if self.ready.take().is_none() {
            return Ok(());
        }
        let staged = self.staged();
        self.directory.rename(READY, &self.strategies, &staged)?;
        self.strategies.remove(&staged)
    }

    /// How often the strategy was run, this time included.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Where the strategy's queues are.
    #[must_use]
    pub fn endpoints(&self) -> &StrategyEndpoints {
        &self.endpoints
    }

    /// Who holds the lease: this process, as others read it.
    #[must_use]
    pub fn holder(&self) -> Option<Holder> {
        self.lock.holder()
    }

    /// A name that is no strategy's, and nobody's but the one's who has the lease.
    fn staged(&self) -> String {
        format!("{}.ready", self.endpoints.id())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // If it fails, the lock on the file is gone all the same.
        let _ = self.withdraw();
    }
}

/// A process that runs a strategy and has said so: as long as this is the same, so is the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Incarnation {
    pub(crate) holder: Holder,
    ready: Identity,
}

/// Who runs the strategy in this directory, if somebody does and is ready.
///
/// What is no file of ours, or not ours to look at, is nobody. Only what says nothing about the
/// strategy, such as that there are no descriptors left, is an error.
pub(crate) fn incarnation(directory: &Directory) -> Result<Option<Incarnation>, BusError> {
    let file = match directory.file(READY) {
        Ok(file) => file,
        Err(error) if error.is_about_the_file() => return Ok(None),
        Err(error) => return Err(error),
    };
    let failed = |error| BusError::io(directory.path().join(READY), "look at", error);
    let LockState::Held(Some(holder)) = FileLock::state(&file).map_err(failed)? else {
        return Ok(None);
    };
    let ready = Identity::of(&file.metadata().map_err(failed)?);
    Ok(Some(Incarnation { holder, ready }))
}

/// What a lease or a mark says, whether anybody holds it or not.
pub(crate) fn line(file: &File) -> Option<Holder> {
    let mut buffer = [0; 128];
    let length = file.read_at(&mut buffer, 0).ok()?;
    let text = str::from_utf8(buffer.get(..length)?).ok()?;
    Holder::decode(text.split_once('\n')?.0)
}
