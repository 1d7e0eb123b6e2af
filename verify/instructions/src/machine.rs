//! The Linux backend with a clock that shows the same in every run: how often an appender reads the real one
//! is up to how fast the machine is.

use std::cell::Cell;
use std::error::Error;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use chronicle_platform_linux::LinuxPlatform;
use chronicle_sync::{Clock, Instant, Platform};

/// What passes between two readings of the counter.
const STEP_NS: u64 = 50;
const BEGIN_NS: u64 = 1_700_000_000_000_000_000;

pub struct Machine {
    linux: LinuxPlatform,
    clock: Counted,
}

/// Counts nanoseconds, by the number of readings.
pub struct Counted {
    linux: <LinuxPlatform as Platform>::Clock,
    ticks: Cell<u64>,
}

impl Machine {
    pub fn open(directory: &Path) -> Result<Self, Box<dyn Error>> {
        let linux = LinuxPlatform::open(&CString::new(directory.as_os_str().as_bytes())?)?;
        let clock = Counted { linux: *linux.clock(), ticks: Cell::new(0) };
        Ok(Self { linux, clock })
    }
}

impl Platform for Machine {
    type Error = <LinuxPlatform as Platform>::Error;
    type Storage = <LinuxPlatform as Platform>::Storage;
    type Park = <LinuxPlatform as Platform>::Park;
    type Clock = Counted;

    fn storage(&self) -> &Self::Storage {
        self.linux.storage()
    }

    fn park(&self) -> &Self::Park {
        self.linux.park()
    }

    fn clock(&self) -> &Self::Clock {
        &self.clock
    }

    fn entropy(&self) -> u64 {
        self.linux.entropy()
    }
}

impl Clock for Counted {
    fn now(&self) -> Instant {
        self.linux.now()
    }

    fn wall_ns(&self) -> u64 {
        BEGIN_NS + self.ticks.get()
    }

    #[inline]
    fn ticks(&self) -> Option<u64> {
        self.ticks.set(self.ticks.get() + STEP_NS);
        Some(self.ticks.get())
    }

    fn boot(&self) -> u64 {
        self.linux.boot()
    }
}
