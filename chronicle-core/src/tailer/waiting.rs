//! How a reader waits for the next record.

use core::hint::spin_loop;
use core::time::Duration;

use chronicle_format::Object;
use chronicle_sync::notify::Barrier;
use chronicle_sync::record;
use chronicle_sync::seal;
use chronicle_sync::{Clock, Error as _, ErrorKind, Instant, Park, Platform, Storage};

use super::Tailer;
use crate::Result;
use crate::control::{check_notify, visible_notify_seq, visible_waiters};
use crate::error::{Error, Operation};
use crate::segment::Segment;
use crate::wait::{WaitOutcome, WaitStrategy, WriterStatus, writer_status};

/// The longest that a reader sleeps without looking. A writer that dies before its wake-up costs
/// that much once.
const SLICE: Duration = Duration::from_millis(100);
/// The same for a reader that the writer cannot wake, because it may not raise the flag.
const UNARMED_SLICE: Duration = Duration::from_millis(10);
/// Looks at the slot between two looks at the clock.
const SPINS: u32 = 128;

/// The words on which a reader waits.
pub(super) enum Notify<S: Storage> {
    /// The reader may raise the flag, so the writer wakes it.
    Armed(S::Map),
    /// The reader may only look: it wakes when somebody else is woken, and by its own time-out.
    Watching(S::View),
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
                        return Ok(WaitOutcome::Writer(status));
                    }
                    _ => look_at_writer = now.after(limit),
                }
            }
            if now < spin_until {
                for _ in 0..SPINS {
                    if has_news(&self.segment, self.offset) {
                        break;
                    }
                    spin_loop();
                }
            } else {
                self.park(now, until.min(look_at_writer))?;
            }
            if self.settle()? {
                return Ok(WaitOutcome::Ready);
            }
        }
    }

    /// Whether a writer can wake this reader. One that may not write to `notify.meta` looks every
    /// ten milliseconds instead.
    #[must_use]
    pub fn can_be_woken(&self) -> bool {
        matches!(self.notify, Notify::Armed(_))
    }

    /// What the writer is doing; inside a claim or a roll for longer than `limit` is stalled.
    ///
    /// # Errors
    /// The platform's.
    pub fn writer_status(&self, limit: Duration) -> Result<WriterStatus, P> {
        writer_status(&self.platform, &self.control, limit)
    }

    fn park(&mut self, now: Instant, until: Instant) -> Result<(), P> {
        let Self { segment, offset, notify, control, platform, barrier_refused, .. } = self;
        let park = platform.park();
        let slice = if *barrier_refused { UNARMED_SLICE } else { SLICE };
        let waited = match notify {
            Notify::Armed(region) => {
                let Some(waiters) = visible_waiters(region) else { return Ok(()) };
                let heavy = || {
                    *barrier_refused =
                        control.barrier() == Barrier::Asymmetric && !park.heavy_barrier();
                };
                let look = || has_news(segment, *offset).then_some(());
                waiters.park_unless(park, until.min(now.after(slice)), heavy, look).map(drop)
            }
            Notify::Watching(region) => {
                let Some(word) = visible_notify_seq(region) else { return Ok(()) };
                let seen = word.load_acquire();
                if has_news(segment, *offset) {
                    return Ok(());
                }
                let until = until.min(now.after(UNARMED_SLICE));
                park.wait(word.as_atomic(), seen, until).map(drop)
            }
        };
        waited.map_err(Error::platform(Object::Notify, Operation::Wait))
    }
}

/// What a waiting reader looks for.
#[inline]
pub(super) fn has_news<R: chronicle_sync::Region>(segment: &Segment<R>, offset: u64) -> bool {
    let committed = || record::is_committed(&segment.region, offset);
    segment.seal_word().is_some_and(|word| seal::has_news(word, committed))
}

pub(super) fn open_notify<P: Platform>(platform: &P) -> Result<Notify<P::Storage>, P> {
    let opened = || Error::platform(Object::Notify, Operation::Open);
    match platform.storage().open(&Object::Notify) {
        Ok(region) => check_notify(region).map(Notify::Armed),
        Err(error) if error.kind() == ErrorKind::Denied => {
            let region = platform.storage().view(&Object::Notify).map_err(opened())?;
            check_notify(region).map(Notify::Watching)
        }
        Err(error) => Err(opened()(error)),
    }
}
