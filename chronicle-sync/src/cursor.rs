//! Where a writer stores its records: the one place where payload bytes are copied in.
//!
//! Unsafe lives here for the copies. The rule that carries all of them is that of [`record`](crate::record): bytes
//! from a record's start to its end belong to the writer until the commit word is stored, and to nobody for
//! writing after that.

use core::ops::RangeInclusive;
use core::ptr::{self, NonNull};

use chronicle_format::{CommitWord, CrcState, HEADER_SIZE, RecordHeader, record_size};

use crate::checksum::WithoutCall;
use crate::commit::{self, Unpublished};
use crate::platform::{Region, RegionMut};
use crate::prefetch;
use crate::primitive::AtomicU64;
use crate::record::{HEADER_WORDS, Sealing, store_header};
use crate::words::RegionMutExt;

/// A segment's region, the offset in it at which the next record goes, and a limit that no record goes beyond.
///
/// Whoever holds it is the segment's one writer. Offset and limit are checked when they are set, so that storing a
/// record takes one comparison.
#[derive(Debug)]
pub struct WriteCursor<R> {
    region: R,
    /// A multiple of 32, inside the region or at its end.
    offset: u64,
    /// Inside the region or at its end.
    limit: u64,
    /// Bytes before this may be those of an aborted claim.
    dirty_end: u64,
}

/// Where a record goes that was seen to fit.
struct Place<'r> {
    header: &'r [AtomicU64; HEADER_WORDS],
    /// Address of the first byte behind the header, with room for the payload and what aligns its end.
    payload: NonNull<u8>,
    /// Offset behind the record.
    end: u64,
}

impl<R: RegionMut> WriteCursor<R> {
    /// Begins at an offset, behind everything that is committed in the region; one at which no record can begin is taken for the end. Nothing fits until there is a
    /// [limit](Self::set_limit).
    pub fn new(region: R, offset: u64) -> Self {
        let end = region.size() as u64 / HEADER_SIZE * HEADER_SIZE;
        let offset = if offset.is_multiple_of(HEADER_SIZE) { offset.min(end) } else { end };
        Self { region, offset, limit: 0, dirty_end: 0 }
    }

    /// The region itself, for those who have to know what it is.
    pub fn get(&self) -> &R {
        &self.region
    }

    /// Gives the region back.
    pub fn into_inner(self) -> R {
        self.region
    }

    /// Where the next record goes.
    #[inline(always)]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// No record goes beyond this.
    #[inline(always)]
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Says up to which offset records may reach; no further than to the region's end in any case.
    pub fn set_limit(&mut self, limit: u64) {
        self.limit = limit.min(self.region.size() as u64);
    }

    /// Asks for the two lines in which the next record begins, to store to them: they are on their way from the cache of a
    /// reader that looks for the record, while it is made. Both at once: a line that comes before the other is taken back
    /// by the reader, which looks again, before the record is published.
    #[inline(always)]
    pub fn prefetch(&self) {
        prefetch::two_to_write(self.region.base().as_ptr().wrapping_add(self.offset as usize));
    }

    /// Whether a record with a payload of so many bytes goes no further than the limit.
    #[inline(always)]
    pub fn fits(&self, length: u32) -> bool {
        self.offset + record_size(length) <= self.limit
    }

    /// Stores a record and publishes it. `None`, and nothing stored, if it does not fit.
    #[inline(always)]
    pub fn append(
        &mut self,
        header: &RecordHeader,
        payload: &[u8],
        sealing: Sealing,
    ) -> Option<()> {
        let length = length_of(payload)?;
        let place = self.place(length)?;
        let word = CommitWord::new(length, 0)?;
        let (place, behind) = (&place, self.dirt_at(place.end));
        if let Some(sealing) = Long::new(payload, sealing) {
            let record = Copied { place, header, payload, word, sealing };
            commit::publish(place.commit(), behind, &record);
        } else {
            let record = Copied { place, header, payload, word, sealing };
            commit::publish(place.commit(), behind, &record);
        }
        self.offset = place.end;
        Some(())
    }

    /// The same for a record that takes no call: one with a [short](crate::record::is_short) payload, where nothing is to be
    /// cleared. The header is asked for once it is clear that the record is such a one, and given back. `None`, and
    /// nothing stored, for every other record, and where there is no header.
    #[inline(always)]
    pub fn append_short(
        &mut self,
        payload: &[u8],
        sealing: Sealing,
        header: impl FnOnce() -> Option<RecordHeader>,
    ) -> Option<RecordHeader> {
        let (length, sealing) = short(payload, sealing)?;
        let word = CommitWord::new(length, 0)?;
        let place = self.place(length)?;
        if place.end < self.dirty_end {
            return None;
        }
        let header = header()?;
        let record = Copied { place: &place, header: &header, payload, word, sealing };
        commit::publish(place.commit(), None, &record);
        self.offset = place.end;
        Some(header)
    }

    /// Stores a record at `offset`, which is at or behind the cursor's, and publishes nothing: nobody sees it, nor
    /// can mistake it for one. Its header is stored at once: by those of a batch recovery knows what a killed writer left. Returns the offset behind it and the word that
    /// [`publish_staged`](Self::publish_staged) publishes it with, or `None` and nothing stored if it does not fit.
    #[inline(always)]
    pub fn stage(
        &mut self,
        offset: u64,
        header: &RecordHeader,
        payload: &[u8],
        sealing: Sealing,
    ) -> Option<(u64, CommitWord)> {
        let length = length_of(payload)?;
        let last = self.limit.checked_sub(record_size(length))?;
        if offset < self.offset || offset > last || !offset.is_multiple_of(HEADER_SIZE) {
            return None;
        }
        // SAFETY: `offset` is a multiple of 32, and the record ends before the limit.
        let place = unsafe { self.place_at(offset, length) };
        let word = sealed(CommitWord::new(length, 0)?, header, payload, sealing);
        store_header(place.header, header);
        // SAFETY: as for `Copied`.
        unsafe { copy(payload, place.payload) };
        let end = place.end;
        self.dirty_end = self.dirty_end.max(end);
        Some((end, word))
    }

    /// Publishes records that were stored by [`stage`](Self::stage), given from the last to the first: readers come
    /// to the first one first, and behind it they find all others. All come from [`stage`](Self::stage) since the
    /// last publication; `end` is the offset behind the last.
    pub fn publish_staged(
        &mut self,
        last_to_first: impl Iterator<Item = (u64, CommitWord)>,
        end: u64,
    ) {
        let mut behind = self.dirt_at(end);
        for (offset, word) in last_to_first {
            if let Some(commit) = self.region.word_u64(offset) {
                commit::publish(commit, behind.take(), &(|| {}, || word));
            }
        }
        // Whatever the limit is by now, the place is behind what is committed.
        let size = self.region.size() as u64;
        if end.is_multiple_of(HEADER_SIZE) && (self.offset..=size).contains(&end) {
            self.offset = end;
        }
    }

    /// Takes room for a record that is filled in place, and published by [`commit`](Self::commit); `None` if it does
    /// not fit.
    ///
    /// The bytes hold whatever was there: zeros, or what an aborted claim left. Nobody sees them before.
    pub fn claim(&mut self, length: u32) -> Option<&mut [u8]> {
        CommitWord::new(length, 0)?;
        let Place { payload, end, .. } = self.place(length)?;
        self.dirty_end = self.dirty_end.max(end);
        // SAFETY: the bytes lie inside the region, are initialised (files are zeroed), and belong to the
        // writer until it commits. The result borrows the cursor mutably, so there is one such slice.
        Some(unsafe { core::slice::from_raw_parts_mut(payload.as_ptr(), length as usize) })
    }

    /// The same bytes, to read what was filled in so far.
    pub fn claimed(&self, length: u32) -> Option<&[u8]> {
        let Place { payload, .. } = self.place(length)?;
        // SAFETY: as in `claim`; writing needs the cursor mutably, which this borrow excludes.
        Some(unsafe { core::slice::from_raw_parts(payload.as_ptr(), length as usize) })
    }

    /// Publishes a record whose payload was filled in place, like [`append`](Self::append).
    pub fn commit(&mut self, header: &RecordHeader, length: u32, sealing: Sealing) -> Option<()> {
        let payload = self.claimed(length)?;
        let word = CommitWord::new(length, 0)?;
        let place = self.place(length)?;
        let record =
            (|| store_header(place.header, header), || sealed(word, header, payload, sealing));
        commit::publish(place.commit(), self.dirt_at(place.end), &record);
        self.offset = place.end;
        Some(())
    }

    /// The word behind a record, if it may not be zero. The last record of a segment has none behind it.
    #[inline(always)]
    fn dirt_at(&self, end: u64) -> Option<&AtomicU64> {
        if end < self.dirty_end { self.region.word_u64(end) } else { None }
    }

    #[inline(always)]
    fn place(&self, length: u32) -> Option<Place<'_>> {
        // SAFETY: the cursor's offset is a multiple of 32, and was just seen to be far enough from the limit.
        self.fits(length).then(|| unsafe { self.place_at(self.offset, length) })
    }

    /// # Safety
    /// `offset` is a multiple of 32, and a record there with such a payload ends at the limit or before.
    #[inline(always)]
    unsafe fn place_at(&self, offset: u64, length: u32) -> Place<'_> {
        // SAFETY: `offset` is inside the region, because the record is, and the limit is inside or at the end.
        let start = unsafe { self.region.base().add(offset as usize) };
        // SAFETY: the same goes for the record's end, which is 32 bytes further at least.
        let payload = unsafe { start.add(HEADER_SIZE as usize) };
        // SAFETY: 32 bytes inside the region, aligned to 32 as the region is to 64, which stay mapped for as long
        // as it is borrowed. Headers are only ever accessed as atomics, and the region may be written.
        let header = unsafe { start.cast::<[AtomicU64; HEADER_WORDS]>().as_ref() };
        Place { header, payload, end: offset + record_size(length) }
    }
}

impl Place<'_> {
    #[inline(always)]
    fn commit(&self) -> &AtomicU64 {
        let [commit, ..] = self.header;
        commit
    }
}

/// A record whose payload is copied to its place, which is for one of this length. With the ways of [`Short`], it is
/// [`SHORT`]; with those of [`Long`], its payload is the one that they were made of.
struct Copied<'a, S> {
    place: &'a Place<'a>,
    header: &'a RecordHeader,
    payload: &'a [u8],
    word: CommitWord,
    sealing: S,
}

impl Unpublished for Copied<'_, Sealing> {
    #[inline(always)]
    fn fill(&self) {
        store_header(self.place.header, self.header);
        // SAFETY: the bytes lie inside the region, as `place` has checked. They are not committed, so they belong to
        // the writer, of which there is one (the cursor is borrowed mutably, the writer's lock among processes). The
        // source is a live slice that cannot overlap them: the only slice of uncommitted bytes is that of `claim`,
        // which borrows the cursor mutably.
        unsafe { copy(self.payload, self.place.payload) };
    }

    #[inline(always)]
    fn word(&self) -> CommitWord {
        sealed(self.word, self.header, self.payload, self.sealing)
    }
}

/// How records are checksummed for which that takes long. Behind it, header and `head` are stored: a reader that looks for
/// the record polls the header's line, in which `head` lies too where the record begins a line. Stored to before, that line
/// would be taken back meanwhile.
struct Long<'a> {
    sealing: Sealing,
    /// The payload's beginning, and the rest of it.
    head: &'a [u8; BLOCK],
    rest: &'a [u8],
}

impl<'a> Long<'a> {
    #[inline(always)]
    fn new(payload: &'a [u8], sealing: Sealing) -> Option<Self> {
        if sealing.is_none() || payload.len() <= LONG_TO_SEAL {
            return None;
        }
        let (head, rest) = payload.split_first_chunk()?;
        Some(Self { sealing, head, rest })
    }
}

impl Unpublished for Copied<'_, Long<'_>> {
    #[inline(always)]
    fn fill(&self) {
        // SAFETY: the place has room for the payload, of which a block is one part.
        let target = unsafe { self.place.payload.add(BLOCK) };
        // SAFETY: as above, for what is behind the block.
        unsafe { copy(self.sealing.rest, target) };
    }

    #[inline(always)]
    fn word(&self) -> CommitWord {
        sealed(self.word, self.header, self.payload, self.sealing.sealing)
    }

    #[inline(always)]
    fn fill_head(&self) {
        store_header(self.place.header, self.header);
        // SAFETY: as above, for the block.
        unsafe { copy_block(self.sealing.head.as_ptr(), self.place.payload) };
    }
}

/// How short records are checksummed.
type Short = Option<(WithoutCall, CrcState)>;

impl Unpublished for Copied<'_, Short> {
    #[inline(always)]
    fn fill(&self) {
        store_header(self.place.header, self.header);
        // SAFETY: as above, and the payload is short.
        unsafe { copy_short(self.payload, self.place.payload) };
    }

    #[inline(always)]
    fn word(&self) -> CommitWord {
        match self.sealing {
            Some((way, seed)) => self.word.with_crc(way.record(seed, self.header, self.payload)),
            None => self.word,
        }
    }
}

/// The length that a commit word can state: 4,294,967,294 bytes at the most.
#[inline(always)]
fn length_of(payload: &[u8]) -> Option<u32> {
    u32::try_from(payload.len()).ok().filter(|length| *length < u32::MAX)
}

/// A record's commit word with its checksum, where records have one.
#[inline(always)]
fn sealed(word: CommitWord, header: &RecordHeader, payload: &[u8], sealing: Sealing) -> CommitWord {
    match sealing {
        Some((checksum, seed)) => word.with_crc(checksum.record(seed, header, payload)),
        None => word,
    }
}

/// Whether a payload is copied and checksummed without a call: one of 32 to 256 bytes, or of 32 to 128 with a checksum
/// by the processor's instruction.
#[inline(always)]
#[must_use]
pub fn is_short(payload: &[u8], sealing: Sealing) -> bool {
    short(payload, sealing).is_some()
}

/// The length of a short payload, and the way to its checksum.
#[inline(always)]
fn short(payload: &[u8], sealing: Sealing) -> Option<(u32, Short)> {
    if !SHORT.contains(&(payload.len() as u64)) {
        return None;
    }
    let length = payload.len() as u32;
    match sealing {
        Some((checksum, seed)) => Some((length, Some((checksum.without_call(length)?, seed)))),
        None => Some((length, None)),
    }
}

/// Payloads of so many bytes are copied without a call.
const SHORT: RangeInclusive<u64> = BLOCK as u64..=256;
const BLOCK: usize = 32;
/// With more bytes, a checksum takes so long that what a reader polls is stored to behind it.
const LONG_TO_SEAL: usize = 128;

/// Copies a payload to where it will lie. Short ones, of which most are, without a call: finding out in another
/// place that they are short takes longer than copying them.
///
/// # Safety
/// `target` may be written for as many bytes as the payload has, and does not overlap it.
#[inline(always)]
unsafe fn copy(payload: &[u8], target: NonNull<u8>) {
    if SHORT.contains(&(payload.len() as u64)) {
        // SAFETY: as the caller says, and the payload is short.
        unsafe { copy_short(payload, target) };
    } else {
        // SAFETY: as the caller says.
        unsafe { ptr::copy_nonoverlapping(payload.as_ptr(), target.as_ptr(), payload.len()) };
    }
}

/// Copies a payload that is [`SHORT`].
///
/// # Safety
/// As for [`copy`], and the payload has 32 to 256 bytes.
#[inline(always)]
unsafe fn copy_short(payload: &[u8], target: NonNull<u8>) {
    let (source, length) = (payload.as_ptr(), payload.len());
    let block = |at: usize| {
        // SAFETY: only blocks that end inside the payload are asked for below, and the target is as long.
        let to = unsafe { target.add(at) };
        // SAFETY: as above.
        let from = unsafe { source.add(at) };
        // SAFETY: as the caller says.
        unsafe { copy_block(from, to) };
    };
    // The first blocks, and the last ones, which may overlap them.
    block(0);
    if length > 2 * BLOCK {
        block(BLOCK);
        if length > 4 * BLOCK {
            block(2 * BLOCK);
            block(3 * BLOCK);
            block(length - 4 * BLOCK);
            block(length - 3 * BLOCK);
        }
        block(length - 2 * BLOCK);
    }
    block(length - BLOCK);
}

/// # Safety
/// A block at `source` may be read, and one at `target`, which does not overlap it, written.
#[inline(always)]
unsafe fn copy_block(source: *const u8, target: NonNull<u8>) {
    // SAFETY: as the caller says.
    unsafe { ptr::copy_nonoverlapping(source, target.as_ptr(), BLOCK) };
}

// SAFETY: base and size are those of the region inside.
unsafe impl<R: Region> Region for WriteCursor<R> {
    #[inline(always)]
    fn base(&self) -> NonNull<u8> {
        self.region.base()
    }

    #[inline(always)]
    fn size(&self) -> usize {
        self.region.size()
    }
}

// SAFETY: the bytes are those of the region inside, which may be written.
unsafe impl<R: RegionMut> RegionMut for WriteCursor<R> {}
