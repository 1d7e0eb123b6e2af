//! A sleep on many readers at once.

use chronicle_format::Object;
use chronicle_sync::notify::{Barrier, Parked};
use chronicle_sync::notify_any::{Bell, Doorbell, MOST_WORDS, park_unless_any};
use chronicle_sync::{Clock, Instant, Park, Platform, ReadU32, Storage};

use super::Tailer;
use super::waiting::{Notify, SLICE, UNARMED_SLICE};
use crate::Result;
use crate::control::{News, Notifications, check_notify, notify_seq, waiters};
use crate::error::{Error, Operation};

/// One reader of a sleep on many.
pub struct Sleeper<'t, P: Platform> {
    /// The reader.
    pub tailer: &'t Tailer<P>,
    /// Whether a relay watches the queue's sequence ([`Tailer::view_notify`]) and rings the doorbell
    /// of the sleep, so that the word of this queue need not be slept on.
    pub relayed: bool,
}

/// Sleeps on many readers at once: one system call, whatever their number.
///
/// The steps are those of a wait for one queue, see section 8 of `docs/protocol.md`.
#[derive(Clone, Copy, Debug)]
pub struct ParkAny {
    words_at_once: usize,
    /// The system refused the barrier that being woken rests on.
    barrier_refused: bool,
}

impl ParkAny {
    /// Asks the system how many words it can sleep on.
    pub fn new<K: Park>(park: &K) -> Self {
        let words_at_once = park.words_at_once().clamp(1, MOST_WORDS);
        Self { words_at_once, barrier_refused: false }
    }

    /// How many queues can be slept on beside a doorbell. For more, give relayed ones; those that
    /// are neither make the sleep one of short slices.
    #[must_use]
    pub fn queues_at_once(&self) -> usize {
        self.words_at_once - 1
    }

    /// Sleeps until one of the readers may have something to look at, at most until `until`. Returns
    /// at once if one has. What it is, [`Tailer::is_ready`] of each reader says.
    ///
    /// `interrupted` is looked at like the readers: whoever makes it true rings the doorbell next.
    ///
    /// No reader sleeps for longer than 100 ms, and for no longer than 10 ms where a writer cannot
    /// be asked for a wake-up or there are more words than the system sleeps on.
    ///
    /// # Errors
    /// The platform's.
    pub fn sleep<'t, P: Platform + 't>(
        &mut self,
        platform: &P,
        sleepers: impl Iterator<Item = Sleeper<'t, P>> + Clone,
        doorbell: Option<&'t Doorbell>,
        interrupted: impl Fn() -> bool,
        until: Instant,
    ) -> Result<(), P> {
        let park = platform.park();
        let direct = sleepers.clone().filter(|sleeper| !sleeper.relayed).count();
        let is_short = self.barrier_refused
            || direct + usize::from(doorbell.is_some()) > self.words_at_once
            || sleepers.clone().any(|sleeper| !sleeper.tailer.can_be_woken());
        let slice = if is_short { UNARMED_SLICE } else { SLICE };
        let until = until.min(platform.clock().now().after(slice));
        // The doorbell's flag goes up before those of the queues that are relayed to it.
        let bells = doorbell
            .map(|doorbell| Bell::Asked(doorbell.waiters()))
            .into_iter()
            .chain(sleepers.clone().filter_map(|sleeper| sleeper.bell()));
        let barrier_refused = &mut self.barrier_refused;
        let wants_heavy = sleepers.clone();
        let heavy = move || {
            *barrier_refused = wants_heavy
                .map(|sleeper| sleeper.tailer.barrier())
                .any(|barrier| barrier == Barrier::Asymmetric)
                && !park.heavy_barrier();
        };
        let look = || {
            let has_news = sleepers.clone().any(|sleeper| sleeper.tailer.may_be_ready());
            (has_news || interrupted()).then_some(())
        };
        let parked: core::result::Result<Parked<()>, _> =
            park_unless_any(park, bells, until, heavy, look);
        parked.map(drop).map_err(Error::platform(Object::Notify, Operation::Wait))
    }

    /// Raises the flags of readers that are all relayed, and that of the doorbell, for a caller that
    /// sleeps by other means. Returns whether it may sleep: until the doorbell rings.
    ///
    /// The caller looks again after 100 ms all the same, or after 10 ms if
    /// [`needs_short_slices`](Self::needs_short_slices).
    pub fn arm<'t, P: Platform + 't>(
        &mut self,
        platform: &P,
        sleepers: impl Iterator<Item = Sleeper<'t, P>> + Clone,
        doorbell: &Doorbell,
    ) -> bool {
        let ticket = doorbell.waiters().raise();
        let mut is_asymmetric = false;
        for sleeper in sleepers.clone() {
            is_asymmetric |= sleeper.tailer.barrier() == Barrier::Asymmetric;
            if let Some(Bell::Asked(waiters) | Bell::Relayed(waiters)) = sleeper.bell() {
                let _heard_by_the_relay = waiters.raise();
            }
        }
        chronicle_sync::notify::sleeper_barrier(|| {
            self.barrier_refused = is_asymmetric && !platform.park().heavy_barrier();
        });
        // A ring whose flag was not up yet shows in the sequence.
        !ticket.has_moved() && !sleepers.clone().any(|sleeper| sleeper.tailer.may_be_ready())
    }

    /// Whether the system refused the barrier that being woken rests on.
    #[must_use]
    pub fn needs_short_slices(&self) -> bool {
        self.barrier_refused
    }
}

impl<'t, P: Platform> Sleeper<'t, P> {
    fn bell(&self) -> Option<Bell<'t>> {
        let news = self.tailer.news();
        match (&self.tailer.notify, self.relayed) {
            (Notify::Armed(region), false) => waiters(region, news).map(Bell::Asked),
            (Notify::Armed(region), true) => waiters(region, news).map(Bell::Relayed),
            (Notify::Watching(region), false) => notify_seq(region, news).map(Bell::Watched),
            (Notify::Watching(_), true) => None,
        }
    }
}

impl<P: Platform> Clone for Sleeper<'_, P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P: Platform> Copy for Sleeper<'_, P> {}

/// The sequence on which a reader sleeps, in a mapping of its own: for a relay in another
/// thread ([`chronicle_sync::notify_any::Relay`]).
pub struct NotifyView<P: Platform> {
    region: Notifications<<P::Storage as Storage>::View>,
    news: News,
}

impl<P: Platform> NotifyView<P> {
    /// The word.
    #[must_use]
    pub fn word(&self) -> Option<ReadU32<'_>> {
        notify_seq(&self.region, self.news)
    }
}

impl<P: Platform> Tailer<P> {
    /// Whether there is a record to be read: steps over everything that is not for the user.
    ///
    /// # Errors
    /// Those of [`next`](Self::next).
    pub fn is_ready(&mut self) -> Result<bool, P> {
        self.settle()
    }

    /// Maps the sequence on which this reader sleeps once more.
    ///
    /// # Errors
    /// The platform's, and [`Error::Format`].
    pub fn view_notify(&self) -> Result<NotifyView<P>, P> {
        let region = self.platform.storage().view(&Object::Notify);
        let region = region.map_err(Error::platform(Object::Notify, Operation::Open))?;
        Ok(NotifyView { region: check_notify(region)?, news: self.news() })
    }

    /// Whether there may be a record: something is in the slot, or the log goes on in the next
    /// segment; for a reader of durable records, whether the watermark has passed its place. A few
    /// loads, nothing is opened or verified; for spinning.
    #[must_use]
    pub fn may_be_ready(&self) -> bool {
        self.has_news()
    }
}
