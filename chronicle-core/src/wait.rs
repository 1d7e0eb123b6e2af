//! Waiting for the next record, and finding out what the writer is doing.

use core::time::Duration;

use chronicle_format::{Holder, Object};
use chronicle_sync::{Clock, Error as _, ErrorKind, LockState, Platform, Region, Storage};

use crate::Result;
use crate::control::Control;
use crate::error::{Error, Operation};

/// How a reader waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitStrategy {
    /// Never sleeps: the shortest latency, and a processor of its own.
    BusySpin,
    /// Spins for a while, then sleeps until the writer wakes it.
    SpinThenPark {
        /// How long to spin.
        spin: Duration,
    },
    /// Sleeps at once until the writer wakes it.
    Park,
}

impl Default for WaitStrategy {
    fn default() -> Self {
        Self::SpinThenPark { spin: Duration::from_micros(20) }
    }
}

/// What a wait came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitOutcome {
    /// There is a record.
    Ready,
    /// The time was up.
    TimedOut,
    /// There was nothing for the configured time, and the writer will not bring anything soon.
    Writer(WriterStatus),
}

/// What a queue's writer is doing, as far as others can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WriterStatus {
    /// It holds the lock and has appended lately.
    Alive,
    /// It holds the lock and has not appended lately.
    Idle,
    /// It holds the lock and has been inside a claim, or inside a roll that makes its segment, for
    /// longer than the limit.
    Stalled,
    /// Nobody holds the lock.
    Dead,
    /// This process has no right to look.
    Unknown,
}

/// Looks at the writer. One that holds the lock and is in neither is
/// [`Alive`](WriterStatus::Alive).
pub(crate) fn writer_status<P: Platform, R: Region>(
    platform: &P,
    control: &Control<R>,
    limit: Duration,
) -> Result<WriterStatus, P> {
    let state = platform.storage().lock_state(&Object::WriterLock);
    Ok(match state.map_err(Error::platform(Object::WriterLock, Operation::Lock))? {
        LockState::Free => WriterStatus::Dead,
        LockState::Unknown => WriterStatus::Unknown,
        LockState::Held(_) => {
            let same_boot = control.writer_boot() == platform.clock().boot();
            let now = platform.clock().now();
            match control.busy_since() {
                Some(since) if same_boot && now.since(since) > limit => WriterStatus::Stalled,
                _ => WriterStatus::Alive,
            }
        }
    })
}

/// Takes the writer's lock without opening a writer: for what only one process may do at a time.
///
/// # Errors
/// [`Error::WriterAlreadyActive`]; the platform's.
pub fn lock_writer<P: Platform>(platform: &P) -> Result<<P::Storage as Storage>::Guard, P> {
    match platform.storage().lock(&Object::WriterLock) {
        Ok(lock) => Ok(lock),
        Err(error) if error.kind() == ErrorKind::Locked => {
            Err(Error::WriterAlreadyActive { holder: holder(platform) })
        }
        Err(error) => Err(Error::platform(Object::WriterLock, Operation::Lock)(error)),
    }
}

/// Who holds the writer's lock, if that can be found out.
pub(crate) fn holder<P: Platform>(platform: &P) -> Option<Holder> {
    match platform.storage().lock_state(&Object::WriterLock) {
        Ok(LockState::Held(holder)) => holder,
        _ => None,
    }
}
