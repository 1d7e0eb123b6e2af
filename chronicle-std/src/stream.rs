//! Readers that are awaited.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use chronicle_core::{MessageView, WaitOutcome};
use futures_core::Stream;

use crate::members::{MemberId, WaitEvent};
use crate::relay::Listener;
use crate::relayed_set::{Polled, RelayedSet};
use crate::{QueueError, QueueReader};

/// The task that waits for a set.
#[derive(Default)]
pub(crate) struct TaskCell(Mutex<Option<Waker>>);

impl TaskCell {
    fn slot(&self) -> MutexGuard<'_, Option<Waker>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn register(&self, waker: &Waker) {
        match &mut *self.slot() {
            Some(known) => known.clone_from(waker),
            slot @ None => *slot = Some(waker.clone()),
        }
    }

    pub(crate) fn wake(&self) -> Result<(), Infallible> {
        // Not under the lock: what an executor does here is its own affair.
        let waker = self.slot().take();
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }
}

/// Awaits many queues. Needs the feature `async`, and works with every executor.
///
/// A thread of this process sleeps on up to 127 queues and wakes the task when one of them has
/// something: one hop more than a [`WaitSet`](crate::WaitSet) takes, and no thread per message. The
/// task is woken for nothing every 100 ms while it waits, for the reasons given at
/// [`EventSet`](crate::EventSet).
pub struct AsyncSet {
    set: RelayedSet,
    task: Arc<TaskCell>,
}

impl AsyncSet {
    /// An empty set.
    #[must_use]
    pub fn new() -> Self {
        let task = Arc::<TaskCell>::default();
        let listener = |doorbell| Listener::Task(doorbell, Arc::clone(&task));
        Self { set: RelayedSet::new(listener), task }
    }

    /// Adds a reader.
    ///
    /// # Errors
    /// The system's, if a thread is needed for it and cannot be had: the reader is dropped.
    pub fn add(&mut self, reader: QueueReader) -> Result<MemberId, QueueError> {
        self.set.add(reader)
    }

    /// Takes a reader out, if it is in the set.
    pub fn remove(&mut self, member: MemberId) -> Option<QueueReader> {
        self.set.remove(member)
    }

    /// A reader of the set.
    #[must_use]
    pub fn reader(&self, member: MemberId) -> Option<&QueueReader> {
        self.set.members.reader(member)
    }

    /// A reader of the set, to read from it. One whose error was reported is watched again.
    pub fn reader_mut(&mut self, member: MemberId) -> Option<&mut QueueReader> {
        self.set.members.reader_mut(member)
    }

    /// Waits until something can be said of at least one reader, and puts everything that can be
    /// said into `events`, which is emptied first. Never returns for an empty set.
    ///
    /// Cancellation safe: nothing is taken out of a queue. An event that a cancelled wait would have
    /// given is given by the next one, but for the death of a writer, which is said again after the
    /// reader's `writer_timeout`.
    pub async fn wait(&mut self, events: &mut Vec<WaitEvent>) {
        poll_fn(|context| self.poll_wait(context, events)).await;
    }

    /// The same for code that polls by hand.
    pub fn poll_wait(
        &mut self,
        context: &mut Context<'_>,
        events: &mut Vec<WaitEvent>,
    ) -> Poll<()> {
        // Registered before the writers are asked: a wake-up behind this finds the task.
        match self.set.poll(events, || self.task.register(context.waker())) {
            Polled::Events => Poll::Ready(()),
            Polled::Armed => Poll::Pending,
            Polled::Again => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}

impl Default for AsyncSet {
    fn default() -> Self {
        Self::new()
    }
}

/// A reader that is awaited. Needs the feature `async`, and works with every executor.
///
/// One thread per reader hears the writer's wake-ups and wakes the task; for many readers an
/// [`AsyncSet`] has one thread. Messages are read without copying them;
/// [`into_stream`](Self::into_stream) makes a `Stream` of owned ones.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use chronicle_std::{AsyncReader, Queue, WaitOutcome};
///
/// # let directory = tempfile::tempdir()?;
/// # let orders = directory.path().join("orders");
/// # let mut writer = Queue::open_publisher(&orders)?;
/// # writer.append(0x8000, b"buy 100")?;
/// let mut reader = AsyncReader::new(Queue::open_subscriber(&orders, "risk")?)?;
/// if reader.ready().await? == WaitOutcome::Ready
///     && let Some(message) = reader.read()?
/// {
///     assert_eq!(message.payload, b"buy 100");
///     reader.commit()?;
/// }
/// # Ok(())
/// # }
/// ```
pub struct AsyncReader {
    set: AsyncSet,
    member: MemberId,
    events: Vec<WaitEvent>,
}

impl AsyncReader {
    /// Takes a reader over.
    ///
    /// # Errors
    /// The system's, if there is no thread left.
    pub fn new(reader: QueueReader) -> Result<Self, QueueError> {
        let mut set = AsyncSet::new();
        let member = set.add(reader)?;
        Ok(Self { set, member, events: Vec::new() })
    }

    /// Waits until there is a message, or until there was none for the reader's `writer_timeout`
    /// and its writer is dead or stalled.
    ///
    /// Cancellation safe: it takes nothing out of the queue.
    ///
    /// # Errors
    /// Those of [`QueueReader::next`].
    pub async fn ready(&mut self) -> Result<WaitOutcome, QueueError> {
        poll_fn(|context| self.poll_ready(context)).await
    }

    /// The same for code that polls by hand.
    ///
    /// # Errors
    /// As [`ready`](Self::ready).
    pub fn poll_ready(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<WaitOutcome, QueueError>> {
        // One whose error was reported is asked again.
        let _ = self.set.reader_mut(self.member);
        loop {
            ready!(self.set.poll_wait(context, &mut self.events));
            if let Some(event) = self.events.pop() {
                return Poll::Ready(event.outcome);
            }
        }
    }

    /// The next message if there is one, without waiting and without copying, as
    /// [`QueueReader::next`].
    ///
    /// # Errors
    /// As [`QueueReader::next`].
    pub fn read(&mut self) -> Result<Option<MessageView<'_>>, QueueError> {
        self.set.reader_mut(self.member).map_or(Ok(None), QueueReader::next)
    }

    /// Keeps the place behind the last message that was read, as [`QueueReader::commit`].
    ///
    /// # Errors
    /// If the reader has no name.
    pub fn commit(&mut self) -> Result<(), QueueError> {
        self.set.reader_mut(self.member).map_or(Ok(()), QueueReader::commit)
    }

    /// Gives the reader back. There is one.
    #[must_use]
    pub fn into_inner(mut self) -> Option<QueueReader> {
        self.set.remove(self.member)
    }

    /// A stream of owned messages.
    #[must_use]
    pub fn into_stream(self) -> MessageStream {
        MessageStream { reader: self }
    }
}

/// A message that was copied out of its queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Sequence number.
    pub seq: u64,
    /// Nanoseconds since 1970, as the writer's clock gave them.
    pub timestamp_ns: u64,
    /// What the payload is.
    pub type_id: u16,
    /// The payload.
    pub payload: Vec<u8>,
}

impl From<MessageView<'_>> for Message {
    fn from(view: MessageView<'_>) -> Self {
        let MessageView { seq, timestamp_ns, type_id, payload } = view;
        Self { seq, timestamp_ns, type_id, payload: payload.to_vec() }
    }
}

/// The messages of a queue as a `Stream`. Needs the feature `async`.
///
/// It never ends: a writer that died may have a successor. Whoever wants to know of deaths awaits
/// [`AsyncReader::ready`]. After an error the stream tries again, and says the same again unless
/// the fault is gone.
///
/// A message is taken out of the queue in the same step in which it is given out, so a cancelled
/// `next` loses none. What was given out is not committed: call [`commit`](Self::commit) when it has
/// been dealt with.
pub struct MessageStream {
    reader: AsyncReader,
}

impl MessageStream {
    /// Keeps the place behind the last message that was given out.
    ///
    /// # Errors
    /// If the reader has no name.
    pub fn commit(&mut self) -> Result<(), QueueError> {
        self.reader.commit()
    }

    /// The reader inside.
    #[must_use]
    pub fn into_inner(self) -> AsyncReader {
        self.reader
    }
}

impl Stream for MessageStream {
    type Item = Result<Message, QueueError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match self.reader.read() {
                Ok(Some(message)) => return Poll::Ready(Some(Ok(message.into()))),
                Ok(None) => {}
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
            // A writer that is dead or stalled may go on, or be followed by another.
            if let Err(error) = ready!(self.reader.poll_ready(context)) {
                return Poll::Ready(Some(Err(error)));
            }
        }
    }
}
