//! Sleeping as far as one thread can see it, time and numbers.

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::time::Duration;

use chronicle_sync::notify::Barrier;
use chronicle_sync::{
    Clock, Instant, Object, Park, Platform, RegionExt, RegionMutExt, Storage, Wake,
};

use crate::Harness;
use crate::bench::{Bench, done, there};
use crate::report::{Stop, Verdict, ensure};

/// A wait that returns this often for no reason does not sleep.
const MOST_RETURNS: u32 = 10_000_000;

pub(crate) fn a_word_that_has_moved_is_not_slept_on<H: Harness>(harness: &H) -> Verdict {
    let bench = Bench::new(harness);
    let map = bench.make(&Object::Notify, 4096)?;
    there("a word", map.publish_u32(64, 1))?;
    let word = there("a word", map.word_u32(64))?;
    let until = bench.one.clock().now().after(harness.patience());
    let wake = done("wait", bench.one.park().wait(word, 0, until))?;
    ensure!(wake == Wake::Woken, "a word that does not hold the expected value was slept on");
    Ok(())
}

pub(crate) fn a_wait_does_not_time_out_early_and_ends<H: Harness>(harness: &H) -> Verdict {
    let bench = Bench::new(harness);
    let map = bench.make(&Object::Notify, 4096)?;
    let word = there("a word", map.word_u32(64))?;
    let (park, clock) = (bench.one.park(), bench.one.clock());
    // The beginning of the clock is a point in the past too.
    for until in
        [Instant::from_nanos(0), clock.now(), clock.now().after(Duration::from_micros(500))]
    {
        let mut returns = 0;
        loop {
            let wake = done("wait", park.wait(word, 0, until))?;
            let now = clock.now();
            ensure!(
                wake != Wake::TimedOut || now >= until,
                "a wait timed out {:?} too early",
                until.since(now)
            );
            if wake == Wake::TimedOut || now >= until {
                break;
            }
            returns += 1;
            ensure!(returns < MOST_RETURNS, "waits return and time stands still");
        }
    }
    Ok(())
}

pub(crate) fn a_view_can_be_slept_on<H: Harness>(harness: &H) -> Verdict {
    let bench = Bench::new(harness);
    drop(bench.make(&Object::Notify, 4096)?);
    let view = done("view", bench.other().view(&Object::Notify))?;
    let word = there("a word", view.read_u32(64))?.as_atomic();
    let until = bench.other.clock().now().after(Duration::from_micros(500));
    done("wait on a view", bench.other.park().wait(word, 0, until))?;
    let wake = done("wait on a view", bench.other.park().wait(word, 1, until))?;
    ensure!(
        wake == Wake::Woken || bench.other.clock().now() >= until,
        "a word that does not hold the expected value was slept on"
    );
    Ok(())
}

pub(crate) fn nobody_is_woken_where_nobody_sleeps<H: Harness>(harness: &H) -> Verdict {
    let bench = Bench::new(harness);
    let map = bench.make(&Object::Notify, 4096)?;
    let word = there("a word", map.word_u32(64))?;
    for at_most in [NonZeroU32::MIN, NonZeroU32::MAX] {
        let woken = done("wake", bench.one.park().wake(word, at_most))?;
        ensure!(woken == 0, "{woken} were woken where nobody sleeps");
    }
    Ok(())
}

pub(crate) fn an_asymmetric_barrier_can_be_made<H: Harness>(harness: &H) -> Verdict {
    let bench = Bench::new(harness);
    if bench.one.park().enlist() == Barrier::Full {
        return Err(Stop::Skipped("writers make their own barrier, which is allowed".to_owned()));
    }
    ensure!(
        bench.other.park().heavy_barrier(),
        "a writer may leave its barrier out and sleepers cannot make it for it"
    );
    Ok(())
}

pub(crate) fn time_does_not_run_backwards<H: Harness>(harness: &H) -> Verdict {
    let bench = Bench::new(harness);
    let mut last = bench.one.clock().now();
    for _ in 0..1000 {
        for platform in [&bench.other, &bench.one] {
            let now = platform.clock().now();
            ensure!(now >= last, "time ran backwards by {:?}", last.since(now));
            last = now;
        }
    }
    ensure!(last < Instant::NEVER, "it is never");
    Ok(())
}

pub(crate) fn all_handles_are_in_the_same_boot<H: Harness>(harness: &H) -> Verdict {
    let bench = Bench::new(harness);
    let boot = bench.one.clock().boot();
    ensure!(boot != 0, "the boot has the number that stands for none");
    for platform in [&bench.one, &bench.other, &harness.open(&bench.place)] {
        let other = platform.clock().boot();
        ensure!(other == boot, "two handles in one boot, {boot:#x} and {other:#x}");
    }
    Ok(())
}

pub(crate) fn numbers_differ<H: Harness>(harness: &H) -> Verdict {
    let bench = Bench::new(harness);
    let mut seen = HashSet::new();
    for _ in 0..500 {
        let anew = harness.open(&bench.place);
        for platform in [&bench.one, &bench.other, &anew] {
            let number = platform.entropy();
            ensure!(seen.insert(number), "{number:#x} was given twice");
        }
    }
    Ok(())
}
