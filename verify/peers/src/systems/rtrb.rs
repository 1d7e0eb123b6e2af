//! `rtrb`: a ring of bytes between two threads. A message is a chunk of it.
//!
//! Unsafe lives here because the crate wants to be told that a chunk was filled.

use std::hint::spin_loop;

use anyhow::{Result, anyhow};
use rtrb::{Consumer, CopyToUninit, Producer, RingBuffer};

use crate::system::{Place, Receiver, Sender, Threads};

const BYTES: usize = 1 << 20;

pub struct Rtrb;

pub struct Reading {
    consumer: Consumer<u8>,
    size: usize,
    /// For a message that lies across the ring's end.
    buffer: Vec<u8>,
}

impl Threads for Rtrb {
    type Sender = Producer<u8>;
    type Receiver = Reading;

    fn pair(place: &Place) -> Result<(Producer<u8>, Reading)> {
        let (producer, consumer) = RingBuffer::new(BYTES);
        Ok((producer, Reading { consumer, size: place.size, buffer: vec![0; place.size] }))
    }

    fn capacity(size: usize) -> u64 {
        (BYTES / size) as u64
    }
}

impl Sender for Producer<u8> {
    #[inline(always)]
    fn send(&mut self, message: &[u8]) -> Result<()> {
        loop {
            if let Ok(mut chunk) = self.write_chunk_uninit(message.len()) {
                let (first, second) = chunk.as_mut_slices();
                let (head, tail) = message
                    .split_at_checked(first.len())
                    .ok_or_else(|| anyhow!("a chunk is longer than asked for"))?;
                head.copy_to_uninit(first);
                tail.copy_to_uninit(second);
                // SAFETY: both slices were filled from the message, which is as long as the chunk.
                unsafe { chunk.commit_all() };
                return Ok(());
            }
            spin_loop();
        }
    }
}

impl Receiver for Reading {
    #[inline(always)]
    fn poll(&mut self, most: u64, mut each: impl FnMut(&[u8])) -> Result<u64> {
        let mut count = 0;
        while count < most {
            let Ok(chunk) = self.consumer.read_chunk(self.size) else { break };
            let (first, second) = chunk.as_slices();
            if second.is_empty() {
                each(first);
            } else {
                for (target, byte) in self.buffer.iter_mut().zip(first.iter().chain(second)) {
                    *target = *byte;
                }
                each(&self.buffer);
            }
            chunk.commit_all();
            count += 1;
        }
        Ok(count)
    }
}
