use std::path::{Path, PathBuf};
use std::time::Duration;

use chronicle_core::{
    Error, MessageView, Position, Reversed, SeekCache, Sought, Tailer, WaitOutcome, WaitStrategy,
    WriterStatus,
};
use chronicle_sync::{Clock, Instant, Platform};

use crate::backend::{Backend, PlatformError};
use crate::counters::Counts;
use crate::{CommitSync, CountersFile, QueueError, ReaderConfig};

/// A reader of a queue, at a place of its own.
pub struct QueueReader {
    pub(crate) tailer: Tailer<Backend>,
    pub(crate) path: PathBuf,
    pub(crate) wait_strategy: WaitStrategy,
    pub(crate) writer_timeout: Option<Duration>,
    pub(crate) commits: Commits,
    /// What seeks have found out, once there was one.
    pub(crate) seeks: Option<Box<SeekCache<Backend, SEGMENTS_REMEMBERED>>>,
    pub(crate) counts: Counts,
}

/// Segments that a reader remembers between seeks: with segments of 128 MiB, a queue of 16 GiB.
const SEGMENTS_REMEMBERED: usize = 128;

/// When a reader's commits reach the medium.
#[derive(Clone, Copy)]
pub(crate) struct Commits {
    policy: CommitSync,
    last_sync: Instant,
}

impl Commits {
    /// Whether a commit that was just made is to be synced.
    #[inline]
    pub(crate) fn is_sync_due(&mut self, clock: &impl Clock) -> bool {
        let CommitSync::Every(interval) = self.policy else { return false };
        let now = clock.now();
        let due = now.since(self.last_sync) >= interval;
        if due {
            self.last_sync = now;
        }
        due
    }
}

impl QueueReader {
    pub(crate) fn new(tailer: Tailer<Backend>, path: PathBuf, config: &ReaderConfig) -> Self {
        let ReaderConfig { wait_strategy, writer_timeout, sync_commits, .. } = *config;
        let last_sync = tailer.platform().clock().now();
        let commits = Commits { policy: sync_commits, last_sync };
        let counts = Counts::OFF;
        Self { tailer, path, seeks: None, wait_strategy, writer_timeout, commits, counts }
    }

    /// The next message, or `None` if there is none yet. The view borrows the mapped file: nothing
    /// is copied.
    ///
    /// # Errors
    /// [`QueueError::Gap`] once where messages were lost: the next call goes on behind them.
    /// [`QueueError::Corrupt`] with the place; the reader stays before it. If messages at its
    /// position were removed, an error that names the oldest one still there.
    #[inline(always)]
    #[allow(
        clippy::should_implement_trait,
        reason = "the view borrows the reader: no iterator can"
    )]
    pub fn next(&mut self) -> Result<Option<MessageView<'_>>, QueueError> {
        self.give_back();
        self.count();
        let Self { tailer, path, counts, .. } = self;
        match tailer.next() {
            Ok(None) => {
                counts.found_nothing();
                Ok(None)
            }
            Ok(message) => Ok(message),
            Err(error) => Err(failed(path, counts, error)),
        }
    }

    /// Segments that were removed are kept by no reader that goes on.
    #[inline]
    fn give_back(&mut self) {
        if let Some(seeks) = &mut self.seeks {
            self.tailer.give_back(seeks);
        }
    }

    /// Keeps the place behind the last message that [`next`](Self::next) gave: a reader of this name
    /// goes on there. A few stores; valid after the death of this process at any of them. When it
    /// survives a power loss too is up to [`CommitSync`].
    ///
    /// # Errors
    /// If the reader has no name; the system's, where the position is synced.
    #[inline]
    pub fn commit(&mut self) -> Result<(), QueueError> {
        self.tailer.commit().map_err(|error| QueueError::from_core(&self.path, error))?;
        self.count();
        if self.commits.is_sync_due(self.tailer.platform().clock()) {
            self.sync_position()?;
        }
        Ok(())
    }

    /// Brings the committed position to the medium: it survives a power loss when this returns.
    ///
    /// # Errors
    /// If the reader has no name; the system's. The position still survives the reader's death.
    pub fn sync_position(&mut self) -> Result<(), QueueError> {
        self.tailer.sync_position().map_err(|error| QueueError::from_core(&self.path, error))
    }

    /// Goes to the message with this sequence number: [`next`](Self::next) gives it next. One that
    /// has not been appended yet is waited for.
    ///
    /// Reads at most a stride of the segment's index on the way, 16 KiB in segments of up to 1 GiB,
    /// and one message; the segment from its beginning where the index is missing. What is found out
    /// about the queue's segments is remembered for the next seek.
    ///
    /// # Errors
    /// If the message was removed, an error that names the oldest one still there: the reader stays
    /// where it is. [`QueueError::Corrupt`] if what lies before it in the segment is damaged.
    pub fn seek_seq(&mut self, seq: u64) -> Result<Sought, QueueError> {
        let cache = self.seeks.get_or_insert_default();
        let sought = self.tailer.seek_seq_with(seq, cache);
        self.sought(sought)
    }

    /// Goes to the first message with a time stamp of `ns` nanoseconds since 1970 or later; one that
    /// has not been appended yet is waited for.
    ///
    /// Where the clock ran backwards, a message counts as being as late as the latest one before it,
    /// so that a later time never leads to an earlier message.
    ///
    /// # Errors
    /// As [`seek_seq`](Self::seek_seq); the one that names the oldest message if time stamps had
    /// reached `ns` before it.
    pub fn seek_timestamp(&mut self, ns: u64) -> Result<Sought, QueueError> {
        let cache = self.seeks.get_or_insert_default();
        let sought = self.tailer.seek_timestamp_with(ns, cache);
        self.sought(sought)
    }

    /// Goes to the oldest message that is still there.
    ///
    /// # Errors
    /// The system's.
    pub fn seek_to_start(&mut self) -> Result<Sought, QueueError> {
        let sought = self.tailer.seek_to_start();
        self.sought(sought)
    }

    /// Goes behind the newest message.
    ///
    /// # Errors
    /// Those of [`next`](Self::next) between the writer's hint and the newest message.
    pub fn seek_to_end(&mut self) -> Result<(), QueueError> {
        let sought = self.tailer.seek_to_end();
        self.sought(sought)
    }

    /// Goes back by so many messages, or to the queue's first one if there are fewer. Each call costs
    /// as much as [`seek_seq`](Self::seek_seq).
    ///
    /// # Errors
    /// As [`seek_seq`](Self::seek_seq).
    pub fn seek_back(&mut self, count: u64) -> Result<Sought, QueueError> {
        self.seek_seq(self.position().seq.saturating_sub(count))
    }

    /// Hands up to `limit` messages to `each`, as many as there are; returns how many that were.
    ///
    /// # Errors
    /// As [`next`](Self::next); what was handed out before counts as read.
    pub fn read_all(
        &mut self,
        limit: u64,
        each: impl FnMut(MessageView<'_>),
    ) -> Result<u64, QueueError> {
        self.give_back();
        let read = self.tailer.read_all(limit, each);
        self.count();
        read.map_err(|error| failed(&self.path, &mut self.counts, error))
    }

    /// Reads backwards from where this reader is, which stays there.
    ///
    /// # Errors
    /// If what lies before that place was removed, or cannot be opened.
    pub fn reversed(&mut self) -> Result<ReverseReader<'_>, QueueError> {
        let reversed = self.tailer.reversed();
        let reversed = reversed.map_err(|error| QueueError::from_core(&self.path, error))?;
        Ok(ReverseReader { reversed, path: &self.path })
    }

    /// Waits until there is a message, at most for `timeout`.
    ///
    /// # Errors
    /// Those of [`next`](Self::next), and the system's.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<WaitOutcome, QueueError> {
        let until = deadline(self.tailer.platform().clock(), timeout);
        let clock = self.tailer.platform().clock();
        let outcome = match self.counts.before_sleep(&self.tailer, || clock.now()) {
            // What is read until then is published with it.
            Some(due) if due < until => match self.wait_until(due)? {
                WaitOutcome::TimedOut => {
                    self.counts.publish(&self.tailer);
                    self.wait_until(until)?
                }
                outcome => outcome,
            },
            _ => self.wait_until(until)?,
        };
        self.counts.waited(outcome);
        Ok(outcome)
    }

    fn sought<T>(&mut self, sought: Result<T, Error<PlatformError>>) -> Result<T, QueueError> {
        self.counts.jumped(self.tailer.next_seq());
        sought.map_err(|error| QueueError::from_core(&self.path, error))
    }

    /// Takes note of the place, and publishes it if that is due.
    #[inline(always)]
    fn count(&mut self) {
        if self.counts.pass(self.tailer.next_seq()) {
            self.counts.look(&self.tailer);
        }
    }

    fn wait_until(&mut self, until: Instant) -> Result<WaitOutcome, QueueError> {
        let Self { tailer, path, counts, .. } = self;
        tailer
            .wait(self.wait_strategy, until, self.writer_timeout)
            .map_err(|error| failed(path, counts, error))
    }

    /// Counts this reader in a file from now on: every ten milliseconds at most, while it reads, polls or
    /// waits, its place is stored there. A reader that is counted already stays in the file that it has.
    ///
    /// # Errors
    /// [`QueueError::InvalidArgument`] if it is not a reader's file.
    pub fn count_in(&mut self, file: CountersFile) -> Result<(), QueueError> {
        if !self.counts.is_on() {
            self.counts = Counts::new(&self.path, file, &self.tailer)?;
        }
        Ok(())
    }

    /// Whether the reader is counted.
    #[must_use]
    pub fn is_counted(&self) -> bool {
        self.counts.is_on()
    }

    /// Publishes what is counted now, for programs that are about to do something else for long.
    pub fn publish_counters(&mut self) {
        self.counts.publish(&self.tailer);
    }

    /// Whether there is a message to be read now.
    ///
    /// # Errors
    /// Those of [`next`](Self::next).
    pub fn is_ready(&mut self) -> Result<bool, QueueError> {
        self.tailer.is_ready().map_err(|error| QueueError::from_core(&self.path, error))
    }

    /// Where the next message is.
    #[must_use]
    pub fn position(&self) -> Position {
        self.tailer.position()
    }

    /// The place that was committed last; `None` for a reader without a name.
    #[must_use]
    pub fn committed(&self) -> Option<Position> {
        self.tailer.committed()
    }

    /// Whether the writer can wake this reader. One that may not write to `notify.meta` looks every
    /// ten milliseconds instead.
    #[must_use]
    pub fn can_be_woken(&self) -> bool {
        self.tailer.can_be_woken()
    }

    /// What the writer is doing; inside a claim or the making of a segment for longer than `limit` is stalled.
    ///
    /// # Errors
    /// The system's.
    pub fn writer_status(&self, limit: Duration) -> Result<WriterStatus, QueueError> {
        self.tailer.writer_status(limit).map_err(|error| QueueError::from_core(&self.path, error))
    }

    /// The queue.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A reader's call failed; apart, so that the rest of [`QueueReader::next`] is small enough for the caller's
/// loop.
#[cold]
#[inline(never)]
fn failed(path: &Path, counts: &mut Counts, error: Error<PlatformError>) -> QueueError {
    counts.failed(&error);
    QueueError::from_core(path, error)
}

/// When a time-out is over.
pub(crate) fn deadline(clock: &impl Clock, timeout: Option<Duration>) -> Instant {
    timeout.map_or(Instant::NEVER, |timeout| clock.now().after(timeout))
}

/// Reads the messages before a place, the newest first.
pub struct ReverseReader<'r> {
    reversed: Reversed<'r, Backend>,
    path: &'r Path,
}

impl ReverseReader<'_> {
    /// The message before the place, which moves in front of it. The view borrows the mapped file.
    ///
    /// Each message is read about twice on the way, however many there are: see
    /// [`Reversed`] for what a missing index costs.
    ///
    /// # Errors
    /// [`QueueError::NothingBefore`] at the oldest message; [`QueueError::Gap`] once where messages
    /// were lost; [`QueueError::Corrupt`] with the place of damage, behind which this stays.
    pub fn previous(&mut self) -> Result<MessageView<'_>, QueueError> {
        self.reversed.previous().map_err(|error| QueueError::from_core(self.path, error))
    }

    /// The place in front of the last message that was given: [`QueueReader::seek_seq`] with its
    /// sequence number goes forwards from there.
    #[must_use]
    pub fn position(&self) -> Position {
        self.reversed.position()
    }
}
