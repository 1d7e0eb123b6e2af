//! Sleeping and waking on words of this process's own memory.
#![cfg(any(target_os = "macos", chronicle_darwin_shim))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_types, reason = "shared words come from chronicle-sync")]

use std::num::NonZeroU32;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use chronicle_platform_macos::{MacosClock, MacosPark};
use chronicle_sync::notify::{Barrier, Ticket};
use chronicle_sync::{AtomicU32, Clock, Instant, Park, ReadU32, Wake};

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn a_sleeper_is_woken_when_the_word_has_moved() {
    let (park, clock, word) = (MacosPark::new(), MacosClock::new(), AtomicU32::new(0));
    thread::scope(|scope| {
        let sleeper = scope.spawn(|| {
            let until = clock.now().after(PATIENCE);
            while word.load(Ordering::Acquire) == 0 {
                assert_eq!(park.wait(&word, 0, until), Ok(Wake::Woken));
            }
        });
        word.store(1, Ordering::SeqCst);
        while !sleeper.is_finished() {
            park.wake(&word, NonZeroU32::MAX).unwrap();
            thread::yield_now();
        }
    });
}

#[test]
fn a_wait_ends_at_its_point_in_time_and_at_once_if_that_is_past() {
    let (park, clock, word) = (MacosPark::new(), MacosClock::new(), AtomicU32::new(0));
    let until = clock.now().after(Duration::from_millis(5));
    while park.wait(&word, 0, until) != Ok(Wake::TimedOut) {}
    assert!(clock.now() >= until);
    assert_eq!(park.wait(&word, 0, until), Ok(Wake::TimedOut));
    assert_eq!(park.wait(&word, 0, Instant::from_nanos(0)), Ok(Wake::TimedOut));
    assert_eq!(park.wait(&word, 1, Instant::from_nanos(0)), Ok(Wake::Woken));
    assert_eq!(park.wait(&word, 1, Instant::NEVER), Ok(Wake::Woken));
}

#[test]
fn of_many_words_the_first_is_slept_on_and_there_is_no_barrier() {
    let (park, clock) = (MacosPark::new(), MacosClock::new());
    let words = [(); 2].map(|()| AtomicU32::new(0));
    let tickets = [0, 1].map(|at: usize| Ticket::watching(ReadU32::from(&words[at])));
    assert_eq!(park.words_at_once(), 1);
    let until = clock.now().after(Duration::from_millis(5));
    while park.wait_any(&tickets, until) != Ok(Wake::TimedOut) {}
    words[1].store(1, Ordering::Relaxed);
    assert_eq!(park.wait_any(&tickets, Instant::NEVER), Ok(Wake::Woken));
    assert_eq!(park.enlist(), Barrier::Full);
    assert!(!park.heavy_barrier());
}
