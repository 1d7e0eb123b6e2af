//! Every execution of a setter and a sleeper, by loom.
#![cfg(chronicle_loom)]

use std::fmt;
use std::num::NonZeroU32;

use chronicle_sync::{AtomicU32, ErrorKind, Instant, Park, ReadU32, Wake};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;
use outside_model::Settings;

/// What sleeping is in a model: nothing ends it but a wake-up, and no wake-up is remembered. One that
/// the algorithm loses leaves its thread asleep, which loom reports as a deadlock.
struct Futex {
    sleeps: Mutex<bool>,
    woken: Condvar,
}

impl Park for Futex {
    type Error = Never;

    fn wait(&self, word: &AtomicU32, expected: u32, _until: Instant) -> Result<Wake, Never> {
        // Comparing and falling asleep are one step, by the lock that `wake` takes.
        let mut sleeps = self.sleeps.lock().unwrap();
        if ReadU32::from(word).load_relaxed() == expected {
            *sleeps = true;
            while *sleeps {
                sleeps = self.woken.wait(sleeps).unwrap();
            }
        }
        Ok(Wake::Woken)
    }

    fn wake(&self, _word: &AtomicU32, _at_most: NonZeroU32) -> Result<u32, Never> {
        let slept = std::mem::take(&mut *self.sleeps.lock().unwrap());
        self.woken.notify_all();
        Ok(slept.into())
    }
}

#[derive(Clone, Copy, Debug)]
enum Never {}

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

#[test]
fn a_sleeper_sees_the_last_values_whole_and_sleeps_through_none() {
    let mut model = loom::model::Builder::new();
    // Which store a load returns is explored in full all the same.
    model.preemption_bound = Some(3);
    model.check(|| {
        let shared = Arc::new((
            Settings::new([0, 0]),
            Futex { sleeps: Mutex::new(false), woken: Condvar::new() },
        ));
        let setter = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                for value in 1..=2 {
                    let Ok(()) = shared.0.set(&shared.1, [value, value]);
                }
            })
        };
        let (settings, futex) = &*shared;
        let mut known = [0, 0];
        while known != [2, 2] {
            let Ok(changed) = settings.changed(futex, known, Instant::NEVER);
            let [first, second] = changed.unwrap();
            assert_eq!(first, second, "values of two settings were read as one");
            assert!(first > known[0], "the values ran backwards");
            known = [first, second];
        }
        setter.join().unwrap();
    });
}
