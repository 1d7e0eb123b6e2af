use std::ops::{Deref, DerefMut};
use std::path::PathBuf;

use chronicle_std::{Queue, QueueReader, ReaderConfig};

use crate::{BusError, QueueEndpoint};

/// A named reader that its queue forgets when this is dropped, so that it holds nothing back any more.
///
/// A process that is killed leaves its name, and what that holds back is up to the reader's
/// [`policy`](ReaderConfig::policy): with [`ReaderPolicy::Lease`](chronicle_std::ReaderPolicy::Lease) it is
/// forgotten in time. A registration of the same name goes on where that one has committed.
pub struct ReaderRegistration {
    // Dropped in this order: a name that is held is not removed.
    reader: QueueReader,
    name: RegisteredName,
}

impl ReaderRegistration {
    /// Registers the reader `name` with a queue.
    ///
    /// # Errors
    /// Those of [`QueueEndpoint::open_reader`];
    /// [`ReaderAlreadyActive`](chronicle_std::QueueError::ReaderAlreadyActive).
    pub fn new(
        queue: &QueueEndpoint,
        name: &str,
        mut config: ReaderConfig,
    ) -> Result<Self, BusError> {
        config.name = Some(name.to_owned());
        let reader = queue.open_reader(config)?;
        let queue = reader.path().to_owned();
        Ok(Self { reader, name: RegisteredName { queue, name: name.to_owned(), kept: false } })
    }

    /// Takes the reader out. Its name stays registered.
    #[must_use]
    pub fn keep(mut self) -> QueueReader {
        self.name.kept = true;
        self.reader
    }
}

impl Deref for ReaderRegistration {
    type Target = QueueReader;

    fn deref(&self) -> &QueueReader {
        &self.reader
    }
}

impl DerefMut for ReaderRegistration {
    fn deref_mut(&mut self) -> &mut QueueReader {
        &mut self.reader
    }
}

/// A reader's name in a queue, removed when dropped.
struct RegisteredName {
    queue: PathBuf,
    name: String,
    kept: bool,
}

impl Drop for RegisteredName {
    fn drop(&mut self) {
        if !self.kept {
            // If somebody has registered by this name just now, it stays.
            let _ = Queue::remove_reader(&self.queue, &self.name);
        }
    }
}
