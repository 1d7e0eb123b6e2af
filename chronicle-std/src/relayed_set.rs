use std::sync::Arc;

use chronicle_core::ParkAny;
use chronicle_sync::notify_any::{Doorbell, Relay};

use crate::backend::{SystemClock, SystemPark};
use crate::members::{MemberId, Members, WaitEvent};
use crate::relay::{Listener, Relays, Watched};
use crate::{QueueError, QueueReader};

/// Looks that one [`poll`](RelayedSet::poll) makes before it leaves the rest to the next one.
const TRIES: u32 = 4;

/// Readers to all of whose queues relays listen, for somebody who waits by other means than a sleep
/// on words.
pub(crate) struct RelayedSet {
    pub(crate) members: Members,
    park: ParkAny,
    doorbell: Arc<Doorbell>,
    relays: Relays,
    clock: SystemClock,
}

/// What a [`RelayedSet::poll`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Polled {
    /// There are events.
    Events,
    /// There are none, and the listener will hear when there is something.
    Armed,
    /// There was something each time, and none of it was an event: poll again soon.
    Again,
}

impl RelayedSet {
    /// An empty set; `listener` gets the doorbell.
    pub(crate) fn new(listener: impl FnOnce(Arc<Doorbell>) -> Listener) -> Self {
        let doorbell = Arc::new(Doorbell::new());
        Self {
            members: Members::default(),
            park: ParkAny::new(&SystemPark::new()),
            relays: Relays::new(listener(Arc::clone(&doorbell))),
            doorbell,
            clock: SystemClock::new(),
        }
    }

    pub(crate) fn add(&mut self, reader: QueueReader) -> Result<MemberId, QueueError> {
        let member = self.members.new_id();
        self.relays.watch(watched(member, &reader)?, reader.path())?;
        self.members.insert(member, reader, true);
        Ok(member)
    }

    pub(crate) fn remove(&mut self, member: MemberId) -> Option<QueueReader> {
        let removed = self.members.remove(member)?;
        self.relays.forget(member);
        Some(removed.reader)
    }

    /// Looks at all readers; where nothing can be said, asks the writers for wake-ups. `get_ready` is
    /// called before that: what is heard behind it counts.
    pub(crate) fn poll(&mut self, events: &mut Vec<WaitEvent>, get_ready: impl FnOnce()) -> Polled {
        events.clear();
        self.members.scan(&self.clock, events);
        if !events.is_empty() {
            return Polled::Events;
        }
        get_ready();
        // Nobody looks at a clock while the program sleeps on its own.
        self.members.publish();
        for _ in 0..TRIES {
            let Some(any) = self.members.first() else { return Polled::Armed };
            let sleepers = self.members.sleepers();
            let was_short = self.park.needs_short_slices();
            let may_sleep = self.park.arm(any.tailer.platform(), sleepers, &self.doorbell);
            if self.park.needs_short_slices() && !was_short {
                self.relays.shorten_slices();
            }
            if may_sleep {
                return Polled::Armed;
            }
            self.members.scan(&self.clock, events);
            if !events.is_empty() {
                return Polled::Events;
            }
        }
        Polled::Again
    }
}

/// A reader's queue, for a relay.
pub(crate) fn watched(member: MemberId, reader: &QueueReader) -> Result<Watched, QueueError> {
    let view =
        reader.tailer.view_notify().map_err(|error| QueueError::from_core(reader.path(), error))?;
    Ok(Watched { member, view, is_asked: reader.can_be_woken(), relay: Relay::new() })
}
