//! A feed: publishes book events to a queue of the bus.
//!
//!     cargo run -p chronicle-bus --example feed -- --bus-root ./demo_bus
//!
//! makes events of one market, two levels on each side. With
//!
//!     --capture BTC.gz --capture ETH.gz --speed 10
//!
//! it publishes what Binance sent, each file as a market of its own, ten times as fast as it came.
//!
//! Started again it goes on with the next event.

mod shared;

use std::error::Error;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use chronicle_protocol::{BookEvent, BookEventHeader, Kind, Level, SeqRule, TYPE_BOOK_EVENT};
use chronicle_std::WriterConfig;
use clap::Parser;
use shared::Where;
use shared::capture::{Captured, Captures};

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    place: Where,
    /// How many events there are to be in the queue; 0 for no end, or the end of the captures
    /// [default: 1000, of captures all]
    #[arg(long)]
    events: Option<u64>,
    /// Events in a second, without captures
    #[arg(long, default_value_t = 1000, conflicts_with = "capture")]
    rate: u32,
    /// A capture of Binance's streams, as text or compressed by gzip; may be given several times
    #[arg(long)]
    capture: Vec<PathBuf>,
    /// How many times as fast as they came captures are published; 0 for as fast as it goes
    #[arg(long, default_value_t = 1.0, requires = "capture")]
    speed: f64,
    /// The venue that the events are of
    #[arg(long, default_value_t = 1)]
    venue: u16,
    /// The market that they are of; of several captures the first one's
    #[arg(long, default_value_t = 1)]
    market: u32,
}

/// A price that goes up and down: the same for the same event each time.
fn price(seq: u64) -> i64 {
    let phase = (seq % 200) as i64;
    100_000 + 5 * phase.min(200 - phase)
}

/// Event number `seq` of those that are made, which are so far apart.
fn made(arguments: &Arguments, seq: u64) -> Result<Captured, Box<dyn Error>> {
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
    let mut payload = vec![0; BookEvent::levels_size(2, 2)];
    BookEvent::encode_levels(&header, &bids, &asks, &mut payload)?;
    let recv_ts_ns = seq * 1_000_000_000 / u64::from(arguments.rate.max(1));
    Ok(Captured { recv_ts_ns, payload })
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let is_made = arguments.capture.is_empty();
    let limit = match arguments.events.unwrap_or(if is_made { 1000 } else { 0 }) {
        0 => u64::MAX,
        events => events,
    };
    let mut captures = Captures::open(&arguments.capture, arguments.venue, arguments.market)?;
    let mut writer = arguments.place.feed()?.open_publisher(WriterConfig::default())?;
    println!("feed: {} from event {}", writer.path().display(), writer.next_seq());
    for _ in 0..if is_made { 0 } else { writer.next_seq() } {
        captures.next().transpose()?;
    }
    let begun = Instant::now();
    let mut first_ns = None;
    while writer.next_seq() < limit {
        let event =
            if is_made { Some(made(&arguments, writer.next_seq())) } else { captures.next() };
        let Some(Captured { recv_ts_ns, payload }) = event.transpose()? else { break };
        let first_ns = *first_ns.get_or_insert(recv_ts_ns);
        let since = Duration::from_nanos(recv_ts_ns.saturating_sub(first_ns));
        // From when it is due, so that a late event does not make the others late.
        if arguments.speed > 0.0 {
            let due = begun + since.div_f64(arguments.speed);
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        writer.append(TYPE_BOOK_EVENT, &payload)?;
    }
    println!("feed: {} events", writer.next_seq());
    Ok(())
}
