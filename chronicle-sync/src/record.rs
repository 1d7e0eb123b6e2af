//! Records in a [`Region`], for whoever reads them: the one place where bytes of others are handed out.
//!
//! Unsafe lives here for the slices of shared memory. The rule that carries all of them: bytes from a record's
//! start to its end belong to the writer ([`WriteCursor`](crate::WriteCursor)) until the commit word is stored,
//! and to nobody for writing after that.

use chronicle_format::{CommitWord, CrcState, HEADER_SIZE, RecordHeader, record_size};

use crate::checksum::Checksum;
use crate::commit;
use crate::platform::{Region, RegionMut};
use crate::primitive::{AtomicU64, Ordering, ReadU64};
use crate::words::{RegionExt, RegionMutExt, address};

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
pub enum Slot {
    /// Nothing is committed.
    Empty,
    /// A record.
    Record(Record),
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
        if self.end() > segment.size() as u64 {
            return None;
        }
        // SAFETY: `offset + 32 <= end <= size`, so the word lies inside the mapping.
        let word = unsafe { segment.base().add(self.offset as usize) }.cast::<AtomicU64>();
        // SAFETY: `look` saw the record at a multiple of 32, so the word is aligned; the rest is as in
        // `header_words`.
        let word = unsafe { word.as_ref() };
        // The same word at the same place: this is the segment, and the record was observed there.
        if word.load(Ordering::Relaxed) != self.commit.bits() {
            return None;
        }
        // SAFETY: `offset + 32 + length <= end <= size`, so the address lies inside the mapping.
        let start = unsafe { segment.base().add((self.offset + HEADER_SIZE) as usize) };
        // SAFETY: the bytes lie inside the region; the writer initialised them before it stored the
        // commit word, which `look` observed with Acquire; and committed bytes do not change any
        // more, by the protocol that is stated above.
        Some(unsafe { core::slice::from_raw_parts(start.as_ptr(), self.length as usize) })
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
        let words = self.payload_words(segment)?;
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
        self.payload_words(segment).is_some_and(|words| {
            checksum.shared_record(seed, &self.header, self.length, words) == self.crc()
        })
    }

    /// The words from the payload's beginning to the record's end.
    #[inline(always)]
    fn payload_words<'r, R: Region>(&self, segment: &'r R) -> Option<&'r [AtomicU64]> {
        if self.end() > segment.size() as u64 {
            return None;
        }
        // SAFETY: `offset + 32 <= end <= size`, so the address lies inside the mapping or just behind
        // its last byte.
        let start = unsafe { segment.base().add((self.offset + HEADER_SIZE) as usize) };
        let words = (self.end() - self.offset - HEADER_SIZE) as usize / 8;
        // SAFETY: the words end at `end`, so they lie inside the region, which stays mapped for as long
        // as `segment` is borrowed; `look` saw the record at a multiple of 32, so they are aligned. They
        // are initialised (files are zeroed), and atomics may be stored to by others. On a region that
        // may not be written only Relaxed loads are made, see `ReadU64`.
        Some(unsafe { core::slice::from_raw_parts(start.cast::<AtomicU64>().as_ptr(), words) })
    }
}

/// Looks at the slot at `offset` of a segment.
///
/// An offset that is misaligned or too close to the end to hold a header is [`Slot::Empty`].
#[inline(always)]
pub fn look<R: Region>(segment: &R, offset: u64) -> Slot {
    let Some([commit, first, second, third]) = header_words(segment, offset) else {
        return Slot::Empty;
    };
    let slot = commit::observe(ReadU64::from(commit), |commit, length| {
        if offset + record_size(length) > segment.size() as u64 {
            return Slot::TooLong { length };
        }
        let words = [first, second, third].map(|word| ReadU64::from(word).load_relaxed());
        Slot::Record(Record { offset, commit, header: RecordHeader::from_words(words), length })
    });
    slot.unwrap_or(Slot::Empty)
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

/// The words of the header at `offset`. To be stored to only where the region may be written.
#[inline(always)]
fn header_words<R: Region>(segment: &R, offset: u64) -> Option<&[AtomicU64; HEADER_WORDS]> {
    let words = address(segment, offset, HEADER_SIZE as usize)?.cast::<[AtomicU64; HEADER_WORDS]>();
    // SAFETY: `address` checked that 32 bytes, aligned to 32, lie inside the region, which stay
    // mapped for as long as `segment` is borrowed. Headers are only ever accessed as atomics. On a
    // region that may not be written only Relaxed loads are made, see `ReadU64`.
    Some(unsafe { words.as_ref() })
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
