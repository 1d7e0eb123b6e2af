//! The thread beside a writer: it prepares the next segment, unmaps the ones that the writer has left,
//! and removes the ones that need not be kept.
//!
//! The writer never waits for it: it asks, and takes what is ready before it rolls. While the writer
//! is busy the thread looks for work by itself, so that asking costs no system call; when nothing
//! happens for a while it parks until it is asked.

mod pace;

use std::collections::HashMap;
use std::iter;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use chronicle_core::{
    HoldingReader, Leftovers, NoProbe, PreparedSegment, ReaderPolicy, Remover, RetiredSegment,
    SegmentId, Space, Supply, prepare_segment_with,
};
use chronicle_sync::handoff::Handoff;
use rtrb::{Consumer, Producer, RingBuffer};

use self::pace::Pace;
use crate::QueueError;
use crate::backend::{self, Backend};
use crate::counters::{Rest, SharedCounters};
use crate::group_commit::SharedSyncer;

/// For so long after its last work the thread looks for more by itself.
const ALERT: Duration = Duration::from_millis(50);
/// How often it looks.
const LOOK: Duration = Duration::from_micros(500);
/// The longest that it parks.
const SLICE: Duration = Duration::from_secs(1);
/// How long it leaves a segment alone that it could not prepare; a full disk may have space then.
const RETRY: Duration = Duration::from_millis(100);
/// After a roll, old segments are looked at once this much time has gone by since the last look.
const RETENTION: Duration = Duration::from_millis(20);
/// How often, while it removes segments, it looks what the writer wants. A writer that rolls more often
/// makes its segments itself.
const SERVE: Duration = Duration::from_millis(2);
/// Where it is so many removed segments behind, a writer that makes a segment itself takes a file away
/// too: then no writer is faster than removal.
const BEHIND: u32 = 64;
/// Where readers hold what the limits ask for, it is looked at again after this time.
const RETENTION_BLOCKED: Duration = Duration::from_millis(500);
/// Where segments age, they are looked at so many times in the time that they may live, but not
/// more often than every 50 ms nor less often than this.
const AGE_LOOKS: u64 = 64;
const LONGEST_AGE_LOOK: Duration = Duration::from_secs(10);
/// Segments that wait to be unmapped. Where the thread is so many behind, the writer unmaps the next one itself.
const RETIRED: usize = 4;
/// Segments that wait for the syncer.
const WAITING: usize = 4;
/// The tag under which the writer says that the queue is full: any will do.
const FULL: u32 = 0;

/// What writer and thread share.
struct Shared {
    prepared: Handoff<PreparedSegment<Backend>>,
    /// How long the writer has taken for a quarter of the segment that it is in. Neither side waits for the other here.
    quarter: Mutex<Duration>,
    /// The writer flushes, and zeros are to be written ahead of it.
    flushes: OnceLock<()>,
    /// Where segments that the writer has left are kept open until they were synced.
    syncer: OnceLock<SharedSyncer>,
    full: Handoff<()>,
    /// What the thread is just removing.
    leftovers: Mutex<Option<Leftovers>>,
    /// The writer holds its lock: segments may be removed.
    opened: OnceLock<()>,
    stop: OnceLock<()>,
    counters: OnceLock<Arc<SharedCounters>>,
}

/// Tells the thread that the writer is open.
pub(crate) struct Opened(Option<Arc<Shared>>);

impl Opened {
    pub(crate) fn tell(&self) {
        if let Some(shared) = &self.0 {
            let _ = shared.opened.set(());
        }
    }
}

/// The writer's side: a supply of prepared segments, if one is wanted. Dropping it ends the thread.
pub(crate) struct Housekeeping(Option<Running>);

struct Running {
    shared: Arc<Shared>,
    /// Never locked: only a writer that is shared between threads needs the mutex, which makes it `Sync`.
    to_worker: Mutex<ToWorker>,
    zeros_ahead: bool,
    platform: Backend,
    thread: Option<JoinHandle<()>>,
    /// When the writer has begun to write to the segment that it is in.
    begun: Option<Instant>,
}

/// What the writer tells the thread by plain stores.
struct ToWorker {
    /// Segments that it has left.
    retired: Producer<RetiredSegment<Backend>>,
    /// That it has rolled: before it hands over the segment, which it may not come to for long.
    rolls: Producer<()>,
}

impl Housekeeping {
    /// The writer makes its segments itself.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    /// Starts the thread for the queue at `path`. It writes zeros ahead of a writer that flushes, if so wanted.
    pub(crate) fn start(path: &Path, zeros_ahead: bool) -> Result<Self, QueueError> {
        let shared = Arc::new(Shared {
            prepared: Handoff::new(),
            quarter: Mutex::new(Duration::ZERO),
            flushes: OnceLock::new(),
            syncer: OnceLock::new(),
            full: Handoff::new(),
            leftovers: Mutex::new(None),
            opened: OnceLock::new(),
            stop: OnceLock::new(),
            counters: OnceLock::new(),
        });
        let (to_retire, retired) = RingBuffer::new(RETIRED);
        // As much as one is enough: the thread looks at all segments.
        let (to_tell, rolls) = RingBuffer::new(1);
        let worker = Worker {
            shared: Arc::clone(&shared),
            retired,
            waiting: Vec::new(),
            rolls,
            platform: backend::open(path)?,
            leases: Leases::default(),
            tried: None,
            remover: None,
            rolled: false,
            blocked: false,
            age_look: Some(Duration::ZERO),
            last_retention: Instant::now(),
            rest: Rest::default(),
            path: path.to_owned(),
        };
        let thread = thread::Builder::new()
            .name("chronicle-keeper".to_owned())
            .spawn(move || worker.run())
            .map_err(|error| QueueError::io(path, "start a thread for", error))?;
        let platform = backend::open(path)?;
        let to_worker = Mutex::new(ToWorker { retired: to_retire, rolls: to_tell });
        let thread = Some(thread);
        Ok(Self(Some(Running { shared, to_worker, zeros_ahead, platform, thread, begun: None })))
    }

    /// To be told when the writer has opened.
    pub(crate) fn opened(&self) -> Opened {
        Opened(self.0.as_ref().map(|running| Arc::clone(&running.shared)))
    }
}

impl Housekeeping {
    /// Has counted what is done beside the writer.
    pub(crate) fn count_in(&mut self, counters: Arc<SharedCounters>) {
        if let Some(running) = &self.0 {
            let _ = running.shared.counters.set(counters);
        }
    }

    /// Has segments that the writer leaves kept open until this syncer has synced them.
    pub(crate) fn keep_for(&mut self, syncer: SharedSyncer) {
        if let Some(running) = &self.0 {
            let _ = running.shared.syncer.set(syncer);
        }
    }
}

impl Running {
    /// Takes one of the files away that the thread is far from getting to. It finds out by itself that
    /// the file is gone, or that it could not be removed.
    fn help(&self) {
        // Held by the thread for a few instructions; the next roll will do as well.
        let last = match self.shared.leftovers.try_lock() {
            Ok(mut left) => {
                left.as_mut().filter(|left| left.count() > BEHIND).and_then(Leftovers::split_last)
            }
            Err(_) => None,
        };
        if let Some(last) = last {
            let _ = last.remove(&self.platform);
        }
    }

    #[inline(always)]
    fn worker(&mut self) -> &mut ToWorker {
        self.to_worker.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the thread. No system call unless it is parked.
    fn ring(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Supply<Backend> for Housekeeping {
    fn begun(&mut self) {
        if let Some(running) = &mut self.0 {
            running.begun = Some(Instant::now());
        }
    }

    fn flushes(&mut self) {
        if let Some(running) = &self.0
            && running.zeros_ahead
        {
            let _ = running.shared.flushes.set(());
        }
    }

    fn want(&mut self, id: SegmentId) {
        let Some(running) = &self.0 else { return };
        if let Ok(mut quarter) = running.shared.quarter.try_lock() {
            *quarter = running.begun.map_or(Duration::ZERO, |begun| begun.elapsed());
        }
        let stale = running.shared.prepared.want(id.get());
        running.ring();
        // Unmapped where there is time for it.
        if let Some(stale) = stale {
            self.retire(stale.into());
        }
    }

    #[inline]
    fn take(&mut self, id: SegmentId) -> Option<PreparedSegment<Backend>> {
        self.0.as_ref()?.shared.prepared.take(id.get())
    }

    fn missed(&mut self) {
        if let Some(running) = &self.0 {
            running.help();
        }
    }

    fn close(&mut self) {
        self.0 = None;
    }

    fn full(&mut self) {
        let Some(running) = &self.0 else { return };
        // Where the thread has not yet come round to the last time, it does not need this one.
        if running.shared.full.put(FULL, ()).is_ok() {
            running.ring();
        }
    }

    fn retire(&mut self, segment: RetiredSegment<Backend>) {
        if let Some(running) = &mut self.0 {
            drop(running.worker().retired.push(segment));
        }
    }

    /// Becomes a part of the roll: between two rolls another function's code has left the caches.
    #[inline(always)]
    fn rolled(&mut self) {
        if let Some(running) = &mut self.0 {
            // Where there is one already, the thread has yet to look.
            let _ = running.worker().rolls.push(());
        }
    }
}

impl Running {
    /// Ends the thread.
    fn stop(&mut self) {
        let _ = self.shared.stop.set(());
        self.ring();
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has nothing left to say here.
            let _ = thread.join();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Since when readers with a lease have been closed, as far as this process has seen.
#[derive(Default)]
pub(crate) struct Leases(HashMap<String, Instant>);

impl Leases {
    /// Whether a reader's time to live is over.
    pub(crate) fn lapsed(&mut self, reader: &HoldingReader) -> bool {
        let ReaderPolicy::Lease { ttl_ns } = reader.policy else { return false };
        if reader.active {
            self.0.remove(reader.name.as_str());
            return false;
        }
        let closed = self.0.entry(reader.name.as_str().to_owned()).or_insert_with(Instant::now);
        closed.elapsed() > Duration::from_nanos(ttl_ns)
    }
}

struct Worker {
    shared: Arc<Shared>,
    /// What the writer has left.
    retired: Consumer<RetiredSegment<Backend>>,
    /// Those of them that are the syncer's while it was busy.
    waiting: Vec<RetiredSegment<Backend>>,
    rolls: Consumer<()>,
    platform: Backend,
    leases: Leases,
    /// What was done about the segment that was asked for last, and when.
    tried: Option<(u32, Prepared, Instant)>,
    /// What removes segments, once that was necessary.
    remover: Option<Remover<Backend>>,
    /// The writer has rolled, or could not, since old segments were last looked at.
    rolled: bool,
    /// A reader held what the limits asked for.
    blocked: bool,
    /// How often segments are looked at because they age. At once when the writer has opened, and
    /// not at all where no limit asks for it.
    age_look: Option<Duration>,
    last_retention: Instant,
    rest: Rest,
    path: PathBuf,
}

impl Worker {
    fn run(mut self) {
        let mut last_work = Instant::now();
        self.shared.full.want(FULL);
        while self.shared.stop.get().is_none() {
            if self.rolls.pop().is_ok() {
                self.rolled = true;
                last_work = Instant::now();
            }
            if take_retired(self.shared.syncer.get(), &mut self.retired, &mut self.waiting) {
                last_work = Instant::now();
            }
            if self.shared.full.take(FULL).is_some() {
                self.shared.full.want(FULL);
                // Readers may have passed something since the last look.
                self.rolled = true;
                last_work = Instant::now();
            }
            self.retain();
            if prepare_wanted(&self.shared, &self.platform, &mut self.tried) {
                last_work = Instant::now();
            } else if last_work.elapsed() < ALERT {
                thread::sleep(LOOK);
            } else {
                if let Some(counters) = self.shared.counters.get() {
                    self.rest.look(&self.path, counters);
                }
                // Asked in the meantime, it returns at once.
                let slice = if self.blocked { RETENTION_BLOCKED } else { SLICE };
                thread::park_timeout(self.age_look.unwrap_or(slice).clamp(ALERT, slice));
            }
        }
    }

    /// Removes old segments, if it is time to look at them. The writer's lock is held by this process
    /// from the moment at which it is open, and for as long as segments can have been rolled out of.
    fn retain(&mut self) {
        let waited = self.last_retention.elapsed();
        let ages =
            self.shared.opened.get().is_some() && self.age_look.is_some_and(|time| waited >= time);
        let blocked = self.blocked && waited >= RETENTION_BLOCKED;
        if self.rolled && waited >= RETENTION || blocked || ages {
            let Self { shared, retired, waiting, rolls, platform, leases, tried, remover, .. } =
                self;
            // However much there is to remove: the writer is served between two segments, and a writer
            // that closes waits for one at the most. The next writer's thread removes the rest.
            let mut served = Instant::now();
            let mut rolled_meanwhile = false;
            let go_on = |left: Leftovers| {
                share(shared, Some(left));
                if served.elapsed() >= SERVE {
                    rolled_meanwhile |= rolls.pop().is_ok();
                    take_retired(shared.syncer.get(), retired, waiting);
                    prepare_wanted(shared, platform, tried);
                    served = Instant::now();
                }
                shared.stop.get().is_none()
            };
            let lapsed = |reader: &HoldingReader| leases.lapsed(reader);
            let report = match remover {
                Some(remover) => remover.apply(platform, lapsed, go_on),
                None => Remover::open(platform)
                    .and_then(|opened| remover.insert(opened).apply(platform, lapsed, go_on)),
            };
            share(shared, None);
            if let Some(counters) = shared.counters.get() {
                counters.looked(report.as_ref().ok());
            }
            // Where it cannot be known whether there is a limit, the next look is soon enough.
            let max_age = report.as_ref().map_or(Some(0), |report| report.plan.policy.max_age_ns);
            self.age_look = max_age.map(|nanoseconds| {
                Duration::from_nanos(nanoseconds / AGE_LOOKS).clamp(ALERT, LONGEST_AGE_LOOK)
            });
            // Where it fails it is tried again; the queue grows meanwhile and says so when it is full.
            self.blocked = report
                .as_ref()
                .map_or(true, |report| report.plan.keep_from() < report.plan.limits_keep_from);
            self.rolled = rolled_meanwhile || report.is_ok_and(|report| report.unfinished);
            self.last_retention = Instant::now();
        }
    }
}

/// Lets the writer know what is just being removed.
fn share(shared: &Shared, left: Option<Leftovers>) {
    let mut leftovers = shared.leftovers.lock().unwrap_or_else(PoisonError::into_inner);
    // The writer has taken some away at the end.
    let end = leftovers.as_ref().filter(|left| left.count() > 0).map(|left| left.end);
    *leftovers = left.map(|left| Leftovers { end: end.unwrap_or(left.end).min(left.end), ..left });
}

/// Unmaps the segments that the writer has left, unless they are still to be synced: those are the syncer's, and wait here
/// while it is busy, because a write error may be forgotten together with a file that nobody has open. Whether there
/// were any.
fn take_retired(
    syncer: Option<&SharedSyncer>,
    retired: &mut Consumer<RetiredSegment<Backend>>,
    waiting: &mut Vec<RetiredSegment<Backend>>,
) -> bool {
    let before = waiting.len();
    waiting.extend(iter::from_fn(|| retired.pop().ok()));
    let any = waiting.len() > before;
    match syncer.map(|syncer| syncer.try_lock()) {
        Some(Err(_)) => {
            // More than the syncer keeps itself are not kept for it.
            waiting.truncate(WAITING);
        }
        Some(Ok(mut syncer)) => {
            for segment in waiting.drain(..) {
                drop(syncer.retain(segment));
            }
        }
        None => waiting.clear(),
    }
    any
}

/// Prepares the segment that the writer wants next, if it wants one for which nothing was done yet or
/// which it may work for by now; whether that is so.
fn prepare_wanted(
    shared: &Shared,
    platform: &Backend,
    tried: &mut Option<(u32, Prepared, Instant)>,
) -> bool {
    let Some(tag) = shared.prepared.wanted() else { return false };
    if let Some((before, result, since)) = tried
        && *before == tag
        && (*result == Prepared::Done || since.elapsed() <= RETRY)
    {
        return false;
    }
    *tried = Some((tag, prepare(shared, platform, tag), Instant::now()));
    true
}

/// Prepares a segment; the writer makes it itself if this fails, and says why if it cannot.
fn prepare(shared: &Shared, platform: &Backend, tag: u32) -> Prepared {
    let Ok(id) = SegmentId::new(tag.into()) else { return Prepared::Done };
    let mut pace = Pace::new(*shared.quarter.lock().unwrap_or_else(PoisonError::into_inner));
    let space = if shared.flushes.get().is_some() { Space::Written } else { Space::Allocated };
    match prepare_segment_with(platform, id, space, &NoProbe, || pace.next_piece(&shared.stop)) {
        Ok(Some(segment)) => {
            // Given back if the writer was faster: then it uses the file by a mapping of its own.
            drop(shared.prepared.put(tag, segment));
            Prepared::Done
        }
        // The writer was faster still, or closes.
        Ok(None) => Prepared::Done,
        Err(_) => Prepared::Failed,
    }
}

/// What became of a segment that the writer had asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Prepared {
    /// It is there, by whomever; nothing is left to be done about it.
    Done,
    /// It may work after a while.
    Failed,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use chronicle_core::{Appender, WriteOptions, prepare_segment};

    use super::*;
    use crate::{Queue, QueueWriter, WriterConfig};

    #[test]
    fn segments_wait_for_a_syncer_that_is_busy() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("q");
        let config = WriterConfig { segment_size: 64 << 10, ..Default::default() };
        drop(Queue::create(&path, config).unwrap());
        let platform = backend::open(&path).unwrap();
        let mut appender =
            Appender::open(backend::open(&path).unwrap(), WriteOptions::default()).unwrap();
        let syncer: SharedSyncer = Arc::new(Mutex::new(appender.detach_syncer().unwrap()));
        let (mut left, mut retired) = RingBuffer::new(RETIRED);
        let mut waiting = Vec::new();
        let busy = syncer.lock().unwrap();
        for segment in 1..=WAITING as u64 + 1 {
            let id = SegmentId::new(segment).unwrap();
            let prepared = prepare_segment(&platform, id).unwrap().unwrap();
            left.push(RetiredSegment::from(prepared)).ok().unwrap();
            assert!(take_retired(Some(&syncer), &mut retired, &mut waiting));
            assert_eq!(waiting.len() as u64, segment.min(WAITING as u64));
        }
        drop(busy);
        assert!(!take_retired(Some(&syncer), &mut retired, &mut waiting));
        assert!(waiting.is_empty());
    }

    #[test]
    fn zeros_are_written_ahead_of_a_writer_that_flushes_unless_they_are_not_wanted() {
        for wanted in [true, false] {
            let directory = tempfile::tempdir().unwrap();
            let config = WriterConfig { zeros_ahead: wanted, ..Default::default() };
            let mut writer = Queue::create(directory.path().join("q"), config).unwrap();
            let flushes = |writer: &mut QueueWriter| {
                let supply = writer.appender.supply();
                supply.0.as_ref().is_some_and(|running| running.shared.flushes.get().is_some())
            };
            assert!(!flushes(&mut writer));
            writer.append(0x8000, b"one").unwrap();
            writer.flush().unwrap();
            assert_eq!(flushes(&mut writer), wanted);
        }
    }
}
