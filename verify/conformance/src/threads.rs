//! Sleeping, waking and races between threads.

#![allow(clippy::disallowed_types, reason = "flags between the suite's own threads")]

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant as StdInstant};

use chronicle_sync::{
    Clock, ErrorKind, Instant, Object, Park, Platform, RegionExt, RegionMutExt, Storage, Wake,
};

use crate::Harness;
use crate::bench::{Bench, done, publish, reader, segment, stage, there};
use crate::report::{Stop, Verdict, ensure};

const ONE: NonZeroU32 = NonZeroU32::MIN;
const ROUNDS: u32 = 2000;
/// How often a wake meets three sleepers. What a wrong one does shows where at least two sleep at that moment,
/// which on a busy machine may not be so in one round.
const MEETINGS: u32 = 5;

/// A sleep in a thread of its own, on a word of an object that it opens for itself: how it ended.
/// Returns for no reason are gone on from, so that what ends the sleep is a wake or the time.
fn sleep<P: Platform>(
    platform: &P,
    at: u64,
    until: Instant,
    about_to: &AtomicU32,
) -> Result<Wake, Stop> {
    let map = done("open", platform.storage().open(&Object::Notify))?;
    let word = there("a word", map.word_u32(at))?;
    let woken = there("a word", map.read_u32(at + 4))?;
    about_to.fetch_add(1, Ordering::Relaxed);
    loop {
        let wake = done("wait", platform.park().wait(word, 0, until))?;
        if wake == Wake::TimedOut || woken.load_acquire() == 1 {
            return Ok(wake);
        }
    }
}

/// Waits until three are about to sleep, and as long again as it should take them to.
fn three_sleep(about_to: &AtomicU32, patience: Duration) -> Result<(), Stop> {
    until(patience, "three were not about to sleep", || Ok(about_to.load(Ordering::Relaxed) == 3))?;
    thread::sleep(Duration::from_millis(20));
    Ok(())
}

fn ended<T>(thread: thread::ScopedJoinHandle<'_, Result<T, Stop>>) -> Result<T, Stop> {
    thread.join().unwrap_or_else(|_| Err(Stop::Failed("a thread panicked".to_owned())))
}

/// Does something again and again until it says that it is done.
fn until(
    patience: Duration,
    what: &str,
    mut act: impl FnMut() -> Result<bool, Stop>,
) -> Result<(), Stop> {
    let begun = StdInstant::now();
    while !act()? {
        ensure!(begun.elapsed() < patience, "{what} after {patience:?}");
        thread::sleep(Duration::from_micros(200));
    }
    Ok(())
}

pub(crate) fn a_sleeper_is_woken_through_another_region<H>(harness: &H) -> Verdict
where
    H: Harness<Place: Sync, Platform: Sync> + Sync,
{
    let bench = Bench::new(harness);
    let map = bench.make(&Object::Notify, 4096)?;
    let word = there("a word", map.word_u32(64))?;
    let limit = bench.one.clock().now().after(harness.patience());
    let about_to = AtomicU32::new(0);
    thread::scope(|scope| {
        let sleeper = scope.spawn(|| sleep(&bench.other, 64, limit, &about_to));
        // Told that it was woken before it is: what returns for no reason sleeps again.
        let told = there("a word", map.publish_u32(68, 1));
        let woken = until(harness.patience(), "the sleeper was not found", || {
            Ok(done("wake", bench.one.park().wake(word, ONE))? == 1 || sleeper.is_finished())
        });
        // Whatever happened, the sleeper is let go.
        there("a word", map.publish_u32(64, 1))?;
        let wake = ended(sleeper)?;
        told?;
        woken?;
        ensure!(wake == Wake::Woken, "the sleeper slept until its time was up");
        Ok(())
    })
}

pub(crate) fn at_most_so_many_are_woken<H>(harness: &H) -> Verdict
where
    H: Harness<Place: Sync, Platform: Sync> + Sync,
{
    let bench = Bench::new(harness);
    let map = bench.make(&Object::Notify, 4096)?;
    let word = there("a word", map.word_u32(64))?;
    there("a word", map.publish_u32(68, 1))?;
    for _ in 0..MEETINGS {
        there("a word", map.publish_u32(64, 0))?;
        let limit = bench.one.clock().now().after(harness.patience());
        let about_to = AtomicU32::new(0);
        thread::scope(|scope| {
            let sleepers: Vec<_> =
                (0..3).map(|_| scope.spawn(|| sleep(&bench.other, 64, limit, &about_to))).collect();
            let asleep = three_sleep(&about_to, harness.patience());
            let mut woken = 0;
            let counted = until(harness.patience(), "not all sleepers were woken", || {
                let now = done("wake", bench.one.park().wake(word, ONE))?;
                ensure!(now <= 1, "{now} were woken where at most one was to be");
                woken += now;
                Ok(woken == 3 || sleepers.iter().all(thread::ScopedJoinHandle::is_finished))
            });
            there("a word", map.publish_u32(64, 1))?;
            // One that was counted twice leaves another asleep.
            done("wake", bench.one.park().wake(word, NonZeroU32::MAX))?;
            for sleeper in sleepers {
                ended(sleeper)?;
            }
            asleep?;
            counted?;
            ensure!(woken == 3, "three slept, and {woken} were counted");
            let more = done("wake", bench.one.park().wake(word, NonZeroU32::MAX))?;
            ensure!(more == 0, "{more} were woken after all had gone");
            Ok(())
        })?;
    }
    Ok(())
}

pub(crate) fn one_call_wakes_everybody<H>(harness: &H) -> Verdict
where
    H: Harness<Place: Sync, Platform: Sync> + Sync,
{
    let bench = Bench::new(harness);
    let map = bench.make(&Object::Notify, 4096)?;
    let word = there("a word", map.word_u32(64))?;
    there("a word", map.publish_u32(68, 1))?;
    for _ in 0..MEETINGS {
        there("a word", map.publish_u32(64, 0))?;
        let limit = bench.one.clock().now().after(harness.patience());
        let about_to = AtomicU32::new(0);
        thread::scope(|scope| {
            let sleepers: Vec<_> =
                (0..3).map(|_| scope.spawn(|| sleep(&bench.other, 64, limit, &about_to))).collect();
            // Who takes longer does not sleep at all, since the word has moved then.
            let asleep = three_sleep(&about_to, harness.patience());
            let moved = there("a word", map.publish_u32(64, 1));
            let woken = done("wake", bench.one.park().wake(word, NonZeroU32::MAX));
            let mut late = 0;
            for sleeper in sleepers {
                late += u32::from(ended(sleeper)? == Wake::TimedOut);
            }
            asleep?;
            moved?;
            woken?;
            ensure!(late == 0, "{late} of three slept on");
            Ok(())
        })?;
    }
    Ok(())
}

pub(crate) fn only_sleepers_on_the_word_are_woken<H>(harness: &H) -> Verdict
where
    H: Harness<Place: Sync, Platform: Sync> + Sync,
{
    let bench = Bench::new(harness);
    let map = bench.make(&Object::Notify, 4096)?;
    let other = there("a word", map.word_u32(128))?;
    let word = there("a word", map.word_u32(64))?;
    let limit = bench.one.clock().now().after(harness.patience());
    there("a word", map.publish_u32(68, 1))?;
    let about_to = AtomicU32::new(0);
    thread::scope(|scope| {
        let sleeper = scope.spawn(|| sleep(&bench.other, 64, limit, &about_to));
        let mut wrong = 0;
        for _ in 0..50 {
            wrong += done("wake", bench.one.park().wake(other, NonZeroU32::MAX)).unwrap_or(0);
            thread::sleep(Duration::from_micros(200));
        }
        let found = until(harness.patience(), "the sleeper was not found", || {
            let woken = done("wake", bench.one.park().wake(word, NonZeroU32::MAX))?;
            Ok(woken > 0 || sleeper.is_finished())
        });
        there("a word", map.publish_u32(64, 1))?;
        ended(sleeper)?;
        found?;
        ensure!(wrong == 0, "{wrong} were woken on a word that nobody slept on");
        Ok(())
    })
}

/// Two threads that pass a word to and fro: each sleeps while the word is the other's.
pub(crate) fn no_wake_is_lost_over_many_rounds<H>(harness: &H) -> Verdict
where
    H: Harness<Place: Sync, Platform: Sync> + Sync,
{
    let bench = Bench::new(harness);
    drop(bench.make(&Object::Notify, 4096)?);
    let play = |platform: &H::Platform, mine: u32| -> Verdict {
        let map = done("open", platform.storage().open(&Object::Notify))?;
        let word = there("a word", map.word_u32(64))?;
        let mut late = 0;
        for round in 0..ROUNDS {
            let turn = round * 2 + mine;
            let until = platform.clock().now().after(harness.patience());
            loop {
                let seen = word.load(Ordering::Acquire);
                if seen >= turn {
                    break;
                }
                let wake = done("wait", platform.park().wait(word, seen, until))?;
                // What the other one did just before the time was up counts all the same, if that does
                // not happen again and again.
                late += u32::from(wake == Wake::TimedOut);
                ensure!(
                    wake == Wake::Woken || late < 3 && word.load(Ordering::Acquire) >= turn,
                    "nobody was woken in round {round}"
                );
            }
            word.store(turn + 1, Ordering::SeqCst);
            done("wake", platform.park().wake(word, NonZeroU32::MAX))?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let other = scope.spawn(|| play(&bench.other, 1));
        play(&bench.one, 0).and(ended(other))
    })
}

pub(crate) fn a_store_is_seen_with_what_came_before_it<H>(harness: &H) -> Verdict
where
    H: Harness<Place: Sync, Platform: Sync> + Sync,
{
    let bench = Bench::new(harness);
    drop(bench.make(&segment(0), 4096)?);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let writer = scope.spawn(|| -> Verdict {
            let map = done("open", bench.other().open(&segment(0)))?;
            for number in 1..=u64::from(ROUNDS) * 10 {
                there("words", map.store_words(1024, &[number; 8]))?;
                there("a word", map.publish_u64(0, number))?;
            }
            Ok(())
        });
        let read = || -> Verdict {
            let view = done("view", bench.storage().view(&segment(0)))?;
            let word = there("a word", view.read_u64(0))?;
            while !over.load(Ordering::Relaxed) {
                if writer.is_finished() {
                    over.store(true, Ordering::Relaxed);
                }
                let seen = word.load_acquire();
                let words: [u64; 8] = there("words", view.copy_words(1024))?;
                let stale = words.iter().find(|word| **word < seen);
                ensure!(stale.is_none(), "{seen} was seen, and before it {stale:?}");
            }
            ensure!(
                word.load_acquire() == u64::from(ROUNDS) * 10,
                "a store is not seen after its thread has ended"
            );
            Ok(())
        };
        let result = read();
        ended(writer)?;
        result
    })
}

pub(crate) fn one_of_many_publishers_wins<H>(harness: &H) -> Verdict
where
    H: Harness<Place: Sync, Platform: Sync> + Sync,
{
    let bench = Bench::new(harness);
    for round in 0..20 {
        let object = segment(round);
        let winner = AtomicU64::new(0);
        let publish = |number: u64| -> Result<u32, Stop> {
            let platform = harness.open(&bench.place);
            let staged = done("stage", platform.storage().stage(&object, &stage(4096)))?;
            there("a word", staged.store_words(0, &[number]))?;
            match platform.storage().publish(staged) {
                Ok(_) => {
                    winner.store(number, Ordering::Relaxed);
                    Ok(1)
                }
                Err(error) if kind(&error) == ErrorKind::AlreadyExists => Ok(0),
                Err(error) => Err(Stop::Failed(format!("publish: {error}"))),
            }
        };
        let won = thread::scope(|scope| {
            let publish = &publish;
            let threads: Vec<_> =
                (1..=4).map(|number| scope.spawn(move || publish(number))).collect();
            threads.into_iter().map(ended).sum::<Result<u32, Stop>>()
        })?;
        ensure!(won == 1, "{won} of 4 publishers of one name won");
        let view = done("view", bench.storage().view(&object))?;
        let winner = winner.into_inner();
        ensure!(view.copy_words(0) == Some([winner]), "the object is not that of who won");
        drop(view);
        done("remove", bench.storage().remove(&object))?;
    }
    Ok(())
}

pub(crate) fn one_of_many_lockers_wins<H>(harness: &H) -> Verdict
where
    H: Harness<Place: Sync, Platform: Sync> + Sync,
{
    let bench = Bench::new(harness);
    let inside = AtomicBool::new(false);
    let contend = || -> Result<u32, Stop> {
        let platform = harness.open(&bench.place);
        let mut held = 0;
        for _ in 0..ROUNDS / 4 {
            match platform.storage().lock(&Object::WriterLock) {
                Ok(guard) => {
                    ensure!(!inside.swap(true, Ordering::Acquire), "two hold one lock");
                    held += 1;
                    thread::yield_now();
                    inside.store(false, Ordering::Release);
                    drop(guard);
                }
                Err(error) if kind(&error) == ErrorKind::Locked => thread::yield_now(),
                Err(error) => return Err(Stop::Failed(format!("lock: {error}"))),
            }
        }
        Ok(held)
    };
    let held = thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(contend)).collect();
        threads.into_iter().map(ended).sum::<Result<u32, Stop>>()
    })?;
    ensure!(held > 0, "nobody ever got the lock");
    Ok(())
}

pub(crate) fn sweeping_disturbs_nobody<H>(harness: &H) -> Verdict
where
    H: Harness<Place: Sync, Platform: Sync> + Sync,
{
    let bench = Bench::new(harness);
    let reader = reader("a")?;
    thread::scope(|scope| {
        let publisher = scope.spawn(|| -> Verdict {
            for round in 0..200 {
                for object in [&segment(round), &reader] {
                    drop(done("publish", publish(bench.storage(), object, 4096)?)?);
                    drop(done("lock", bench.storage().lock(object))?);
                    done("remove", bench.storage().remove(object))?;
                }
            }
            Ok(())
        });
        let sweeper = harness.open(&bench.place);
        while !publisher.is_finished() {
            sweeper.storage().sweep();
        }
        ended(publisher)
    })
}

fn kind<E: chronicle_sync::Error>(error: &E) -> ErrorKind {
    error.kind()
}
