//! Threads that hear the wake-ups of queues which one system call cannot take.
//!
//! A relay sleeps on the notify sequences of up to 127 queues and rings when one has moved. It reads
//! no message and asks no writer for anything: whoever waits does that.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use chronicle_core::NotifyView;
use chronicle_sync::notify::Ticket;
use chronicle_sync::notify_any::{Doorbell, MOST_WORDS, Relay};
use chronicle_sync::{Clock, Instant, Park, Wake};

use crate::QueueError;
use crate::backend::{Backend, SystemClock, SystemPark};
use crate::event_fd::EventFd;
use crate::members::MemberId;
#[cfg(feature = "async")]
use crate::stream::TaskCell;

/// Queues of one relay: one word is its own.
const MOST_QUEUES: usize = MOST_WORDS - 1;
/// How often whoever waits by a descriptor is made to look, whether something was heard or not.
const SLICE: Duration = Duration::from_millis(100);
/// The same where a writer cannot be asked for a wake-up, or the system sleeps on one word only.
const SHORT_SLICE: Duration = Duration::from_millis(10);

/// Who is to hear.
#[derive(Clone)]
pub(crate) enum Listener {
    /// Somebody who sleeps on the doorbell, in slices.
    Sleeper(Arc<Doorbell>),
    /// Somebody who raises the doorbell's flag and waits for the descriptor. Is made to look after
    /// each slice as well.
    Descriptor(Arc<Doorbell>, Arc<EventFd>),
    /// The same with a task of an executor in place of the descriptor.
    #[cfg(feature = "async")]
    Task(Arc<Doorbell>, Arc<TaskCell>),
}

impl Listener {
    fn ring(&self, park: &SystemPark) {
        // A wake-up that fails is made up for at the end of the sleeper's slice.
        match self {
            Self::Sleeper(doorbell) => {
                let _ = doorbell.ring(park);
            }
            Self::Descriptor(doorbell, event) => {
                if doorbell.announce() {
                    let _ = doorbell.waiters().wake_all_by(|_| event.signal());
                }
            }
            #[cfg(feature = "async")]
            Self::Task(doorbell, task) => {
                if doorbell.announce() {
                    let _ = doorbell.waiters().wake_all_by(|_| task.wake());
                }
            }
        }
    }

    fn has_slices_of_its_own(&self) -> bool {
        matches!(self, Self::Sleeper(_))
    }
}

/// All relays of one listener.
pub(crate) struct Relays {
    listener: Listener,
    running: Vec<Running>,
}

struct Running {
    shared: Arc<Shared>,
    members: Vec<MemberId>,
    thread: Option<JoinHandle<()>>,
}

/// What a relay and its owner share.
#[derive(Default)]
struct Shared {
    inbox: Mutex<Inbox>,
    /// Rung when there is something in the inbox.
    bell: Doorbell,
}

#[derive(Default)]
struct Inbox {
    commands: Vec<Command>,
    /// The barrier that wake-ups rest on was refused.
    short_slices: bool,
    stop: bool,
}

enum Command {
    Watch(Watched),
    Forget(MemberId),
}

/// A queue that a relay listens to.
pub(crate) struct Watched {
    pub(crate) member: MemberId,
    pub(crate) view: NotifyView<Backend>,
    /// Whether the queue's writer can be asked for a wake-up.
    pub(crate) is_asked: bool,
    pub(crate) relay: Relay,
}

impl Shared {
    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, change: impl FnOnce(&mut Inbox)) {
        change(&mut self.inbox());
        // One that is not woken looks at the end of its slice, or when it hears something.
        let _ = self.bell.ring(&SystemPark::new());
    }
}

impl Relays {
    pub(crate) fn new(listener: Listener) -> Self {
        Self { listener, running: Vec::new() }
    }

    /// Listens to one queue more, in a thread of its own if the others are full.
    pub(crate) fn watch(&mut self, watched: Watched, path: &Path) -> Result<(), QueueError> {
        let member = watched.member;
        let free = self.running.iter().position(|running| running.members.len() < MOST_QUEUES);
        let running = match free {
            Some(at) => self.running.get_mut(at),
            None => {
                self.running.push(Running::start(self.listener.clone(), path)?);
                self.running.last_mut()
            }
        };
        if let Some(running) = running {
            running.members.push(member);
            running.shared.tell(|inbox| inbox.commands.push(Command::Watch(watched)));
        }
        Ok(())
    }

    /// Stops listening to a queue, and ends the thread that has no other.
    pub(crate) fn forget(&mut self, member: MemberId) {
        for running in &mut self.running {
            if let Some(at) = running.members.iter().position(|known| *known == member) {
                running.members.swap_remove(at);
                running.shared.tell(|inbox| inbox.commands.push(Command::Forget(member)));
            }
        }
        self.running.retain(|running| !running.members.is_empty());
    }

    /// From now on the listener is made to look every few milliseconds.
    pub(crate) fn shorten_slices(&self) {
        for running in &self.running {
            running.shared.tell(|inbox| inbox.short_slices = true);
        }
    }

    /// How many threads there are.
    pub(crate) fn threads(&self) -> usize {
        self.running.len()
    }
}

impl Running {
    fn start(listener: Listener, path: &Path) -> Result<Self, QueueError> {
        let shared = Arc::<Shared>::default();
        let worker = Worker {
            shared: Arc::clone(&shared),
            listener,
            watched: Vec::new(),
            park: SystemPark::new(),
            clock: SystemClock::new(),
        };
        let thread = thread::Builder::new()
            .name("chronicle-relay".to_owned())
            .spawn(move || worker.run())
            .map_err(|error| QueueError::io(path, "start a thread for", error))?;
        Ok(Self { shared, members: Vec::new(), thread: Some(thread) })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.tell(|inbox| inbox.stop = true);
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has nothing left to say here.
            drop(thread.join());
        }
    }
}

struct Worker {
    shared: Arc<Shared>,
    listener: Listener,
    watched: Vec<Watched>,
    park: SystemPark,
    clock: SystemClock,
}

impl Worker {
    fn run(mut self) {
        let words_at_once = self.park.words_at_once();
        let shared = Arc::clone(&self.shared);
        let mut short_slices = false;
        loop {
            // Armed before the inbox is looked at: what comes behind the look is heard.
            let inbox_ticket = shared.bell.waiters().arm(|| {});
            let commands = {
                let mut inbox = shared.inbox();
                if inbox.stop {
                    return;
                }
                short_slices |= inbox.short_slices;
                std::mem::take(&mut inbox.commands)
            };
            for command in commands {
                match command {
                    Command::Watch(watched) => self.watched.push(watched),
                    Command::Forget(member) => {
                        self.watched.retain(|watched| watched.member != member);
                    }
                }
            }
            if self.hears() {
                self.listener.ring(&self.park);
                continue;
            }
            let is_short = short_slices
                || self.watched.len() >= words_at_once
                || self.watched.iter().any(|watched| !watched.is_asked);
            let until = if self.listener.has_slices_of_its_own() {
                Instant::NEVER
            } else {
                self.clock.now().after(if is_short { SHORT_SLICE } else { SLICE })
            };
            match self.sleep(inbox_ticket, until) {
                Some(Wake::Woken) => {}
                Some(Wake::TimedOut) => self.listener.ring(&self.park),
                None => {
                    thread::sleep(SHORT_SLICE);
                    self.listener.ring(&self.park);
                }
            }
        }
    }

    /// Whether a sequence has moved.
    fn hears(&mut self) -> bool {
        let mut moved = false;
        for Watched { view, relay, .. } in &mut self.watched {
            moved |= view.word().is_some_and(|word| relay.moved(word));
        }
        moved
    }

    /// Sleeps until a sequence moves or there is something in the inbox; `None` if the system
    /// refuses.
    fn sleep(&self, inbox: Ticket<'_>, until: Instant) -> Option<Wake> {
        let mut tickets = Vec::with_capacity(MOST_WORDS);
        tickets.push(inbox);
        for Watched { view, relay, .. } in &self.watched {
            tickets.extend(view.word().map(|word| relay.ticket(word)));
        }
        self.park.wait_any(&tickets, until).ok()
    }
}
