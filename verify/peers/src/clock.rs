//! Time as both processes see it: the processor's counter, read without a system call.
//!
//! Unsafe lives here because the counter is read by an instruction.

use std::thread;
use std::time::{Duration, Instant};

/// How long the counter is compared with the system's clock.
const CALIBRATION: Duration = Duration::from_millis(200);

/// The counter now. On x86-64 it runs at a constant rate and is the same on all processors wherever
/// Linux uses it as its own clock source, which [`is_trusted`] asks for (Intel SDM volume 3,
/// "Time-Stamp Counter").
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub fn ticks() -> u64 {
    // SAFETY: every x86-64 processor has the instruction, and Linux allows it to user space.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Nanoseconds of the system's clock, where no counter is known here.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
pub fn ticks() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}

/// Ticks of a nanosecond.
pub fn ticks_per_ns() -> f64 {
    let (clock, begin) = (Instant::now(), ticks());
    thread::sleep(CALIBRATION);
    let (elapsed, end) = (clock.elapsed(), ticks());
    (end - begin) as f64 / elapsed.as_nanos() as f64
}

/// Whether two processors' counters can be compared.
pub fn is_trusted() -> bool {
    let source = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    !cfg!(target_arch = "x86_64")
        || std::fs::read_to_string(source).is_ok_and(|name| name.trim() == "tsc")
}
