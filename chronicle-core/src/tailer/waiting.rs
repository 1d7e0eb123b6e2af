//! How a reader waits for the next record.

use core::hint::spin_loop;
use core::time::Duration;

use chronicle_format::Object;
use chronicle_sync::mutation::{Mutant, seeded};
use chronicle_sync::notify::{Barrier, Ticket};
use chronicle_sync::record;
use chronicle_sync::seal;
use chronicle_sync::{Clock, Error as _, ErrorKind, Instant, Park, Platform, Region, Storage};

use super::{Tailer, Visibility};
use crate::Result;
use crate::control::{News, Notifications, check_notify, notify_seq, waiters};
use crate::error::{Error, Operation};
use crate::segment::{Segment, open_segment};
use crate::wait::{WaitOutcome, WaitStrategy, WriterStatus, writer_status};

/// The longest that a reader sleeps without looking. A writer that dies before its wake-up costs
/// that much once.
pub(super) const SLICE: Duration = Duration::from_millis(100);
/// The same for a reader that the writer cannot wake, because it may not raise the flag.
pub(super) const UNARMED_SLICE: Duration = Duration::from_millis(10);
/// Looks at the slot between two looks at the clock.
const SPINS: u32 = 128;

/// What a reader sleeps on that was armed by [`Tailer::arm`].
#[derive(Clone, Copy, Debug)]
pub struct Armed<'t> {
    /// Sleep while its word holds what it saw.
    pub ticket: Ticket<'t>,
    /// Look again after this time, whatever was heard until then: 100 ms, or 10 ms where no writer can
    /// be asked for a wake-up.
    pub at_most: Duration,
}

/// The words on which readers wait.
pub(crate) enum Notify<S: Storage> {
    /// The reader may raise the flag, so the writer wakes it.
    Armed(Notifications<S::Map>),
    /// The reader may only look: it wakes when somebody else is woken, and by its own time-out.
    Watching(Notifications<S::View>),
}

impl<S: Storage> Notify<S> {
    pub(crate) fn open<P: Platform<Storage = S>>(platform: &P) -> Result<Self, P>
    where
        S: Storage<Error = P::Error>,
    {
        let opened = || Error::platform(Object::Notify, Operation::Open);
        match platform.storage().open(&Object::Notify) {
            Ok(region) => check_notify(region).map(Self::Armed),
            Err(error) if error.kind() == ErrorKind::Denied => {
                let region = platform.storage().view(&Object::Notify).map_err(opened())?;
                check_notify(region).map(Self::Watching)
            }
            Err(error) => Err(opened()(error)),
        }
    }

    /// One round of sleep until `until` at the latest, in a slice that bounds what a lost wake-up
    /// costs; none if `look` says that there is something. `barrier` is that of whoever wakes.
    pub(crate) fn park<P: Platform<Storage = S>>(
        &self,
        platform: &P,
        news: News,
        until: Instant,
        barrier: impl FnOnce() -> Barrier,
        barrier_refused: &mut bool,
        look: impl Fn() -> bool,
    ) -> Result<(), P>
    where
        S: Storage<Error = P::Error>,
    {
        let park = platform.park();
        let now = platform.clock().now();
        let slice = if *barrier_refused { UNARMED_SLICE } else { SLICE };
        let waited = match self {
            Self::Armed(region) => {
                let Some(waiters) = waiters(region, news) else { return Ok(()) };
                let heavy = || {
                    *barrier_refused = barrier() == Barrier::Asymmetric && !park.heavy_barrier();
                };
                let until = until.min(now.after(slice));
                waiters.park_unless(park, until, heavy, || look().then_some(())).map(drop)
            }
            Self::Watching(region) => {
                let Some(word) = notify_seq(region, news) else { return Ok(()) };
                let seen = word.load_acquire();
                if look() {
                    return Ok(());
                }
                let until = until.min(now.after(UNARMED_SLICE));
                park.wait(word.as_atomic(), seen, until).map(drop)
            }
        };
        waited.map_err(Error::platform(Object::Notify, Operation::Wait))
    }
}

impl<P: Platform> Tailer<P> {
    /// Waits until there is a record, at most until `until`.
    ///
    /// After `writer_limit` without a record the writer is looked at: [`WaitOutcome::Writer`] says
    /// that it is [`Dead`](WriterStatus::Dead) or [`Stalled`](WriterStatus::Stalled).
    ///
    /// # Errors
    /// Those of [`next`](Self::next), and the platform's.
    pub fn wait(
        &mut self,
        strategy: WaitStrategy,
        until: Instant,
        writer_limit: Option<Duration>,
    ) -> Result<WaitOutcome, P> {
        if self.settle()? {
            return Ok(WaitOutcome::Ready);
        }
        let started = self.platform.clock().now();
        let spin_until = match strategy {
            WaitStrategy::BusySpin => Instant::NEVER,
            WaitStrategy::SpinThenPark { spin } => started.after(spin),
            WaitStrategy::Park => started,
        };
        let mut look_at_writer = writer_limit.map_or(Instant::NEVER, |limit| started.after(limit));
        loop {
            let now = self.platform.clock().now();
            if now >= until {
                return Ok(WaitOutcome::TimedOut);
            }
            if let Some(limit) = writer_limit
                && now >= look_at_writer
            {
                match writer_status(&self.platform, &self.control, limit)? {
                    status @ (WriterStatus::Dead | WriterStatus::Stalled) => {
                        if seeded(Mutant::ReaderSealsForDeadWriter) {
                            open_segment(&self.platform, self.segment.id, &self.geometry)?
                                .seal_at(self.offset);
                        }
                        return Ok(WaitOutcome::Writer(status));
                    }
                    _ => look_at_writer = now.after(limit),
                }
            }
            if now < spin_until {
                for _ in 0..SPINS {
                    if self.has_news() {
                        break;
                    }
                    spin_loop();
                }
            } else {
                self.park(until.min(look_at_writer))?;
            }
            if self.settle()? {
                return Ok(WaitOutcome::Ready);
            }
        }
    }

    /// Asks the writer for a wake-up, for a caller that sleeps by other means than [`Park::wait`]: a
    /// task of an executor, a loop that waits for other things too. `None` if there may be something
    /// already: look, and arm again before the next sleep.
    ///
    /// Nothing is held open between arming and sleeping, and one who does not sleep costs the writer
    /// one wake-up. Who sleeps by comparing the word does so in one step with regard to
    /// [`Park::wake`], as [`Park::wait`] does, or the wake-up falls in between.
    #[must_use]
    pub fn arm(&self) -> Option<Armed<'_>> {
        let park = self.platform.park();
        let mut at_most = SLICE;
        // The words lie inside: `notify.meta` was checked when it was opened.
        let ticket = match &self.notify {
            Notify::Armed(region) => waiters(region, self.news())?.arm(|| {
                if self.barrier() == Barrier::Asymmetric && !park.heavy_barrier() {
                    at_most = UNARMED_SLICE;
                }
            }),
            Notify::Watching(region) => {
                at_most = UNARMED_SLICE;
                Ticket::watching(notify_seq(region, self.news())?)
            }
        };
        (!self.has_news()).then_some(Armed { ticket, at_most })
    }

    /// Whether a writer can wake this reader. One that may not write to `notify.meta` looks every
    /// ten milliseconds instead.
    #[must_use]
    pub fn can_be_woken(&self) -> bool {
        matches!(self.notify, Notify::Armed(_))
    }

    /// What the writer is doing; inside a claim or the making of a segment for longer than `limit` is stalled.
    ///
    /// # Errors
    /// The platform's.
    pub fn writer_status(&self, limit: Duration) -> Result<WriterStatus, P> {
        writer_status(&self.platform, &self.control, limit)
    }

    /// Whether there is something to look at that was not there when this reader last looked.
    #[inline]
    pub(crate) fn has_news(&self) -> bool {
        match self.visibility {
            Visibility::Visible => has_news(&self.segment, self.offset),
            Visibility::Durable => {
                self.control.durable_seq().is_some_and(|durable| self.seq < durable)
            }
        }
    }

    /// What this reader waits for.
    pub(super) fn news(&self) -> News {
        match self.visibility {
            Visibility::Visible => News::Visible,
            Visibility::Durable => News::Durable,
        }
    }

    /// The barrier of whoever wakes this reader.
    pub(super) fn barrier(&self) -> Barrier {
        match self.visibility {
            Visibility::Visible => self.control.barrier(),
            Visibility::Durable => Barrier::Full,
        }
    }

    fn park(&mut self, until: Instant) -> Result<(), P> {
        let mut barrier_refused = self.barrier_refused;
        let barrier = self.barrier();
        let parked = self.notify.park(
            &self.platform,
            self.news(),
            until,
            || barrier,
            &mut barrier_refused,
            || self.has_news(),
        );
        self.barrier_refused = barrier_refused;
        parked
    }
}

/// What a reader that waits for visible records looks for.
#[inline]
pub(super) fn has_news<R: Region>(segment: &Segment<R>, offset: u64) -> bool {
    let committed = || record::is_committed(&segment.region, offset);
    segment.seal_word().is_some_and(|word| seal::has_news(word, committed))
}
