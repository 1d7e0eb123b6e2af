//! A futex as loom can explore it.
//!
//! What counts is what it does not do: it remembers nothing. The comparison and the falling asleep
//! happen under one lock, a wake reaches those who sleep at that moment and nobody later, and no
//! time-out ever fires. A wake-up that the algorithm loses therefore leaves a thread asleep for
//! ever, and loom reports a deadlock.

use core::fmt;
use core::num::NonZeroU32;

use chronicle_sync::notify::Ticket;
use chronicle_sync::{AtomicU32, ErrorKind, Instant, Park, Wake};
use loom::sync::atomic::Ordering;
use loom::sync::{Condvar, Mutex};

/// The sleepers of a few words, among which a wake reaches those who sleep on its word. Where all
/// sleep on the same words, nobody wakes for nothing.
pub(crate) struct Futex {
    sleepers: Mutex<Vec<usize>>,
    woken: Condvar,
}

impl Futex {
    pub(crate) fn new() -> Self {
        Self { sleepers: Mutex::new(Vec::new()), woken: Condvar::new() }
    }
}

impl Park for Futex {
    type Error = Never;

    fn wait(&self, word: &AtomicU32, expected: u32, _until: Instant) -> Result<Wake, Never> {
        self.sleep(&[(word, expected)]);
        Ok(Wake::Woken)
    }

    fn wait_any(&self, tickets: &[Ticket<'_>], _until: Instant) -> Result<Wake, Never> {
        let words: Vec<_> = tickets.iter().map(|ticket| (ticket.word(), ticket.seen())).collect();
        self.sleep(&words);
        Ok(Wake::Woken)
    }

    fn wake(&self, word: &AtomicU32, _at_most: NonZeroU32) -> Result<u32, Never> {
        let mut sleepers = self.sleepers.lock().unwrap();
        let found = sleepers.iter().filter(|sleeper| **sleeper == address(word)).count();
        if found > 0 {
            sleepers.clear();
            self.woken.notify_all();
        }
        Ok(u32::try_from(found).unwrap())
    }
}

impl Futex {
    fn sleep(&self, words: &[(&AtomicU32, u32)]) {
        let mut sleepers = self.sleepers.lock().unwrap();
        // Relaxed loads under the lock, as the kernel makes them: what orders them behind the
        // waker's step is the lock that `wake` takes, and nothing else.
        if words.iter().all(|(word, expected)| word.load(Ordering::Relaxed) == *expected) {
            sleepers.extend(words.iter().map(|(word, _)| address(word)));
            drop(self.woken.wait(sleepers).unwrap());
        }
    }
}

fn address(word: &AtomicU32) -> usize {
    core::ptr::from_ref(word).addr()
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
