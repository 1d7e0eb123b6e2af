//! What a reader remembers of a queue's segments between two seeks.
//!
//! Where a segment begins never changes, so it is looked up once. Everything here is a hint: the segment
//! that a seek leads to is opened and compared with what is remembered, and where they differ all of it is
//! forgotten and looked up anew.

use chronicle_format::{Position, SegmentId, SegmentStart};
use chronicle_sync::{Clock, Platform, Region, Storage};

use crate::control::Control;
use crate::index::Index;
use crate::segment::{Geometry, Segment, view_segment};
use crate::start::Start;

/// Remembers up to `N` segments of one queue for [`Tailer::seek_seq_with`](crate::Tailer::seek_seq_with) and
/// [`Tailer::seek_timestamp_with`](crate::Tailer::seek_timestamp_with): where each begins, and its index.
///
/// It takes some 100 bytes a segment, and keeps the indexes mapped that it knows, so that of one that is
/// removed meanwhile the space is free with the next seek. It belongs to the queue that it was used with
/// first: with another one nothing is found wrongly, and nothing is found fast.
pub struct SeekCache<P: Platform, const N: usize> {
    known: [Option<Known<P>>; N],
}

type View<P> = <<P as Platform>::Storage as Storage>::View;

/// A segment that is in use, or was.
pub(crate) struct Known<P: Platform> {
    id: SegmentId,
    start: SegmentStart,
    index: Option<Index<View<P>>>,
}

impl<P: Platform, const N: usize> SeekCache<P, N> {
    /// Knows nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { known: [const { None }; N] }
    }

    pub(crate) fn segments(&mut self) -> Segments<'_, P> {
        Segments { known: &mut self.known }
    }
}

impl<P: Platform, const N: usize> Default for SeekCache<P, N> {
    fn default() -> Self {
        Self::new()
    }
}

/// The segments that a cache remembers, each at the slot that its number says.
pub(crate) struct Segments<'a, P: Platform> {
    known: &'a mut [Option<Known<P>>],
}

impl<P: Platform> Segments<'_, P> {
    /// Remembers nothing.
    pub(crate) fn none() -> Self {
        Self { known: &mut [] }
    }

    pub(crate) fn forget(&mut self) {
        self.known.fill_with(|| None);
    }

    fn slot(&mut self, id: SegmentId) -> Option<&mut Option<Known<P>>> {
        let slots = self.known.len();
        self.known.get_mut((id.get() as usize).checked_rem(slots)?)
    }

    fn get(&mut self, id: SegmentId) -> Option<&mut Known<P>> {
        self.slot(id)?.as_mut().filter(|known| known.id == id)
    }

    /// The start of the segment in which a record is that is looked for, or will be; `None` where that
    /// takes a look at the directory.
    pub(crate) fn place(
        &mut self,
        platform: &P,
        control: &Control<View<P>>,
        geometry: &Geometry,
        start: Start,
    ) -> Option<Position> {
        let is_before = |segment: &SegmentStart| match start {
            Start::Seq(seq) => segment.first_seq <= seq,
            Start::Timestamp(ns) => segment.time_floor_ns < ns,
            Start::Earliest | Start::Latest => false,
        };
        // The hint of another boot may lie behind the end that recovery will find.
        if self.known.is_empty() || control.writer_boot() != platform.clock().boot() {
            return None;
        }
        let (oldest, newest) = (control.floor()?, control.segment_index()?.segment);
        for known in self.known.iter_mut() {
            // What was removed is not kept mapped.
            known.take_if(|known| known.id < oldest);
        }
        // Where a record lies before the oldest segment is said by what is there.
        let mut low = (oldest, self.start(platform, geometry, oldest).filter(is_before)?);
        let mut high = u64::from(newest.get()) + 1;
        // Invariant: the record is not before `low`, and `high` begins behind it or is not started.
        while u64::from(low.0.get()) + 1 < high {
            let middle = SegmentId::new((u64::from(low.0.get()) + high) / 2).ok()?;
            match self.start(platform, geometry, middle)? {
                start if is_before(&start) => low = (middle, start),
                _ => high = middle.get().into(),
            }
        }
        let (id, start) = low;
        Some(Position::start_of(id, start.first_seq, start.epoch))
    }

    /// Where a segment begins into which the writer has gone; `None` if it cannot be looked at.
    fn start(&mut self, platform: &P, geometry: &Geometry, id: SegmentId) -> Option<SegmentStart> {
        if let Some(known) = self.get(id) {
            return Some(known.start);
        }
        let start = view_segment(platform, id, geometry).ok()?.start::<P::Error>().ok()??;
        *self.slot(id)? = Some(Known { id, start, index: None });
        Some(start)
    }

    /// Whether a segment that was opened is the one that is remembered.
    pub(crate) fn knows<R: Region>(&mut self, segment: &Segment<R>) -> bool {
        let start = segment.start::<()>().ok().flatten();
        self.get(segment.id).is_some_and(|known| Some(known.start) == start)
    }

    /// The index of a segment, which `open` opens if it is not remembered.
    pub(crate) fn index<R: Region>(
        &mut self,
        segment: &Segment<R>,
        open: impl FnOnce() -> Option<Index<View<P>>>,
    ) -> Option<FoundIndex<'_, View<P>>> {
        match self.get(segment.id) {
            None => open().map(FoundIndex::New),
            Some(known) => {
                if known.index.as_ref().is_none_or(|index| !index.is_of(segment)) {
                    known.index = open();
                }
                known.index.as_ref().map(FoundIndex::Known)
            }
        }
    }
}

/// An index, and whose it is.
pub(crate) enum FoundIndex<'a, R> {
    Known(&'a Index<R>),
    New(Index<R>),
}

impl<R> core::ops::Deref for FoundIndex<'_, R> {
    type Target = Index<R>;

    fn deref(&self) -> &Index<R> {
        match self {
            Self::Known(index) => index,
            Self::New(index) => index,
        }
    }
}
