//! Going to a record by its sequence number or by time.
//!
//! The segment is found by the starts of the segments, the place in it by its index, and the rest is
//! a walk over at most a stride and a record, by the same rules as reading. Without an index it is a
//! walk from the beginning of the segment.

use chronicle_format::{IndexEntry, Position};
use chronicle_sync::{ErrorKind, Platform};

use crate::Result;
use crate::index::view_index;
use crate::seek_cache::{SeekCache, Segments};
use crate::segment::view_segment;
use crate::start::{OPEN_TRIES, Start, begin, gone};
use crate::tailer::{Passed, Tailer};

/// Where a seek came out, and what it cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sought {
    /// Whether the record that was looked for is there, or known to be lost, which reading then
    /// tells. If not, it has not been appended yet: the
    /// reader waits for it, and passes over what comes before.
    pub found: bool,
    /// Records that were read on the way and passed over.
    pub passed_records: u64,
    /// Their bytes, headers and padding included.
    pub passed_bytes: u64,
}

impl<P: Platform> Tailer<P> {
    /// Goes to the record with this sequence number: [`next`](Self::next) gives it next. One that
    /// has not been appended yet is waited for.
    ///
    /// Costs a few openings of files for the segment, and a walk over at most a stride of its index
    /// and a record; over the segment from its beginning where the index is missing. Who seeks often
    /// remembers the segments: [`seek_seq_with`](Self::seek_seq_with).
    ///
    /// # Errors
    /// [`FellBehind`](crate::Error::FellBehind) with the oldest record if this one was removed, and
    /// the platform's: the reader stays where it is. Those of [`next`](Self::next) on the way to the
    /// record: the reader is before what is damaged.
    pub fn seek_seq(&mut self, seq: u64) -> Result<Sought, P> {
        self.seek(Start::Seq(seq), Segments::none())
    }

    /// As [`seek_seq`](Self::seek_seq), with what earlier seeks have found out: into a segment that the
    /// cache knows it makes no system call.
    ///
    /// # Errors
    /// As [`seek_seq`](Self::seek_seq).
    pub fn seek_seq_with<const N: usize>(
        &mut self,
        seq: u64,
        cache: &mut SeekCache<P, N>,
    ) -> Result<Sought, P> {
        self.seek(Start::Seq(seq), cache.of(&self.control))
    }

    /// Goes to the first record by which a time stamp has reached `ns`, in nanoseconds since 1970,
    /// as [`Start::Timestamp`] defines it. One that has not been appended yet is waited for.
    ///
    /// A later time never leads to an earlier record, whatever the clock did.
    ///
    /// # Errors
    /// As [`seek_seq`](Self::seek_seq); [`FellBehind`](crate::Error::FellBehind) if time stamps had
    /// reached `ns` before the oldest record that is still there.
    pub fn seek_timestamp(&mut self, ns: u64) -> Result<Sought, P> {
        self.seek(Start::Timestamp(ns), Segments::none())
    }

    /// As [`seek_timestamp`](Self::seek_timestamp), with what earlier seeks have found out.
    ///
    /// # Errors
    /// As [`seek_timestamp`](Self::seek_timestamp).
    pub fn seek_timestamp_with<const N: usize>(
        &mut self,
        ns: u64,
        cache: &mut SeekCache<P, N>,
    ) -> Result<Sought, P> {
        self.seek(Start::Timestamp(ns), cache.of(&self.control))
    }

    /// Gives back what a cache keeps mapped of segments that were removed: until then their space is in
    /// use. A seek with the cache does so too. Two loads and no system call where there is nothing to do.
    #[inline]
    pub fn give_back<const N: usize>(&self, cache: &mut SeekCache<P, N>) {
        if let Some(oldest) = self.control.floor() {
            cache.of(&self.control).give_back(oldest);
        }
    }

    /// Goes to the oldest record that is still there.
    ///
    /// # Errors
    /// The platform's.
    pub fn seek_to_start(&mut self) -> Result<Sought, P> {
        self.seek(Start::Earliest, Segments::none())
    }

    /// Goes behind the newest record.
    ///
    /// # Errors
    /// Those of [`next`](Self::next) between the writer's hint and the newest record.
    pub fn seek_to_end(&mut self) -> Result<(), P> {
        self.go_to(Start::Latest, &mut Segments::none())?;
        self.want(Start::Latest);
        self.skip_to_end()
    }

    /// Goes back by so many records, or to the very first one of the queue if there are fewer.
    ///
    /// Each call costs as much as [`seek_seq`](Self::seek_seq); to read many records backwards there
    /// is [`reversed`](Self::reversed).
    ///
    /// # Errors
    /// As [`seek_seq`](Self::seek_seq).
    pub fn seek_back(&mut self, count: u64) -> Result<Sought, P> {
        self.seek_seq(self.position().seq.saturating_sub(count))
    }

    fn seek(&mut self, start: Start, mut segments: Segments<'_, P>) -> Result<Sought, P> {
        self.go_to(start, &mut segments)?;
        self.passed = Passed::default();
        self.land_with(start, &mut segments);
        let found = self.settle()?;
        let Passed { records, bytes } = self.passed;
        Ok(Sought { found, passed_records: records, passed_bytes: bytes })
    }

    /// Goes to the segment of a start.
    fn go_to(&mut self, start: Start, segments: &mut Segments<'_, P>) -> Result<(), P> {
        if let Some(place) = segments.place(&self.platform, &self.control, &self.geometry, start) {
            if place.segment == self.segment.id && segments.knows(&self.segment) {
                self.move_to(&place, None);
                return Ok(());
            }
            let segment = segments.take(place.segment).or_else(|| {
                let segment = view_segment(&self.platform, place.segment, &self.geometry);
                segment.ok().filter(|segment| segments.knows(segment))
            });
            if segment.is_some() {
                if let Some(left) = self.move_to(&place, segment) {
                    segments.keep(left);
                }
                return Ok(());
            }
            segments.forget();
        }
        let mut tries = 0;
        loop {
            tries += 1;
            let place = begin(&self.platform, &self.control, &self.geometry, start)?;
            if place.segment == self.segment.id {
                self.move_to(&place, None);
                return Ok(());
            }
            match view_segment(&self.platform, place.segment, &self.geometry) {
                Ok(segment) => {
                    self.move_to(&place, Some(segment));
                    return Ok(());
                }
                // Removed since it was found.
                Err(error) if error.kind() == Some(ErrorKind::NotFound) => {
                    if tries == OPEN_TRIES {
                        let Position { segment, seq, .. } = place;
                        return Err(gone(&self.platform, &self.geometry, segment, seq));
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// At the beginning of a segment: goes as near to a start in it as its index leads.
    pub(crate) fn land(&mut self, start: Start) {
        self.land_with(start, &mut Segments::none());
    }

    fn land_with(&mut self, start: Start, segments: &mut Segments<'_, P>) {
        self.want(start);
        let is_before = |entry: &IndexEntry| match start {
            // Not the record itself: the one before it then shows, in a position that is committed
            // at once, that the place is on this log.
            Start::Seq(seq) => entry.seq < seq,
            Start::Timestamp(ns) => entry.time_floor_ns < ns,
            Start::Earliest | Start::Latest => false,
        };
        if !matches!(start, Start::Seq(_) | Start::Timestamp(_)) {
            return;
        }
        let open = || view_index(&self.platform, &self.segment, &self.geometry);
        let landing = segments
            .index(&self.segment, open)
            .and_then(|index| index.landing(&self.segment, &self.geometry, is_before));
        if let Some(place) = landing {
            self.move_to(&place, None);
        }
    }
}
