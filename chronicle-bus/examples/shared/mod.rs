//! What the examples say to each other, and where.
#![allow(dead_code, reason = "each example uses a part of it")]

use std::path::PathBuf;

use chronicle_bus::{BusError, BusLayout, Message, QueueEndpoint};
use chronicle_std::{QueueError, ReaderConfig};

chronicle_bus::message! {
    /// Buy so many lots at a price.
    pub struct Order = 0x2001 {
        /// Sequence number of the book event that it answers.
        pub event_seq: u64,
        /// The price, as the book event has it.
        pub price: i64,
        /// How many.
        pub lots: u64,
    }
}

chronicle_bus::message! {
    /// An order was filled.
    pub struct Fill = 0x2002 {
        /// Sequence number of the order in its queue.
        pub order_seq: u64,
        /// The price.
        pub price: i64,
        /// How many.
        pub lots: u64,
    }
}

/// Which bus, and which feed of it.
#[derive(clap::Args)]
pub struct Where {
    /// The directory of the bus
    #[arg(long, default_value = "demo_bus")]
    pub bus_root: PathBuf,
    /// The stream of the feed
    #[arg(long, default_value = "market_data")]
    pub stream: String,
    /// The feed
    #[arg(long, default_value = "demo_feed")]
    pub feed: String,
}

impl Where {
    pub fn bus(&self) -> Result<BusLayout, BusError> {
        BusLayout::new(&self.bus_root)
    }

    pub fn feed(&self) -> Result<QueueEndpoint, BusError> {
        self.bus()?.live(&self.stream, &self.feed)
    }
}

/// The newest message of a queue of such messages, and its sequence number. What a process has sent last
/// is where it goes on after its death: nothing else needs to be kept.
pub fn newest<M: Message>(queue: &QueueEndpoint) -> Result<Option<(u64, M)>, BusError> {
    let mut reader = queue.open_reader(ReaderConfig::default())?;
    reader.seek_to_end()?;
    let newest = match reader.reversed()?.previous() {
        Ok(message) => M::read_from_bytes(message.payload).ok().map(|found| (message.seq, found)),
        Err(QueueError::NothingBefore { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    Ok(newest)
}
