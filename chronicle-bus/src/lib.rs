//! A bus of Chronicle queues: where the queues of many processes lie, and who of them is there.
//!
//! It starts no processes and decides nothing for them. A bus is a directory ([`BusLayout`]); feeds
//! publish into queues of their own, and each strategy has a pair of queues ([`StrategyEndpoints`]).
//!
//! ```
//! use chronicle_bus::{BusLayout, StrategyId};
//! use chronicle_std::{ReaderConfig, WriterConfig};
//!
//! # let directory = tempfile::tempdir()?;
//! # let root = directory.path().join("bus");
//! let bus = BusLayout::new(&root)?;
//! let feed = bus.live("market_data", "demo_feed")?;
//! feed.open_publisher(WriterConfig::default())?.append(0x8000, b"a trade")?;
//!
//! let mut reader = feed.open_reader(ReaderConfig::default())?;
//! assert_eq!(reader.next()?.map(|message| message.payload), Some(&b"a trade"[..]));
//!
//! let strategy = bus.strategy(StrategyId::new("momentum")?);
//! assert_eq!(strategy.orders_out().path(), bus.strategies().join("momentum/orders_out"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

// `message!` names this crate as others do.
extern crate self as chronicle_bus;

mod answered;
mod async_discovery;
mod channel;
mod counters;
mod directory;
mod error;
mod fan_in;
mod hints;
mod layout;
mod lease;
mod merge_replay;
mod message;
mod registration;
mod request;
mod router_discovery;
mod subscriber_discovery;
mod survey;
mod typed;

pub use answered::REQUESTS_IN_FLIGHT;
pub use async_discovery::AsyncRouterDiscovery;
pub use channel::{Duplex, RouterChannel, StrategyChannel};
pub use counters::{BusCounters, CountedReader, CountedWriter, Head, Lag, QueueCounters, Space};
pub use error::BusError;
pub use fan_in::{FanInEvent, StrategyFanIn};
pub use layout::{BusLayout, NAME_LIMIT, QueueEndpoint, StrategyEndpoints, StrategyId};
pub use lease::Lease;
pub use merge_replay::{MergeReplay, MergedPlace};
pub use message::Message;
#[doc(hidden)]
pub use message::fingerprint;
pub use registration::ReaderRegistration;
pub use request::{Reply, Requester, Responder};
pub use router_discovery::{Change, RouterDiscovery, StrategyEvent};
pub use subscriber_discovery::{Connection, Reason, SubscriberDiscovery};
pub use survey::{Sign, StrategySurvey, Survey};
pub use typed::{Publisher, Received, Subscriber};
/// What [`message!`] makes use of, in the version that it needs.
pub use zerocopy;
