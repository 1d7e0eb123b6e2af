use std::path::{Path, PathBuf};
use std::time::Duration;

use chronicle_core::{WaitOutcome, Watermark, Watermarks};
use chronicle_sync::Platform;

use crate::QueueError;
use crate::backend::Backend;
use crate::reader::deadline;

/// Reports how far replicas have followed a queue. See
/// [`Queue::open_replica_reporter`](crate::Queue::open_replica_reporter).
pub type ReplicaReporter = chronicle_core::ReplicaReporter<Backend>;

/// The three watermarks of a queue: how far its messages are visible, durable and replicated.
///
/// ```
/// # use chronicle_std::{Queue, WaitOutcome, Watermark};
/// # use std::time::Duration;
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("orders");
/// let mut writer = Queue::open_publisher(&path)?;
/// let seq = writer.append(0x8000, b"buy 100")?;
/// let mut watermarks = Queue::open_watermarks(&path)?;
/// assert_eq!((watermarks.visible()?, watermarks.durable()), (1, 0));
///
/// writer.flush()?;
/// let outcome = watermarks.wait(Watermark::Durable, seq, Some(Duration::from_secs(1)))?;
/// assert_eq!(outcome, WaitOutcome::Ready);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct QueueWatermarks {
    marks: Watermarks<Backend>,
    path: PathBuf,
}

impl QueueWatermarks {
    pub(crate) fn new(marks: Watermarks<Backend>, path: PathBuf) -> Self {
        Self { marks, path }
    }

    /// Messages below this are visible to every process, and survive the death of any.
    ///
    /// # Errors
    /// Those of reading the queue; if all messages of the last call were removed since, open anew.
    pub fn visible(&mut self) -> Result<u64, QueueError> {
        self.marks.visible().map_err(|error| QueueError::from_core(&self.path, error))
    }

    /// Messages below this survive a power loss.
    #[must_use]
    pub fn durable(&self) -> u64 {
        self.marks.durable()
    }

    /// Messages below this were acknowledged by a quorum of replicas; `None` if nobody reports.
    ///
    /// # Errors
    /// If the replica's file cannot be read, or belongs to another queue.
    pub fn replicated(&mut self) -> Result<Option<u64>, QueueError> {
        self.marks.replicated().map_err(|error| QueueError::from_core(&self.path, error))
    }

    /// Waits until `watermark` has passed the message with this sequence number, at most for
    /// `timeout`; for as long as it takes if that is `None`.
    ///
    /// # Errors
    /// If a sync failed and the durable watermark will not move any more; those of
    /// [`visible`](Self::visible) and [`replicated`](Self::replicated).
    pub fn wait(
        &mut self,
        watermark: Watermark,
        seq: u64,
        timeout: Option<Duration>,
    ) -> Result<WaitOutcome, QueueError> {
        let until = deadline(self.marks.platform().clock(), timeout);
        self.marks
            .wait(watermark, seq, until, None)
            .map_err(|error| QueueError::from_core(&self.path, error))
    }

    /// The queue.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}
