use chronicle_sync::{Clock, Park, Platform};

use crate::{StaticError, StaticStorage};

/// Static memory and the machine that it is in, as one platform. Made by
/// [`Slots::platform`](crate::Slots::platform).
#[derive(Clone, Copy, Debug)]
pub struct StaticPlatform<M, const COUNT: usize, const SIZE: usize> {
    storage: StaticStorage<COUNT, SIZE>,
    machine: M,
}

impl<M, const COUNT: usize, const SIZE: usize> StaticPlatform<M, COUNT, SIZE> {
    pub(crate) const fn new(storage: StaticStorage<COUNT, SIZE>, machine: M) -> Self {
        Self { storage, machine }
    }

    /// The machine.
    #[must_use]
    pub const fn machine(&self) -> &M {
        &self.machine
    }
}

impl<M, const COUNT: usize, const SIZE: usize> Platform for StaticPlatform<M, COUNT, SIZE>
where
    M: Park<Error = StaticError> + Clock,
{
    type Error = StaticError;
    type Storage = StaticStorage<COUNT, SIZE>;
    type Park = M;
    type Clock = M;

    fn storage(&self) -> &Self::Storage {
        &self.storage
    }

    fn park(&self) -> &M {
        &self.machine
    }

    fn clock(&self) -> &M {
        &self.machine
    }

    /// A number that no other queue in this memory was given. Nothing of an earlier life is left that
    /// it could be mistaken for.
    fn entropy(&self) -> u64 {
        self.storage.number()
    }
}
