//! A router: finds strategies as they come and go, reads all their orders as one stream in the order of
//! time, and fills each.
//!
//!     cargo run -p chronicle-bus --example router -- --bus-root ./demo_bus
//!
//! It may be killed at any time. Started again it goes on behind the order of the last fill that a
//! strategy was sent, so no order is lost and none is filled twice.

mod shared;

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use chronicle_bus::zerocopy::FromBytes as _;
use chronicle_bus::{Change, Publisher, StrategyEndpoints, StrategyFanIn};
use chronicle_std::{Merged, Patience, ReaderConfig, SourceId, WriterConfig};
use clap::Parser;
use shared::{Fill, Order, Where, newest};

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    place: Where,
    /// The name under which it reads
    #[arg(long, default_value = "router")]
    name: String,
    /// Ends when so many orders were filled since it was started; 0 for no end
    #[arg(long, default_value_t = 0)]
    orders: u64,
}

/// Where a strategy's fills go.
struct Replies {
    fills: Publisher<Fill>,
    /// The first order that has no fill yet.
    next_order: u64,
}

impl Replies {
    fn open(strategy: &StrategyEndpoints) -> Result<Self, Box<dyn Error>> {
        let fills = Publisher::open(&strategy.orders_in(), WriterConfig::default())?;
        let newest = newest::<Fill>(&strategy.orders_in())?;
        Ok(Self { fills, next_order: newest.map_or(0, |(_, fill)| fill.order_seq + 1) })
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let mut reader = ReaderConfig::default();
    reader.name = Some(arguments.name.clone());
    // A strategy that is silent holds the others up for a millisecond at most.
    let patience = Patience::Lateness(Duration::from_millis(1));
    let mut orders = StrategyFanIn::<64>::new(&arguments.place.bus()?, reader, patience);
    let mut replies: BTreeMap<SourceId, Replies> = BTreeMap::new();
    let mut filled = 0;
    println!("router: looking for strategies in {}", arguments.place.bus_root.display());
    while arguments.orders == 0 || filled < arguments.orders {
        for told in orders.poll()? {
            let strategy = &told.event.strategy;
            println!("router: {}", shared::words(&told.event));
            if let Err(error) = told.attached {
                // The others' orders go on.
                eprintln!("router: {error}");
                continue;
            }
            let source = strategy.id().source();
            if !matches!(told.event.change, Change::Removed(_)) && !replies.contains_key(&source) {
                replies.insert(source, Replies::open(strategy)?);
            }
        }
        let given = match orders.next()? {
            Merged::InOrder(record) | Merged::Late { record, .. } => {
                let Some(to) = replies.get_mut(&record.source) else { continue };
                let order_seq = record.message.seq;
                // One that was filled and not committed when the router before this one died.
                if order_seq >= to.next_order
                    && let Ok(order) = Order::read_from_bytes(record.message.payload)
                {
                    let Order { price, lots, .. } = order;
                    to.fills.send(&Fill { order_seq, price, lots })?;
                    to.next_order = order_seq + 1;
                    filled += 1;
                }
                Some(record.source)
            }
            _ => None,
        };
        match given {
            Some(source) => orders.commit(source)?,
            None => drop(orders.wait(Duration::from_millis(20))?),
        }
    }
    println!("router: {filled} orders filled");
    Ok(())
}
