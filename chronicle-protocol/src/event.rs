use core::marker::PhantomData;

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::header::{BookEventHeader, EVENT_VERSION, HEADER_SIZE, Kind};
use crate::{CountedLevel, Level, ProtocolError, Trade};

/// An event, as it lies in a queue.
#[derive(Clone, Copy, Debug)]
pub struct BookEvent<'a> {
    header: BookEventHeader,
    body: &'a [u8],
}

impl<'a> BookEvent<'a> {
    /// Reads an event from the payload of a record. Bytes behind it are passed over.
    ///
    /// # Errors
    /// [`ProtocolError::UnsupportedVersion`]; [`ProtocolError::TooShort`] if the payload is shorter than
    /// its header says. A kind that is not known is none: it is for the reader to skip it.
    pub fn decode(payload: &'a [u8]) -> Result<Self, ProtocolError> {
        let found = payload.len();
        let too_short = |needed| ProtocolError::TooShort { found, needed };
        let (header, body) = BookEventHeader::read_from_prefix(payload)
            .map_err(|_| too_short(HEADER_SIZE as u64))?;
        if !(1..=EVENT_VERSION).contains(&header.version) {
            return Err(ProtocolError::UnsupportedVersion { found: header.version });
        }
        let elements = u64::from(header.count0) + u64::from(header.count1);
        let needed = elements * header.element_size() as u64;
        if (body.len() as u64) < needed {
            return Err(too_short(HEADER_SIZE as u64 + needed));
        }
        Ok(Self { header, body })
    }

    /// The header.
    #[must_use]
    pub const fn header(&self) -> &BookEventHeader {
        &self.header
    }

    /// The bytes behind the header, for kinds that have no elements.
    #[must_use]
    pub const fn body(&self) -> &'a [u8] {
        self.body
    }

    /// The bids of a diff, a snapshot or a BBO, best first.
    ///
    /// # Errors
    /// [`ProtocolError::WrongKind`], [`ProtocolError::ElementSize`].
    pub fn bids(&self) -> Result<Elements<'a, Level>, ProtocolError> {
        self.levels().map(|(bids, _)| bids)
    }

    /// The asks, likewise.
    ///
    /// # Errors
    /// As [`bids`](Self::bids).
    pub fn asks(&self) -> Result<Elements<'a, Level>, ProtocolError> {
        self.levels().map(|(_, asks)| asks)
    }

    /// Bids and asks with the numbers of their orders.
    ///
    /// # Errors
    /// As [`bids`](Self::bids); [`ProtocolError::ElementSize`] if the numbers of orders are not there.
    pub fn counted_levels(
        &self,
    ) -> Result<(Elements<'a, CountedLevel>, Elements<'a, CountedLevel>), ProtocolError> {
        self.expect(&[Kind::L2_DIFF, Kind::L2_SNAPSHOT, Kind::BBO])?;
        self.arrays()
    }

    /// The trades.
    ///
    /// # Errors
    /// [`ProtocolError::WrongKind`], [`ProtocolError::ElementSize`].
    pub fn trades(&self) -> Result<Elements<'a, Trade>, ProtocolError> {
        self.expect(&[Kind::TRADE])?;
        self.arrays().map(|(trades, _)| trades)
    }

    fn levels(&self) -> Result<(Elements<'a, Level>, Elements<'a, Level>), ProtocolError> {
        self.expect(&[Kind::L2_DIFF, Kind::L2_SNAPSHOT, Kind::BBO])?;
        self.arrays()
    }

    fn expect(&self, kinds: &[Kind]) -> Result<(), ProtocolError> {
        let found = self.header.kind();
        if kinds.contains(&found) { Ok(()) } else { Err(ProtocolError::WrongKind { found }) }
    }

    fn arrays<T>(&self) -> Result<(Elements<'a, T>, Elements<'a, T>), ProtocolError> {
        let (found, needed) = (self.header.element_size(), size_of::<T>());
        let elements = self.header.count0 | self.header.count1;
        if found < needed && elements > 0 {
            return Err(ProtocolError::ElementSize { found, needed });
        }
        let of = |bytes| Elements { bytes, stride: found.max(1), of: PhantomData };
        // Both were found to be there when the event was decoded.
        let first = self.header.count0 as usize * found;
        let both = first + self.header.count1 as usize * found;
        let array = |range| of(self.body.get(range).unwrap_or_default());
        Ok((array(0..first), array(first..both)))
    }

    /// Bytes of an event with so many [`Level`]s.
    #[must_use]
    pub const fn levels_size(bids: usize, asks: usize) -> usize {
        HEADER_SIZE + (bids + asks) * size_of::<Level>()
    }

    /// Bytes of an event with so many [`CountedLevel`]s.
    #[must_use]
    pub const fn counted_levels_size(bids: usize, asks: usize) -> usize {
        HEADER_SIZE + (bids + asks) * size_of::<CountedLevel>()
    }

    /// Bytes of an event with so many trades.
    #[must_use]
    pub const fn trades_size(trades: usize) -> usize {
        HEADER_SIZE + trades * size_of::<Trade>()
    }

    /// Writes a diff, a snapshot or a BBO: bids descending, asks ascending. Counts and the size of elements
    /// are filled in. Returns how many bytes of `into` it takes.
    ///
    /// # Errors
    /// [`ProtocolError::TooShort`] if `into` is shorter than [`levels_size`](Self::levels_size);
    /// [`ProtocolError::WrongKind`]; [`ProtocolError::TooMany`].
    pub fn encode_levels(
        header: &BookEventHeader,
        bids: &[Level],
        asks: &[Level],
        into: &mut [u8],
    ) -> Result<usize, ProtocolError> {
        expect_levels(header)?;
        encode(header, bids, asks, into)
    }

    /// The same with numbers of orders.
    ///
    /// # Errors
    /// As [`encode_levels`](Self::encode_levels).
    pub fn encode_counted_levels(
        header: &BookEventHeader,
        bids: &[CountedLevel],
        asks: &[CountedLevel],
        into: &mut [u8],
    ) -> Result<usize, ProtocolError> {
        expect_levels(header)?;
        encode(header, bids, asks, into)
    }

    /// Writes trades, likewise.
    ///
    /// # Errors
    /// As [`encode_levels`](Self::encode_levels), for [`trades_size`](Self::trades_size).
    pub fn encode_trades(
        header: &BookEventHeader,
        trades: &[Trade],
        into: &mut [u8],
    ) -> Result<usize, ProtocolError> {
        match header.kind() {
            Kind::TRADE => encode(header, trades, &[], into),
            found => Err(ProtocolError::WrongKind { found }),
        }
    }

    /// Writes an event of a kind without elements, with the bytes that go with it.
    ///
    /// # Errors
    /// As [`encode_levels`](Self::encode_levels).
    pub fn encode_plain(
        header: &BookEventHeader,
        body: &[u8],
        into: &mut [u8],
    ) -> Result<usize, ProtocolError> {
        match header.kind() {
            kind if kind.least_element() == 0 => {
                let header = BookEventHeader { elem_size8: 0, count0: 0, count1: 0, ..*header };
                put(&header, [body, &[]], into)
            }
            found => Err(ProtocolError::WrongKind { found }),
        }
    }
}

fn expect_levels(header: &BookEventHeader) -> Result<(), ProtocolError> {
    match header.kind() {
        Kind::L2_DIFF | Kind::L2_SNAPSHOT | Kind::BBO => Ok(()),
        found => Err(ProtocolError::WrongKind { found }),
    }
}

fn encode<T: IntoBytes + Immutable>(
    header: &BookEventHeader,
    first: &[T],
    second: &[T],
    into: &mut [u8],
) -> Result<usize, ProtocolError> {
    let counted = |count: usize| u32::try_from(count).map_err(|_| ProtocolError::TooMany { count });
    let header = BookEventHeader {
        elem_size8: (size_of::<T>() / 8) as u8,
        count0: counted(first.len())?,
        count1: counted(second.len())?,
        ..*header
    };
    put(&header, [first.as_bytes(), second.as_bytes()], into)
}

fn put(
    header: &BookEventHeader,
    [first, second]: [&[u8]; 2],
    into: &mut [u8],
) -> Result<usize, ProtocolError> {
    let size = HEADER_SIZE + first.len() + second.len();
    let found = into.len();
    let too_short = ProtocolError::TooShort { found, needed: size as u64 };
    let mut rest = into.get_mut(..size).ok_or(too_short)?;
    for part in [header.as_bytes(), first, second] {
        let (to, behind) = rest.split_at_mut_checked(part.len()).ok_or(too_short)?;
        to.copy_from_slice(part);
        rest = behind;
    }
    Ok(size)
}

/// The elements of an array, each copied out. They may be longer than this library knows.
#[derive(Clone, Debug)]
pub struct Elements<'a, T> {
    bytes: &'a [u8],
    stride: usize,
    of: PhantomData<T>,
}

impl<T: FromBytes> Iterator for Elements<'_, T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        let (element, rest) = self.bytes.split_at_checked(self.stride)?;
        self.bytes = rest;
        T::read_from_prefix(element).ok().map(|(element, _)| element)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.bytes.len() / self.stride;
        (left, Some(left))
    }
}

impl<T: FromBytes> ExactSizeIterator for Elements<'_, T> {}
