//! Market data as it lies in a queue: book events with a header of 64 bytes and arrays of fixed elements.
//!
//! All numbers are little-endian, no byte is padding, and prices are whole numbers: a mantissa, with the
//! exponent that the header says. `docs/book-events.md` is the normative page; a test holds its tables
//! against this crate, and golden files of version 1 are decoded for ever.
//!
//! An event is written into a buffer, which may be a claim in a queue, and read where it lies:
//!
//! ```
//! use chronicle_protocol::{BookEvent, BookEventHeader, BookFlags, Kind, Level, SeqRule};
//!
//! let header = BookEventHeader {
//!     flags: BookFlags::EVENT_END.bits(),
//!     venue_id: 1,
//!     market_id: 7,
//!     native_prev: 41,
//!     native_seq: 44,
//!     price_exp: -2,
//!     size_exp: -3,
//!     ..BookEventHeader::new(Kind::L2_DIFF, SeqRule::Range)
//! };
//! let bids = [Level { price: 4_205_10, size: 1_500 }];
//! let asks = [Level { price: 4_205_20, size: 0 }];
//! let mut payload = [0; BookEvent::levels_size(1, 1)];
//! BookEvent::encode_levels(&header, &bids, &asks, &mut payload)?;
//!
//! let event = BookEvent::decode(&payload)?;
//! assert_eq!(event.header().market_id, 7);
//! assert!(event.bids()?.eq(bids));
//! assert!(event.asks()?.eq(asks));
//! # Ok::<(), chronicle_protocol::ProtocolError>(())
//! ```
#![no_std]
#![forbid(unsafe_code)]

#[cfg(target_endian = "big")]
compile_error!("events are little-endian and are read where they lie");

mod continuity;
mod element;
mod error;
mod event;
mod header;
mod types;

pub use continuity::{Continuity, SeqRule};
pub use element::{CountedLevel, Level, Side, Trade, TradeFlags};
pub use error::ProtocolError;
pub use event::{BookEvent, Elements};
pub use header::{BookEventHeader, BookFlags, EVENT_VERSION, HEADER_SIZE, Kind};
pub use types::{TYPE_BOOK_EVENT, TYPE_ORDERS, TYPE_REFERENCE};
