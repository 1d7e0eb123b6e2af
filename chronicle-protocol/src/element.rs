use bitflags::bitflags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A level of a book by price.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Level {
    /// Mantissa of the price, which may be negative.
    pub price: i64,
    /// Mantissa of the size; 0 deletes the level.
    pub size: u64,
}

/// A level with the number of its orders.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct CountedLevel {
    /// As in [`Level`].
    pub price: i64,
    /// As in [`Level`].
    pub size: u64,
    /// Orders at this price.
    pub orders: u32,
    /// Zero.
    pub reserved: u32,
}

/// Who was the aggressor of a trade.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Side {
    /// The buyer.
    Bid = 1,
    /// The seller.
    Ask = 2,
}

bitflags! {
    /// Flags of a trade. Bits that are not known are kept, and ignored.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct TradeFlags: u8 {
        /// Made in an auction, so nobody was the aggressor.
        const AUCTION = 1;
        /// Several fills of one order at one price.
        const AGGREGATE = 1 << 1;
        const _ = !0;
    }
}

/// A trade.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Trade {
    /// Mantissa of the price.
    pub price: i64,
    /// Mantissa of the quantity.
    pub qty: u64,
    /// The venue's number of the trade; 0 if it gives none.
    pub trade_id: u64,
    /// A [`Side`], or 0 where nobody was, or it is not known.
    pub aggressor: u8,
    /// [`TradeFlags`].
    pub flags: u8,
    /// Zero.
    pub reserved: u16,
    /// By venue: the type of the order, the condition of the sale.
    pub attr: u32,
}

const _: () = assert!(size_of::<Level>() == 16 && size_of::<CountedLevel>() == 24);
const _: () = assert!(size_of::<Trade>() == 32);

impl Trade {
    /// Who was the aggressor, if that is known.
    #[must_use]
    pub const fn aggressor(&self) -> Option<Side> {
        match self.aggressor {
            1 => Some(Side::Bid),
            2 => Some(Side::Ask),
            _ => None,
        }
    }
}
