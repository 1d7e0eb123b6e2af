//! What a system is to the harness: something that takes messages on one side and gives them on another.
//!
//! A new system is one file in `systems/` with a [`Sender`] and a [`Receiver`], and a line in the list
//! there. Measurements are generic over both, so that nothing is called through a pointer per message.

use std::path::PathBuf;

use anyhow::Result;
use chronicle_format::record_size;

use crate::job::Job;

/// The side that sends.
pub trait Sender {
    /// Sends a message; waits while there is no room for it.
    fn send(&mut self, message: &[u8]) -> Result<()>;
}

/// The side that receives.
pub trait Receiver {
    /// Hands at most `most` messages to `each`, as many as are there, without waiting unless the system
    /// can only wait. Returns how many that were.
    fn poll(&mut self, most: u64, each: impl FnMut(&[u8])) -> Result<u64>;
}

/// A system between two processes. Both sides are opened at the same time, and each waits for the other
/// as far as it needs to.
pub trait Processes {
    type Sender: Sender;
    type Receiver: Receiver;

    fn sender(place: &Place) -> Result<Self::Sender>;
    fn receiver(place: &Place) -> Result<Self::Receiver>;

    /// How many messages a reader may be behind without the sender having to wait, if that is bounded.
    fn capacity(_size: usize) -> Option<u64> {
        None
    }
}

/// A system between two threads of a process.
pub trait Threads {
    type Sender: Sender + Send;
    type Receiver: Receiver + Send;

    fn pair(place: &Place) -> Result<(Self::Sender, Self::Receiver)>;

    /// As [`Processes::capacity`].
    fn capacity(size: usize) -> u64;
}

/// Where one direction of a measurement has its files, and what is to come.
#[derive(Clone)]
pub struct Place {
    /// An empty directory, the same for both sides.
    pub directory: PathBuf,
    /// Bytes of every message.
    pub size: usize,
    /// Messages at the most, those of the warm-up included.
    pub messages: u64,
}

impl Place {
    pub fn new(job: &Job, direction: &str) -> Self {
        let messages = job.messages + job.warm_up + 16;
        Self { directory: job.directory.join(direction), size: job.size, messages }
    }

    /// Bytes that all messages take as records of the format, and some more.
    pub fn bytes(&self) -> u64 {
        let record = record_size(u32::try_from(self.size).unwrap_or(u32::MAX));
        (self.messages * record).next_multiple_of(4096) + (1 << 20)
    }
}
