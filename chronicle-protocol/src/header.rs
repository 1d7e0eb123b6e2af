use core::fmt;

use bitflags::bitflags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::SeqRule;

/// The version of events that this library writes, and the highest that it reads.
pub const EVENT_VERSION: u8 = 1;

/// Bytes of a header.
pub const HEADER_SIZE: usize = size_of::<BookEventHeader>();

/// What an event tells. Kinds that are not known are skipped by whoever reads them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Kind(pub u8);

impl Kind {
    /// Levels of a book by price that changed: absolute sizes, where 0 deletes a level. Elements are
    /// [`Level`](crate::Level)s or [`CountedLevel`](crate::CountedLevel)s.
    pub const L2_DIFF: Self = Self(1);
    /// All levels of a book by price, as deep as `aux` says. Elements as of a diff.
    pub const L2_SNAPSHOT: Self = Self(2);
    /// What became of single orders. Elements of 48 bytes.
    pub const L3_EVENT: Self = Self(3);
    /// All orders of a book. Elements of 40 bytes.
    pub const L3_SNAPSHOT: Self = Self(4);
    /// Trades. Elements are [`Trade`](crate::Trade)s.
    pub const TRADE: Self = Self(5);
    /// The phase of trading, in `aux`.
    pub const STATUS: Self = Self(6);
    /// Events of the venue are missing before this one.
    pub const GAP: Self = Self(7);
    /// The venue is alive, and has nothing to tell.
    pub const HEARTBEAT: Self = Self(8);
    /// The book is empty now.
    pub const CLEAR: Self = Self(9);
    /// Best bid and offer.
    pub const BBO: Self = Self(10);
    /// An instrument: its exponents, tick, lot and symbols.
    pub const INSTRUMENT: Self = Self(11);
    /// Bytes as the vendor gave them.
    pub const RAW: Self = Self(12);
    /// A connection or a session begins.
    pub const EPOCH: Self = Self(13);

    /// Its name; `None` where this library does not know it.
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::L2_DIFF => "L2_DIFF",
            Self::L2_SNAPSHOT => "L2_SNAPSHOT",
            Self::L3_EVENT => "L3_EVENT",
            Self::L3_SNAPSHOT => "L3_SNAPSHOT",
            Self::TRADE => "TRADE",
            Self::STATUS => "STATUS",
            Self::GAP => "GAP",
            Self::HEARTBEAT => "HEARTBEAT",
            Self::CLEAR => "CLEAR",
            Self::BBO => "BBO",
            Self::INSTRUMENT => "INSTRUMENT",
            Self::RAW => "RAW",
            Self::EPOCH => "EPOCH",
            _ => return None,
        })
    }

    /// Bytes that an element of the kind has at least; 0 for kinds without elements, and for those that
    /// this library does not know.
    #[must_use]
    pub const fn least_element(self) -> usize {
        match self {
            Self::L2_DIFF | Self::L2_SNAPSHOT | Self::BBO => 16,
            Self::L3_EVENT => 48,
            Self::L3_SNAPSHOT => 40,
            Self::TRADE => 32,
            _ => 0,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}

bitflags! {
    /// Flags of an event. Bits that are not known are kept, and ignored.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct BookFlags: u32 {
        /// The last record of one event of the venue: the book is consistent behind it.
        const EVENT_END = 1;
        /// The first record of a snapshot that takes several.
        const SNAP_BEGIN = 1 << 1;
        /// The last record of such a snapshot, which counts from here.
        const SNAP_END = 1 << 2;
        /// Events of the venue are missing before this one.
        const GAP_BEFORE = 1 << 3;
        /// The book cannot be believed until the next snapshot.
        const BOOK_INVALID = 1 << 4;
        /// Made up by a program, and not sent by a venue.
        const SYNTHETIC = 1 << 5;
        /// The time of receipt is known to be wrong.
        const RECV_TS_BAD = 1 << 6;
        /// The venue gave no time.
        const EXCH_TS_MISSING = 1 << 7;
        /// Levels beyond the depth of the feed are not known.
        const DEPTH_LIMITED = 1 << 8;
        /// In an auction, in which a book may be crossed.
        const AUCTION = 1 << 9;
        /// `aux` is the venue's checksum of the book behind this event.
        const CHECKSUM = 1 << 10;
        /// Sent again by a venue or a program.
        const REPLAYED = 1 << 11;
        /// Sizes are differences.
        const QTY_DELTA = 1 << 12;
        const _ = !0;
    }
}

/// The first 64 bytes of every event. All fields are as they are stored; a new one is made with
/// [`new`](Self::new), and what counts and sizes elements is filled in by what encodes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct BookEventHeader {
    /// Version of the layout.
    pub version: u8,
    /// What the event tells: a [`Kind`].
    pub kind: u8,
    /// Eighths of the bytes that an element has. Elements may grow at their end.
    pub elem_size8: u8,
    /// How events follow each other: a [`SeqRule`].
    pub seq_rule: u8,
    /// [`BookFlags`].
    pub flags: u32,
    /// The venue, by a registry; never used for another one.
    pub venue_id: u16,
    /// Within the venue: what sequence numbers are continuous in.
    pub channel_id: u16,
    /// The instrument.
    pub market_id: u32,
    /// Time at the venue in nanoseconds since 1970, UTC; 0 if it is not known.
    pub exchange_ts_ns: u64,
    /// Time at which it was received, likewise. May be before the venue's: clocks differ.
    pub recv_ts_ns: u64,
    /// The venue's sequence number, of the last change contained.
    pub native_seq: u64,
    /// The one that this event follows; 0 if there is none.
    pub native_prev: u64,
    /// Elements of the first array: bids, trades, orders.
    pub count0: u32,
    /// Elements of the second array: asks.
    pub count1: u32,
    /// A price is its mantissa times ten to this. Fixed for an instrument; repeated for readers that keep
    /// nothing.
    pub price_exp: i8,
    /// The same for sizes.
    pub size_exp: i8,
    /// What has written the event: an adapter, a run of an import.
    pub source_id: u16,
    /// By kind: a checksum of the venue's, the depth of a snapshot (0 for all of the book), a status.
    pub aux: u32,
}

const _: () = assert!(size_of::<BookEventHeader>() == 64 && align_of::<BookEventHeader>() == 8);

impl BookEventHeader {
    /// A header with everything else at zero.
    #[must_use]
    pub const fn new(kind: Kind, seq_rule: SeqRule) -> Self {
        Self {
            version: EVENT_VERSION,
            kind: kind.0,
            elem_size8: 0,
            seq_rule: seq_rule as u8,
            flags: 0,
            venue_id: 0,
            channel_id: 0,
            market_id: 0,
            exchange_ts_ns: 0,
            recv_ts_ns: 0,
            native_seq: 0,
            native_prev: 0,
            count0: 0,
            count1: 0,
            price_exp: 0,
            size_exp: 0,
            source_id: 0,
            aux: 0,
        }
    }

    /// What the event tells.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        Kind(self.kind)
    }

    /// Its flags, with those that are not known.
    #[must_use]
    pub const fn flags(&self) -> BookFlags {
        BookFlags::from_bits_retain(self.flags)
    }

    /// How events follow each other; `None` where this library does not know the rule.
    #[must_use]
    pub const fn seq_rule(&self) -> Option<SeqRule> {
        SeqRule::from_stored(self.seq_rule)
    }

    /// Bytes of an element.
    #[must_use]
    pub const fn element_size(&self) -> usize {
        self.elem_size8 as usize * 8
    }
}
