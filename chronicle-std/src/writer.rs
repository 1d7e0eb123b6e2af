use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chronicle_core::{
    Appender, Claim, Error, Fast, NoProbe, Now, Position, RecoveryReport, RetentionReport,
    SegmentId, Time, apply_retention,
};

use crate::backend::{Backend, PlatformError};
use crate::counters::CountedWriter;
use crate::full::with_room;
use crate::group_commit::GroupCommit;
use crate::housekeeping::Housekeeping;
use crate::{CountersFile, QueueError, SyncPolicy, WhenFull};

/// The appender that a [`QueueWriter`] drives.
pub(crate) type WriterAppender = Appender<Backend, NoProbe, Housekeeping>;

/// The one writer of a queue.
///
/// A message is visible to every reader when [`append`](Self::append) returns, and survives the
/// death of any process; it survives a power loss once it is durable, see
/// [`flush`](Self::flush) and [`SyncPolicy`]. Dropping the writer releases the queue to the next one.
pub struct QueueWriter {
    pub(crate) appender: WriterAppender,
    group: Option<GroupCommit>,
    path: PathBuf,
    when_full: WhenFull,
    /// At which message to look whether something counted is to be published; never, where nothing is.
    due_seq: u64,
    counters: Option<Box<CountedWriter>>,
}

impl QueueWriter {
    pub(crate) fn new(
        mut appender: WriterAppender,
        path: PathBuf,
        sync: SyncPolicy,
        when_full: WhenFull,
    ) -> Result<Self, QueueError> {
        let mut group = None;
        if let SyncPolicy::Group { interval } = sync
            && let Some(syncer) = appender.detach_syncer()
        {
            let started = GroupCommit::start(&path, syncer, interval)?;
            appender.supply().keep_for(started.syncer());
            group = Some(started);
        }
        Ok(Self { appender, group, path, when_full, due_seq: u64::MAX, counters: None })
    }

    /// Says what appends and claims do from now on where the queue is full. Waiting sleeps in slices
    /// of 1 to 20 ms; that is also how late a reader's commit is noticed.
    pub fn set_when_full(&mut self, when_full: WhenFull) {
        self.when_full = when_full;
    }

    /// Appends a message and returns its sequence number. User types are 0x0100 to 0xFFFE.
    ///
    /// Makes no system call but the wake-up if a reader sleeps, and where space is allocated: once
    /// every [`allocation_step`](crate::WriterConfig::allocation_step) bytes and once a segment.
    ///
    /// # Errors
    /// For a type or a size that is not valid, and where space runs out: nothing was appended and
    /// the writer can go on. [`QueueError::Full`] at once, or when the time to wait is up. If the queue
    /// was taken from this writer, or a sync failed before, the writer is of no more use.
    #[inline]
    pub fn append(&mut self, type_id: u16, payload: &[u8]) -> Result<u64, QueueError> {
        self.append_by_any_way(type_id, Now, payload)
    }

    /// The calls are the last act on each way, so that the fast ones need no stack.
    #[inline(always)]
    fn append_by_any_way(
        &mut self,
        type_id: u16,
        time: impl Time,
        payload: &[u8],
    ) -> Result<u64, QueueError> {
        match self.appender.append_fast::<false>(type_id, time, payload) {
            Fast::Appended(seq) if seq < self.due_seq => Ok(seq),
            Fast::Appended(seq) => self.due(seq),
            Fast::Awaited(seq) => self.awaited(seq),
            Fast::Lost => self.lost(),
            Fast::Refused if self.appender.seals_fast(payload) => {
                self.append_sealed(type_id, time, payload)
            }
            Fast::Refused => self.append_slow(type_id, time, payload),
        }
    }

    #[inline(never)]
    fn append_sealed(
        &mut self,
        type_id: u16,
        time: impl Time,
        payload: &[u8],
    ) -> Result<u64, QueueError> {
        match self.appender.append_fast::<true>(type_id, time, payload) {
            Fast::Appended(seq) if seq < self.due_seq => Ok(seq),
            Fast::Appended(seq) => self.due(seq),
            Fast::Awaited(seq) => self.awaited(seq),
            Fast::Lost => self.lost(),
            Fast::Refused => self.append_slow(type_id, time, payload),
        }
    }

    #[cold]
    #[inline(never)]
    fn awaited(&mut self, seq: u64) -> Result<u64, QueueError> {
        self.appender.announce();
        self.due(seq)
    }

    #[cold]
    #[inline(never)]
    fn due(&mut self, seq: u64) -> Result<u64, QueueError> {
        if seq >= self.due_seq {
            self.look();
        }
        Ok(seq)
    }

    #[cold]
    #[inline(never)]
    fn lost(&mut self) -> Result<u64, QueueError> {
        let error = self.appender.lost();
        Err(self.failed(error))
    }

    #[inline(never)]
    fn append_slow(
        &mut self,
        type_id: u16,
        time: impl Time,
        payload: &[u8],
    ) -> Result<u64, QueueError> {
        match self.appender.append_any(type_id, time, payload) {
            Ok(seq) => {
                if seq >= self.due_seq {
                    self.look();
                }
                Ok(seq)
            }
            Err(error) => self.append_again(type_id, time, payload, error),
        }
    }

    /// Where an append was refused.
    #[cold]
    #[inline(never)]
    fn append_again(
        &mut self,
        type_id: u16,
        time: impl Time,
        payload: &[u8],
        error: Error<PlatformError>,
    ) -> Result<u64, QueueError> {
        self.refused(error, |appender| appender.append_any(type_id, time, payload))
    }

    /// As [`append`](Self::append), with a time of the program's own in place of the clock's: that of an
    /// event, or of a message that is copied from another queue. No clock is read, which is a good part of
    /// what an append costs.
    ///
    /// `timestamp_ns` is in nanoseconds since 1970 for whoever reads it. Times may go back;
    /// [`QueueReader::seek_timestamp`](crate::QueueReader::seek_timestamp) goes by the highest one so far, so one
    /// that is far in the future hides those behind it from it.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    #[inline]
    pub fn append_at(
        &mut self,
        type_id: u16,
        timestamp_ns: u64,
        payload: &[u8],
    ) -> Result<u64, QueueError> {
        self.append_by_any_way(type_id, timestamp_ns, payload)
    }

    /// Appends a message without waking readers that sleep: follow a batch of these with one
    /// [`announce`](Self::announce).
    ///
    /// # Errors
    /// As [`append`](Self::append).
    #[inline]
    pub fn append_quietly(&mut self, type_id: u16, payload: &[u8]) -> Result<u64, QueueError> {
        match self.appender.append_quietly(type_id, payload) {
            Ok(seq) => {
                if seq >= self.due_seq {
                    self.look();
                }
                Ok(seq)
            }
            Err(error) => self.refused(error, |appender| appender.append_quietly(type_id, payload)),
        }
    }

    /// Appends a message for each payload and wakes readers once at the end. Returns the sequence
    /// number of the next message.
    ///
    /// Up to 256 messages at a time become visible all at once, under one time stamp; fewer where
    /// allocated space or a segment ends between them, or where the index gets an entry: every 16 KiB.
    ///
    /// # Errors
    /// As [`append`](Self::append), and a queue that is full is one at once: this call never waits
    /// for room. What came before the message that failed is appended, as
    /// [`next_seq`](Self::next_seq) tells.
    pub fn append_all<'a>(
        &mut self,
        type_id: u16,
        payloads: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<u64, QueueError> {
        let appended = self.appender.append_all(type_id, payloads);
        if self.appender.next_seq() > self.due_seq {
            self.look();
        }
        appended.map_err(|error| self.failed(error))
    }

    /// Wakes readers that sleep. Costs no system call if there are none.
    #[inline]
    pub fn announce(&mut self) {
        self.appender.announce();
    }

    /// Claims a message of `length` bytes, to be filled in place. Dropping the claim leaves nothing.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn claim(&mut self, length: usize) -> Result<WriteClaim<'_>, QueueError> {
        // What was claimed before is counted now, if it was committed.
        if self.appender.next_seq() > self.due_seq {
            self.look();
        }
        // A claim that was waited for is let go and made again, which costs a few stores: it cannot
        // be handed out of the arm in which the writer may have to be asked again.
        if matches!(self.when_full, WhenFull::Wait(_))
            && let Err(error) = self.appender.claim(length).map(drop)
        {
            self.refused(error, |appender| appender.claim(length).map(drop))?;
        }
        let Self { appender, path, counters, .. } = self;
        match appender.claim(length) {
            Ok(claim) => Ok(WriteClaim { claim, path }),
            Err(error) => {
                if let Some(counters) = counters {
                    counters.failed();
                }
                Err(QueueError::from_core(path, error))
            }
        }
    }

    /// Makes everything appended so far survive a power loss: returns when it is durable.
    ///
    /// # Errors
    /// The system's. After a sync that failed the writer is of no more use: what was not durable may be
    /// lost in a power loss. Open the queue again: that brings everything to the medium anew and makes
    /// sure that it arrived, or says that it did not.
    pub fn flush(&mut self) -> Result<(), QueueError> {
        let flushed = match &self.group {
            None => {
                let begun = Instant::now();
                let flushed = self.appender.flush();
                if let Some(counters) = &self.counters {
                    counters.shared().synced(begun.elapsed(), flushed.is_ok());
                }
                flushed
            }
            Some(group) => self
                .appender
                .begin_flush()
                .and_then(|end| group.sync_to(self.appender.platform(), &end)),
        };
        if let Some(counters) = &mut self.counters {
            counters.publish(&self.appender);
        }
        flushed.map_err(|error| self.failed(error))
    }

    /// Has everything appended so far made durable as soon as possible, and does not wait for it:
    /// [`wait_durable`](Self::wait_durable) does, or anybody by
    /// [`QueueWatermarks`](crate::QueueWatermarks). Without group commit the same as
    /// [`flush`](Self::flush).
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub fn request_flush(&mut self) -> Result<(), QueueError> {
        let Some(group) = &self.group else { return self.flush() };
        let begun = self.appender.begin_flush();
        begun.map_err(|error| QueueError::from_core(&self.path, error))?;
        group.ring();
        Ok(())
    }

    /// Waits until the message with this sequence number is durable, at most for `timeout`; whether
    /// it is. Without group commit nothing becomes durable while one waits, so this flushes.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub fn wait_durable(&mut self, seq: u64, timeout: Duration) -> Result<bool, QueueError> {
        if self.durable_seq() > seq {
            return Ok(true);
        }
        let Some(group) = &self.group else {
            self.flush()?;
            return Ok(self.durable_seq() > seq);
        };
        group.wait(seq, timeout).map_err(|error| QueueError::from_core(&self.path, error))
    }

    /// Messages below this survive a power loss.
    #[must_use]
    pub fn durable_seq(&self) -> u64 {
        self.appender.durable_seq()
    }

    /// Prepares the next segment now, so that the roll costs no more than a few stores: for programs
    /// that run the writer without its thread.
    ///
    /// # Errors
    /// The system's. Nothing is lost: the roll makes the segment itself then.
    pub fn prepare_next(&mut self) -> Result<(), QueueError> {
        self.appender.prepare_next().map_err(|error| QueueError::from_core(&self.path, error))
    }

    /// Removes old segments that need not be kept: for programs that run the writer without its
    /// thread. A reader with a lease holds them as long as this writer lives.
    ///
    /// # Errors
    /// The system's; what was removed before stays removed.
    pub fn apply_retention(&mut self) -> Result<RetentionReport, QueueError> {
        apply_retention(self.appender.platform(), |_| false)
            .map_err(|error| QueueError::from_core(&self.path, error))
    }

    /// Makes the seek index of a sealed segment anew from its messages, whether it is missing, damaged
    /// or whole; whether the segment has one then: one of up to 64 KiB has none. Seeks go without it,
    /// and take longer.
    ///
    /// # Errors
    /// If there is no such segment, or it cannot be opened.
    pub fn rebuild_index(&mut self, segment: SegmentId) -> Result<bool, QueueError> {
        let rebuilt = self.appender.rebuild_index(segment);
        rebuilt.map_err(|error| QueueError::from_core(&self.path, error))
    }

    /// Counts this writer in a file from now on: every ten milliseconds at most, where messages are
    /// appended, and where it is flushed, waits for room, fails or is dropped. The thread beside the writer
    /// sees to the last messages before a rest, some seconds later at the most. A writer that is counted
    /// already stays in the file that it has.
    ///
    /// # Errors
    /// [`QueueError::InvalidArgument`] if it is not a writer's file.
    pub fn count_in(&mut self, file: CountersFile) -> Result<(), QueueError> {
        if self.counters.is_some() {
            return Ok(());
        }
        let counters = Box::new(CountedWriter::new(&self.path, file, &self.appender)?);
        self.appender.supply().count_in(counters.shared());
        if let Some(group) = &self.group {
            group.count_in(counters.shared());
        }
        self.due_seq = self.appender.next_seq();
        self.counters = Some(counters);
        Ok(())
    }

    /// Whether the writer is counted.
    #[must_use]
    pub fn is_counted(&self) -> bool {
        self.counters.is_some()
    }

    /// Publishes what is counted now, for programs that are about to do something else for long.
    pub fn publish_counters(&mut self) {
        if let Some(counters) = &mut self.counters {
            counters.publish(&self.appender);
        }
    }

    #[cold]
    #[inline(never)]
    fn look(&mut self) {
        if let Some(counters) = &mut self.counters {
            self.due_seq = counters.look(&self.appender);
        }
    }

    /// Makes a call again that was refused, as the policy for full queues says.
    #[cold]
    fn refused<T>(
        &mut self,
        refused: Error<PlatformError>,
        again: impl FnMut(&mut WriterAppender) -> Result<T, Error<PlatformError>>,
    ) -> Result<T, QueueError> {
        let is_full = matches!(refused, Error::QueueFull { .. });
        let Self { appender, path, when_full, counters, .. } = self;
        if is_full && let Some(counters) = counters {
            counters.begin_full(appender, matches!(when_full, WhenFull::Wait(_)));
        }
        let begun = Instant::now();
        let shared = counters.as_ref().map(|counters| counters.shared());
        let outcome = with_room(appender, path, *when_full, shared.as_deref(), refused, again);
        if let Some(counters) = counters {
            if is_full {
                counters.end_full(begun.elapsed());
            }
            if outcome.is_err() {
                counters.failed();
            }
            counters.publish(appender);
        }
        outcome
    }

    /// Takes note of an error.
    #[cold]
    fn failed(&mut self, error: Error<PlatformError>) -> QueueError {
        if let Some(counters) = &mut self.counters {
            counters.failed();
            counters.publish(&self.appender);
        }
        QueueError::from_core(&self.path, error)
    }

    /// Sequence number of the next message.
    #[must_use]
    pub fn next_seq(&self) -> u64 {
        self.appender.next_seq()
    }

    /// Where the next message goes.
    #[must_use]
    pub fn position(&self) -> Position {
        self.appender.position()
    }

    /// How often the queue has had a writer, this one included.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.appender.epoch()
    }

    /// Size of the queue's segments in bytes, whatever the writer's configuration said.
    #[must_use]
    pub fn segment_size(&self) -> u64 {
        self.appender.segment_size().bytes()
    }

    /// What was found and done when the queue was opened.
    #[must_use]
    pub fn recovery(&self) -> &RecoveryReport {
        self.appender.recovery()
    }

    /// The queue.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for QueueWriter {
    fn drop(&mut self) {
        let appender = &mut self.appender;
        if let Some(group) = &mut self.group {
            // Told to stop first: the thread may sleep like a reader, and is woken like one.
            group.stop(|| appender.announce());
        }
        if let Some(counters) = &mut self.counters {
            counters.close(&self.appender);
        }
    }
}

/// A message that is being filled in place.
pub struct WriteClaim<'a> {
    claim: Claim<'a, Backend, NoProbe, Housekeeping>,
    path: &'a Path,
}

impl WriteClaim<'_> {
    /// Publishes the message and returns its sequence number.
    ///
    /// # Errors
    /// For a type that is not valid: nothing is visible then. If the queue was taken from this
    /// writer, the message may or may not be there.
    pub fn commit(self, type_id: u16) -> Result<u64, QueueError> {
        self.claim.commit(type_id).map_err(|error| QueueError::from_core(self.path, error))
    }

    /// Gives the claim up; the same as dropping it.
    pub fn abort(self) {
        self.claim.abort();
    }
}

impl Deref for WriteClaim<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.claim
    }
}

impl DerefMut for WriteClaim<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.claim
    }
}
