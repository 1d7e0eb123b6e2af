//! The seam: what a queue needs of its surroundings.

mod clock;
mod error;
mod park;
mod probe;
mod region;
mod storage;
mod watch;

pub use chronicle_format::Object;
pub use clock::{Clock, Instant};
pub use error::{Error, ErrorKind};
pub use park::{Park, Wake};
pub use probe::{NoProbe, Probe, Site};
pub use region::{Region, RegionMut};
pub use storage::{Durability, LockState, ObjectKind, Stage, Storage};
pub use watch::Watch;

/// Everything that a queue needs of its surroundings, as one type parameter.
///
/// A value of it stands for one queue: its storage holds that queue's objects. A reference to a
/// platform is a platform.
pub trait Platform {
    /// What can go wrong, the same type for all parts.
    type Error: Error;
    /// Where the queue's objects are.
    type Storage: Storage<Error = Self::Error>;
    /// How to sleep and wake.
    type Park: Park<Error = Self::Error>;
    /// What time it is.
    type Clock: Clock;

    /// The storage of this queue.
    fn storage(&self) -> &Self::Storage;
    /// The means to sleep and wake.
    fn park(&self) -> &Self::Park;
    /// The clock.
    fn clock(&self) -> &Self::Clock;
    /// A number that is different each time, for salts and identities. It need not be secret, but
    /// two writers, or one writer before and after a crash, must not get the same ones.
    fn entropy(&self) -> u64;
}

impl<P: Platform> Platform for &P {
    type Error = P::Error;
    type Storage = P::Storage;
    type Park = P::Park;
    type Clock = P::Clock;

    fn storage(&self) -> &Self::Storage {
        (**self).storage()
    }

    fn park(&self) -> &Self::Park {
        (**self).park()
    }

    fn clock(&self) -> &Self::Clock {
        (**self).clock()
    }

    fn entropy(&self) -> u64 {
        (**self).entropy()
    }
}
