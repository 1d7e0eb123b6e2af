use core::ops::RangeInclusive;

/// Type of a record that is a book event, of whichever kind.
pub const TYPE_BOOK_EVENT: u16 = 0x1000;

/// Types of reference data.
pub const TYPE_REFERENCE: RangeInclusive<u16> = 0x1100..=0x11FF;

/// Types of orders, and of what becomes of them.
pub const TYPE_ORDERS: RangeInclusive<u16> = 0x2000..=0x20FF;
