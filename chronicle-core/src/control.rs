//! The shared words of `control.meta` and `notify.meta`, by name.

use chronicle_format::layout::{control, notify};
use chronicle_format::{
    AGE_SAMPLES, AGE_SAMPLES_OFFSET, AgeClock, AgeSample, CONTROL_FILE_SIZE, ControlFlags,
    ControlHeader, FormatError, Frontier, NOTIFY_FILE_SIZE, NotifyHeader, Object, Position,
    RECORD_ALIGN, RetentionPolicy, SEG_DATA_OFFSET, SegmentId, SegmentSize,
};
use chronicle_sync::notify::{Barrier, Waiters};
use chronicle_sync::seqlock::{self, TRIES};
use chronicle_sync::watermark::{self, WatermarkWords};
use chronicle_sync::{
    Error as _, ErrorKind, Exactly, Instant, Park, Platform, ReadU32, Region, RegionExt, RegionMut,
    RegionMutExt, Storage, lease, retention,
};

use crate::Result;
use crate::error::{Error, Operation};

const HINT: [usize; 4] =
    [control::CURRENT_SEGMENT, control::WRITE_OFFSET, control::WRITE_SEQ, control::HINT_EPOCH];

/// A record boundary at or before the head, as the writer last noted it.
pub type Hint = Position;

/// `control.meta`, seen to be whole and of this version.
///
/// Every word below lies inside the region, because its size was checked when it was opened; the
/// defaults for a missing word are never taken.
pub(crate) struct Control<R> {
    region: Exactly<R, { CONTROL_FILE_SIZE as usize }>,
    header: ControlHeader,
}

impl<R: Region> Control<R> {
    pub(crate) fn check<E>(region: R) -> core::result::Result<Self, Error<E>> {
        match decode_exactly(region, ControlHeader::decode) {
            Ok((region, header)) => Ok(Self { region, header }),
            Err(error) => Err(Error::format(Object::Control)(error)),
        }
    }

    pub(crate) fn region(&self) -> &R {
        self.region.get()
    }

    pub(crate) fn into_region(self) -> R {
        self.region.into_inner()
    }

    pub(crate) fn segment_size(&self) -> SegmentSize {
        self.header.segment_size
    }

    pub(crate) fn queue_id(&self) -> u64 {
        self.header.queue_id
    }

    pub(crate) fn created_ns(&self) -> u64 {
        self.header.created_ns
    }

    pub(crate) fn checksums(&self) -> bool {
        self.header.flags.contains(ControlFlags::CHECKSUMS)
    }

    pub(crate) fn group_readable(&self) -> bool {
        self.header.flags.contains(ControlFlags::GROUP_READABLE)
    }

    fn u32(&self, at: usize) -> u32 {
        self.region.read_u32(at as u64).map_or(0, |word| word.load_acquire())
    }

    fn u64(&self, at: usize) -> u64 {
        self.region.read_u64(at as u64).map_or(0, |word| word.load_acquire())
    }

    pub(crate) fn epoch(&self) -> u32 {
        self.u32(control::EPOCH)
    }

    #[inline(always)]
    pub(crate) fn holds(&self, epoch: u32) -> bool {
        let word: Option<ReadU32<'_>> = self.region.read_u32(control::EPOCH as u64);
        word.is_some_and(|word| lease::holds(word, epoch))
    }

    /// The same behind a record that was just published.
    #[inline(always)]
    pub(crate) fn still_holds(&self, epoch: u32, barrier: Barrier) -> bool {
        let word: Option<ReadU32<'_>> = self.region.read_u32(control::EPOCH as u64);
        word.is_some_and(|word| lease::still_holds(word, epoch, barrier))
    }

    pub(crate) fn barrier(&self) -> Barrier {
        if self.u32(control::ASYMMETRIC_BARRIER) == 1 { Barrier::Asymmetric } else { Barrier::Full }
    }

    /// When the writer began the claim, or the making of a segment, that it is in.
    pub(crate) fn busy_since(&self) -> Option<Instant> {
        match self.u64(control::BUSY_SINCE_NS) {
            0 => None,
            nanos => Some(Instant::from_nanos(nanos)),
        }
    }

    pub(crate) fn writer_boot(&self) -> u64 {
        self.u64(control::WRITER_BOOT)
    }

    pub(crate) fn poisoned_boot(&self) -> u64 {
        self.u64(control::POISONED_BOOT)
    }

    /// Records below this are durable; `None` while that moves, or where the words are damaged.
    #[inline]
    pub(crate) fn durable_seq(&self) -> Option<u64> {
        let value = self.region.read_u64(control::DURABLE_SEQ as u64)?;
        watermark::read(value, self.region.read_u64(control::DURABLE_COMPLEMENT as u64)?)
    }

    /// The same where nobody moves it any more, because whoever did was killed.
    pub(crate) fn durable_seq_left_behind(&self) -> Option<u64> {
        let value = self.region.read_u64(control::DURABLE_SEQ as u64)?;
        let complement = self.region.read_u64(control::DURABLE_COMPLEMENT as u64)?;
        Some(watermark::left_behind(value, complement))
    }

    /// The same for people: a writer that just moves the watermark is waited for, and 0 is true where
    /// it is not known.
    pub(crate) fn known_durable_seq(&self) -> u64 {
        (0..TRIES).find_map(|_| self.durable_seq()).unwrap_or(0)
    }

    /// How much the queue keeps.
    pub(crate) fn retention<E>(&self) -> core::result::Result<RetentionPolicy, Error<E>> {
        self.policy().map_err(Error::format(Object::Control))
    }

    /// The most bytes that the queue's segments may take, if it has such a limit.
    pub(crate) fn capacity_bytes(&self) -> core::result::Result<Option<u64>, FormatError> {
        self.policy().map(|policy| policy.capacity_bytes)
    }

    fn policy(&self) -> core::result::Result<RetentionPolicy, FormatError> {
        let bytes = self.region.copy_bytes(RetentionPolicy::OFFSET as u64);
        RetentionPolicy::decode(&bytes.unwrap_or([0; RetentionPolicy::SIZE]))
    }

    /// Publishes a reader's position, and returns the segment below which segments are being removed.
    pub(crate) fn join(&self, publish: impl FnOnce()) -> u64 {
        match self.region.read_u64(control::SEGMENT_FLOOR as u64) {
            Some(floor) => retention::join(floor, publish),
            None => 0,
        }
    }

    /// Below which segments are being removed or gone.
    pub(crate) fn floor(&self) -> Option<SegmentId> {
        SegmentId::new(self.u64(control::SEGMENT_FLOOR)).ok()
    }

    /// The clock by which segments age, as it was read last.
    pub(crate) fn age_clock(&self) -> Option<AgeClock> {
        AgeClock::decode(&self.region.copy_bytes(AgeClock::OFFSET as u64)?)
    }

    /// A sample of that clock.
    pub(crate) fn age_sample(&self, slot: usize) -> Option<AgeSample> {
        AgeSample::decode(&self.region.copy_bytes(age_sample_at(slot)?)?)
    }

    pub(crate) fn frontier(&self) -> Option<Frontier> {
        let bits = self.u64(control::FRONTIER);
        let is_whole = self.u64(control::FRONTIER_COMPLEMENT) == !bits;
        Frontier::from_bits(bits, self.segment_size()).ok().filter(|_| is_whole)
    }

    /// The hint, if the writer is not just changing it, or died while it did, and if it is a place
    /// that a record can have. Whether a record boundary is really there has not been looked at.
    pub(crate) fn segment_index(&self) -> Option<Hint> {
        let generation = self.region.read_u32(control::SEGMENT_GEN as u64)?;
        let [segment, offset, seq, epoch] = HINT.map(|at| self.region.read_u64(at as u64));
        let words = [segment?, offset?, seq?, epoch?];
        let [segment, offset, seq, epoch] = seqlock::read(generation, words, TRIES).ok()?;
        let in_range = offset >= SEG_DATA_OFFSET
            && offset <= self.segment_size().bytes()
            && offset.is_multiple_of(RECORD_ALIGN);
        let epoch = u32::try_from(epoch).ok()?;
        in_range.then_some(Position { segment: SegmentId::new(segment).ok()?, offset, seq, epoch })
    }
}

impl<R: RegionMut> Control<R> {
    /// [`lease::take_over`] of this queue.
    pub(crate) fn take_over<T, E>(
        &self,
        park: &impl Park,
        find_end: impl FnMut() -> core::result::Result<T, E>,
        last_epoch: impl FnOnce(&T) -> u32,
        has_moved: impl FnOnce(&T) -> bool,
    ) -> core::result::Result<Option<(u32, T)>, E> {
        let Some(word) = self.region.word_u32(control::EPOCH as u64) else { return Ok(None) };
        let heavy = || {
            // Where the system refuses it, the record in flight of a writer that still lives may be
            // acknowledged and lost.
            let _ = self.barrier() == Barrier::Asymmetric && park.heavy_barrier();
        };
        lease::take_over(word, heavy, find_end, last_epoch, has_moved)
    }

    pub(crate) fn set_segment_index(&self, hint: &Hint) {
        let values = [u64::from(hint.segment.get()), hint.offset, hint.seq, u64::from(hint.epoch)];
        let [segment, offset, seq, epoch] = HINT.map(|at| self.region.word_u64(at as u64));
        if let (Some(generation), Some(segment), Some(offset), Some(seq), Some(epoch)) =
            (self.region.word_u32(control::SEGMENT_GEN as u64), segment, offset, seq, epoch)
        {
            seqlock::write(generation, [segment, offset, seq, epoch], values);
        }
    }

    /// Announces that segments below `wanted` are to go; returns below which they may.
    pub(crate) fn announce_floor(
        &self,
        wanted: SegmentId,
        oldest: SegmentId,
        positions: impl FnOnce() -> SegmentId,
    ) -> u64 {
        let positions = || u64::from(positions().get());
        match self.region.word_u64(control::SEGMENT_FLOOR as u64) {
            Some(floor) => {
                retention::announce(floor, wanted.get().into(), oldest.get().into(), positions)
            }
            None => 0,
        }
    }

    /// Makes the floor true again when a writer opens: segments below the oldest one are gone.
    pub(crate) fn set_floor(&self, oldest: SegmentId) {
        self.region.publish_u64(control::SEGMENT_FLOOR as u64, oldest.get().into());
    }

    pub(crate) fn set_retention(&self, policy: &RetentionPolicy) {
        self.region.store_bytes(RetentionPolicy::OFFSET as u64, &policy.encode());
    }

    pub(crate) fn set_age_clock(&self, clock: &AgeClock) {
        self.region.store_bytes(AgeClock::OFFSET as u64, &clock.encode());
    }

    /// Stores a sample, or takes one away.
    pub(crate) fn set_age_sample(&self, slot: usize, sample: Option<&AgeSample>) {
        if let Some(at) = age_sample_at(slot) {
            let bytes = sample.map_or([0; AgeSample::SIZE], AgeSample::encode);
            self.region.store_bytes(at, &bytes);
        }
    }

    pub(crate) fn set_barrier(&self, barrier: Barrier) {
        let asymmetric = u32::from(barrier == Barrier::Asymmetric);
        self.region.publish_u32(control::ASYMMETRIC_BARRIER as u64, asymmetric);
    }

    pub(crate) fn set_busy(&self, since: Option<Instant>) {
        // 0 means "not busy", so the clock's very first nanosecond counts as its second.
        let nanos = since.map_or(0, |since| since.as_nanos().max(1));
        self.region.publish_u64(control::BUSY_SINCE_NS as u64, nanos);
    }

    pub(crate) fn set_frontier(&self, frontier: Frontier) {
        self.region.publish_u64(control::FRONTIER as u64, frontier.bits());
        self.region.publish_u64(control::FRONTIER_COMPLEMENT as u64, !frontier.bits());
    }

    pub(crate) fn set_writer_boot(&self, boot: u64) {
        self.region.publish_u64(control::WRITER_BOOT as u64, boot);
    }

    /// Says that a sync failed in this boot. The writer's epoch ends, so that its next append finds
    /// out without looking for it.
    pub(crate) fn poison(&self, boot: u64) {
        self.set_poisoned_boot(boot);
        if let Some(epoch) = self.region.word_u32(control::EPOCH as u64) {
            let _ = lease::begin(epoch, 0);
        }
    }

    pub(crate) fn set_poisoned_boot(&self, boot: u64) {
        self.region.publish_u64(control::POISONED_BOOT as u64, boot);
    }

    pub(crate) fn durable_words(&self) -> Option<WatermarkWords<'_>> {
        Some(WatermarkWords {
            value: self.region.word_u64(control::DURABLE_SEQ as u64)?,
            complement: self.region.word_u64(control::DURABLE_COMPLEMENT as u64)?,
        })
    }

    /// Stores a watermark that is true already.
    pub(crate) fn set_durable_seq(&self, seq: u64) {
        if let Some(words) = self.durable_words() {
            words.store(seq);
        }
    }
}

fn age_sample_at(slot: usize) -> Option<u64> {
    (slot < AGE_SAMPLES).then_some((AGE_SAMPLES_OFFSET + slot * AgeSample::SIZE) as u64)
}

/// What is wrong with a floor that lies above every segment.
pub(crate) fn bad_floor(value: u64) -> FormatError {
    FormatError::OutOfRange { at: control::SEGMENT_FLOOR, value }
}

/// Opens `control.meta` for reading, with an error that says whether there is a queue at all.
pub(crate) fn view_control<P: Platform>(
    platform: &P,
) -> Result<Control<<P::Storage as Storage>::View>, P> {
    match platform.storage().view(&Object::Control) {
        Ok(region) => Control::check(region),
        Err(error) if error.kind() == ErrorKind::NotFound => match absent(platform) {
            // The queue may have been made between the two looks.
            Error::ControlMissing => match platform.storage().view(&Object::Control) {
                Ok(region) => Control::check(region),
                Err(_) => Err(Error::ControlMissing),
            },
            other => Err(other),
        },
        Err(error) => Err(Error::platform(Object::Control, Operation::Open)(error)),
    }
}

/// Why there is no `control.meta`: no queue, or a damaged one.
pub(crate) fn absent<P: Platform>(platform: &P) -> Error<P::Error> {
    match crate::segment::has_records(platform) {
        Ok(true) => Error::ControlMissing,
        Ok(false) => Error::NoQueue,
        Err(error) => error,
    }
}

/// `notify.meta`, seen to be whole and of this version.
pub(crate) type Notifications<R> = Exactly<R, { NOTIFY_FILE_SIZE as usize }>;

/// Checks `notify.meta`.
pub(crate) fn check_notify<R: Region, E>(
    region: R,
) -> core::result::Result<Notifications<R>, Error<E>> {
    match decode_exactly(region, NotifyHeader::decode) {
        Ok((region, _)) => Ok(region),
        Err(error) => Err(Error::format(Object::Notify)(error)),
    }
}

/// What a sleeper waits for: which words of `notify.meta` it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// The next visible record.
    Visible,
    /// A move of the durable watermark.
    Durable,
    /// A move of the replicated watermark.
    Replicated,
}

impl News {
    /// The flag, and the sequence that is slept on.
    const fn words(self) -> (u64, u64) {
        let (waiting, seq) = match self {
            Self::Visible => (notify::VISIBLE_WAITING, notify::VISIBLE_NOTIFY_SEQ),
            Self::Durable => (notify::DURABLE_WAITING, notify::DURABLE_NOTIFY_SEQ),
            Self::Replicated => (notify::REPLICATED_WAITING, notify::REPLICATED_NOTIFY_SEQ),
        };
        (waiting as u64, seq as u64)
    }
}

/// The words on which it is waited for news.
#[inline(always)]
pub(crate) fn waiters<R: RegionMut>(region: &R, news: News) -> Option<Waiters<'_>> {
    let (waiting, seq) = news.words();
    Some(Waiters { waiting: region.word_u32(waiting)?, notify_seq: region.word_u32(seq)? })
}

/// The sequence alone, for someone who may not raise the flag.
pub(crate) fn notify_seq<R: Region>(region: &R, news: News) -> Option<ReadU32<'_>> {
    region.read_u32(news.words().1)
}

/// As [`decode`], for files that always have the same size, which the compiler knows from here on.
fn decode_exactly<R: Region, T, const N: usize, const SIZE: usize>(
    region: R,
    head: impl FnOnce(&[u8; N]) -> core::result::Result<T, FormatError>,
) -> core::result::Result<(Exactly<R, SIZE>, T), FormatError> {
    let expected = SIZE as u64;
    let decoded = decode(&region, expected, head)?;
    let other = |found| FormatError::WrongSize { found: found as u64, expected };
    Ok((Exactly::new(region).map_err(other)?, decoded))
}

/// Decodes the head of a file and checks its size.
///
/// The head comes first, so that a file of another version is refused as such whatever its size is.
pub(crate) fn decode<R: Region, T, const N: usize>(
    region: &R,
    expected_size: u64,
    decode: impl FnOnce(&[u8; N]) -> core::result::Result<T, FormatError>,
) -> core::result::Result<T, FormatError> {
    let head = match region.copy_bytes(0) {
        Some(bytes) => decode(&bytes)?,
        None => {
            return Err(FormatError::WrongSize {
                found: region.size() as u64,
                expected: expected_size,
            });
        }
    };
    check_size(region, expected_size)?;
    Ok(head)
}

/// Checks that a file has the size of its kind.
pub(crate) fn check_size<R: Region>(
    region: &R,
    expected: u64,
) -> core::result::Result<(), FormatError> {
    let found = region.size() as u64;
    if found == expected { Ok(()) } else { Err(FormatError::WrongSize { found, expected }) }
}
