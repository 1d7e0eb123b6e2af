//! What the examples say to each other, and where.
#![allow(dead_code, reason = "each example uses a part of it")]

pub mod capture;

use std::path::PathBuf;

use chronicle_bus::{BusError, BusLayout, Change, Message, QueueEndpoint, StrategyEvent};
use chronicle_protocol::{BookEvent, Kind, ProtocolError, TYPE_BOOK_EVENT};
use chronicle_std::{MessageView, QueueError, ReaderConfig};

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

/// The order that a strategy answers an event with, if it does: to buy a lot for the first price asked,
/// if it is of the strategy's market, and of every so manieth event.
pub fn order(
    event: &MessageView<'_>,
    market: u32,
    every: u64,
) -> Result<Option<Order>, ProtocolError> {
    if event.type_id != TYPE_BOOK_EVENT || !event.seq.is_multiple_of(every) {
        return Ok(None);
    }
    let (event_seq, event) = (event.seq, BookEvent::decode(event.payload)?);
    let header = event.header();
    if header.market_id != market || ![Kind::L2_DIFF, Kind::BBO].contains(&header.kind()) {
        return Ok(None);
    }
    Ok(event.asks()?.next().map(|ask| Order { event_seq, price: ask.price, lots: 1 }))
}

/// What has become of a strategy, for people.
pub fn words(event: &StrategyEvent) -> String {
    let id = event.strategy.id();
    match event.change {
        Change::Added(holder) => format!("{id} added, {holder}"),
        Change::Removed(holder) => format!("{id} removed, it was {holder}"),
        Change::Restarted(holder) => format!("{id} restarted, now {holder}"),
        other => format!("{id} {other:?}"),
    }
}
