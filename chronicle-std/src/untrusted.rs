use std::path::Path;
use std::time::Duration;

use chronicle_core::{MessageView, Position, Sought, WaitOutcome};

use crate::{QueueError, QueueReader};

/// A reader that does not trust whoever may write to the queue's files.
///
/// A [`QueueReader`] gives out slices of the mapped file, and rests on every process that may write
/// to it keeping to the protocol, in which what was committed never changes. This one copies each
/// message and verifies the copy: whatever a hostile process stores, and whenever, [`next`](Self::next)
/// gives a message under the checksum that its header claims, or an error. In a queue without
/// checksums the bytes may be anything, and stay what they are once they are given out.
///
/// Two things it cannot do: a hostile writer can forge messages with the right checksum, and can
/// end this process by cutting short a file that it has mapped (SIGBUS).
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let queue = directory.path().join("q");
/// # chronicle_std::Queue::open_publisher(&queue)?.append(0x8000, b"from somebody else")?;
/// use chronicle_std::{Queue, ReaderConfig};
///
/// let mut reader = Queue::open_untrusted(&queue, ReaderConfig::default())?;
/// while let Some(message) = reader.next()? {
///     println!("{}: {}", message.seq, String::from_utf8_lossy(message.payload));
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct UntrustedReader {
    reader: QueueReader,
    /// As long as the longest message so far.
    buffer: Vec<u8>,
}

impl From<QueueReader> for UntrustedReader {
    /// From where the reader is.
    fn from(reader: QueueReader) -> Self {
        Self { reader, buffer: Vec::new() }
    }
}

impl UntrustedReader {
    /// The next message, copied, or `None` if there is none yet.
    ///
    /// # Errors
    /// Those of [`QueueReader::next`]; if there is no memory for as long a message as its header
    /// claims, which is at most what a segment can hold.
    #[allow(
        clippy::should_implement_trait,
        reason = "the view borrows the reader: no iterator can"
    )]
    pub fn next(&mut self) -> Result<Option<MessageView<'_>>, QueueError> {
        let Self { reader: QueueReader { tailer, path, counts, .. }, buffer } = self;
        if counts.pass(tailer.next_seq()) {
            counts.look(tailer);
        }
        let failed = |error| QueueError::from_core(path, error);
        let Some(length) = tailer.next_length().map_err(failed)? else { return Ok(None) };
        if let Some(more) = (length as usize).checked_sub(buffer.len()) {
            buffer.try_reserve_exact(more).map_err(|error| {
                QueueError::io(path, "hold a message of", std::io::Error::other(error))
            })?;
            buffer.resize(length as usize, 0);
        }
        tailer.next_copied(buffer).map_err(failed)
    }

    /// As [`QueueReader::commit`].
    ///
    /// # Errors
    /// Those of [`QueueReader::commit`].
    pub fn commit(&mut self) -> Result<(), QueueError> {
        self.reader.commit()
    }

    /// As [`QueueReader::sync_position`].
    ///
    /// # Errors
    /// Those of [`QueueReader::sync_position`].
    pub fn sync_position(&mut self) -> Result<(), QueueError> {
        self.reader.sync_position()
    }

    /// As [`QueueReader::seek_seq`].
    ///
    /// # Errors
    /// Those of [`QueueReader::seek_seq`].
    pub fn seek_seq(&mut self, seq: u64) -> Result<Sought, QueueError> {
        self.reader.seek_seq(seq)
    }

    /// As [`QueueReader::seek_timestamp`].
    ///
    /// # Errors
    /// Those of [`QueueReader::seek_timestamp`].
    pub fn seek_timestamp(&mut self, ns: u64) -> Result<Sought, QueueError> {
        self.reader.seek_timestamp(ns)
    }

    /// As [`QueueReader::wait`].
    ///
    /// # Errors
    /// Those of [`QueueReader::wait`].
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<WaitOutcome, QueueError> {
        self.reader.wait(timeout)
    }

    /// Where the next message is.
    #[must_use]
    pub fn position(&self) -> Position {
        self.reader.position()
    }

    /// The queue's directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.reader.path()
    }
}
