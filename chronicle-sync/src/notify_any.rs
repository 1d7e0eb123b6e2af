//! Sleeping on many wait queues at once. Models "L2 any" and "L2 relay".
//!
//! The steps are those of [`notify`](crate::notify), each taken for all queues before the next one:
//! sample every sequence and raise every flag, one barrier, look everywhere, sleep while no sequence
//! has moved. One barrier is enough, because it stands between each flag and each look.
//!
//! A system sleeps on a bounded number of words at once ([`Park::words_at_once`]). For the queues
//! beyond it a [`Relay`] in another thread watches the sequences and rings a [`Doorbell`], a wait
//! queue of this process, which is one of the words that are slept on. The relay raises no flag and
//! looks at no record. What keeps the chain whole is that it rings after every move that it sees,
//! and after the first look at a word, behind which earlier moves may lie.

use heapless::Vec;

use crate::mutation::{Mutant, seeded};
use crate::notify::{Barrier, Parked, Ticket, Waiters, sleeper_barrier};
use crate::platform::{Instant, Park, Wake};
use crate::primitive::{AtomicU32, Ordering, ReadU32};

/// The most words that a sleep on many is ever made of: `FUTEX_WAITV_MAX` of Linux.
pub const MOST_WORDS: usize = 128;

/// One of the wait queues of a sleep on many.
#[derive(Clone, Copy, Debug)]
pub enum Bell<'a> {
    /// The writer is asked for a wake-up, and the sequence is slept on.
    Asked(Waiters<'a>),
    /// The writer is asked for a wake-up, and a [`Relay`] hears it.
    Relayed(Waiters<'a>),
    /// The flag may not be raised: the sequence is slept on, and moves when others are woken.
    Watched(ReadU32<'a>),
}

/// One round on many wait queues: raises the flags, looks once more, and sleeps until a sequence
/// moves or `until`.
///
/// Sleeps on the first [`MOST_WORDS`] bells that are not relayed. A caller that has more, or more
/// than [`Park::words_at_once`], or a bell that is only watched, gives a near `until`.
///
/// # Errors
/// Those of [`Park::wait_any`].
pub fn park_unless_any<'a, P: Park, T>(
    park: &P,
    bells: impl IntoIterator<Item = Bell<'a>>,
    until: Instant,
    heavy: impl FnOnce(),
    mut look: impl FnMut() -> Option<T>,
) -> Result<Parked<T>, P::Error> {
    let mut tickets = Vec::<Ticket<'a>, MOST_WORDS>::new();
    for bell in bells {
        let ticket = match bell {
            Bell::Asked(waiters) => waiters.raise(),
            Bell::Watched(word) => Ticket::watching(word),
            Bell::Relayed(waiters) => {
                let _heard_by_the_relay = waiters.raise();
                continue;
            }
        };
        // What does not fit is looked at when the caller's near `until` has come.
        let _ = tickets.push(ticket);
    }
    sleeper_barrier(heavy);
    if !seeded(Mutant::NotifyAnyNoRecheck)
        && let Some(found) = look()
    {
        return Ok(Parked::Ready(found));
    }
    if seeded(Mutant::NotifyAnyFirstOnly) {
        tickets.truncate(1);
    }
    Ok(match park.wait_any(&tickets, until)? {
        Wake::Woken => Parked::Woken,
        Wake::TimedOut => Parked::TimedOut,
    })
}

/// A wait queue in the memory of one process: what a [`Relay`] rings.
#[derive(Debug)]
pub struct Doorbell {
    waiting: AtomicU32,
    notify_seq: AtomicU32,
}

impl Doorbell {
    /// One on which nobody sleeps.
    #[must_use]
    pub fn new() -> Self {
        Self { waiting: AtomicU32::new(0), notify_seq: AtomicU32::new(0) }
    }

    /// Its words.
    #[must_use]
    pub fn waiters(&self) -> Waiters<'_> {
        Waiters { waiting: &self.waiting, notify_seq: &self.notify_seq }
    }

    /// Moves the sequence, and wakes whoever sleeps on it: a system call if somebody does.
    ///
    /// # Errors
    /// Those of [`Park::wake`].
    pub fn ring<P: Park>(&self, park: &P) -> Result<(), P::Error> {
        if self.announce() { self.waiters().wake_all(park) } else { Ok(()) }
    }

    /// The first half of [`ring`](Self::ring): moves the sequence, and says whether somebody is to
    /// be woken by [`Waiters::wake_all`] or [`wake_all_by`](Waiters::wake_all_by).
    #[must_use]
    pub fn announce(&self) -> bool {
        if !seeded(Mutant::NotifyRingUnannounced) {
            // Even if nobody sleeps: whoever samples the sequence next has to have behind itself
            // what the relay has behind itself, the flag of a queue that its writer took down.
            // ORDER: Release, with the Acquire load in `Waiters::raise`.
            self.notify_seq.fetch_add(1, Ordering::Release);
        }
        self.waiters().someone_waits(Barrier::Full)
    }
}

impl Default for Doorbell {
    fn default() -> Self {
        Self::new()
    }
}

/// What somebody who relays wake-ups has seen of one queue's sequence.
///
/// Look at every word with [`moved`](Self::moved); ring if one has; look again; sleep on the
/// [`ticket`](Self::ticket)s once none has.
#[derive(Clone, Copy, Debug, Default)]
pub struct Relay {
    seen: Option<u32>,
}

impl Relay {
    /// Nothing was seen yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { seen: None }
    }

    /// Looks at the word: whether a ring is due, because it has moved since the last look, or may
    /// have moved before the first one.
    #[must_use]
    pub fn moved(&mut self, word: ReadU32<'_>) -> bool {
        // ORDER: Acquire, with the Release step in `Waiters::wake_all`: whoever hears the ring has
        // the flag that was taken down for it behind itself.
        let now = word.load_acquire();
        let before = self.seen.replace(now);
        if seeded(Mutant::NotifyRelayFirstSilent) && before.is_none() {
            return false;
        }
        before != Some(now)
    }

    /// What to sleep on: the word while it holds what was last seen.
    #[must_use]
    pub fn ticket<'a>(&self, word: ReadU32<'a>) -> Ticket<'a> {
        match self.seen {
            Some(seen) if !seeded(Mutant::NotifyRelaySampledLate) => {
                Ticket::of(word.as_atomic(), seen)
            }
            _ => Ticket::watching(word),
        }
    }
}
