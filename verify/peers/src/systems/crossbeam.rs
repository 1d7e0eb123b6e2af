//! `crossbeam`: a bounded channel and an array queue between two threads. Messages are moved as values, so
//! each size is a type of its own.

use std::hint::spin_loop;
use std::sync::Arc;

use anyhow::{Result, bail};
use crossbeam_channel::TryRecvError;
use crossbeam_queue::ArrayQueue;

use crate::system::{Place, Receiver, Sender, Threads};

/// Bytes that there is room for.
const BYTES: usize = 1 << 20;

/// The channel, for messages of `N` bytes.
pub struct Channel<const N: usize>;
/// The array queue.
pub struct Array<const N: usize>;

impl<const N: usize> Threads for Channel<N> {
    type Sender = crossbeam_channel::Sender<[u8; N]>;
    type Receiver = crossbeam_channel::Receiver<[u8; N]>;

    fn pair(_: &Place) -> Result<(Self::Sender, Self::Receiver)> {
        Ok(crossbeam_channel::bounded(BYTES / N))
    }

    fn capacity(size: usize) -> u64 {
        (BYTES / size) as u64
    }
}

impl<const N: usize> Sender for crossbeam_channel::Sender<[u8; N]> {
    #[inline(always)]
    fn send(&mut self, message: &[u8]) -> Result<()> {
        crossbeam_channel::Sender::send(self, message.try_into()?)?;
        Ok(())
    }
}

impl<const N: usize> Receiver for crossbeam_channel::Receiver<[u8; N]> {
    #[inline(always)]
    fn poll(&mut self, most: u64, mut each: impl FnMut(&[u8])) -> Result<u64> {
        let mut count = 0;
        while count < most {
            match self.try_recv() {
                Ok(message) => each(&message),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => bail!("the sender is gone"),
            }
            count += 1;
        }
        Ok(count)
    }
}

impl<const N: usize> Threads for Array<N> {
    type Sender = Arc<ArrayQueue<[u8; N]>>;
    type Receiver = Arc<ArrayQueue<[u8; N]>>;

    fn pair(_: &Place) -> Result<(Self::Sender, Self::Receiver)> {
        let queue = Arc::new(ArrayQueue::new(BYTES / N));
        Ok((Arc::clone(&queue), queue))
    }

    fn capacity(size: usize) -> u64 {
        (BYTES / size) as u64
    }
}

impl<const N: usize> Sender for Arc<ArrayQueue<[u8; N]>> {
    #[inline(always)]
    fn send(&mut self, message: &[u8]) -> Result<()> {
        let mut message = message.try_into()?;
        while let Err(back) = self.push(message) {
            message = back;
            spin_loop();
        }
        Ok(())
    }
}

impl<const N: usize> Receiver for Arc<ArrayQueue<[u8; N]>> {
    #[inline(always)]
    fn poll(&mut self, most: u64, mut each: impl FnMut(&[u8])) -> Result<u64> {
        let mut count = 0;
        while count < most {
            let Some(message) = self.pop() else { break };
            each(&message);
            count += 1;
        }
        Ok(count)
    }
}
