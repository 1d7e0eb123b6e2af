//! Sleeping and waking across processes and mappings, and the clock.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_types, reason = "shared words come from chronicle-sync")]

mod support;

use core::num::NonZeroU32;
use core::time::Duration;

use chronicle_platform_linux::{LinuxClock, LinuxPark};
use chronicle_sync::notify::{Barrier, Ticket};
use chronicle_sync::notify_any::MOST_WORDS;
use chronicle_sync::{
    AtomicU32, Clock, Instant, Object, Park, Platform, ReadU32, RegionExt, RegionMutExt, Storage,
    Wake,
};
use support::{Process, Queue, given_directory, platform, until, with_failing};

const ONE: NonZeroU32 = NonZeroU32::MIN;

fn soon(platform: &impl Platform) -> Instant {
    platform.clock().now().after(Duration::from_secs(20))
}

#[test]
#[ignore = "other tests run it as a process of its own"]
fn process_that_sleeps_on_a_view() {
    let Some(directory) = given_directory() else { return };
    let platform = platform(&directory);
    let view = platform.storage().view(&Object::Notify).unwrap();
    let word = view.read_u32(64).unwrap().as_atomic();
    assert!(matches!(platform.park().wait(word, 0, soon(&platform)), Ok(Wake::Woken)));
}

#[test]
fn a_process_that_sleeps_on_a_read_only_page_is_woken_by_another() {
    let queue = Queue::new();
    let map = queue.make(&Object::Notify, 4096);
    let process = Process::run("process_that_sleeps_on_a_view", queue.directory.path());
    let word = map.word_u32(64).unwrap();
    until("sleep", || queue.platform.park().wake(word, NonZeroU32::MAX).unwrap() == 1);
    process.succeeds();
}

#[test]
fn sleepers_are_found_through_another_mapping_and_counted() {
    let queue = Queue::new();
    let map = queue.make(&Object::Notify, 4096);
    let other = queue.storage().open(&Object::Notify).unwrap();
    let park = queue.platform.park();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let word = map.word_u32(8).unwrap();
            let until = soon(&queue.platform);
            scope.spawn(move || assert_eq!(park.wait(word, 0, until), Ok(Wake::Woken)));
        }
        let word = other.word_u32(8).unwrap();
        assert_eq!(park.wake(other.word_u32(12).unwrap(), NonZeroU32::MAX).unwrap(), 0);
        until("first", || park.wake(word, ONE).unwrap() == 1);
        until("second", || park.wake(word, ONE).unwrap() == 1);
        assert_eq!(park.wake(word, ONE).unwrap(), 0);
    });
}

#[test]
fn a_word_that_has_moved_is_not_slept_on() {
    let word = AtomicU32::new(1);
    assert_eq!(LinuxPark::new().wait(&word, 0, Instant::NEVER), Ok(Wake::Woken));
}

#[test]
fn a_wait_ends_at_its_point_in_time_and_at_once_if_that_is_past() {
    let (park, clock, word) = (LinuxPark::new(), LinuxClock::new(), AtomicU32::new(0));
    let start = clock.now();
    let until = start.after(Duration::from_millis(30));
    assert_eq!(park.wait(&word, 0, until), Ok(Wake::TimedOut));
    assert!(clock.now() >= until);
    assert_eq!(park.wait(&word, 0, start), Ok(Wake::TimedOut));
    assert_eq!(park.wait(&word, 0, Instant::from_nanos(0)), Ok(Wake::TimedOut));
}

#[test]
#[ignore = "other tests run it as a process of its own"]
fn process_that_sleeps_on_many_words() {
    let Some(directory) = given_directory() else { return };
    let platform = platform(&directory);
    let view = platform.storage().view(&Object::Notify).unwrap();
    let words = (0..MOST_WORDS as u64).map(|at| view.read_u32(at * 8).unwrap());
    let tickets: Vec<_> = words.map(Ticket::watching).collect();
    assert_eq!(platform.park().wait_any(&tickets, soon(&platform)), Ok(Wake::Woken));
}

#[test]
fn a_process_that_sleeps_on_many_read_only_words_is_woken_by_the_last_of_them() {
    let queue = Queue::new();
    if queue.platform.park().words_at_once() == 1 {
        return eprintln!("SKIPPED: this kernel or sandbox has no futex_waitv");
    }
    let map = queue.make(&Object::Notify, 4096);
    let process = Process::run("process_that_sleeps_on_many_words", queue.directory.path());
    let word = map.word_u32(8 * (MOST_WORDS as u64 - 1)).unwrap();
    until("sleep", || queue.platform.park().wake(word, NonZeroU32::MAX).unwrap() == 1);
    process.succeeds();
}

#[test]
fn of_many_words_none_is_slept_on_if_one_has_moved_and_the_time_ends() {
    let (park, clock) = (LinuxPark::new(), LinuxClock::new());
    let words = [(); 3].map(|()| AtomicU32::new(0));
    let tickets = [0, 1, 2].map(|at: usize| Ticket::watching(ReadU32::from(&words[at])));
    let sleep = || park.wait_any(&tickets, clock.now().after(Duration::from_millis(20)));
    let check = || {
        let begun = clock.now();
        assert_eq!(sleep(), Ok(Wake::TimedOut));
        assert!(clock.now().since(begun) >= Duration::from_millis(20));
        words[2].store(1, core::sync::atomic::Ordering::Relaxed);
        assert_eq!(sleep(), Ok(Wake::Woken));
        words[2].store(0, core::sync::atomic::Ordering::Relaxed);
    };
    check();
    assert_eq!(park.wait_any(&[], Instant::NEVER), Ok(Wake::TimedOut));
    // A kernel without the call: one word at once, and no error.
    for errno in [libc::ENOSYS, libc::EPERM] {
        with_failing(libc::SYS_futex_waitv, errno, || {
            assert_eq!(park.words_at_once(), 1);
            check();
        });
    }
}

#[test]
fn barriers_are_asymmetric_only_where_the_kernel_has_them() {
    let park = LinuxPark::new();
    let asymmetric = park.enlist() == Barrier::Asymmetric;
    assert_eq!(park.heavy_barrier(), asymmetric);
    if !asymmetric {
        eprintln!("SKIPPED: this kernel or sandbox has no membarrier");
    }
    with_failing(libc::SYS_membarrier, libc::ENOSYS, || {
        assert_eq!(park.enlist(), Barrier::Full);
        assert!(!park.heavy_barrier());
    });
}

#[test]
fn the_clock_is_that_of_all_processes_and_needs_no_system_call() {
    let clock = LinuxClock::new();
    assert_ne!(clock.boot(), 0);
    assert_eq!(clock.boot(), LinuxClock::new().boot());
    let source = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    let source = std::fs::read_to_string(source).unwrap_or_default();
    if ["hpet", "acpi_pm", "jiffies"].contains(&source.trim()) {
        return eprintln!("SKIPPED: the clock source {source} cannot be read by programs");
    }
    // A system call would fail, and rustix would panic.
    with_failing(libc::SYS_clock_gettime, libc::EPERM, || {
        let start = clock.now();
        assert!((0..1000).all(|_| clock.now() >= start));
        assert!(clock.wall_ns() > 1_700_000_000_000_000_000);
    });
}

#[test]
fn entropy_differs_each_time_even_without_the_kernels() {
    let queue = Queue::new();
    assert_ne!(queue.platform.entropy(), queue.platform.entropy());
    with_failing(libc::SYS_getrandom, libc::ENOSYS, || {
        assert_ne!(queue.platform.entropy(), queue.platform.entropy());
    });
}
