//! A feed: publishes book events of one market, two levels on each side, to a queue of the bus.
//!
//!     cargo run -p chronicle-bus --example feed -- --bus-root ./demo_bus
//!
//! Started again it goes on with the next event.

mod shared;

use std::error::Error;
use std::thread;
use std::time::{Duration, Instant};

use chronicle_protocol::{BookEvent, BookEventHeader, Kind, Level, SeqRule, TYPE_BOOK_EVENT};
use chronicle_std::WriterConfig;
use clap::Parser;
use shared::Where;

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    place: Where,
    /// How many events there are to be in the queue; 0 for no end
    #[arg(long, default_value_t = 1000)]
    events: u64,
    /// Events in a second
    #[arg(long, default_value_t = 1000)]
    rate: u32,
    /// The venue that the events are of
    #[arg(long, default_value_t = 1)]
    venue: u16,
    /// The market that they are of
    #[arg(long, default_value_t = 1)]
    market: u32,
}

/// A price that goes up and down: the same for the same event each time.
fn price(seq: u64) -> i64 {
    let phase = (seq % 200) as i64;
    100_000 + 5 * phase.min(200 - phase)
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let mut writer = arguments.place.feed()?.open_publisher(WriterConfig::default())?;
    println!("feed: {} from event {}", writer.path().display(), writer.next_seq());
    let pause = Duration::from_secs(1) / arguments.rate.max(1);
    let mut due = Instant::now();
    while arguments.events == 0 || writer.next_seq() < arguments.events {
        let seq = writer.next_seq();
        let header = BookEventHeader {
            venue_id: arguments.venue,
            market_id: arguments.market,
            native_seq: seq + 1,
            native_prev: seq,
            price_exp: -2,
            ..BookEventHeader::new(Kind::L2_DIFF, SeqRule::Chain)
        };
        let price = price(seq);
        let bids = [1, 2].map(|step| Level { price: price - step, size: 10 });
        let asks = [1, 2].map(|step| Level { price: price + step, size: 10 });
        let mut payload = [0; BookEvent::levels_size(2, 2)];
        BookEvent::encode_levels(&header, &bids, &asks, &mut payload)?;
        writer.append(TYPE_BOOK_EVENT, &payload)?;
        // From when it was due, so that a late event does not make the others late.
        due += pause;
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    println!("feed: {} events", writer.next_seq());
    Ok(())
}
