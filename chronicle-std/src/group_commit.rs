//! Group commit: a thread beside a writer makes durable what was appended, many messages with one
//! sync, while the writer goes on.
//!
//! The writer pays nothing for it: the thread finds the newest message as a reader does, and sleeps
//! as one when there is nothing to do.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use chronicle_core::{Error, Position, Syncer, Watermark, Watermarks};
use chronicle_sync::{Clock, Platform};

use crate::QueueError;
use crate::backend::{self, Backend, PlatformError};
use crate::counters::SharedCounters;

/// The longest that the thread sleeps without a look.
const SLICE: Duration = Duration::from_millis(100);
/// How long it waits before it tries again what failed without anything being lost.
const RETRY: Duration = Duration::from_millis(10);
/// How often it does that once it is to end.
const LAST_TRIES: u32 = 10;

/// A syncer that the thread and the writer take turns with.
pub(crate) type SharedSyncer = Arc<Mutex<Syncer<Backend>>>;

struct Shared {
    syncer: SharedSyncer,
    progress: Mutex<Progress>,
    moved: Condvar,
    stop: OnceLock<()>,
    counters: OnceLock<Arc<SharedCounters>>,
}

struct Progress {
    /// Messages below this are durable.
    durable_seq: u64,
    /// What keeps the thread from going on just now; it tries again.
    trouble: Option<Error<PlatformError>>,
    /// The thread has ended: nothing more becomes durable by it.
    ended: Option<Ended>,
}

enum Ended {
    Closed,
    Failed(Error<PlatformError>),
}

/// The thread, as the writer has it. Dropping it makes everything durable and ends it.
pub(crate) struct GroupCommit {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// Nothing that a panic could leave half done is ever behind these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl GroupCommit {
    pub(crate) fn start(
        path: &Path,
        syncer: Syncer<Backend>,
        interval: Duration,
    ) -> Result<Self, QueueError> {
        let failed = |error| QueueError::from_core(path, error);
        let progress = Progress { durable_seq: syncer.durable_seq(), trouble: None, ended: None };
        let shared = Arc::new(Shared {
            syncer: Arc::new(Mutex::new(syncer)),
            progress: Mutex::new(progress),
            moved: Condvar::new(),
            stop: OnceLock::new(),
            counters: OnceLock::new(),
        });
        let worker = Worker {
            shared: Arc::clone(&shared),
            platform: backend::open(path)?,
            marks: Watermarks::open(backend::open(path)?).map_err(failed)?,
            path: path.to_owned(),
            interval,
        };
        let thread = thread::Builder::new()
            .name("chronicle-syncer".to_owned())
            .spawn(move || worker.run())
            .map_err(|error| QueueError::io(path, "start a thread for", error))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    pub(crate) fn syncer(&self) -> SharedSyncer {
        Arc::clone(&self.shared.syncer)
    }

    /// Has syncs counted.
    pub(crate) fn count_in(&self, counters: Arc<SharedCounters>) {
        let _ = self.shared.counters.set(counters);
    }

    /// Has the thread begin now, however long its interval is.
    pub(crate) fn ring(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }

    /// Makes everything before `end` durable, in this thread if the other one is not just doing it.
    pub(crate) fn sync_to(
        &self,
        platform: &Backend,
        end: &Position,
    ) -> Result<(), Error<PlatformError>> {
        let mut syncer = lock(&self.shared.syncer);
        let begun = Instant::now();
        let synced = syncer.sync_to(platform, end);
        self.shared.note(&syncer, synced, begun)
    }

    /// Waits until the message with this sequence number is durable; whether it is. If something keeps
    /// it from becoming so until the time is up, that is the error.
    pub(crate) fn wait(&self, seq: u64, timeout: Duration) -> Result<bool, Error<PlatformError>> {
        let deadline = Instant::now() + timeout;
        let mut progress = lock(&self.shared.progress);
        loop {
            if progress.durable_seq > seq {
                return Ok(true);
            }
            if let Some(Ended::Failed(error)) = &progress.ended {
                return Err(error.clone());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || progress.ended.is_some() {
                return progress.trouble.clone().map_or(Ok(false), Err);
            }
            let waited = self.shared.moved.wait_timeout(progress, left);
            (progress, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends the thread once everything is durable. `wake` wakes it if it sleeps for messages.
    pub(crate) fn stop(&mut self, wake: impl FnOnce()) {
        let _ = self.shared.stop.set(());
        self.ring();
        wake();
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has nothing left to say here.
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// Tells those who wait how far it is durable now.
    fn note(
        &self,
        syncer: &Syncer<Backend>,
        synced: Result<(), Error<PlatformError>>,
        begun: Instant,
    ) -> Result<(), Error<PlatformError>> {
        let mut progress = lock(&self.progress);
        // Where everything was durable before, there was no sync.
        if let Some(counters) = self.counters.get()
            && (synced.is_err() || syncer.durable_seq() > progress.durable_seq)
        {
            counters.synced(begun.elapsed(), synced.is_ok());
        }
        progress.durable_seq = syncer.durable_seq();
        progress.trouble = synced.as_ref().err().cloned();
        if let Err(error) = &synced
            && syncer.has_failed()
        {
            progress.ended = Some(Ended::Failed(error.clone()));
        }
        self.moved.notify_all();
        synced
    }
}

struct Worker {
    shared: Arc<Shared>,
    platform: Backend,
    marks: Watermarks<Backend>,
    path: PathBuf,
    interval: Duration,
}

impl Worker {
    fn run(mut self) {
        let mut last_tries = 0;
        let ended = loop {
            let Err(error) = self.work() else { break Ended::Closed };
            // A failed sync was told to those who wait; the writer learns of it by its next append.
            if lock(&self.shared.syncer).has_failed() {
                break Ended::Failed(error);
            }
            // Anything else passes, a want of descriptors, say: nothing was lost.
            lock(&self.shared.progress).trouble = Some(error.clone());
            if self.shared.stop.get().is_some() {
                last_tries += 1;
                if last_tries > LAST_TRIES {
                    break Ended::Failed(error);
                }
                // Not parked: nobody would ring any more, and whoever rang has left a token.
                thread::sleep(RETRY);
            } else {
                thread::park_timeout(RETRY);
            }
        };
        let mut progress = lock(&self.shared.progress);
        progress.ended.get_or_insert(ended);
        self.shared.moved.notify_all();
    }

    fn work(&mut self) -> Result<(), Error<PlatformError>> {
        loop {
            let stopping = self.shared.stop.get().is_some();
            let head = self.head()?;
            let mut syncer = lock(&self.shared.syncer);
            let begun = Instant::now();
            let synced = syncer.sync_to(&self.platform, &head);
            self.shared.note(&syncer, synced, begun)?;
            let durable_seq = syncer.durable_seq();
            if stopping {
                let stored = syncer.checkpoint(&self.platform)?;
                drop(syncer);
                return if stored { Ok(()) } else { self.store_checkpoint() };
            }
            drop(syncer);
            // So that others join the group. Ended early by whoever asks for it.
            if self.rest(durable_seq)? && self.shared.stop.get().is_none() {
                thread::park_timeout(self.interval);
            }
        }
    }

    /// Sleeps until there is something that is not durable, or the thread is woken to end; whether
    /// there is.
    fn rest(&mut self, durable_seq: u64) -> Result<bool, Error<PlatformError>> {
        let until = self.platform.clock().now().after(SLICE);
        match self.marks.doze(Watermark::Visible, durable_seq, until) {
            Ok(true) => Ok(true),
            Ok(false) => {
                // Nothing has happened for a while: a good time to have less to recover.
                lock(&self.shared.syncer).checkpoint(&self.platform)?;
                Ok(false)
            }
            Err(error) => self.reopen(error).map(|()| true),
        }
    }

    /// At the end: stores the checkpoint as soon as whoever removes segments is done with it. Nothing is
    /// lost without, so not for long.
    fn store_checkpoint(&self) -> Result<(), Error<PlatformError>> {
        for _ in 0..LAST_TRIES {
            thread::sleep(RETRY);
            if lock(&self.shared.syncer).checkpoint(&self.platform)? {
                break;
            }
        }
        Ok(())
    }

    /// The place behind the newest message.
    fn head(&mut self) -> Result<Position, Error<PlatformError>> {
        match self.marks.head() {
            Ok(head) => Ok(head),
            Err(error) => {
                self.reopen(error)?;
                self.marks.head()
            }
        }
    }

    /// What this thread had read up to may have been removed meanwhile.
    fn reopen(&mut self, error: Error<PlatformError>) -> Result<(), Error<PlatformError>> {
        let Error::FellBehind { .. } = error else { return Err(error) };
        let platform = backend::open(&self.path).map_err(|_| error)?;
        self.marks = Watermarks::open(platform)?;
        Ok(())
    }
}
