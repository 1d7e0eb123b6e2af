//! A platform whose wall clock shows what a test says.

use std::cell::Cell;
use std::rc::Rc;

use chronicle_platform_linux::{LinuxClock, LinuxError, LinuxPark, LinuxPlatform, LinuxStorage};
use chronicle_sync::{Clock, Instant, Platform};

/// A wall clock that is set by hand; the rest of time is the system's.
#[derive(Clone)]
pub struct SetClock {
    inner: LinuxClock,
    wall: Rc<Cell<u64>>,
}

impl SetClock {
    pub fn set(&self, nanoseconds: u64) {
        self.wall.set(nanoseconds);
    }
}

impl Clock for SetClock {
    fn now(&self) -> Instant {
        self.inner.now()
    }

    fn wall_ns(&self) -> u64 {
        self.wall.get()
    }

    fn boot(&self) -> u64 {
        self.inner.boot()
    }
}

/// The real files with a clock that is set by hand.
pub struct Timed {
    inner: LinuxPlatform,
    clock: SetClock,
}

impl Timed {
    pub fn new(inner: LinuxPlatform) -> Self {
        let clock = SetClock { inner: *inner.clock(), wall: Rc::new(Cell::new(0)) };
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
