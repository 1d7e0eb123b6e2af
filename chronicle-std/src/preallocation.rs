//! The thread that prepares a writer's next segment and unmaps the ones that it has left.
//!
//! The writer never waits for it: it asks, and takes what is ready when it rolls. While the writer
//! is busy the thread looks for work by itself, so that asking costs no system call; when nothing
//! happens for a while it parks until it is asked.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use chronicle_core::{PreparedSegment, RetiredSegment, SegmentId, Supply, prepare_segment};
use chronicle_sync::handoff::Handoff;

use crate::QueueError;
use crate::backend::{self, Backend};

/// For so long after its last work the thread looks for more by itself.
const ALERT: Duration = Duration::from_millis(50);
/// How often it looks.
const LOOK: Duration = Duration::from_micros(500);
/// The longest that it parks.
const SLICE: Duration = Duration::from_secs(1);
/// How long it leaves a segment alone that it could not prepare; a full disk may have space then.
const RETRY: Duration = Duration::from_millis(100);
/// The tag under which segments to unmap are handed over: any will do.
const RETIRED: u32 = 0;

/// What writer and thread share.
struct Shared {
    prepared: Handoff<PreparedSegment<Backend>>,
    retired: Handoff<RetiredSegment<Backend>>,
    stop: OnceLock<()>,
}

/// The writer's side: a supply of prepared segments, if one is wanted. Dropping it ends the thread.
pub(crate) struct Preallocation(Option<Running>);

struct Running {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Preallocation {
    /// The writer makes its segments itself.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    /// Starts the thread for the queue at `path`.
    pub(crate) fn start(path: &Path) -> Result<Self, QueueError> {
        let shared = Arc::new(Shared {
            prepared: Handoff::new(),
            retired: Handoff::new(),
            stop: OnceLock::new(),
        });
        let worker = Worker { shared: Arc::clone(&shared), platform: backend::open(path)? };
        let thread = thread::Builder::new()
            .name("chronicle-prealloc".to_owned())
            .spawn(move || worker.run())
            .map_err(|error| QueueError::io(path, "start a thread for", error))?;
        Ok(Self(Some(Running { shared, thread: Some(thread) })))
    }
}

impl Running {
    /// Wakes the thread. No system call unless it is parked.
    fn ring(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Supply<Backend> for Preallocation {
    fn want(&mut self, id: SegmentId) {
        let Some(running) = &self.0 else { return };
        let stale = running.shared.prepared.want(id.get());
        running.ring();
        // Unmapped where there is time for it.
        if let Some(stale) = stale {
            self.retire(stale.into());
        }
    }

    fn take(&mut self, id: SegmentId) -> Option<PreparedSegment<Backend>> {
        self.0.as_ref()?.shared.prepared.take(id.get())
    }

    fn close(&mut self) {
        self.0 = None;
    }

    fn retire(&mut self, segment: RetiredSegment<Backend>) {
        // Where the thread has not yet come round to the last one, this one is unmapped here.
        if let Some(running) = &self.0 {
            drop(running.shared.retired.put(RETIRED, segment));
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

struct Worker {
    shared: Arc<Shared>,
    platform: Backend,
}

impl Worker {
    fn run(self) {
        let mut last_work = Instant::now();
        let mut failed: Option<(u32, Instant)> = None;
        drop(self.shared.retired.want(RETIRED));
        while self.shared.stop.get().is_none() {
            if let Some(segment) = self.shared.retired.take(RETIRED) {
                drop(segment);
                drop(self.shared.retired.want(RETIRED));
                last_work = Instant::now();
            }
            let wanted = self.shared.prepared.wanted();
            let wanted = wanted.filter(|tag| {
                failed.is_none_or(|(failed, since)| failed != *tag || since.elapsed() > RETRY)
            });
            if let Some(tag) = wanted {
                failed = self.prepare(tag).err().map(|()| (tag, Instant::now()));
                last_work = Instant::now();
            } else if last_work.elapsed() < ALERT {
                thread::sleep(LOOK);
            } else {
                // Asked in the meantime, it returns at once.
                thread::park_timeout(SLICE);
            }
        }
    }

    /// Prepares a segment; the writer makes it itself if this fails, and says why if it cannot.
    fn prepare(&self, tag: u32) -> Result<(), ()> {
        let id = SegmentId::new(tag.into()).map_err(drop)?;
        match prepare_segment(&self.platform, id) {
            Ok(Some(segment)) => {
                // Given back if the writer was faster: then it uses the file by a mapping of its own.
                drop(self.shared.prepared.put(tag, segment));
                Ok(())
            }
            Ok(None) | Err(_) => Err(()),
        }
    }
}
