use std::marker::PhantomData;
use std::time::Duration;

use chronicle_std::{QueueReader, QueueWriter, ReaderConfig, WaitOutcome, WriterConfig};

use crate::message::{self, Stored};
use crate::{BusError, Message, QueueEndpoint};

/// The writer of a queue of messages of one type.
///
/// Sending is appending: the message's bytes are copied into the queue once, and there is nothing else.
pub struct Publisher<M> {
    writer: QueueWriter,
    queue: QueueEndpoint,
    of: PhantomData<fn(M)>,
}

impl<M: Message> Publisher<M> {
    /// Opens the queue's writer; the queue is made if there is none, and says then what its messages are.
    ///
    /// # Errors
    /// [`BusError::WrongType`] if the queue says otherwise, before it is touched;
    /// [`BusError::NotTyped`] if it has messages and does not say; those of
    /// [`QueueEndpoint::open_publisher`].
    pub fn open(queue: &QueueEndpoint, config: WriterConfig) -> Result<Self, BusError> {
        Self::is_there(queue)?;
        let writer = queue.open_publisher(config)?;
        let directory = queue.open_directory()?;
        if message::check::<M>(&directory)? == Stored::Nothing {
            if writer.next_seq() > 0 {
                return Err(BusError::NotTyped { queue: queue.path() });
            }
            message::store::<M>(&directory)?;
        }
        Ok(Self { writer, queue: queue.clone(), of: PhantomData })
    }

    /// Whether there is a queue that says that its messages are of this type.
    pub(crate) fn is_there(queue: &QueueEndpoint) -> Result<bool, BusError> {
        match queue.open_directory() {
            Ok(directory) => Ok(message::check::<M>(&directory)? == Stored::This),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Appends a message and returns its sequence number.
    ///
    /// # Errors
    /// Those of [`QueueWriter::append`].
    #[inline]
    pub fn send(&mut self, message: &M) -> Result<u64, BusError> {
        Ok(self.writer.append(M::TYPE_ID, message.as_bytes())?)
    }

    /// A reader of what was sent, which registers nothing.
    pub(crate) fn subscriber(&self) -> Result<Subscriber<M>, BusError> {
        Subscriber::open(&self.queue, ReaderConfig::default())
    }

    /// The writer, for whatever else it does. What is appended there is to be of this type too.
    pub fn writer(&mut self) -> &mut QueueWriter {
        &mut self.writer
    }
}

/// A reader of a queue of messages of one type.
pub struct Subscriber<M> {
    reader: QueueReader,
    queue: QueueEndpoint,
    of: PhantomData<fn() -> M>,
}

/// A message, where it lies in its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received<'a, M> {
    /// Sequence number in its queue.
    pub seq: u64,
    /// When it was appended, in nanoseconds since 1970.
    pub timestamp_ns: u64,
    /// The message.
    pub message: &'a M,
}

impl<M: Message> Subscriber<M> {
    /// Opens a reader of a queue that says that its messages are of this type.
    ///
    /// # Errors
    /// [`BusError::WrongType`]; [`BusError::NotTyped`] if the queue does not say, as for a moment while it
    /// is made; those of [`QueueEndpoint::open_reader`].
    pub fn open(queue: &QueueEndpoint, config: ReaderConfig) -> Result<Self, BusError> {
        let reader = queue.open_reader(config)?;
        if message::check::<M>(&queue.open_directory()?)? == Stored::Nothing {
            return Err(BusError::NotTyped { queue: queue.path() });
        }
        Ok(Self { reader, queue: queue.clone(), of: PhantomData })
    }

    /// The next message, or `None` if there is none yet. Nothing is copied.
    ///
    /// # Errors
    /// [`BusError::UnexpectedMessage`] for a record that is of no such message, which the next call passes
    /// over; those of [`QueueReader::next`].
    #[inline]
    #[allow(
        clippy::should_implement_trait,
        reason = "the view borrows the reader: no iterator can"
    )]
    pub fn next(&mut self) -> Result<Option<Received<'_, M>>, BusError> {
        let Some(view) = self.reader.next()? else { return Ok(None) };
        match M::ref_from_bytes(view.payload) {
            Ok(message) if view.type_id == M::TYPE_ID => {
                Ok(Some(Received { seq: view.seq, timestamp_ns: view.timestamp_ns, message }))
            }
            _ => Err(BusError::UnexpectedMessage {
                queue: self.queue.path(),
                seq: view.seq,
                type_id: view.type_id,
                length: view.payload.len(),
                expected: M::NAME,
            }),
        }
    }

    /// Keeps the place behind the last message: a reader of this name goes on there.
    ///
    /// # Errors
    /// Those of [`QueueReader::commit`].
    #[inline]
    pub fn commit(&mut self) -> Result<(), BusError> {
        Ok(self.reader.commit()?)
    }

    /// Waits until there is a message, at most for `timeout`.
    ///
    /// # Errors
    /// Those of [`QueueReader::wait`].
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<WaitOutcome, BusError> {
        Ok(self.reader.wait(timeout)?)
    }

    /// The reader, for whatever else it does.
    pub fn reader(&mut self) -> &mut QueueReader {
        &mut self.reader
    }

    /// The reader itself, as for a [`WaitSet`](chronicle_std::WaitSet).
    #[must_use]
    pub fn into_reader(self) -> QueueReader {
        self.reader
    }
}
