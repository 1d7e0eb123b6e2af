//! One file for each kind of measurement: what the measuring processes do.

pub mod appends;
pub mod drive;
pub mod followers;
pub mod reopen;
pub mod rolls;
pub mod scan;
pub mod seek;

use anyhow::Result;
use rustix::time::{ClockId, clock_gettime};

/// Processor time of the calling thread in nanoseconds: what other work on the machine takes from it does not
/// count.
pub fn cpu_ns() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// Processor time in nanoseconds that each of so many operations took.
pub fn cpu_ns_each(count: u64, work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let begin = cpu_ns();
    work()?;
    Ok((cpu_ns() - begin) / count as f64)
}
