//! What a reader remembers of a queue's segments between two seeks.
//!
//! Where a segment begins never changes, so it is looked up once, and the segment stays mapped. What is
//! remembered is a hint: a segment that has to be opened again is compared with it, and where they differ
//! all of it is forgotten and looked up anew.

use chronicle_format::{Position, SegmentId, SegmentStart};
use chronicle_sync::{Clock, Platform, Region, Storage};

use crate::control::Control;
use crate::index::Index;
use crate::segment::{Geometry, Segment, view_segment};
use crate::start::{Start, last_where};

/// Remembers up to `N` segments of one queue for [`Tailer::seek_seq_with`](crate::Tailer::seek_seq_with) and
/// [`Tailer::seek_timestamp_with`](crate::Tailer::seek_timestamp_with): where each begins, the segment and its
/// index.
///
/// It takes some 200 bytes a segment, and keeps mapped what it knows. So the space of segments that are
/// removed meanwhile is free with the next seek, or once they are given back
/// ([`Tailer::give_back`](crate::Tailer::give_back)). Readers of one queue may share it; one of another queue
/// begins with nothing.
pub struct SeekCache<P: Platform, const N: usize> {
    known: [Option<Known<P>>; N],
    /// Nothing is known of the segments before this one.
    oldest: SegmentId,
    /// The queue that this is about, and its writer's epoch: only another writer cuts a log.
    about: Option<(u64, u32)>,
}

type View<P> = <<P as Platform>::Storage as Storage>::View;

/// A segment that is in use, or was.
pub(crate) struct Known<P: Platform> {
    id: SegmentId,
    start: SegmentStart,
    /// Not there while the reader is in it.
    segment: Option<Segment<View<P>>>,
    index: Option<Index<View<P>>>,
}

impl<P: Platform, const N: usize> SeekCache<P, N> {
    /// Knows nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { known: [const { None }; N], oldest: SegmentId::FIRST, about: None }
    }

    /// What is known of a queue.
    #[inline]
    pub(crate) fn of(&mut self, control: &Control<View<P>>) -> Segments<'_, P> {
        let about = Some((control.queue_id(), control.epoch()));
        if self.about != about {
            *self = Self { about, ..Self::new() };
        }
        Segments { known: &mut self.known, oldest: Some(&mut self.oldest) }
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
    oldest: Option<&'a mut SegmentId>,
}

impl<P: Platform> Segments<'_, P> {
    /// Remembers nothing.
    pub(crate) fn none() -> Self {
        Self { known: &mut [], oldest: None }
    }

    pub(crate) fn forget(&mut self) {
        self.known.fill_with(|| None);
    }

    /// What was removed is not kept mapped.
    #[inline]
    pub(crate) fn give_back(&mut self, oldest: SegmentId) {
        if let Some(known_from) = self.oldest.as_deref_mut()
            && *known_from < oldest
        {
            *known_from = oldest;
            self.give_back_all_before(oldest);
        }
    }

    #[cold]
    fn give_back_all_before(&mut self, oldest: SegmentId) {
        for known in self.known.iter_mut() {
            known.take_if(|known| known.id < oldest);
        }
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
        // The hint of another boot may lie behind the end that recovery will find.
        if self.known.is_empty() || control.writer_boot() != platform.clock().boot() {
            return None;
        }
        let (oldest, newest) = (control.floor()?, control.segment_index()?.segment);
        self.give_back(oldest);
        // Where a record lies before the oldest segment is said by what is there.
        let first =
            self.start(platform, geometry, oldest).filter(|first| start.is_behind(first))?;
        let look = |id| {
            let found = self.start(platform, geometry, id).ok_or(NotThere)?;
            Ok::<_, NotThere>(start.is_behind(&found).then_some(found))
        };
        let (id, start) = last_where((oldest, first), newest, look).ok()?;
        Some(Position::start_of(id, start.first_seq, start.epoch))
    }

    /// Where a segment begins into which the writer has gone; `None` if it cannot be looked at.
    fn start(&mut self, platform: &P, geometry: &Geometry, id: SegmentId) -> Option<SegmentStart> {
        if let Some(known) = self.get(id) {
            return Some(known.start);
        }
        let segment = view_segment(platform, id, geometry).ok()?;
        let start = segment.start::<P::Error>().ok()??;
        *self.slot(id)? = Some(Known { id, start, segment: Some(segment), index: None });
        Some(start)
    }

    /// Takes a segment that is remembered.
    pub(crate) fn take(&mut self, id: SegmentId) -> Option<Segment<View<P>>> {
        self.get(id)?.segment.take()
    }

    /// Keeps a segment that a reader has left, if it is remembered. Where one is there already, because
    /// the reader came by reading on, that one stays: more of its pages have been looked at.
    pub(crate) fn keep(&mut self, segment: Segment<View<P>>) {
        if let Some(known) = self.get(segment.id) {
            known.segment.get_or_insert(segment);
        }
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

/// A segment of the log cannot be looked at.
struct NotThere;

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
