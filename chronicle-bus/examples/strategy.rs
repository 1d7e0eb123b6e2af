//! A strategy: reads one market of a feed, sends an order now and then, and reads what was filled.
//!
//!     cargo run -p chronicle-bus --example strategy -- --bus-root ./demo_bus --id momentum
//!
//! It may be killed at any time. Started again it goes on behind the event of its last order, so none is
//! lost and none is sent twice.

mod shared;

use std::error::Error;
use std::time::Duration;

use chronicle_bus::{StrategyChannel, StrategyId, SubscriberDiscovery};
use chronicle_std::{ReaderConfig, WriterConfig};
use clap::Parser;
use shared::{Fill, Order, Where, newest};

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    place: Where,
    /// The strategy's name
    #[arg(long, default_value = "momentum")]
    id: String,
    /// The market that it trades
    #[arg(long, default_value_t = 1)]
    market: u32,
    /// Every how many events there is an order
    #[arg(long, default_value_t = 100)]
    every: u64,
    /// Ends when so many orders were filled; 0 for no end
    #[arg(long, default_value_t = 0)]
    orders: u64,
}

const SLICE: Option<Duration> = Some(Duration::from_millis(20));

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let strategy = arguments.place.bus()?.strategy(StrategyId::new(&arguments.id)?);
    let mut channel = StrategyChannel::<Order, Fill>::open(&strategy, WriterConfig::default())?;
    let mut last_event = newest::<Order>(&strategy.orders_out())?.map(|(_, order)| order.event_seq);
    let (mut sent, mut filled) = (channel.queues.outgoing.writer().next_seq(), 0);
    if let Some((_, fill)) = newest::<Fill>(&strategy.orders_in())? {
        filled = fill.order_seq + 1;
    }
    channel.mark_ready()?;
    println!("{}: ready, {sent} orders sent, {filled} filled", arguments.id);

    // Its reader has no name and holds nothing back, but whoever looks is to see how far behind it is.
    let mut feed = SubscriberDiscovery::new(arguments.place.feed()?, ReaderConfig::default())
        .counted_as(&arguments.id);
    let mut is_new = true;
    while arguments.orders == 0 || filled < arguments.orders {
        if let Some(connection) = feed.poll()? {
            println!("{}: feed {connection:?}", arguments.id);
        }
        let Some(reader) = feed.reader() else {
            feed.wait(SLICE)?;
            continue;
        };
        if std::mem::take(&mut is_new)
            && let Some(event) = last_event
        {
            reader.seek_seq(event + 1)?;
        }
        reader.wait(SLICE)?;
        while let Some(message) = reader.next()? {
            let enough = arguments.orders != 0 && sent >= arguments.orders;
            if !enough
                && let Some(order) = shared::order(&message, arguments.market, arguments.every)?
            {
                last_event = Some(order.event_seq);
                sent = channel.queues.outgoing.send(&order)? + 1;
            }
        }
        while let Some(fill) = channel.queues.incoming.next()? {
            filled = fill.message.order_seq + 1;
            channel.queues.incoming.commit()?;
        }
    }
    println!("{}: {sent} orders sent, {filled} filled", arguments.id);
    Ok(())
}
