//! Hints about names.

use std::time::Duration;

use chronicle_sync::{Clock, Platform, Storage, Wake, Watch};

use crate::Watches;
use crate::bench::{Bench, done, segment};
use crate::report::{Verdict, ensure};

pub(crate) fn names_that_come_and_go_wake<H: Watches>(harness: &H) -> Verdict {
    let bench = Bench::new(harness);
    let mut watch = harness.watch(&bench.one);
    let until = bench.one.clock().now().after(harness.patience());
    drop(bench.make(&segment(0), 4096)?);
    let wake = done("wait for a name that came", watch.wait(until))?;
    ensure!(wake == Wake::Woken, "a name that came woke nobody");
    done("remove", bench.other().remove(&segment(0)))?;
    let wake = done("wait for a name that went", watch.wait(until))?;
    ensure!(wake == Wake::Woken, "a name that went woke nobody");
    Ok(())
}

pub(crate) fn a_quiet_watch_times_out_and_not_early<H: Watches>(harness: &H) -> Verdict {
    let bench = Bench::new(harness);
    let mut watch = harness.watch(&bench.one);
    let clock = bench.one.clock();
    let until = clock.now().after(Duration::from_millis(20));
    let limit = clock.now().after(harness.patience());
    loop {
        let wake = done("wait", watch.wait(until))?;
        let now = clock.now();
        if wake == Wake::TimedOut {
            ensure!(now >= until, "a wait timed out {:?} too early", until.since(now));
            return Ok(());
        }
        // For no reason is allowed, for ever is not.
        ensure!(now < limit, "a watch that nothing happens to wakes again and again");
    }
}
