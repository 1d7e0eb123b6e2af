use std::path::Path;

use chronicle_core::{Error, Tailer, WaitOutcome};
use chronicle_format::{COUNTERS_VALUES, CountersKind, FormatError, ReaderCounters};
use chronicle_sync::{Clock, Instant, RegionMutExt as _};

use super::{CountersFile, Pace};
use crate::QueueError;
use crate::backend::{Backend, PlatformError, SystemClock};

/// Looks that find nothing between two looks at the clock. A program that sleeps for a millisecond after
/// each is a quarter of a second late with its last values.
const POLLS: u32 = 256;

/// What is counted of a reader, if it is.
pub(crate) struct Counts {
    /// At which message to look at the clock; never, where nothing is counted.
    due_seq: u64,
    /// The message that was asked for last.
    passed_seq: u64,
    polls: u32,
    counted: Option<Box<CountedReader>>,
}

struct CountedReader {
    file: CountersFile,
    clock: SystemClock,
    pace: Pace,
    values: ReaderCounters,
    /// Something else than the place has changed since it was published.
    is_changed: bool,
}

impl Counts {
    /// Counts nothing.
    pub(crate) const OFF: Self = Self { due_seq: u64::MAX, passed_seq: 0, polls: 0, counted: None };

    pub(crate) fn new(
        path: &Path,
        file: CountersFile,
        tailer: &Tailer<Backend>,
    ) -> Result<Self, QueueError> {
        if file.kind != CountersKind::Reader {
            let source =
                FormatError::OutOfRange { at: chronicle_format::layout::counters::KIND, value: 0 };
            return Err(QueueError::InvalidArgument { path: path.to_owned(), source });
        }
        let values = ReaderCounters {
            pid: file.pid,
            process_start: file.process_start,
            starts: file.starts,
            started_ns: file.started_ns,
            registered: tailer.committed().is_some().into(),
            ..ReaderCounters::default()
        };
        let clock = SystemClock::new();
        let pace = Pace::new(clock.now());
        let mut counted = Box::new(CountedReader { file, clock, pace, values, is_changed: false });
        counted.publish(tailer);
        let seq = tailer.next_seq();
        Ok(Self { due_seq: seq, passed_seq: seq, polls: 0, counted: Some(counted) })
    }

    pub(crate) fn is_on(&self) -> bool {
        self.counted.is_some()
    }

    /// Before a message is read: whether [`look`](Self::look) is to be called.
    #[inline(always)]
    pub(crate) fn pass(&mut self, next_seq: u64) -> bool {
        self.passed_seq = next_seq;
        next_seq >= self.due_seq
    }

    /// The reader went to this place: the next look is as soon as it goes on from there.
    pub(crate) fn jumped(&mut self, next_seq: u64) {
        self.passed_seq = next_seq;
        if self.is_on() {
            self.due_seq = 0;
        }
    }

    /// Looks at the clock, and publishes if it is time and there is something new.
    #[cold]
    #[inline(never)]
    pub(crate) fn look(&mut self, tailer: &Tailer<Backend>) {
        let Some(counted) = &mut self.counted else {
            self.due_seq = u64::MAX;
            return;
        };
        let now = counted.clock.now();
        let stride = counted.pace.next_look(now);
        self.due_seq = tailer.next_seq().saturating_add(stride);
        if now >= counted.pace.due() && counted.has_moved(tailer) {
            counted.publish(tailer);
        }
    }

    /// There was no message: now and then the next look is at the clock too.
    #[inline(always)]
    pub(crate) fn found_nothing(&mut self) {
        self.polls += 1;
        if self.polls >= POLLS {
            self.polls = 0;
            self.due_seq = if self.is_on() { 0 } else { u64::MAX };
        }
    }

    /// Before a sleep: publishes if it is time and there is something new, and says until when something
    /// new is to be published that is not yet.
    pub(crate) fn before_sleep(
        &mut self,
        tailer: &Tailer<Backend>,
        now: impl FnOnce() -> Instant,
    ) -> Option<Instant> {
        let counted = self.counted.as_mut().filter(|counted| counted.has_moved(tailer))?;
        let due = counted.pace.due();
        if now() < due {
            return Some(due);
        }
        counted.publish(tailer);
        None
    }

    /// Publishes what is new, whenever that was done last.
    pub(crate) fn publish(&mut self, tailer: &Tailer<Backend>) {
        if let Some(counted) = &mut self.counted
            && counted.has_moved(tailer)
        {
            counted.publish(tailer);
        }
    }

    /// A wait came to an end.
    pub(crate) fn waited(&mut self, outcome: WaitOutcome) {
        if let Some(counted) = &mut self.counted {
            counted.values.waits += 1;
            counted.values.waits_timed_out += u64::from(outcome != WaitOutcome::Ready);
        }
    }

    /// A call of the reader failed.
    #[cold]
    pub(crate) fn failed(&mut self, error: &Error<PlatformError>) {
        let Some(counted) = &mut self.counted else { return };
        match error {
            // Told once, and the reader goes on.
            Error::Gap { .. } => counted.values.gaps += 1,
            error => {
                counted.values.fell_behind += u64::from(matches!(error, Error::FellBehind { .. }));
                counted.values.errors += 1;
                counted.values.last_error_ns = counted.clock.wall_ns();
            }
        }
        counted.is_changed = true;
        self.due_seq = 0;
    }

    /// Takes note of where the reader is at its end.
    pub(crate) fn close(&mut self, tailer: &Tailer<Backend>) {
        self.passed_seq = tailer.next_seq();
        if let Some(counted) = &mut self.counted {
            counted.note(tailer);
        }
    }
}

/// The last values, with the last message that was asked for: where exactly it was is not known here.
impl Drop for Counts {
    fn drop(&mut self) {
        let Some(counted) = &mut self.counted else { return };
        counted.values.closed = 1;
        counted.values.seq = self.passed_seq;
        counted.store();
    }
}

impl CountedReader {
    fn has_moved(&self, tailer: &Tailer<Backend>) -> bool {
        let committed = tailer.committed().map_or(0, |place| place.seq);
        self.is_changed
            || (self.values.seq, self.values.committed_seq) != (tailer.next_seq(), committed)
    }

    fn publish(&mut self, tailer: &Tailer<Backend>) {
        self.note(tailer);
        self.store();
    }

    fn note(&mut self, tailer: &Tailer<Backend>) {
        let position = tailer.position();
        self.values = ReaderCounters {
            segment: position.segment.get().into(),
            offset: position.offset,
            seq: position.seq,
            time_ns: tailer.last_timestamp_ns().unwrap_or(self.values.time_ns),
            committed_seq: tailer.committed().map_or(0, |place| place.seq),
            ..self.values
        };
    }

    fn store(&mut self) {
        self.is_changed = false;
        self.values.published_ns = self.clock.wall_ns();
        self.pace.published(self.clock.now());
        // The file has the size of its kind.
        let _ = self.file.map.store_as_one(
            COUNTERS_VALUES,
            COUNTERS_VALUES + ReaderCounters::FIRST,
            self.values.words(),
        );
    }
}
