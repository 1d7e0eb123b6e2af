//! A strategy and a router of a bus, as programs have them: the strategy's orders lie in its queue, and the
//! router sleeps in a set.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use chronicle_bus::zerocopy::FromBytes;
use chronicle_bus::{BusLayout, RouterChannel, StrategyChannel, StrategyEndpoints, StrategyId};
use chronicle_std::{MemberId, WaitEvent, WaitSet, WaitStrategy, WriterConfig};

use crate::system::{Place, Processes, Receiver, Sender};

/// Bytes of an order.
pub const SIZE: usize = 64;
const PATIENCE: Duration = Duration::from_secs(20);

chronicle_bus::message! {
    /// What is sent.
    pub struct Order = 0x2001 {
        /// All of it.
        pub bytes: [u8; SIZE],
    }
}

chronicle_bus::message! {
    /// What would be replied.
    pub struct Fill = 0x2002 {
        /// To which order.
        pub order_seq: u64,
    }
}

pub struct Bus;

/// A strategy that can be found, and sends.
pub struct Strategy(StrategyChannel<Order, Fill>);

/// A router that has found it, and sleeps for orders of all the strategies in its set.
pub struct Router {
    set: WaitSet,
    orders: MemberId,
    events: Vec<WaitEvent>,
}

fn strategy(place: &Place) -> Result<StrategyEndpoints> {
    Ok(BusLayout::new(&place.directory)?.strategy(StrategyId::new("strategy")?))
}

impl Processes for Bus {
    type Sender = Strategy;
    type Receiver = Router;

    fn sender(place: &Place) -> Result<Strategy> {
        let mut config = WriterConfig::default();
        config.segment_size = place.bytes();
        config.allocation_step = place.bytes();
        config.checksums = false;
        config.background = false;
        let mut channel = StrategyChannel::open(&strategy(place)?, config)?;
        channel.mark_ready()?;
        Ok(Strategy(channel))
    }

    fn receiver(place: &Place) -> Result<Router> {
        let strategy = strategy(place)?;
        let until = Instant::now() + PATIENCE;
        while strategy.ready_holder()?.is_none() {
            if Instant::now() > until {
                bail!("no strategy was ready");
            }
            thread::sleep(Duration::from_millis(1));
        }
        let channel =
            RouterChannel::<Order, Fill>::open(&strategy, "router", WriterConfig::default())?;
        let mut set = WaitSet::with_strategy(WaitStrategy::Park);
        let orders = set.add(channel.queues.incoming.into_reader())?;
        Ok(Router { set, orders, events: Vec::new() })
    }
}

impl Sender for Strategy {
    fn send(&mut self, message: &[u8]) -> Result<()> {
        let order = Order::ref_from_bytes(message).ok().context("an order")?;
        self.0.queues.outgoing.send(order)?;
        Ok(())
    }
}

impl Receiver for Router {
    fn poll(&mut self, most: u64, mut each: impl FnMut(&[u8])) -> Result<u64> {
        self.set.wait(&mut self.events, Some(PATIENCE))?;
        let orders = self.set.reader_mut(self.orders).context("a reader")?;
        Ok(orders.read_all(most, |message| each(message.payload))?)
    }
}
