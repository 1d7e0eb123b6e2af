//! The times of records, from the processor's counter where reading it is cheaper than reading the clock.
//!
//! The wall clock is read about once a millisecond; in between, a line through its last readings says what
//! it would show. So a step of the clock is followed within a millisecond, and whatever else the counter
//! does (a virtual machine that moves to a host with another rate) is wrong for no longer.

use chronicle_sync::Clock;

/// For how long a line may be followed, in nanoseconds.
const SPAN_NS: u64 = 1_000_000;
/// Readings of the clock that are closer to each other than this say too little about the rate.
const CLOSE_NS: u64 = SPAN_NS / 8;
/// Readings that are further apart than this may have anything between them.
const FAR_NS: u64 = 1_000 * SPAN_NS;
/// A clock that is behind its line by more than this was set back, and is followed; by less, it is met
/// later, without going back.
const SET_BACK_NS: u64 = SPAN_NS / 100;
/// Two rates may differ by this part of them, in powers of two: a clock that is being adjusted goes at most
/// 500 millionths faster or slower (`adjtimex(2)`).
const UNSTEADY: u32 = 9;
/// A reading that took longer was interrupted, and nobody knows what the counter was when the clock was read.
const SLOW_NS: u64 = 2_000;
/// Fractions of a nanosecond that a rate is counted in, in powers of two.
const FRACTION: u32 = 32;
/// A counter slower than 2 MHz would be no clock for messages. A rate below this, and a span below twice
/// `SPAN_NS`, have a product that fits 64 bits.
const MOST_RATE: u64 = 500 << FRACTION;

/// What the wall clock shows, mostly without reading it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stamps {
    /// At this count of the counter it is `wall_ns`, and each further one adds `rate`.
    ticks: u64,
    wall_ns: u64,
    rate: u64,
    /// For how many counts that holds; 0 while there is no line.
    span: u64,
    /// The last reading that counted.
    last: Option<Reading>,
    /// The rate between the last two of them.
    steady: u64,
}

/// Counter and clock at one moment.
#[derive(Clone, Copy, Debug)]
struct Reading {
    ticks: u64,
    wall_ns: u64,
}

impl Stamps {
    /// Nanoseconds since 1970.
    #[inline(always)]
    pub(crate) fn now(&mut self, clock: &impl Clock) -> u64 {
        self.by_counter(clock).unwrap_or_else(|| self.read(clock))
    }

    /// The same, unless the clock itself has to be read for it.
    #[inline(always)]
    pub(crate) fn by_counter(&self, clock: &impl Clock) -> Option<u64> {
        let since = clock.ticks()?.wrapping_sub(self.ticks);
        (since < self.span).then(|| self.after(since))
    }

    #[inline(always)]
    fn after(&self, since: u64) -> u64 {
        // `since` is less than twice the span, so the product fits.
        self.wall_ns.wrapping_add(since.wrapping_mul(self.rate) >> FRACTION)
    }

    #[cold]
    fn read(&mut self, clock: &impl Clock) -> u64 {
        let before = clock.ticks();
        let wall_ns = clock.wall_ns();
        let (Some(before), Some(after)) = (before, clock.ticks()) else { return wall_ns };
        let took = after.wrapping_sub(before);
        if (u128::from(took) * u128::from(self.steady)) >> FRACTION > u128::from(SLOW_NS) {
            // Or the rate is wrong. Either way it begins anew.
            *self = Self::default();
            return wall_ns;
        }
        // Half of what the reading took.
        self.learn(Reading { ticks: before.wrapping_add(took / 2), wall_ns })
    }

    /// Lays a line through a new reading; the time at it.
    fn learn(&mut self, new: Reading) -> u64 {
        let Some(last) = self.last else {
            self.last = Some(new);
            return new.wall_ns;
        };
        let ticks = new.ticks.wrapping_sub(last.ticks);
        let elapsed = new.wall_ns.checked_sub(last.wall_ns);
        let rate = match elapsed {
            Some(elapsed) if elapsed < CLOSE_NS => return new.wall_ns,
            Some(elapsed) if elapsed <= FAR_NS => (elapsed << FRACTION).checked_div(ticks),
            _ => None,
        };
        self.last = Some(new);
        let rate = rate.filter(|rate| (1..MOST_RATE).contains(rate)).unwrap_or(0);
        let steady = rate.abs_diff(self.steady) <= self.steady >> UNSTEADY;
        self.steady = rate;
        // Where the old line has got to by now, if it may still be believed.
        let since = new.ticks.wrapping_sub(self.ticks);
        let shown = if since < self.span.saturating_mul(2) { self.after(since) } else { 0 };
        if rate == 0 || !steady {
            self.span = 0;
            return new.wall_ns;
        }
        let ahead = shown.saturating_sub(new.wall_ns);
        let ahead = if ahead <= SET_BACK_NS { ahead } else { 0 };
        self.ticks = new.ticks;
        self.wall_ns = new.wall_ns + ahead;
        // At most a hundredth slower: it meets the clock at the end of the span.
        self.rate = rate - (u128::from(rate) * u128::from(ahead) / u128::from(SPAN_NS)) as u64;
        self.span = (SPAN_NS << FRACTION) / rate;
        self.wall_ns
    }
}

#[cfg(test)]
mod tests {
    use core::cell::Cell;

    use chronicle_sync::Instant;

    use super::*;

    /// A counter, and a wall clock that goes by it.
    struct Fake {
        ticks: Cell<u64>,
        counts: bool,
        /// Counts per microsecond.
        rate: Cell<u64>,
        wall_ns: Cell<u64>,
        readings: Cell<u64>,
        /// For how long the next reading is interrupted, behind a look at the clock.
        interruption: Cell<u64>,
    }

    impl Clock for Fake {
        fn now(&self) -> Instant {
            Instant::from_nanos(0)
        }

        fn wall_ns(&self) -> u64 {
            self.readings.set(self.readings.get() + 1);
            let wall_ns = self.wall_ns.get();
            self.pass(self.interruption.take());
            wall_ns
        }

        fn boot(&self) -> u64 {
            1
        }

        fn ticks(&self) -> Option<u64> {
            self.counts.then(|| self.ticks.get())
        }
    }

    impl Fake {
        fn new(rate: u64) -> Self {
            Self {
                // It wraps on the way.
                ticks: Cell::new(u64::MAX - 20_000_000),
                counts: true,
                rate: Cell::new(rate),
                wall_ns: Cell::new(1_700_000_000_000_000_000),
                readings: Cell::new(0),
                interruption: Cell::new(0),
            }
        }

        fn pass(&self, nanos: u64) {
            self.wall_ns.set(self.wall_ns.get() + nanos);
            self.ticks.set(self.ticks.get().wrapping_add(nanos * self.rate.get() / 1000));
        }
    }

    #[test]
    fn stamps_are_the_clocks_and_the_clock_is_read_once_a_millisecond() {
        for rate in [10, 1_000, 2_500, 5_000] {
            let clock = Fake::new(rate);
            let mut stamps = Stamps::default();
            for _ in 0..200_000 {
                let stamp = stamps.now(&clock);
                assert!(stamp.abs_diff(clock.wall_ns.get()) <= 200, "at {rate}");
                clock.pass(100);
            }
            assert!(clock.readings.get() < 5_000, "{} at {rate}", clock.readings.get());
        }
    }

    #[test]
    fn a_clock_that_is_set_is_followed_within_a_millisecond() {
        let clock = Fake::new(2_500);
        let mut stamps = Stamps::default();
        for step in [3_600_000_000_000_i64, -3_600_000_000_000, 700_000, -700_000, 10, -10] {
            for _ in 0..100_000 {
                stamps.now(&clock);
                clock.pass(50);
            }
            clock.wall_ns.set(clock.wall_ns.get().wrapping_add_signed(step));
            for _ in 0..21_000 {
                stamps.now(&clock);
                clock.pass(50);
            }
            for _ in 0..100_000 {
                assert!(stamps.now(&clock).abs_diff(clock.wall_ns.get()) <= 100, "after {step}");
                clock.pass(50);
            }
        }
    }

    #[test]
    fn a_counter_that_changes_its_rate_or_jumps_misleads_for_no_longer_than_a_millisecond() {
        let clock = Fake::new(2_500);
        let mut stamps = Stamps::default();
        for (rate, jump) in [(2_500, 1 << 40), (1_200, 0), (3_000, 1 << 63), (3_000, 2_000_000)] {
            clock.ticks.set(clock.ticks.get().wrapping_add(jump));
            clock.rate.set(rate);
            for _ in 0..60_000 {
                stamps.now(&clock);
                clock.pass(50);
            }
            for _ in 0..100_000 {
                assert!(stamps.now(&clock).abs_diff(clock.wall_ns.get()) <= 100, "at {rate}");
                clock.pass(50);
            }
        }
    }

    #[test]
    fn a_reading_that_is_interrupted_spoils_no_stamp_behind_it() {
        for interruption in [3_000, 50_000, 1_000_000, 3_000_000, 20_000_000] {
            let clock = Fake::new(2_500);
            let mut stamps = Stamps::default();
            for turn in 0..400 {
                // Seldom enough that the interruption is a small part of the time between two readings.
                clock.interruption.set(if turn % 7 == 3 { interruption } else { 0 });
                stamps.now(&clock);
                assert!(clock.interruption.take() == 0 || turn < 3, "not read");
                for _ in 0..9 {
                    clock.pass(100_000);
                    let late = stamps.now(&clock).abs_diff(clock.wall_ns.get());
                    assert!(
                        late <= 3_000,
                        "{late} ns behind one of {interruption} ns, turn {turn}"
                    );
                }
                clock.pass(900_000_000);
            }
        }
    }

    #[test]
    fn stamps_do_not_go_back_where_readings_tremble() {
        let clock = Fake::new(2_500);
        let mut stamps = Stamps::default();
        let (mut last, mut state) = (0, 1_u64);
        for _ in 0..500_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let late = state >> 55;
            clock.wall_ns.set(clock.wall_ns.get() + late);
            let stamp = stamps.now(&clock);
            clock.wall_ns.set(clock.wall_ns.get() - late);
            // Before there is a line they are the readings themselves.
            assert!(stamp >= last || stamps.span == 0 || last - stamp <= 512);
            if stamps.span > 0 && stamp < last {
                panic!("{stamp} behind {last}");
            }
            last = stamp;
            clock.pass(80);
        }
    }

    #[test]
    fn without_a_counter_every_stamp_is_a_reading() {
        let clock = Fake { counts: false, ..Fake::new(1) };
        let mut stamps = Stamps::default();
        for _ in 0..10 {
            assert_eq!(stamps.now(&clock), clock.wall_ns.get());
            clock.pass(1_000_000);
        }
        assert_eq!(clock.readings.get(), 10);
    }
}
