//! Reading the processor's counter is an instruction that Rust calls unsafe.

use chronicle_sync::{Clock, Instant};
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::{Errno, read};
use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::platform::random;

/// The clocks of this boot, read without a system call where the kernel offers a vDSO (`vdso(7)`).
///
/// Time stands still while the machine is suspended (`clock_gettime(2)`, `CLOCK_MONOTONIC`).
///
/// Where the kernel itself keeps time by the processor's time stamp counter, the counter is read for the
/// times of records: the kernel has seen then that it goes on at one rate, the same on every processor,
/// and it stops doing so when it sees otherwise.
#[derive(Clone, Copy, Debug)]
pub struct LinuxClock {
    boot: u64,
    counts: bool,
}

impl LinuxClock {
    /// Reads the identity of the boot, once.
    ///
    /// It is a hash of `/proc/sys/kernel/random/boot_id`, and of the offset of the monotonic clock
    /// where a time namespace has one (`time_namespaces(7)`): readings on both sides of such a
    /// namespace cannot be compared. Without `/proc` it is random: every process then takes the
    /// others for those of another boot, which costs them time and misleads nobody.
    #[must_use]
    pub fn new() -> Self {
        Self { boot: boot(), counts: counts() }
    }
}

fn boot() -> u64 {
    let mut buffer = [0; 4096];
    let boot = read_text("/proc/sys/kernel/random/boot_id", &mut buffer)
        .map(|id| hash(OFFSET_BASIS, id.trim_ascii()));
    let Some(mut boot) = boot else {
        return random().unwrap_or(1).max(1);
    };
    if let Some(offsets) = read_text("/proc/self/timens_offsets", &mut buffer)
        && let Some(line) = line_starting("monotonic", offsets)
        && line.iter().any(|byte| (b'1'..=b'9').contains(byte))
    {
        boot = hash(boot, line);
    }
    boot.max(1)
}

/// Whether the time stamp counter is the kernel's clock source (`Documentation/ABI/testing/sysfs-devices-system-clocksource`).
fn counts() -> bool {
    let source = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    let mut buffer = [0; 16];
    cfg!(target_arch = "x86_64")
        && read_text(source, &mut buffer).is_some_and(|name| name.trim_ascii() == b"tsc")
}

impl Default for LinuxClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for LinuxClock {
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

    #[inline]
    fn ticks(&self) -> Option<u64> {
        if self.counts { counter() } else { None }
    }
}

/// The time stamp counter.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn counter() -> Option<u64> {
    // SAFETY: every processor of this architecture has the instruction. A process that has forbidden it
    // to itself (`PR_SET_TSC`) cannot read the kernel's clock any more either, which executes it for
    // this clock source.
    Some(unsafe { core::arch::x86_64::_rdtsc() })
}

/// Other architectures have none that is cheaper to read than the clock.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn counter() -> Option<u64> {
    None
}

#[inline]
pub(crate) fn monotonic() -> u64 {
    nanos(clock_gettime(ClockId::Monotonic))
}

/// The time in nanoseconds; 0 before the clock's beginning, which a wall clock may be set to.
#[inline]
fn nanos(time: Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    #[allow(
        clippy::unnecessary_fallible_conversions,
        clippy::useless_conversion,
        reason = "the type of the field depends on the architecture"
    )]
    let rest = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}

/// The system's form of a point in time. No point is later than some 292 years after the boot:
/// nobody waits for longer, and the kernel's own times end there.
pub(crate) fn timespec(nanos: u64) -> Timespec {
    const LAST: u64 = i64::MAX as u64;
    let nanos = nanos.min(LAST);
    Timespec {
        tv_sec: (nanos / 1_000_000_000).cast_signed(),
        // Below one thousand million, so it fits every architecture's type.
        tv_nsec: (nanos % 1_000_000_000) as _,
    }
}

/// The beginning of a small file of the kernel's; `None` if it is empty or cannot be read.
pub(crate) fn read_text<'b>(path: &str, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file: OwnedFd = openat(CWD, path, flags, Mode::empty()).ok()?;
    let mut length = 0;
    while let Some(rest) = buffer.get_mut(length..)
        && !rest.is_empty()
    {
        match read(&file, rest) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(Errno::INTR) => {}
            Err(_) => return None,
        }
    }
    buffer.get(..length).filter(|text| !text.is_empty())
}

fn line_starting<'t>(prefix: &str, text: &'t [u8]) -> Option<&'t [u8]> {
    text.split(|byte| *byte == b'\n').find(|line| line.starts_with(prefix.as_bytes()))
}

const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// FNV-1a (RFC 9923), continued from an earlier hash.
pub(crate) fn hash(from: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(from, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
}
