use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use crate::event_fd::EventFd;
use crate::members::{MemberId, WaitEvent};
use crate::relay::Listener;
use crate::relayed_set::{Polled, RelayedSet};
use crate::{QueueError, QueueReader};

/// Readers whose messages a file descriptor announces, for programs that wait by `epoll(7)` or the
/// like for other things too.
///
/// A writer cannot signal a descriptor of another process. A thread of this process sleeps on up to
/// 127 queues and signals the descriptor when one of them has something: one hop more than a
/// [`WaitSet`](crate::WaitSet) takes, and no thread per message.
///
/// Call [`poll`](Self::poll) until it finds nothing: only then do the writers know that somebody
/// waits, and only then wait for the descriptor. It becomes readable for nothing every 100 ms while
/// it is waited for, so that no lost wake-up and no dead writer goes unnoticed for longer; every
/// 10 ms if the set has a reader without write permission, or the system sleeps on one word only
/// (macOS, and Linux without `futex_waitv`).
///
/// ```
/// use std::os::fd::AsFd;
/// use chronicle_std::{EventSet, Queue};
/// use rustix::event::{PollFd, PollFlags, poll};
///
/// # let directory = tempfile::tempdir()?;
/// # let orders = directory.path().join("orders");
/// # let mut writer = Queue::open_publisher(&orders)?;
/// # let appending = std::thread::spawn(move || writer.append(0x8000, b"buy 100").map(drop));
/// let mut set = EventSet::new()?;
/// set.add(Queue::open_subscriber(&orders, "router")?)?;
///
/// let mut events = Vec::new();
/// loop {
///     set.poll(&mut events);
///     for event in events.drain(..) {
///         if let Some(reader) = set.reader_mut(event.member)
///             && let Some(message) = reader.next()?
///         {
///             assert_eq!(message.payload, b"buy 100");
/// #           appending.join().ok();
///             return Ok(());
///         }
///     }
///     poll(&mut [PollFd::from_borrowed_fd(set.as_fd(), PollFlags::IN)], None)?;
/// }
/// # #[allow(unreachable_code)]
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct EventSet {
    set: RelayedSet,
    event: Arc<EventFd>,
}

impl EventSet {
    /// An empty set.
    ///
    /// # Errors
    /// The system's, if it has no descriptor left.
    pub fn new() -> std::io::Result<Self> {
        let event = Arc::new(EventFd::new()?);
        let listener = |doorbell| Listener::Descriptor(doorbell, Arc::clone(&event));
        Ok(Self { set: RelayedSet::new(listener), event })
    }

    /// Adds a reader. Call [`poll`](Self::poll) before the descriptor is waited for again.
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

    /// The readers of the set, in no order.
    pub fn ids(&self) -> impl Iterator<Item = MemberId> {
        self.set.members.ids()
    }

    /// Puts everything that can be said of the readers into `events`, which is emptied first. Never
    /// sleeps. If there is nothing, the descriptor is unreadable now, and will be readable as soon
    /// as there is something.
    pub fn poll(&mut self, events: &mut Vec<WaitEvent>) {
        // Unreadable before the writers are asked: what is signalled behind this stays.
        if self.set.poll(events, || self.event.clear()) == Polled::Again {
            // Brings the caller back here.
            let _ = self.event.signal();
        }
    }
}

impl AsFd for EventSet {
    /// Readable when [`poll`](Self::poll) should be called. To be waited for, not to be read from.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}
