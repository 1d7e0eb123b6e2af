//! Chronicle itself, through the interface that its users have.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use chronicle_std::{Queue, QueueReader, QueueWriter, ReaderConfig, WaitStrategy, WriterConfig};

use crate::system::{Place, Processes, Receiver, Sender};

const TYPE: u16 = 0x8000;
const PATIENCE: Duration = Duration::from_secs(20);

/// One segment that holds everything and is allocated and prefaulted by the first append that leaves its
/// first step, which is in the warm-up: what the queue costs beside a warm mapping.
pub struct OneSegment<const CHECKSUMS: bool>;

/// Segments of so many MiB that the queue's own thread prepares while messages flow: what a user gets.
pub struct Rolling<const MIB: u64, const CHECKSUMS: bool>;

impl<const CHECKSUMS: bool> Processes for OneSegment<CHECKSUMS> {
    type Sender = QueueWriter;
    type Receiver = QueueReader;

    fn sender(place: &Place) -> Result<QueueWriter> {
        let mut config = WriterConfig::default();
        config.segment_size = place.bytes();
        config.allocation_step = place.bytes();
        config.checksums = CHECKSUMS;
        config.background = false;
        Ok(Queue::create(path(place), config)?)
    }

    fn receiver(place: &Place) -> Result<QueueReader> {
        reader(place)
    }
}

impl<const MIB: u64, const CHECKSUMS: bool> Processes for Rolling<MIB, CHECKSUMS> {
    type Sender = QueueWriter;
    type Receiver = QueueReader;

    fn sender(place: &Place) -> Result<QueueWriter> {
        let mut config = WriterConfig::default();
        config.segment_size = MIB << 20;
        config.checksums = CHECKSUMS;
        Ok(Queue::create(path(place), config)?)
    }

    fn receiver(place: &Place) -> Result<QueueReader> {
        reader(place)
    }
}

/// One segment without checksums, and a writer that knows the time of its messages: what comes from elsewhere
/// has one. Peers that stamp nothing are compared with this.
pub struct Timed;

pub struct TimedWriter(QueueWriter);

impl Processes for Timed {
    type Sender = TimedWriter;
    type Receiver = QueueReader;

    fn sender(place: &Place) -> Result<TimedWriter> {
        OneSegment::<false>::sender(place).map(TimedWriter)
    }

    fn receiver(place: &Place) -> Result<QueueReader> {
        reader(place)
    }
}

impl Sender for TimedWriter {
    #[inline(always)]
    fn send(&mut self, message: &[u8]) -> Result<()> {
        self.0.append_at(TYPE, 1, message)?;
        Ok(())
    }
}

/// One segment, and a reader that sleeps as soon as there is nothing to read.
pub struct Parked;

pub struct ParkedReader(QueueReader);

impl Processes for Parked {
    type Sender = QueueWriter;
    type Receiver = ParkedReader;

    fn sender(place: &Place) -> Result<QueueWriter> {
        OneSegment::<false>::sender(place)
    }

    fn receiver(place: &Place) -> Result<ParkedReader> {
        Ok(ParkedReader(open(place, WaitStrategy::Park)?))
    }
}

impl Receiver for ParkedReader {
    fn poll(&mut self, most: u64, each: impl FnMut(&[u8])) -> Result<u64> {
        self.0.wait(Some(PATIENCE))?;
        self.0.poll(most, each)
    }
}

fn path(place: &Place) -> PathBuf {
    place.directory.join("queue")
}

fn reader(place: &Place) -> Result<QueueReader> {
    open(place, WaitStrategy::BusySpin)
}

fn open(place: &Place, strategy: WaitStrategy) -> Result<QueueReader> {
    if !Queue::wait_for(path(place), Some(PATIENCE))? {
        bail!("no queue was made");
    }
    let mut config = ReaderConfig::default();
    config.wait_strategy = strategy;
    Ok(Queue::open_reader(path(place), config)?)
}

impl Sender for QueueWriter {
    #[inline(always)]
    fn send(&mut self, message: &[u8]) -> Result<()> {
        self.append(TYPE, message)?;
        Ok(())
    }
}

impl Receiver for QueueReader {
    #[inline(always)]
    fn poll(&mut self, most: u64, mut each: impl FnMut(&[u8])) -> Result<u64> {
        Ok(self.read_all(most, |message| each(message.payload))?)
    }
}
