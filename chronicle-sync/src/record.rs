//! Records in a [`Region`], for whoever reads them: the one place where bytes of others are handed out.
//!
//! Unsafe lives here for the slices of shared memory. The rule that carries all of them: bytes from a record's
//! start to its end belong to the writer ([`WriteCursor`](crate::WriteCursor)) until the commit word is stored,
//! and to nobody for writing after that.

use core::marker::PhantomData;
use core::ptr::NonNull;

use chronicle_format::{CommitWord, CrcState, HEADER_SIZE, RecordHeader, record_size};

use crate::checksum::Checksum;
use crate::commit;
use crate::platform::{Region, RegionMut};
use crate::prefetch;
use crate::primitive::{AtomicU64, Ordering, ReadU64};
use crate::words::{RegionExt, RegionMutExt};

pub use crate::cursor::is_short;

pub(crate) const HEADER_WORDS: usize = HEADER_SIZE as usize / 8;

/// A record that was seen committed, its length checked against the segment.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    offset: u64,
    commit: CommitWord,
    header: RecordHeader,
    length: u32,
}

/// What lies at an offset.
#[derive(Clone, Copy, Debug)]
pub enum Slot<T = Record> {
    /// Nothing is committed.
    Empty,
    /// A record.
    Record(T),
    /// A commit word whose length leads beyond the segment.
    TooLong {
        /// The payload length that it claims, in bytes.
        length: u32,
    },
}

impl Record {
    /// Offset of the record in its segment.
    #[inline(always)]
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// Offset behind the record.
    #[inline(always)]
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.offset + record_size(self.length)
    }

    /// The header.
    #[inline(always)]
    #[must_use]
    pub const fn header(&self) -> &RecordHeader {
        &self.header
    }

    /// The stored checksum.
    #[inline(always)]
    #[must_use]
    pub const fn crc(&self) -> u32 {
        self.commit.crc()
    }

    /// Payload length in bytes.
    #[inline(always)]
    #[must_use]
    pub const fn length(&self) -> u32 {
        self.length
    }

    /// The payload, in the segment in which the record was seen; `None` in any other.
    ///
    /// This is a slice of shared memory. It is sound as long as every process that may write to the
    /// file keeps to the protocol, in which committed bytes never change: that is what a reader
    /// trusts the queue's owner for. Nothing else in the crate makes a slice of a region that it
    /// does not own.
    #[inline(always)]
    #[must_use]
    pub fn payload<'r, R: Region>(&self, segment: &'r R) -> Option<&'r [u8]> {
        let bytes = self.bytes_in(segment)?;
        // SAFETY: `offset + 32 <= end <= size`, so the word lies inside the mapping.
        let word = unsafe { segment.base().add(self.offset as usize) }.cast::<AtomicU64>();
        // SAFETY: the record was seen at a multiple of 32, so the word is aligned; the rest is as in `look`.
        let word = unsafe { word.as_ref() };
        // The same word at the same place: this is the segment, and the record was observed there.
        if word.load(Ordering::Relaxed) != self.commit.bits() {
            return None;
        }
        // SAFETY: as just said, and `look` observes with Acquire.
        Some(unsafe { bytes.as_slice() })
    }

    /// Copies the payload, word by word, to the beginning of `buffer`, and gives the copy; `None` if
    /// it does not fit, or does not lie inside the region.
    ///
    /// For whoever does not trust the processes that may write to the file: what they do meanwhile
    /// gives other bytes, and no more than that. The copy has to be checked, not the original.
    #[must_use]
    pub fn copy_payload<'b, R: Region>(
        &self,
        segment: &R,
        buffer: &'b mut [u8],
    ) -> Option<&'b [u8]> {
        let copy = buffer.get_mut(..self.length as usize)?;
        let words = self.bytes_in(segment)?.words();
        for (bytes, word) in copy.chunks_mut(8).zip(words) {
            let word = word.load(Ordering::Relaxed).to_ne_bytes();
            bytes.copy_from_slice(word.get(..bytes.len())?);
        }
        Some(copy)
    }

    /// Whether the stored checksum is the one of the bytes.
    ///
    /// Makes no slice of them: they may be those of a hostile process.
    #[inline(always)]
    #[must_use]
    pub fn is_intact<R: Region>(&self, segment: &R, checksum: Checksum, seed: CrcState) -> bool {
        self.bytes_in(segment).is_some_and(|bytes| self.matches(bytes, checksum, seed))
    }

    #[inline(always)]
    fn matches(&self, bytes: Bytes<'_>, checksum: Checksum, seed: CrcState) -> bool {
        checksum.shared_record(seed, &self.header, self.length, bytes.words()) == self.crc()
    }

    /// Where the payload is in a segment, if that is the one in which the record was seen; `None` where it would not be
    /// inside.
    #[inline(always)]
    fn bytes_in<'r, R: Region>(&self, segment: &'r R) -> Option<Bytes<'r>> {
        if self.end() > segment.size() as u64 {
            return None;
        }
        // SAFETY: `offset + 32 <= end <= size`, so the address lies inside the mapping or just behind
        // its last byte.
        let start = unsafe { segment.base().add((self.offset + HEADER_SIZE) as usize) };
        Some(Bytes { start, length: self.length, region: PhantomData })
    }
}

/// The payload's bytes of a record, or of what was taken for one.
///
/// From `start` on, which is a multiple of 32, so many bytes and those up to the record's end are mapped while `'r` lasts.
#[derive(Clone, Copy, Debug)]
struct Bytes<'r> {
    start: NonNull<u8>,
    length: u32,
    region: PhantomData<&'r [AtomicU64]>,
}

impl<'r> Bytes<'r> {
    /// # Safety
    /// The commit word before these bytes was observed with Acquire.
    #[inline(always)]
    unsafe fn as_slice(self) -> &'r [u8] {
        // SAFETY: the bytes are mapped; the writer initialised them before it stored the commit word, which was observed;
        // and committed bytes do not change any more, by the protocol that `Record::payload` states.
        unsafe { core::slice::from_raw_parts(self.start.as_ptr(), self.length as usize) }
    }

    /// The words up to the record's end.
    #[inline(always)]
    fn words(self) -> &'r [AtomicU64] {
        let words = (record_size(self.length) - HEADER_SIZE) as usize / 8;
        // SAFETY: the words are mapped and aligned. They are initialised (files are zeroed), and atomics may be stored to by
        // others. On a region that may not be written only Relaxed loads are made, see `ReadU64`.
        unsafe { core::slice::from_raw_parts(self.start.cast::<AtomicU64>().as_ptr(), words) }
    }
}

/// A place in a segment, for reading the records that follow it.
///
/// The place is checked when it is set, so that a look takes one comparison.
#[derive(Debug)]
pub struct ReadCursor<'r> {
    base: NonNull<u8>,
    /// Bytes from `base` on that are mapped while `'r` lasts, without those behind the last multiple of 32.
    end: u64,
    /// A multiple of 32.
    offset: u64,
    region: PhantomData<&'r [AtomicU64]>,
}

/// A record, and the segment in which it was seen.
#[derive(Debug)]
pub struct Seen<'r> {
    record: Record,
    bytes: Bytes<'r>,
}

impl<'r> ReadCursor<'r> {
    /// At an offset; `None` if it is misaligned.
    #[inline(always)]
    pub fn new<R: Region>(segment: &'r R, offset: u64) -> Option<Self> {
        let end = segment.size() as u64 / HEADER_SIZE * HEADER_SIZE;
        let cursor = Self { base: segment.base(), end, offset, region: PhantomData };
        offset.is_multiple_of(HEADER_SIZE).then_some(cursor)
    }

    /// Looks at the slot here. Too close to the end to hold a header, it is [`Slot::Empty`].
    #[inline(always)]
    #[must_use]
    pub fn look(&self) -> Slot<Seen<'r>> {
        let &Self { base, end, offset, .. } = self;
        if offset >= end {
            return Slot::Empty;
        }
        // SAFETY: `offset + 32 <= end`, both being multiples of 32, so the header lies inside the region.
        let start = unsafe { base.add(offset as usize) };
        // SAFETY: as just said, 32 bytes are inside; the base is aligned to 64 (`Region`), so these are to 32.
        // They stay mapped for as long as the region is borrowed, which `'r` is. Headers are only ever accessed as
        // atomics. On a region that may not be written only Relaxed loads are made, see `ReadU64`.
        let words: &[AtomicU64; HEADER_WORDS] = unsafe { start.cast().as_ref() };
        let [commit, first, second, third] = words;
        let slot = commit::observe(ReadU64::from(commit), |commit, length| {
            // A record that was waited for comes from another processor's cache, and what it has in the next line comes
            // from as far: that line is on its way while the header is looked at.
            prefetch::behind_to_read(start.as_ptr());
            if offset + record_size(length) > end {
                return Slot::TooLong { length };
            }
            let words = [first, second, third].map(|word| ReadU64::from(word).load_relaxed());
            let record = Record { offset, commit, header: RecordHeader::from_words(words), length };
            // SAFETY: the record ends inside the region, behind its header.
            let start = unsafe { start.add(HEADER_SIZE as usize) };
            Slot::Record(Seen { record, bytes: Bytes { start, length, region: PhantomData } })
        });
        slot.unwrap_or(Slot::Empty)
    }

    /// Goes behind a record.
    #[inline(always)]
    pub fn step_over(&mut self, record: &Record) {
        self.offset = record.end();
    }
}

impl<'r> Seen<'r> {
    /// The record.
    #[inline(always)]
    #[must_use]
    pub const fn record(&self) -> &Record {
        &self.record
    }

    /// The payload: a slice of shared memory, see [`Record::payload`].
    #[inline(always)]
    #[must_use]
    pub fn payload(&self) -> &'r [u8] {
        // SAFETY: `look` observed the commit word with Acquire.
        unsafe { self.bytes.as_slice() }
    }

    /// Whether the stored checksum is the one of the bytes, of which no slice is made.
    #[inline(always)]
    #[must_use]
    pub fn is_intact(&self, checksum: Checksum, seed: CrcState) -> bool {
        self.record.matches(self.bytes, checksum, seed)
    }
}

/// Looks at the slot at `offset` of a segment.
///
/// An offset that is misaligned or too close to the end to hold a header is [`Slot::Empty`].
#[inline(always)]
pub fn look<R: Region>(segment: &R, offset: u64) -> Slot {
    match ReadCursor::new(segment, offset).map(|cursor| cursor.look()) {
        Some(Slot::Record(seen)) => Slot::Record(seen.record),
        Some(Slot::TooLong { length }) => Slot::TooLong { length },
        Some(Slot::Empty) | None => Slot::Empty,
    }
}

/// Whether something is committed at `offset`.
#[inline]
pub fn is_committed<R: Region>(segment: &R, offset: u64) -> bool {
    segment
        .read_u64(offset)
        .is_some_and(|word| CommitWord::from_bits(word.load_acquire()).payload_length().is_some())
}

/// How records are checksummed: with what, and from which seed. `None` in queues without checksums.
pub type Sealing = Option<(Checksum, CrcState)>;

#[inline(always)]
pub(crate) fn store_header(
    [_, first, second, third]: &[AtomicU64; HEADER_WORDS],
    header: &RecordHeader,
) {
    let words = header.words();
    // ORDER: Relaxed, carried by the Release store of the commit word.
    first.store(words[0], Ordering::Relaxed);
    second.store(words[1], Ordering::Relaxed);
    third.store(words[2], Ordering::Relaxed);
}

/// Stores zeros over every word of a range that is not zero, and returns how many words that were.
///
/// What is zero already is only read, so that clean pages stay clean.
pub fn clear<R: RegionMut>(segment: &mut R, from: u64, to: u64) -> u64 {
    let mut cleared = 0;
    let mut at = from;
    while at < to {
        let Some(word) = segment.word_u64(at) else { break };
        if word.load(Ordering::Relaxed) != 0 {
            word.store(0, Ordering::Relaxed);
            cleared += 1;
        }
        at += 8;
    }
    cleared
}
