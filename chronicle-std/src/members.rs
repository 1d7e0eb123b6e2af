use std::collections::HashMap;

use chronicle_core::{Sleeper, WaitOutcome, WriterStatus};
use chronicle_sync::{Clock, Instant, Platform};

use crate::backend::{Backend, SystemClock};
use crate::{QueueError, QueueReader};

/// A reader in a set. No other reader of that set, earlier or later, has the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(u64);

/// What became of one reader of a set.
#[derive(Debug)]
pub struct WaitEvent {
    /// The reader.
    pub member: MemberId,
    /// [`Ready`](WaitOutcome::Ready): there is a message, and the next wait says so again until it
    /// is read. [`Writer`](WaitOutcome::Writer): there was none for the reader's `writer_timeout`,
    /// and its writer is dead or stalled; said again after the same time.
    ///
    /// An error is said once: the reader is then left alone until
    /// [`reader_mut`](crate::WaitSet::reader_mut) was called for it.
    pub outcome: Result<WaitOutcome, QueueError>,
}

pub(crate) struct Member {
    pub(crate) id: MemberId,
    pub(crate) reader: QueueReader,
    /// A relay listens to its queue.
    pub(crate) relayed: bool,
    /// An error was said, and nobody has looked after the reader since.
    failed: bool,
    look_at_writer: Instant,
}

/// The readers of a set.
#[derive(Default)]
pub(crate) struct Members {
    list: Vec<Member>,
    places: HashMap<MemberId, usize>,
    next_id: u64,
}

impl Members {
    /// Makes an id for [`insert`](Self::insert).
    pub(crate) fn new_id(&mut self) -> MemberId {
        let id = MemberId(self.next_id);
        self.next_id += 1;
        id
    }

    pub(crate) fn insert(&mut self, id: MemberId, reader: QueueReader, relayed: bool) {
        let now = reader.tailer.platform().clock().now();
        let look_at_writer = next_look(&reader, now);
        self.places.insert(id, self.list.len());
        self.list.push(Member { id, reader, relayed, failed: false, look_at_writer });
    }

    pub(crate) fn remove(&mut self, id: MemberId) -> Option<Member> {
        let at = self.places.remove(&id).filter(|at| *at < self.list.len())?;
        let member = self.list.swap_remove(at);
        if let Some(moved) = self.list.get(at) {
            self.places.insert(moved.id, at);
        }
        Some(member)
    }

    pub(crate) fn reader(&self, id: MemberId) -> Option<&QueueReader> {
        self.list.get(*self.places.get(&id)?).map(|member| &member.reader)
    }

    pub(crate) fn reader_mut(&mut self, id: MemberId) -> Option<&mut QueueReader> {
        let member = self.list.get_mut(*self.places.get(&id)?)?;
        member.failed = false;
        Some(&mut member.reader)
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = MemberId> {
        self.list.iter().map(|member| member.id)
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    /// How many queues are slept on directly.
    pub(crate) fn direct(&self) -> usize {
        self.list.iter().filter(|member| !member.relayed).count()
    }

    /// Any reader: for what is the same for all of them.
    pub(crate) fn first(&self) -> Option<&QueueReader> {
        self.list.first().map(|member| &member.reader)
    }

    /// Those that are waited for.
    pub(crate) fn sleepers(&self) -> impl Iterator<Item = Sleeper<'_, Backend>> + Clone {
        let waited_for = self.list.iter().filter(|member| !member.failed);
        waited_for.map(|member| Sleeper { tailer: &member.reader.tailer, relayed: member.relayed })
    }

    /// Publishes what is counted of the readers and due, and says when something will be.
    pub(crate) fn publish_due(&mut self, now: Instant) -> Instant {
        let due = self.list.iter_mut().filter_map(|member| {
            let QueueReader { tailer, counts, .. } = &mut member.reader;
            counts.before_sleep(tailer, || now)
        });
        due.min().unwrap_or(Instant::NEVER)
    }

    /// Publishes what is counted of the readers.
    pub(crate) fn publish(&mut self) {
        for member in &mut self.list {
            let QueueReader { tailer, counts, .. } = &mut member.reader;
            counts.publish(tailer);
        }
    }

    /// When the next writer is to be looked at.
    pub(crate) fn next_look(&self) -> Instant {
        let waited_for = self.list.iter().filter(|member| !member.failed);
        waited_for.map(|member| member.look_at_writer).min().unwrap_or(Instant::NEVER)
    }

    /// Looks at all readers, and at the writers whose time has come.
    pub(crate) fn scan(&mut self, clock: &SystemClock, events: &mut Vec<WaitEvent>) {
        let now = clock.now();
        for member in self.list.iter_mut().filter(|member| !member.failed) {
            let outcome = member.look(now);
            member.failed = matches!(outcome, Some(Err(_)));
            events.extend(outcome.map(|outcome| WaitEvent { member: member.id, outcome }));
        }
    }
}

impl Member {
    fn look(&mut self, now: Instant) -> Option<Result<WaitOutcome, QueueError>> {
        match self.reader.is_ready() {
            Ok(true) => {
                self.look_at_writer = next_look(&self.reader, now);
                return Some(Ok(WaitOutcome::Ready));
            }
            Ok(false) => {}
            Err(error) => return Some(Err(error)),
        }
        if now < self.look_at_writer {
            return None;
        }
        self.look_at_writer = next_look(&self.reader, now);
        match self.reader.writer_status(self.reader.writer_timeout?) {
            Ok(status @ (WriterStatus::Dead | WriterStatus::Stalled)) => {
                Some(Ok(WaitOutcome::Writer(status)))
            }
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        }
    }
}

fn next_look(reader: &QueueReader, now: Instant) -> Instant {
    reader.writer_timeout.map_or(Instant::NEVER, |limit| now.after(limit))
}
