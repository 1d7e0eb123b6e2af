use core::time::Duration;

/// A point on a clock that never runs backwards, in nanoseconds since some moment of this boot.
///
/// All processes of one host share the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(u64);

impl Instant {
    /// A point that never comes.
    pub const NEVER: Self = Self(u64::MAX);

    /// The point at so many nanoseconds.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the clock's beginning.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The point `duration` later, or [`NEVER`](Self::NEVER) if there is no such point.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }

    /// Time from `earlier` to this point; zero if it is the later one.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// What time it is.
pub trait Clock {
    /// Time that never runs backwards, for deadlines and for how long something has lasted.
    fn now(&self) -> Instant;

    /// Nanoseconds since 1970, as people set it: may jump. Data for records, never a reason to act.
    fn wall_ns(&self) -> u64;

    /// A counter that goes on at one rate, whichever thread of the process reads it, and takes less time
    /// to read than [`wall_ns`](Self::wall_ns); `None` where there is none. It may wrap.
    ///
    /// Appenders follow it for a millisecond at a time between two readings of the wall clock.
    #[inline]
    fn ticks(&self) -> Option<u64> {
        None
    }

    /// Identity of the boot in which [`now`](Self::now) counts; never 0. Two readings of `now` may
    /// be compared only if this is the same.
    fn boot(&self) -> u64;
}
