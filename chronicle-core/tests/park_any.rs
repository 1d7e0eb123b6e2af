//! One sleep on many readers, over a system whose calls are counted.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]
#![allow(clippy::disallowed_types, reason = "the seam hands shared words over under this name")]

mod support;

use std::cell::Cell;
use std::num::NonZeroU32;
use std::time::{Duration, Instant as StdInstant};

use chronicle_core::{Appender, ParkAny, Sleeper, TailOptions, Tailer, WriteOptions};
use chronicle_platform_linux::{LinuxClock, LinuxError, LinuxPark, LinuxPlatform, LinuxStorage};
use chronicle_sync::notify::{Barrier, Ticket};
use chronicle_sync::notify_any::Doorbell;
use chronicle_sync::{AtomicU32, Clock, Instant, Park, Platform, Wake};
use support::{Home, TYPE};

/// The system's means to sleep, with a count of its calls.
#[derive(Default)]
struct Counting {
    inner: LinuxPark,
    sleeps: Cell<u32>,
    wakes: Cell<u32>,
    barriers: Cell<u32>,
    /// As a backend that can sleep on one word only.
    one_word: bool,
}

fn count(cell: &Cell<u32>) {
    cell.set(cell.get() + 1);
}

impl Park for Counting {
    type Error = LinuxError;

    fn wait(&self, word: &AtomicU32, expected: u32, until: Instant) -> Result<Wake, LinuxError> {
        count(&self.sleeps);
        self.inner.wait(word, expected, until)
    }

    fn wake(&self, word: &AtomicU32, at_most: NonZeroU32) -> Result<u32, LinuxError> {
        count(&self.wakes);
        self.inner.wake(word, at_most)
    }

    fn words_at_once(&self) -> usize {
        if self.one_word { 1 } else { self.inner.words_at_once() }
    }

    fn wait_any(&self, tickets: &[Ticket<'_>], until: Instant) -> Result<Wake, LinuxError> {
        if self.one_word {
            let first = tickets.first().unwrap();
            return self.wait(first.word(), first.seen(), until);
        }
        count(&self.sleeps);
        self.inner.wait_any(tickets, until)
    }

    fn enlist(&self) -> Barrier {
        self.inner.enlist()
    }

    fn heavy_barrier(&self) -> bool {
        count(&self.barriers);
        self.inner.heavy_barrier()
    }
}

struct Counted {
    inner: LinuxPlatform,
    park: Counting,
}

impl Counted {
    fn new(home: &Home, one_word: bool) -> Self {
        Self { inner: home.platform(), park: Counting { one_word, ..Counting::default() } }
    }
}

impl Platform for Counted {
    type Error = LinuxError;
    type Storage = LinuxStorage;
    type Park = Counting;
    type Clock = LinuxClock;

    fn storage(&self) -> &LinuxStorage {
        self.inner.storage()
    }

    fn park(&self) -> &Counting {
        &self.park
    }

    fn clock(&self) -> &LinuxClock {
        self.inner.clock()
    }

    fn entropy(&self) -> u64 {
        self.inner.entropy()
    }
}

struct Many {
    homes: Vec<Home>,
    tailers: Vec<Tailer<LinuxPlatform>>,
}

impl Many {
    fn new(count: usize) -> Self {
        let homes: Vec<_> = (0..count).map(|_| Home::with_queue(4096)).collect();
        let tailers = homes.iter().map(Home::tailer).collect();
        Self { homes, tailers }
    }
}

fn sleepers<P: Platform>(tailers: &[Tailer<P>]) -> impl Iterator<Item = Sleeper<'_, P>> + Clone {
    tailers.iter().map(|tailer| Sleeper { tailer, relayed: false })
}

/// The same readers over a platform that counts.
fn counted(many: &Many, one_word: bool) -> (Counted, Vec<Tailer<Counted>>) {
    let open =
        |home: &Home| Tailer::open(Counted::new(home, one_word), &TailOptions::default()).unwrap();
    let platform = Counted::new(many.homes.first().unwrap(), one_word);
    (platform, many.homes.iter().map(open).collect())
}

#[test]
fn a_sleep_on_many_readers_is_one_call_and_one_barrier() {
    let many = Many::new(100);
    // Opened once, so that the queues have chosen their kind of barrier.
    many.homes.iter().for_each(|home| drop(home.appender()));
    let (platform, mut tailers) = counted(&many, false);
    tailers.iter_mut().for_each(|tailer| assert!(!tailer.is_ready().unwrap()));
    let mut park = ParkAny::new(&platform.park);
    if park.queues_at_once() < 100 {
        return eprintln!("SKIPPED: this kernel has no futex_waitv");
    }
    let until = platform.clock().now().after(Duration::from_millis(40));
    park.sleep(&platform, sleepers(&tailers), None, || false, until).unwrap();
    assert!(platform.clock().now() >= until);
    assert_eq!((platform.park.sleeps.get(), platform.park.barriers.get()), (1, 1));
    // With a record there is no call at all.
    many.homes.get(77).unwrap().appender().append(TYPE, b"x").unwrap();
    park.sleep(&platform, sleepers(&tailers), None, || false, Instant::NEVER).unwrap();
    assert_eq!(platform.park.sleeps.get(), 1);
}

#[test]
fn a_writer_makes_one_call_for_a_sleeper_on_many_and_none_when_it_is_awake() {
    let many = Many::new(2);
    let home = many.homes.get(1).unwrap();
    let mut appender = Appender::open(Counted::new(home, false), WriteOptions::default()).unwrap();
    let mut tailers = many.tailers;
    tailers.iter_mut().for_each(|tailer| assert!(!tailer.is_ready().unwrap()));
    let platform = home.platform();
    let mut park = ParkAny::new(platform.park());
    let before = appender.platform().park.wakes.get();
    for round in 0..3 {
        let until = platform.clock().now().after(Duration::from_millis(1));
        park.sleep(&platform, sleepers(&tailers), None, || false, until).unwrap();
        for _ in 0..10 {
            appender.append(TYPE, b"x").unwrap();
        }
        assert_eq!(appender.platform().park.wakes.get() - before, round + 1);
        while tailers.iter_mut().any(|tailer| tailer.next().unwrap().is_some()) {}
    }
}

#[test]
fn a_backend_that_sleeps_on_one_word_looks_at_the_others_after_a_short_slice() {
    let many = Many::new(3);
    let (platform, mut tailers) = counted(&many, true);
    tailers.iter_mut().for_each(|tailer| assert!(!tailer.is_ready().unwrap()));
    let mut park = ParkAny::new(&platform.park);
    assert_eq!(park.queues_at_once(), 0);
    let begun = StdInstant::now();
    park.sleep(&platform, sleepers(&tailers), None, || false, Instant::NEVER).unwrap();
    assert!((Duration::from_millis(9)..Duration::from_secs(5)).contains(&begun.elapsed()));
}

#[test]
fn a_ring_and_an_interruption_end_a_sleep() {
    let many = Many::new(2);
    let mut tailers = many.tailers;
    tailers.iter_mut().for_each(|tailer| assert!(!tailer.is_ready().unwrap()));
    let platform = many.homes.first().unwrap().platform();
    let mut park = ParkAny::new(platform.park());
    let doorbell = Doorbell::new();
    // A slice is 100 ms. On a busy machine a sleeper may come late, but not ten times in a row.
    let mut ended_early = |interrupted: bool| {
        let far = platform.clock().now().after(Duration::from_secs(20));
        let begun = StdInstant::now();
        let interrupted = || interrupted;
        park.sleep(&platform, sleepers(&tailers), Some(&doorbell), interrupted, far).unwrap();
        begun.elapsed() < Duration::from_millis(95)
    };
    let rung = (0..10).any(|_| {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(20));
                doorbell.ring(&LinuxPark::new()).unwrap();
            });
            ended_early(false)
        })
    });
    assert!(rung, "nobody heard the doorbell");
    assert!((0..10).any(|_| ended_early(true)), "nobody heeded the interruption");
}
