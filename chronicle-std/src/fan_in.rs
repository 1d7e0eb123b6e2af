use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use chronicle_core::{
    FanIn as Engine, FanInError, Hold, MergeKey, Merged, ParkAny, Patience, Rejection, SourceId,
    Tailer, WaitStrategy, WriterStatus,
};
use chronicle_sync::{Clock, Instant};

use crate::backend::{Backend, PlatformError, SystemClock, SystemPark};
use crate::counters::{Counts, Pace};
use crate::reader::Commits;
use crate::{QueueError, QueueReader};

/// Reads up to `N` queues as one, in the order of time.
///
/// The order is that of [`MergeKey`]: by the running maximum of a source's time stamps, then by the
/// number that the caller gave the source, then by sequence number. It never goes backwards: a
/// message that comes too late for its place is [`Merged::Late`], and never put among the others.
/// [`Patience`] says how long the output waits for a source that has nothing.
///
/// As long as nothing was late, the output is what sorting all messages would give: the same
/// messages in the same bytes each time, however writers and reader were scheduled. Reading queues
/// again whose messages are all there gives that with `Patience::Lateness(Duration::ZERO)`.
///
/// Memory is bounded: `N` mapped segments, no message is buffered or copied. Each source is committed
/// by itself. More than 127 sources that are silent at once are looked at every 10 ms instead of
/// being slept on.
///
/// ```
/// use std::time::Duration;
/// use chronicle_std::{FanIn, FanInWait, Merged, Patience, Queue, SourceId};
///
/// # let directory = tempfile::tempdir()?;
/// # let (left, right) = (directory.path().join("left"), directory.path().join("right"));
/// # Queue::open_publisher(&left)?.append(0x8000, b"first")?;
/// # Queue::open_publisher(&right)?.append(0x8000, b"second")?;
/// let mut merge = FanIn::<8>::new(Patience::Lateness(Duration::from_millis(5)));
/// merge.add(SourceId(1), Queue::open_subscriber(&left, "merge")?)?;
/// merge.add(SourceId(2), Queue::open_subscriber(&right, "merge")?)?;
///
/// let mut payloads = Vec::new();
/// while payloads.len() < 2 {
///     let given = match merge.next()? {
///         Merged::InOrder(record) | Merged::Late { record, .. } => {
///             payloads.push(record.message.payload.to_vec());
///             Some(record.source)
///         }
///         _ => None,
///     };
///     match given {
///         Some(source) => merge.commit(source)?,
///         None => drop(merge.wait(Some(Duration::from_secs(1)))?),
///     }
/// }
/// assert_eq!(payloads, [&b"first"[..], b"second"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct FanIn<const N: usize = 64> {
    engine: Box<Engine<Backend, N>>,
    origins: BTreeMap<SourceId, Origin>,
    /// Why the last look gave nothing.
    hold: Hold,
    failed: Option<SourceId>,
    strategy: WaitStrategy,
    park: ParkAny,
    clock: SystemClock,
    /// Calls until the next look at the clock, and how often that is.
    until_look: u64,
    pace: Pace,
}

/// What a reader has beside its tailer.
struct Origin {
    path: PathBuf,
    wait_strategy: WaitStrategy,
    writer_timeout: Option<Duration>,
    commits: Commits,
    counts: Counts,
    /// When its writer is to be looked at; `None` while it has messages.
    look_at_writer: Option<Instant>,
}

/// What a wait of a [`FanIn`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FanInWait {
    /// Something has changed: look again.
    Ready,
    /// The time was up.
    TimedOut,
    /// A source was silent for its reader's `writer_timeout`, and its writer is dead or stalled.
    /// Said again after the same time. With [`Patience::Unlimited`] the output waits for it until
    /// it is [finished](FanIn::finish) or removed.
    Writer(SourceId, WriterStatus),
}

impl<const N: usize> FanIn<N> {
    /// One without sources, which spins for 20 microseconds before it sleeps.
    #[must_use]
    pub fn new(patience: Patience) -> Self {
        Self::with_strategy(patience, WaitStrategy::default())
    }

    /// One without sources that waits like this.
    #[must_use]
    pub fn with_strategy(patience: Patience, strategy: WaitStrategy) -> Self {
        let clock = SystemClock::new();
        Self {
            engine: Box::new(Engine::new(patience)),
            origins: BTreeMap::new(),
            hold: Hold::default(),
            failed: None,
            strategy,
            park: ParkAny::new(&SystemPark::new()),
            until_look: 0,
            pace: Pace::new(clock.now()),
            clock,
        }
    }

    /// Adds a source under a number of the caller's choice, by which messages of the same time are
    /// ordered.
    ///
    /// # Errors
    /// There are `N` sources, or one has this number: the reader is dropped.
    pub fn add(&mut self, source: SourceId, reader: QueueReader) -> Result<(), Rejection> {
        let QueueReader { tailer, path, wait_strategy, writer_timeout, commits, counts, .. } =
            reader;
        self.engine.add(source, tailer)?;
        let look_at_writer = None;
        let origin =
            Origin { path, wait_strategy, writer_timeout, commits, counts, look_at_writer };
        self.origins.insert(source, origin);
        self.until_look = 0;
        Ok(())
    }

    /// Takes a source out, if it is there. Its reader stands behind the last message that was given
    /// out.
    pub fn remove(&mut self, source: SourceId) -> Option<QueueReader> {
        let tailer = self.engine.remove(source)?;
        let origin = self.origins.remove(&source)?;
        let Origin { path, wait_strategy, writer_timeout, commits, counts, .. } = origin;
        let seeks = None;
        Some(QueueReader { tailer, path, seeks, wait_strategy, writer_timeout, commits, counts })
    }

    /// Declares that nothing more is expected of a source: the output waits for it no longer. What
    /// comes all the same is given out, perhaps as late. Returns whether there is such a source.
    pub fn finish(&mut self, source: SourceId) -> bool {
        self.engine.finish(source)
    }

    /// The next message of all sources, or that there is none that may be given out now.
    ///
    /// # Errors
    /// Those of [`QueueReader::next`]. The output stops until the source is removed or the fault is
    /// gone; [`failed`](Self::failed) says which one it is.
    #[allow(clippy::should_implement_trait, reason = "the view borrows the merge: no iterator can")]
    pub fn next(&mut self) -> Result<Merged<'_>, QueueError> {
        self.failed = None;
        match self.until_look.checked_sub(1) {
            Some(left) => self.until_look = left,
            None => self.look(),
        }
        match self.engine.next(&self.clock) {
            Ok(merged) => {
                if let Merged::Nothing(hold) = &merged {
                    self.hold = *hold;
                }
                Ok(merged)
            }
            Err(error) => {
                self.failed = Some(error.source_id);
                if let Some(origin) = self.origins.get_mut(&error.source_id) {
                    origin.counts.failed(&error.error);
                }
                Err(failure(&self.origins, error))
            }
        }
    }

    /// The source with which the last call of [`next`](Self::next) failed, if it did.
    #[must_use]
    pub fn failed(&self) -> Option<SourceId> {
        self.failed
    }

    /// Keeps the place behind the last message of a source that was given out. The other sources'
    /// places stay as they are.
    ///
    /// # Errors
    /// If there is no such source, or its reader has no name.
    pub fn commit(&mut self, source: SourceId) -> Result<(), QueueError> {
        let mut committed = self.engine.commit(source);
        if committed.is_ok()
            && let Some(origin) = self.origins.get_mut(&source)
            && origin.commits.is_sync_due(&self.clock)
        {
            committed = self.engine.sync_position(source);
        }
        committed.map_err(|error| failure(&self.origins, error))
    }

    /// Keeps the places of all sources.
    ///
    /// # Errors
    /// If the reader of one has no name; the others before it are kept.
    pub fn commit_all(&mut self) -> Result<(), QueueError> {
        let sources: Vec<SourceId> = self.sources().collect();
        sources.into_iter().try_for_each(|source| self.commit(source))
    }

    /// The sources by number.
    pub fn sources(&self) -> impl Iterator<Item = SourceId> {
        self.origins.keys().copied()
    }

    /// How far the output is; `None` if nothing was given out.
    #[must_use]
    pub fn watermark(&self) -> Option<MergeKey> {
        self.engine.watermark()
    }

    /// Waits, after [`next`](Self::next) gave nothing, until it may give something, at most for
    /// `timeout`: until a silent source has a message, or the clock has passed what the first message
    /// waits for. Sleeps on all silent sources at once.
    ///
    /// One without sources sleeps for `timeout`, and returns at once without one.
    ///
    /// # Errors
    /// The system's.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<FanInWait, QueueError> {
        if self.origins.is_empty() {
            std::thread::sleep(timeout.unwrap_or_default());
            return Ok(FanInWait::TimedOut);
        }
        let started = self.clock.now();
        let until = timeout.map_or(Instant::NEVER, |timeout| started.after(timeout));
        let hold_until = self.hold.until_ns.map_or(Instant::NEVER, |wall_ns| {
            started.after(Duration::from_nanos(wall_ns.saturating_sub(self.clock.wall_ns())))
        });
        let spin_until = match self.strategy {
            WaitStrategy::BusySpin => Instant::NEVER,
            WaitStrategy::SpinThenPark { spin } => started.after(spin),
            _ => started,
        };
        loop {
            let now = self.clock.now();
            if now >= hold_until || self.has_news() {
                return Ok(FanInWait::Ready);
            }
            if now >= until {
                return Ok(FanInWait::TimedOut);
            }
            let (told, next_look) = self.look_at_writers(now)?;
            if let Some((source, status)) = told {
                return Ok(FanInWait::Writer(source, status));
            }
            if now < spin_until {
                std::hint::spin_loop();
                continue;
            }
            let publish = self.publish_due(now);
            self.sleep(until.min(hold_until).min(next_look).min(publish))?;
        }
    }

    /// Looks at the clock, and publishes what is counted and due.
    #[cold]
    #[inline(never)]
    fn look(&mut self) {
        if !self.origins.values().any(|origin| origin.counts.is_on()) {
            self.until_look = u64::MAX;
            return;
        }
        let now = self.clock.now();
        self.until_look = self.pace.next_look(now);
        if now >= self.pace.due() {
            self.pace.published(now);
            self.publish_due(now);
        }
    }

    /// Publishes what is counted and due, and says when something will be.
    fn publish_due(&mut self, now: Instant) -> Instant {
        let mut due = Instant::NEVER;
        for (source, tailer) in self.engine.sources() {
            if let Some(origin) = self.origins.get_mut(&source)
                && let Some(at) = origin.counts.before_sleep(tailer, || now)
            {
                due = due.min(at);
            }
        }
        due
    }

    fn has_news(&self) -> bool {
        self.engine.silent().any(|(_, sleeper)| sleeper.tailer.may_be_ready())
    }

    fn sleep(&mut self, until: Instant) -> Result<(), QueueError> {
        let mut silent = self.engine.silent();
        let Some((source, any)) = silent.next() else {
            // Nobody can bring anything, so the caller has not looked.
            return Ok(());
        };
        let sleepers = self.engine.silent().map(|(_, sleeper)| sleeper);
        self.park
            .sleep(any.tailer.platform(), sleepers, None, || false, until)
            .map_err(|error| failure(&self.origins, FanInError { source_id: source, error }))
    }

    /// Looks at the writers of silent sources whose time has come: the first one that is dead or
    /// stalled, and when to look again.
    fn look_at_writers(
        &mut self,
        now: Instant,
    ) -> Result<(Option<(SourceId, WriterStatus)>, Instant), QueueError> {
        let mut next_look = Instant::NEVER;
        for (source, tailer) in self.engine.sources() {
            let Some(origin) = self.origins.get_mut(&source) else { continue };
            let Some(limit) = origin.writer_timeout else { continue };
            let is_silent = self.engine.silent().any(|(silent, _)| silent == source);
            if !is_silent {
                origin.look_at_writer = None;
                continue;
            }
            let due = *origin.look_at_writer.get_or_insert(now.after(limit));
            if now >= due {
                origin.look_at_writer = Some(now.after(limit));
                let status = status(tailer, limit, &origin.path)?;
                if matches!(status, WriterStatus::Dead | WriterStatus::Stalled) {
                    return Ok((Some((source, status)), next_look));
                }
            }
            next_look = next_look.min(origin.look_at_writer.unwrap_or(Instant::NEVER));
        }
        Ok((None, next_look))
    }
}

/// Counted sources are at their end where the output is.
impl<const N: usize> Drop for FanIn<N> {
    fn drop(&mut self) {
        for (source, tailer) in self.engine.sources() {
            if let Some(origin) = self.origins.get_mut(&source) {
                origin.counts.close(tailer);
            }
        }
    }
}

fn status(
    tailer: &Tailer<Backend>,
    limit: Duration,
    path: &std::path::Path,
) -> Result<WriterStatus, QueueError> {
    tailer.writer_status(limit).map_err(|error| QueueError::from_core(path, error))
}

fn failure(origins: &BTreeMap<SourceId, Origin>, error: FanInError<PlatformError>) -> QueueError {
    let path = origins.get(&error.source_id).map(|origin| origin.path.as_path());
    QueueError::from_core(path.unwrap_or("".as_ref()), error.error)
}
