//! An observer: says what is on a bus, and what flows, without leaving a trace on it.
//!
//!     cargo run -p chronicle-bus --example passive -- --bus-root ./demo_bus

mod shared;

use std::error::Error;
use std::thread;
use std::time::{Duration, Instant};

use chronicle_bus::{BusError, QueueEndpoint, RouterDiscovery};
use chronicle_std::Queue;
use clap::Parser;
use shared::Where;

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    place: Where,
    /// How long it observes; 0 for no end
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

/// How many messages were ever visible in a queue; 0 if there is none yet.
fn messages(queue: &QueueEndpoint) -> Result<u64, BusError> {
    match Queue::open_watermarks(queue.path()) {
        Ok(mut marks) => Ok(marks.visible()?),
        Err(error) if error.is_not_found() => Ok(0),
        Err(error) => Err(error.into()),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let (bus, feed) = (arguments.place.bus()?, arguments.place.feed()?);
    let mut discovery = RouterDiscovery::new(&bus);
    let begun = Instant::now();
    while arguments.seconds == 0 || begun.elapsed() < Duration::from_secs(arguments.seconds) {
        for event in discovery.poll()? {
            println!("{}", shared::words(&event));
        }
        println!("{}: {} events", arguments.place.feed, messages(&feed)?);
        for (id, holder) in discovery.strategies() {
            let strategy = bus.strategy(id.clone());
            let (sent, filled) =
                (messages(&strategy.orders_out())?, messages(&strategy.orders_in())?);
            println!("{id}: {sent} orders, {filled} fills, {holder}");
        }
        thread::sleep(Duration::from_secs(1));
    }
    Ok(())
}
