use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chronicle_core::{Position, RetentionReport, Start, TailOptions, Tailer};
use chronicle_format::{
    COUNTERS_VALUES, CountersKind, FormatError, KEEPER_COUNTERS_VALUES, KeeperCounters,
    WriterCounters,
};
use chronicle_sync::{Clock, RegionMutExt as _};

use super::{CountersFile, Pace};
use crate::backend::{self, Backend, SystemClock, SystemMap};
use crate::writer::WriterAppender;
use crate::{FileLock, QueueError};

/// The most messages that are looked at to find the head. A writer that has appended as many since it
/// published is at work, and publishes.
const MOST_FOUND: u64 = 1 << 20;

/// What is counted of a writer by its own thread.
pub(crate) struct CountedWriter {
    shared: Arc<SharedCounters>,
    clock: SystemClock,
    pace: Pace,
    values: WriterCounters,
}

impl CountedWriter {
    pub(crate) fn new(
        path: &Path,
        file: CountersFile,
        appender: &WriterAppender,
    ) -> Result<Self, QueueError> {
        if file.kind != CountersKind::Writer {
            let source =
                FormatError::OutOfRange { at: chronicle_format::layout::counters::KIND, value: 0 };
            return Err(QueueError::InvalidArgument { path: path.to_owned(), source });
        }
        let CountersFile { map, pid, process_start, starts, started_ns, lock, .. } = file;
        let values = WriterCounters {
            pid,
            process_start,
            starts,
            started_ns,
            segment_size: appender.segment_size().bytes(),
            capacity_bytes: appender.capacity_bytes().unwrap_or(0),
            ..WriterCounters::default()
        };
        let oldest_segment = appender.first_segment().map_or(0, |first| first.get().into());
        let keeper = KeeperCounters { oldest_segment, ..KeeperCounters::default() };
        let beside = Beside { values: keeper, lock: Some(lock) };
        let shared = SharedCounters { map, beside: Mutex::new(beside) };
        let clock = SystemClock::new();
        let pace = Pace::new(clock.now());
        let mut counted = Self { shared: Arc::new(shared), clock, pace, values };
        counted.shared.change(|_| ());
        counted.publish(appender);
        Ok(counted)
    }

    pub(crate) fn shared(&self) -> Arc<SharedCounters> {
        Arc::clone(&self.shared)
    }

    /// Looks at the clock, and publishes if it is time; the sequence number at which to look again.
    pub(crate) fn look(&mut self, appender: &WriterAppender) -> u64 {
        let now = self.clock.now();
        let stride = self.pace.next_look(now);
        if now >= self.pace.due() {
            self.publish(appender);
        }
        appender.next_seq().saturating_add(stride - 1)
    }

    /// Stores the values as they are now.
    pub(crate) fn publish(&mut self, appender: &WriterAppender) {
        let stats = appender.stats();
        let position = appender.position();
        let values = WriterCounters {
            published_ns: self.clock.wall_ns(),
            segment: position.segment.get().into(),
            offset: position.offset,
            seq: position.seq,
            time_ns: appender.last_time_ns(),
            messages: stats.messages,
            bytes: stats.bytes,
            rolls: stats.rolls,
            unprepared_rolls: stats.unprepared_rolls,
            extensions: stats.extensions,
            wakes: stats.wakes,
            durable_seq: appender.durable_seq(),
            ..self.values
        };
        self.values = values;
        self.pace.published(self.clock.now());
        // The file has the size of its kind.
        let _ = self.shared.map.store_as_one(
            COUNTERS_VALUES,
            COUNTERS_VALUES + WriterCounters::FIRST,
            values.words(),
        );
    }

    /// An append found the queue full, and waits if it may.
    pub(crate) fn begin_full(&mut self, appender: &WriterAppender, waits: bool) {
        self.values.full += 1;
        self.values.waiting_for_room = waits.into();
        self.publish(appender);
    }

    /// It waits no longer.
    pub(crate) fn end_full(&mut self, waited: Duration) {
        self.values.waiting_for_room = 0;
        let waited = u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX);
        self.values.full_wait_ns = self.values.full_wait_ns.saturating_add(waited);
    }

    /// A call of the writer failed.
    pub(crate) fn failed(&mut self) {
        self.values.errors += 1;
        self.values.last_error_ns = self.clock.wall_ns();
    }

    /// Stores the last values, and lets the file go: the next writer may be waiting for it.
    pub(crate) fn close(&mut self, appender: &WriterAppender) {
        self.values.closed = 1;
        self.publish(appender);
        self.shared.lock().lock = None;
    }
}

/// What the threads of a writer share of its counters.
pub(crate) struct SharedCounters {
    map: SystemMap,
    beside: Mutex<Beside>,
}

struct Beside {
    values: KeeperCounters,
    /// Taken away before the writer lets its queue go.
    lock: Option<FileLock>,
}

impl SharedCounters {
    fn lock(&self) -> MutexGuard<'_, Beside> {
        self.beside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is counted beside the writer, and publishes it. For any thread but not for the path
    /// of a message: one thread at a time has the values.
    pub(crate) fn change(&self, change: impl FnOnce(&mut KeeperCounters)) {
        let mut beside = self.lock();
        if beside.lock.is_none() {
            // The file may be another writer's by now.
            return;
        }
        change(&mut beside.values);
        beside.values.published_ns = SystemClock::new().wall_ns();
        let words = beside.values.words();
        let first = KEEPER_COUNTERS_VALUES + KeeperCounters::FIRST;
        let _ = self.map.store_as_one(KEEPER_COUNTERS_VALUES, first, words);
    }

    /// A sync took so long, and succeeded or failed.
    pub(crate) fn synced(&self, took: Duration, succeeded: bool) {
        self.change(|values| {
            values.syncs += 1;
            values.sync_errors += u64::from(!succeeded);
            values.sync_ns += u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        });
    }

    /// The sequence number that the writer's thread has published last.
    pub(crate) fn published_seq(&self) -> u64 {
        use chronicle_sync::RegionExt as _;
        let at = COUNTERS_VALUES + chronicle_format::layout::writer_counters::SEQ as u64;
        self.map.read_u64(at).map_or(0, |word| word.load_relaxed())
    }

    /// The head was found here, though the writer has not published it yet.
    pub(crate) fn found_head(&self, head: &Position, time_ns: u64) {
        self.change(|values| {
            values.segment = head.segment.get().into();
            values.offset = head.offset;
            values.seq = head.seq;
            values.time_ns = time_ns.max(values.time_ns);
        });
    }

    /// Segments that need not be kept were looked for.
    pub(crate) fn looked(&self, report: Option<&RetentionReport>) {
        self.change(|values| {
            values.retention_looks += 1;
            let Some(report) = report else {
                values.retention_errors += 1;
                return;
            };
            let plan = &report.plan;
            let held = plan.limits_keep_from.get().saturating_sub(plan.keep_from().get());
            values.removed_segments += u64::from(report.removed);
            values.oldest_segment = report.begins.get().into();
            values.held_segments = held.into();
        });
    }
}

/// Finds the last messages before a rest, which no later message has the writer publish: by a look into
/// the queue, from where the writer has published.
#[derive(Default)]
pub(crate) struct Rest {
    published_seq: Option<u64>,
    /// At the last message that was found.
    tailer: Option<Tailer<Backend>>,
}

impl Rest {
    /// Called now and then while there is nothing to do.
    pub(crate) fn look(&mut self, path: &Path, counters: &SharedCounters) {
        let published_seq = counters.published_seq();
        if self.published_seq != Some(published_seq) {
            // The writer is at work and publishes by itself.
            *self = Self { published_seq: Some(published_seq), tailer: None };
            return;
        }
        if let Some(tailer) = &self.tailer
            && !tailer.may_be_ready()
        {
            return;
        }
        // What fails here is tried again when there is nothing to do the next time.
        self.tailer =
            self.tailer.take().or_else(|| open_at(path, published_seq)).and_then(|mut tailer| {
                let mut time_ns = 0;
                let found =
                    tailer.read_all(MOST_FOUND, |message| time_ns = message.timestamp_ns).ok()?;
                if found > 0 {
                    counters.found_head(&tailer.position(), time_ns);
                }
                Some(tailer)
            });
    }
}

/// A passive reader of the messages from `seq` on.
fn open_at(path: &Path, seq: u64) -> Option<Tailer<Backend>> {
    let mut options = TailOptions::default();
    options.start = Start::Seq(seq);
    options.verify = false;
    Tailer::open(backend::open(path).ok()?, &options).ok()
}
