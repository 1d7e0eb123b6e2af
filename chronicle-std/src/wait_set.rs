use std::hint::spin_loop;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use chronicle_core::{ParkAny, WaitStrategy};
use chronicle_sync::notify_any::Doorbell;
use chronicle_sync::{Clock, Instant};

use crate::backend::{SystemClock, SystemPark};
use crate::members::{MemberId, Members, WaitEvent};
use crate::relay::{Listener, Relays};
use crate::relayed_set::watched;
use crate::{QueueError, QueueReader};

/// Looks at all readers between two looks at the clock.
const SPINS: u32 = 32;

/// Waits for many queues with one system call.
///
/// The set owns its readers; they are added and removed between two waits, and
/// [`interrupter`](Self::interrupter) ends a wait from another thread. A writer pays for a set what
/// it pays for one reader: nothing while nobody sleeps, one call to wake it.
///
/// One call of Linux takes 128 words (`futex_waitv(2)`, since 5.16). For queues beyond the 127th
/// the set keeps a thread for each 127, which wakes the sleeper: one more hop for those queues, and
/// nothing that wakes up by itself. Where the system has no such call, macOS among them, a set of more than one
/// queue looks every 10 ms.
///
/// ```
/// use chronicle_std::{Queue, WaitOutcome, WaitSet};
/// # use std::time::Duration;
///
/// # let directory = tempfile::tempdir()?;
/// # let (orders, prices) = (directory.path().join("orders"), directory.path().join("prices"));
/// # let mut writer = Queue::open_publisher(&orders)?;
/// # writer.append(0x8000, b"buy 100")?;
/// # drop(Queue::open_publisher(&prices)?);
/// let mut set = WaitSet::new();
/// set.add(Queue::open_subscriber(&orders, "router")?)?;
/// set.add(Queue::open_subscriber(&prices, "router")?)?;
///
/// let mut events = Vec::new();
/// set.wait(&mut events, Some(Duration::from_secs(1)))?;
/// for event in events.drain(..) {
///     if event.outcome? == WaitOutcome::Ready
///         && let Some(reader) = set.reader_mut(event.member)
///         && let Some(message) = reader.next()?
///     {
///         assert_eq!(message.payload, b"buy 100");
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct WaitSet {
    members: Members,
    strategy: WaitStrategy,
    park: ParkAny,
    shared: Arc<Shared>,
    relays: Relays,
    clock: SystemClock,
}

/// What the set shares with its interrupters.
struct Shared {
    doorbell: Arc<Doorbell>,
    interrupted: Mutex<bool>,
}

impl Shared {
    fn interrupted(&self) -> std::sync::MutexGuard<'_, bool> {
        self.interrupted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends a wait of a [`WaitSet`] from another thread.
#[derive(Clone)]
pub struct Interrupter {
    shared: Arc<Shared>,
}

impl Interrupter {
    /// The wait that goes on returns, or the next one does; with no event, if there is none.
    pub fn interrupt(&self) {
        *self.shared.interrupted() = true;
        // A call that fails is made up for when the sleeper's slice ends.
        let _ = self.shared.doorbell.ring(&SystemPark::new());
    }
}

impl WaitSet {
    /// An empty set, which spins for 20 microseconds before it sleeps.
    #[must_use]
    pub fn new() -> Self {
        Self::with_strategy(WaitStrategy::default())
    }

    /// An empty set that waits like this. How its readers wait by themselves makes no difference.
    #[must_use]
    pub fn with_strategy(strategy: WaitStrategy) -> Self {
        let doorbell = Arc::new(Doorbell::new());
        Self {
            members: Members::default(),
            strategy,
            park: ParkAny::new(&SystemPark::new()),
            relays: Relays::new(Listener::Sleeper(Arc::clone(&doorbell))),
            shared: Arc::new(Shared { doorbell, interrupted: Mutex::new(false) }),
            clock: SystemClock::new(),
        }
    }

    /// Adds a reader.
    ///
    /// # Errors
    /// The system's, if a thread is needed for it and cannot be had: the reader is dropped.
    pub fn add(&mut self, reader: QueueReader) -> Result<MemberId, QueueError> {
        let member = self.members.new_id();
        let at_once = self.park.queues_at_once();
        // Without a call for many words a relay could not sleep on many either.
        let relayed = at_once > 0 && self.members.direct() >= at_once;
        if relayed {
            self.relays.watch(watched(member, &reader)?, reader.path())?;
        }
        self.members.insert(member, reader, relayed);
        Ok(member)
    }

    /// Takes a reader out, if it is in the set.
    pub fn remove(&mut self, member: MemberId) -> Option<QueueReader> {
        let removed = self.members.remove(member)?;
        if removed.relayed {
            self.relays.forget(member);
        }
        Some(removed.reader)
    }

    /// A reader of the set.
    #[must_use]
    pub fn reader(&self, member: MemberId) -> Option<&QueueReader> {
        self.members.reader(member)
    }

    /// A reader of the set, to read from it. One whose error was reported is waited for again.
    pub fn reader_mut(&mut self, member: MemberId) -> Option<&mut QueueReader> {
        self.members.reader_mut(member)
    }

    /// The readers of the set, in no order.
    pub fn ids(&self) -> impl Iterator<Item = MemberId> {
        self.members.ids()
    }

    /// Number of readers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there is no reader.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.len() == 0
    }

    /// Number of threads that the set keeps for queues which one system call does not take.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.relays.threads()
    }

    /// What ends a wait from another thread.
    #[must_use]
    pub fn interrupter(&self) -> Interrupter {
        Interrupter { shared: Arc::clone(&self.shared) }
    }

    /// Waits until something can be said of at least one reader, at most for `timeout`, and puts
    /// everything that can be said into `events`, which is emptied first. No event: the time was
    /// up, or the wait was interrupted.
    ///
    /// A set without readers sleeps for `timeout`, and returns at once without one.
    ///
    /// # Errors
    /// The system's, if it cannot be slept at all. What goes wrong with one reader is an event.
    pub fn wait(
        &mut self,
        events: &mut Vec<WaitEvent>,
        timeout: Option<Duration>,
    ) -> Result<(), QueueError> {
        events.clear();
        let started = self.clock.now();
        let until = timeout.map_or(Instant::NEVER, |timeout| started.after(timeout));
        let spin_until = match self.strategy {
            WaitStrategy::BusySpin => Instant::NEVER,
            WaitStrategy::SpinThenPark { spin } => started.after(spin),
            _ => started,
        };
        loop {
            self.members.scan(&self.clock, events);
            let interrupted = std::mem::take(&mut *self.shared.interrupted());
            let now = self.clock.now();
            if !events.is_empty() || interrupted || now >= until {
                return Ok(());
            }
            if self.is_empty() {
                thread::sleep(timeout.unwrap_or_default());
                return Ok(());
            }
            if now < spin_until {
                self.spin();
                continue;
            }
            let publish = self.members.publish_due(now);
            let Some(any) = self.members.first() else { continue };
            let shared = &self.shared;
            self.park
                .sleep(
                    any.tailer.platform(),
                    self.members.sleepers(),
                    Some(&shared.doorbell),
                    || *shared.interrupted(),
                    until.min(self.members.next_look()).min(publish),
                )
                .map_err(|error| QueueError::from_core(any.path(), error))?;
        }
    }

    fn spin(&self) {
        for _ in 0..SPINS {
            if self.members.sleepers().any(|sleeper| sleeper.tailer.may_be_ready()) {
                return;
            }
            spin_loop();
        }
    }
}

impl Default for WaitSet {
    fn default() -> Self {
        Self::new()
    }
}
