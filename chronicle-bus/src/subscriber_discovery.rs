use std::time::Duration;

use chronicle_std::{QueueReader, ReaderConfig, WriterStatus};

use crate::directory::Identity;
use crate::hints::Hints;
use crate::router_discovery::RESCAN;
use crate::{BusError, QueueEndpoint};

/// How long a writer may be inside a claim or the making of a segment until it counts as stalled.
const STALLED_AFTER: Duration = Duration::from_secs(5);

/// How a subscriber stands to the queue that it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Connection {
    /// There is no queue, or nobody has written to it since the subscriber came.
    Waiting,
    /// The queue has a writer.
    Connected,
    /// It had one, and has none now. What was written can still be read, unless the queue is gone.
    Disconnected(Reason),
}

/// Why a subscriber is not connected any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The writer has closed the queue or has died.
    WriterGone,
    /// The writer has been in the middle of a message or of a roll for five seconds.
    WriterStalled,
    /// The queue was removed, or another one was put in its place.
    QueueGone,
}

/// Follows one queue that others make, write, leave and remove.
///
/// Each change is told once. A writer that is replaced between two looks is no change: messages go on
/// as if it were one. A look is made when names in the queue's directory change, and every second.
pub struct SubscriberDiscovery {
    queue: QueueEndpoint,
    config: ReaderConfig,
    hints: Hints,
    state: State,
    counted_as: Option<String>,
}

struct State {
    /// With the directory that it was opened in.
    reader: Option<(QueueReader, Identity)>,
    connection: Connection,
}

impl SubscriberDiscovery {
    /// Begins to follow a queue, which need not exist. Its reader is opened as `config` says once it
    /// does.
    #[must_use]
    pub fn new(queue: QueueEndpoint, config: ReaderConfig) -> Self {
        Self::with_rescan(queue, config, RESCAN)
    }

    /// The same, with another time between two looks for which there was no hint: the longest for which
    /// the death of the writer goes unnoticed.
    #[must_use]
    pub fn with_rescan(queue: QueueEndpoint, config: ReaderConfig, rescan: Duration) -> Self {
        let hints = Hints::new(queue.path(), rescan);
        let state = State { reader: None, connection: Connection::Waiting };
        Self { queue, config, hints, state, counted_as: None }
    }

    /// Has the reader counted under this name, where it has none of its own; see
    /// [`QueueEndpoint::count_reader`].
    #[must_use]
    pub fn counted_as(mut self, name: &str) -> Self {
        self.counted_as = Some(name.to_owned());
        self
    }

    /// How the subscriber stands now, if that has changed.
    ///
    /// # Errors
    /// Those of [`QueueEndpoint::open_reader`], but that there is no queue.
    pub fn poll(&mut self) -> Result<Option<Connection>, BusError> {
        self.wait(Some(Duration::ZERO))
    }

    /// Waits until that has changed, at most for `timeout`.
    ///
    /// # Errors
    /// As [`poll`](Self::poll).
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<Option<Connection>, BusError> {
        let Self { queue, config, hints, state, counted_as } = self;
        hints.until_found(timeout, || {
            let now = state.look(queue, config, counted_as.as_deref())?;
            let before = std::mem::replace(&mut state.connection, now);
            Ok((now != before).then_some(now))
        })
    }

    /// How the subscriber stood at the last look.
    #[must_use]
    pub fn connection(&self) -> Connection {
        self.state.connection
    }

    /// The queue's reader, once there is a queue. It is another one after [`Reason::QueueGone`].
    pub fn reader(&mut self) -> Option<&mut QueueReader> {
        self.state.reader.as_mut().map(|(reader, _)| reader)
    }
}

impl State {
    fn look(
        &mut self,
        queue: &QueueEndpoint,
        config: &ReaderConfig,
        counted_as: Option<&str>,
    ) -> Result<Connection, BusError> {
        let there = Identity::of_directory(&queue.path());
        if let Some((_, opened)) = &self.reader
            && Some(*opened) != there
        {
            self.reader = None;
            if self.connection != Connection::Waiting {
                return Ok(Connection::Disconnected(Reason::QueueGone));
            }
        }
        // If the queue is replaced while it is opened, the next look finds that it is another one.
        let Some(there) = there else { return Ok(self.connection) };
        let reader = match &self.reader {
            Some((reader, _)) => reader,
            None => match queue.open_reader(config.clone()) {
                Ok(mut reader) => {
                    if let Some(name) = counted_as {
                        // Without it works as well.
                        let _ = queue.count_reader(&mut reader, name);
                    }
                    &self.reader.insert((reader, there)).0
                }
                Err(error) if error.is_not_found() => return Ok(self.connection),
                Err(error) => return Err(error),
            },
        };
        let reason = match reader.writer_status(STALLED_AFTER)? {
            WriterStatus::Dead => Reason::WriterGone,
            WriterStatus::Stalled => Reason::WriterStalled,
            // Who has no right to look sees the queue, and takes it for written.
            _ => return Ok(Connection::Connected),
        };
        Ok(match self.connection {
            Connection::Waiting => Connection::Waiting,
            // The queue that came in its place has not had a writer since.
            gone @ Connection::Disconnected(Reason::QueueGone) => gone,
            _ => Connection::Disconnected(reason),
        })
    }
}
