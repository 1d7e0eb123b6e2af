use chronicle_sync::{Clock, Instant};
use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::darwin::{boot_session, uptime};
use crate::platform::random;

/// The clocks of this boot, read without a system call (`mach_absolute_time` and the common page of
/// the kernel).
///
/// Time stands still while the machine is asleep (`clock_gettime_nsec_np(3)`, `CLOCK_UPTIME_RAW`).
#[derive(Clone, Copy, Debug)]
pub struct MacosClock {
    boot: u64,
}

impl MacosClock {
    /// Reads the identity of the boot, once.
    ///
    /// It is a hash of `kern.bootsessionuuid` (`sysctlbyname(3)`), which is another one after each
    /// start of the kernel. Where a sandbox refuses it, it is random: every process then takes the
    /// others for those of another boot, which costs them time and misleads nobody.
    #[must_use]
    pub fn new() -> Self {
        let boot = match boot_session(&mut [0; 64]) {
            Some(session) => hash(OFFSET_BASIS, session.trim_ascii()),
            None => random().unwrap_or(1),
        };
        Self { boot: boot.max(1) }
    }
}

impl Default for MacosClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for MacosClock {
    #[inline]
    fn now(&self) -> Instant {
        Instant::from_nanos(monotonic())
    }

    #[inline]
    fn wall_ns(&self) -> u64 {
        nanos(clock_gettime(ClockId::Realtime))
    }

    fn boot(&self) -> u64 {
        self.boot
    }
}

/// Not `CLOCK_MONOTONIC`, which on this system is made of the wall clock, in microseconds, and goes
/// on in sleep.
#[inline]
pub(crate) fn monotonic() -> u64 {
    uptime()
}

/// The time in nanoseconds; 0 before the clock's beginning, which a wall clock may be set to.
#[inline]
fn nanos(time: Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    #[allow(
        clippy::unnecessary_fallible_conversions,
        clippy::useless_conversion,
        reason = "the type of the field depends on the system"
    )]
    let rest = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}

/// Nanoseconds from now until a point in time, and never more than an hour: what sleeps for less than
/// it was asked to returns for no reason, which whoever asked expects anyway.
pub(crate) fn rest(until: Instant) -> u64 {
    const LONGEST: u64 = 3600 * 1_000_000_000;
    until.as_nanos().saturating_sub(monotonic()).min(LONGEST)
}

pub(crate) const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// FNV-1a (RFC 9923), continued from an earlier hash.
pub(crate) fn hash(from: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(from, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
}
