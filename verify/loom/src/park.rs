//! A futex as loom can explore it.
//!
//! What counts is what it does not do: it remembers nothing. The comparison and the falling asleep
//! happen under one lock, a wake reaches those who sleep at that moment and nobody later, and no
//! time-out ever fires. A wake-up that the algorithm loses therefore leaves a thread asleep for
//! ever, and loom reports a deadlock.

use core::fmt;
use core::num::NonZeroU32;

use chronicle_sync::{AtomicU32, ErrorKind, Instant, Park, Wake};
use loom::sync::atomic::Ordering;
use loom::sync::{Condvar, Mutex};

/// The sleepers of one word.
pub(crate) struct Futex {
    sleepers: Mutex<u32>,
    woken: Condvar,
}

impl Futex {
    pub(crate) fn new() -> Self {
        Self { sleepers: Mutex::new(0), woken: Condvar::new() }
    }
}

impl Park for Futex {
    type Error = Never;

    fn wait(&self, word: &AtomicU32, expected: u32, _until: Instant) -> Result<Wake, Never> {
        let mut sleepers = self.sleepers.lock().unwrap();
        // A Relaxed load under the lock, as the kernel makes it: what orders it behind the waker's
        // step is the lock that `wake` takes, and nothing else.
        if word.load(Ordering::Relaxed) == expected {
            *sleepers += 1;
            drop(self.woken.wait(sleepers).unwrap());
        }
        Ok(Wake::Woken)
    }

    fn wake(&self, _word: &AtomicU32, _at_most: NonZeroU32) -> Result<u32, Never> {
        let mut sleepers = self.sleepers.lock().unwrap();
        self.woken.notify_all();
        Ok(core::mem::take(&mut *sleepers))
    }
}

/// The error of a backend that has none.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Never {}

impl fmt::Display for Never {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

impl chronicle_sync::Error for Never {
    fn kind(&self) -> ErrorKind {
        match *self {}
    }
}
