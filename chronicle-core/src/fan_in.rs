//! Many queues read as one, in the order of time.
//!
//! Each source's records get the running maximum of its time stamps, so that they never go backwards
//! even where a clock did. A record's key is that time, its source's number and its sequence
//! number; no two records have the same. Output goes by keys.
//!
//! A record may be given out when no source can bring a smaller key any more. What a source that has
//! a record can bring is known. What a silent one can bring is bounded from below by its own last
//! key, and, if a lateness was declared, by the clock: nothing older than the lateness is expected
//! of it. The clock is read before the silent sources are looked at, so that a record which kept the
//! bound and was not there yet is younger than what is let through.

use core::array;
use core::fmt;
use core::time::Duration;

use chronicle_sync::{Clock, Platform};
use heapless::BinaryHeap;
use heapless::binary_heap::Min;

use crate::error::Error;
use crate::tailer::{MessageView, Sleeper, Tailer};

/// A source's number: decides between records of the same time, so that the order does not depend on
/// which source was added first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(pub u32);

impl fmt::Display for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "source {}", self.0)
    }
}

/// How long the output waits for a source that has nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Patience {
    /// For as long as it takes: nothing is ever late, as long as no source joins and none that was
    /// declared finished goes on.
    Unlimited,
    /// Until the clock is so far ahead of the record that waits: a record that becomes visible
    /// within this time of its time stamp is never late.
    Lateness(Duration),
}

/// What the output is ordered by, field by field. No two records have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MergeKey {
    /// Running maximum of the source's time stamps, in nanoseconds since 1970.
    pub time_ns: u64,
    /// The source.
    pub source: SourceId,
    /// Sequence number in the source.
    pub seq: u64,
}

impl MergeKey {
    const FIRST: Self = Self { time_ns: 0, source: SourceId(0), seq: 0 };
    const LAST: Self = Self { time_ns: u64::MAX, source: SourceId(u32::MAX), seq: u64::MAX };
}

/// A record and where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FromSource<'a> {
    /// The source.
    pub source: SourceId,
    /// Running maximum of the source's time stamps, by which the output is ordered.
    pub time_ns: u64,
    /// The record, borrowed from the mapped segment.
    pub message: MessageView<'a>,
}

/// What a fan-in has next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Merged<'a> {
    /// The next record of the output: its key is behind those of all that were given out this way.
    InOrder(FromSource<'a>),
    /// A record that came too late for its place. The output's order goes on without it.
    Late {
        /// The record.
        record: FromSource<'a>,
        /// How far its time is behind the output, in nanoseconds; 0 if only the tie-break is.
        behind_ns: u64,
    },
    /// Nothing may be given out now.
    Nothing(Hold),
}

/// Why nothing may be given out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Hold {
    /// The silent source for which the next record waits; `None` if no source has a record.
    pub waits_for: Option<SourceId>,
    /// The wall clock's time, in nanoseconds since 1970, from which on at the latest it does not wait
    /// any more; `None` if it waits for as long as it takes.
    pub until_ns: Option<u64>,
}

/// Why a source was not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rejection {
    /// There are as many sources as there can be.
    Full,
    /// Another source has this number.
    Taken,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "there are as many sources as there can be",
            Self::Taken => "another source has this number",
        })
    }
}

impl core::error::Error for Rejection {}

/// What went wrong, and with which source.
#[derive(Clone, Debug)]
pub struct FanInError<E> {
    /// The source.
    pub source_id: SourceId,
    /// What went wrong.
    pub error: Error<E>,
}

impl<E: chronicle_sync::Error> fmt::Display for FanInError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.source_id, self.error)
    }
}

type Result<T, P> = core::result::Result<T, FanInError<<P as Platform>::Error>>;

/// A source's next record. The slot comes last, and never decides: no two keys are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Head {
    key: MergeKey,
    slot: usize,
}

struct Source<P: Platform> {
    id: SourceId,
    tailer: Tailer<P>,
    /// Running maximum of the time stamps.
    newest_ns: u64,
    /// Its next record is among the heads.
    has_head: bool,
    /// Nothing more is expected.
    finished: bool,
}

impl<P: Platform> Source<P> {
    /// The key of its next record, if there is one.
    fn peek(&mut self) -> Result<Option<MergeKey>, P> {
        let peeked =
            self.tailer.peek().map_err(|error| FanInError { source_id: self.id, error })?;
        Ok(peeked.map(|peeked| {
            self.newest_ns = self.newest_ns.max(peeked.timestamp_ns);
            MergeKey { time_ns: self.newest_ns, source: self.id, seq: peeked.seq }
        }))
    }

    /// The smallest key that its next record can have, if it is silent.
    fn bound(&self, expected_from_ns: u64) -> MergeKey {
        if self.finished {
            return MergeKey::LAST;
        }
        let time_ns = self.newest_ns.max(expected_from_ns);
        MergeKey { time_ns, source: self.id, seq: self.tailer.position().seq }
    }
}

/// Reads at most `N` queues as one, in the order of time. Neither allocates nor copies.
///
/// The order is that of [`MergeKey`]: the running maximum of a source's time stamps, then the
/// source's number, then the sequence number. As long as nothing is [`Merged::Late`], the output is
/// the one that sorting all records by these keys gives: a function of the records, the places where
/// the readers began and the sources' numbers, whenever it is read and however the writers were
/// scheduled. With [`Patience::Unlimited`] that is always so for a fixed set of sources; with a
/// lateness, for as long as every record is visible within that time of its time stamp, and so for
/// records that were all there before the first was read.
///
/// Sources may join and leave at any time. Of one that joins, records before the output's watermark
/// are late.
pub struct FanIn<P: Platform, const N: usize> {
    sources: [Option<Source<P>>; N],
    heads: BinaryHeap<Head, Min, N>,
    /// Sources without a head.
    silent: usize,
    /// The slot whose head was given out and is still the first among the heads.
    taken: Option<usize>,
    watermark: Option<MergeKey>,
    /// No silent source is expected to bring a key before this one.
    cleared: MergeKey,
    /// The silent source that `cleared` comes from.
    holder: Option<SourceId>,
    patience: Patience,
    /// The latest reading of the clock. One that ran backwards does not take back what was let
    /// through.
    now_ns: u64,
}

impl<P: Platform, const N: usize> FanIn<P, N> {
    /// One without sources.
    #[must_use]
    pub fn new(patience: Patience) -> Self {
        Self {
            sources: array::from_fn(|_| None),
            heads: BinaryHeap::new(),
            silent: 0,
            taken: None,
            watermark: None,
            cleared: MergeKey::FIRST,
            holder: None,
            patience,
            now_ns: 0,
        }
    }

    /// Adds a source under a number of the caller's choice.
    ///
    /// # Errors
    /// The reader is dropped then.
    pub fn add(&mut self, id: SourceId, tailer: Tailer<P>) -> core::result::Result<(), Rejection> {
        if self.slot(id).is_some() {
            return Err(Rejection::Taken);
        }
        let free = self.sources.iter_mut().find(|slot| slot.is_none()).ok_or(Rejection::Full)?;
        *free = Some(Source { id, tailer, newest_ns: 0, has_head: false, finished: false });
        self.silent += 1;
        // It has not been looked at: nothing is known of what it can bring.
        self.cleared = MergeKey::FIRST;
        Ok(())
    }

    /// Takes a source out, if it is there. Its reader stands behind the last record that was given
    /// out.
    pub fn remove(&mut self, id: SourceId) -> Option<Tailer<P>> {
        let slot = self.slot(id)?;
        let source = self.sources.get_mut(slot)?.take()?;
        if source.has_head {
            let heads = core::mem::take(&mut self.heads).into_vec();
            for head in heads.into_iter().filter(|head| head.slot != slot) {
                // There were more before.
                let _ = self.heads.push(head);
            }
        } else {
            self.silent -= 1;
        }
        if self.taken == Some(slot) {
            self.taken = None;
        }
        Some(source.tailer)
    }

    /// Declares that nothing more is expected of a source: the output waits for it no longer. What
    /// comes all the same is given out, perhaps as late. Returns whether there is such a source.
    pub fn finish(&mut self, id: SourceId) -> bool {
        let Some(slot) = self.slot(id) else { return false };
        if let Some(Some(source)) = self.sources.get_mut(slot) {
            source.finished = true;
        }
        true
    }

    /// The next record of all sources, or why there is none. `clock` is read only if the output may
    /// have to wait.
    ///
    /// # Errors
    /// Those of [`Tailer::next`], with the source. The output stops until the source is removed or
    /// the fault is gone: going on without it would bring its records out of order.
    pub fn next<C: Clock>(&mut self, clock: &C) -> Result<Merged<'_>, P> {
        self.refill()?;
        let head = loop {
            let first = self.heads.peek().copied();
            if let Some(head) = first
                && (self.silent == 0 || head.key < self.cleared || self.is_late(&head))
            {
                break head;
            }
            // Each time round, one source less is silent.
            if !self.look_at_silent(clock)? {
                match first {
                    Some(head) if head.key < self.cleared => break head,
                    _ => return Ok(Merged::Nothing(self.hold(first))),
                }
            }
        };
        Ok(self.give(head))
    }

    /// Keeps the place behind the last record of a source that was given out, as
    /// [`Tailer::commit`]. The other sources' places stay as they are.
    ///
    /// # Errors
    /// [`Error::NotRegistered`], also if there is no such source.
    pub fn commit(&mut self, id: SourceId) -> Result<(), P> {
        match self.tailer_mut(id) {
            Some(tailer) => tailer.commit(),
            None => Err(Error::NotRegistered),
        }
        .map_err(|error| FanInError { source_id: id, error })
    }

    /// Brings the place that was kept of a source to the medium, as [`Tailer::sync_position`].
    ///
    /// # Errors
    /// [`Error::NotRegistered`], also if there is no such source; the platform's.
    pub fn sync_position(&mut self, id: SourceId) -> Result<(), P> {
        match self.tailer_mut(id) {
            Some(tailer) => tailer.sync_position(),
            None => Err(Error::NotRegistered),
        }
        .map_err(|error| FanInError { source_id: id, error })
    }

    /// The sources, in no order.
    pub fn sources(&self) -> impl Iterator<Item = (SourceId, &Tailer<P>)> {
        self.sources.iter().flatten().map(|source| (source.id, &source.tailer))
    }

    /// The sources that have no record, to be slept on with [`ParkAny`](crate::ParkAny).
    pub fn silent(&self) -> impl Iterator<Item = (SourceId, Sleeper<'_, P>)> + Clone {
        let silent = self.sources.iter().flatten().filter(|source| !source.has_head);
        silent.map(|source| (source.id, Sleeper { tailer: &source.tailer, relayed: false }))
    }

    /// How far the output is; `None` if nothing was given out.
    #[must_use]
    pub fn watermark(&self) -> Option<MergeKey> {
        self.watermark
    }

    fn slot(&self, id: SourceId) -> Option<usize> {
        self.sources.iter().position(|slot| slot.as_ref().is_some_and(|source| source.id == id))
    }

    fn tailer_mut(&mut self, id: SourceId) -> Option<&mut Tailer<P>> {
        let source = self.sources.iter_mut().flatten().find(|source| source.id == id)?;
        Some(&mut source.tailer)
    }

    fn is_late(&self, head: &Head) -> bool {
        self.watermark.is_some_and(|watermark| head.key < watermark)
    }

    /// Puts the next record of the source whose head was given out into its place.
    fn refill(&mut self) -> Result<(), P> {
        let Some(slot) = self.taken else { return Ok(()) };
        let expected_from_ns = self.expected_from_ns();
        if let Some(Some(source)) = self.sources.get_mut(slot) {
            match source.peek()? {
                Some(key) => {
                    if let Some(mut first) = self.heads.peek_mut() {
                        *first = Head { key, slot };
                    }
                }
                None => {
                    self.heads.pop();
                    source.has_head = false;
                    let bound = source.bound(expected_from_ns);
                    // While no source was silent nobody kept the bound.
                    if self.silent == 0 || bound < self.cleared {
                        (self.cleared, self.holder) = (bound, Some(source.id));
                    }
                    self.silent += 1;
                }
            }
        }
        self.taken = None;
        Ok(())
    }

    /// Looks whether silent sources have a record now, and for how far the others clear the way.
    /// Returns whether one has.
    fn look_at_silent<C: Clock>(&mut self, clock: &C) -> Result<bool, P> {
        self.cleared = MergeKey::FIRST;
        if matches!(self.patience, Patience::Lateness(_)) {
            self.now_ns = self.now_ns.max(clock.wall_ns());
        }
        let expected_from_ns = self.expected_from_ns();
        let (mut cleared, mut holder, mut found) = (MergeKey::LAST, None, false);
        for (slot, source) in self.sources.iter_mut().enumerate() {
            let Some(source) = source.as_mut().filter(|source| !source.has_head) else { continue };
            if let Some(key) = source.peek()? {
                // There is room for as many heads as sources.
                let _ = self.heads.push(Head { key, slot });
                source.has_head = true;
                self.silent -= 1;
                found = true;
            } else {
                let bound = source.bound(expected_from_ns);
                if bound < cleared {
                    (cleared, holder) = (bound, Some(source.id));
                }
            }
        }
        (self.cleared, self.holder) = (cleared, holder);
        Ok(found)
    }

    /// Nothing older is expected of any source.
    fn expected_from_ns(&self) -> u64 {
        match self.patience {
            Patience::Unlimited => 0,
            Patience::Lateness(lateness) => self.now_ns.saturating_sub(nanos(lateness)),
        }
    }

    fn hold(&self, first: Option<Head>) -> Hold {
        let waits_for = self.holder.filter(|_| first.is_some());
        let until_ns = match (first, self.patience) {
            (Some(head), Patience::Lateness(lateness)) => {
                Some(head.key.time_ns.saturating_add(nanos(lateness)).saturating_add(1))
            }
            _ => None,
        };
        Hold { waits_for, until_ns }
    }

    fn give(&mut self, head: Head) -> Merged<'_> {
        let behind_ns = match self.watermark {
            Some(watermark) if head.key < watermark => Some(watermark.time_ns - head.key.time_ns),
            _ => {
                self.watermark = Some(head.key);
                None
            }
        };
        self.taken = Some(head.slot);
        let hold = Hold::default();
        let Some(source) = self.sources.get_mut(head.slot).and_then(Option::as_mut) else {
            return Merged::Nothing(hold);
        };
        let Some(message) = source.tailer.take() else { return Merged::Nothing(hold) };
        let record = FromSource { source: source.id, time_ns: head.key.time_ns, message };
        match behind_ns {
            None => Merged::InOrder(record),
            Some(behind_ns) => Merged::Late { record, behind_ns },
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
