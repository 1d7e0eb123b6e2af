//! A platform whose clocks show what a test says.

use std::cell::Cell;
use std::rc::Rc;

use chronicle_platform_linux::{LinuxClock, LinuxError, LinuxPark, LinuxPlatform, LinuxStorage};
use chronicle_sync::{Clock, Instant, Platform};

/// A wall clock that is set by hand. The rest of time is the system's, with what a test adds to it.
#[derive(Clone)]
pub struct SetClock {
    inner: LinuxClock,
    wall: Rc<Cell<u64>>,
    passed: Rc<Cell<u64>>,
    boot: Rc<Cell<u64>>,
}

impl SetClock {
    pub fn set(&self, nanoseconds: u64) {
        self.wall.set(nanoseconds);
    }

    /// Lets time go by, on both clocks.
    pub fn pass(&self, nanoseconds: u64) {
        self.wall.set(self.wall.get() + nanoseconds);
        self.passed.set(self.passed.get() + nanoseconds);
    }

    /// Begins another boot, in which the monotonic clock begins anew.
    pub fn reboot(&self) {
        self.boot.set(self.boot.get() + 1);
        self.passed.set(0);
    }
}

impl Clock for SetClock {
    fn now(&self) -> Instant {
        Instant::from_nanos(self.inner.now().as_nanos() + self.passed.get())
    }

    fn wall_ns(&self) -> u64 {
        self.wall.get()
    }

    fn boot(&self) -> u64 {
        self.inner.boot().wrapping_add(self.boot.get()).max(1)
    }
}

/// The real files with a clock that is set by hand.
pub struct Timed {
    inner: LinuxPlatform,
    clock: SetClock,
}

impl Timed {
    pub fn new(inner: LinuxPlatform) -> Self {
        let clock = SetClock {
            inner: *inner.clock(),
            wall: Rc::default(),
            passed: Rc::default(),
            boot: Rc::default(),
        };
        Self { inner, clock }
    }

    /// A handle on the clock.
    pub fn set_clock(&self) -> SetClock {
        self.clock.clone()
    }
}

impl Platform for Timed {
    type Error = LinuxError;
    type Storage = LinuxStorage;
    type Park = LinuxPark;
    type Clock = SetClock;

    fn storage(&self) -> &LinuxStorage {
        self.inner.storage()
    }

    fn park(&self) -> &LinuxPark {
        self.inner.park()
    }

    fn clock(&self) -> &SetClock {
        &self.clock
    }

    fn entropy(&self) -> u64 {
        self.inner.entropy()
    }
}
