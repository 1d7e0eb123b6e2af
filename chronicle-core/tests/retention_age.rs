//! Retention by age, under clocks that jump.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod support;

use chronicle_core::{
    Appender, CreateOptions, Fate, ReaderName, RetentionPolicy, SegmentSize, TailOptions, Tailer,
    WaitOutcome, WaitStrategy, WriteOptions, apply_retention, create, plan_retention,
};
use chronicle_format::layout::control;
use chronicle_sync::{Clock, Instant, Platform};
use support::clock::{SetClock, Timed};
use support::{Home, TYPE, payload};

const SECOND: u64 = 1_000_000_000;
const HOUR: u64 = 3600 * SECOND;
const LIMIT: u64 = 24 * HOUR;
/// How late a segment may go: two of the 64 parts of the limit.
const SLACK: u64 = LIMIT / 32;
/// Some day in 2026.
const TODAY: u64 = 1_780_000_000 * SECOND;

/// A queue whose segments may live for a day, a clock, and when each segment was sealed by true time.
struct Aging {
    home: Home,
    platform: &'static Timed,
    clock: SetClock,
    /// Time that has really passed.
    now: u64,
    sealed: Vec<u64>,
    appended: u64,
}

impl Aging {
    fn new() -> Self {
        let home = Home::new();
        // As long as the process: readers and writers of a test borrow it side by side.
        let platform: &'static Timed = Box::leak(Box::new(Timed::new(home.platform())));
        let clock = platform.set_clock();
        clock.set(TODAY);
        let mut options = CreateOptions::default();
        options.segment_size = SegmentSize::new(4096).unwrap();
        options.retention =
            RetentionPolicy { max_age_ns: Some(LIMIT), ..RetentionPolicy::KEEP_ALL };
        create(&platform, &options).unwrap();
        Self { home, platform, clock, now: 0, sealed: Vec::new(), appended: 0 }
    }

    fn append(&mut self, count: u64) {
        let mut appender = Appender::open(self.platform, WriteOptions::default()).unwrap();
        for _ in 0..count {
            assert_eq!(appender.append(TYPE, &payload(self.appended)).unwrap(), self.appended);
            // Opening a queue rolls as well, where its own record has no room.
            self.sealed.resize(appender.position().segment.get() as usize, self.now);
            self.appended += 1;
        }
    }

    fn pass(&mut self, time: u64) {
        self.clock.pass(time);
        self.now += time;
    }

    fn retain(&self) -> u32 {
        apply_retention(self.platform, |_| true).unwrap().removed
    }

    /// Appends for so long, half a segment or so at a time, and looks after retention as often.
    fn run(&mut self, time: u64) {
        let step = LIMIT / 100;
        for _ in 0..time / step {
            self.append(60);
            self.pass(step);
            self.retain();
        }
    }

    fn oldest(&self) -> u32 {
        plan_retention(self.platform, |_| true).unwrap().oldest.get()
    }

    /// Nothing younger than the limit is gone, and nothing much older is there.
    fn assert_holds_the_limit(&self, early: u64, late: u64) {
        let oldest = self.oldest() as usize;
        if let Some(last_removed) = oldest.checked_sub(1) {
            let age = self.now - self.sealed[last_removed];
            assert!(
                age + early >= LIMIT,
                "segment {last_removed} went {} s early",
                (LIMIT - age) / SECOND
            );
        }
        let age = self.now - self.sealed[oldest];
        let limit = LIMIT + SLACK + LIMIT / 100 + late;
        assert!(age <= limit, "segment {oldest} is {} s too old", (age - limit) / SECOND);
    }
}

#[test]
fn a_segment_goes_when_all_of_it_is_older_than_the_limit() {
    let mut aging = Aging::new();
    aging.run(LIMIT - HOUR);
    assert_eq!(aging.oldest(), 0);
    aging.run(4 * LIMIT);
    assert!(aging.oldest() > 100);
    aging.assert_holds_the_limit(0, 0);
    // The segment that is being written to stays, however old it is.
    aging.pass(100 * LIMIT);
    aging.retain();
    let plan = plan_retention(aging.platform, |_| true).unwrap();
    assert_eq!((plan.oldest, plan.fate(plan.head)), (plan.head, Fate::InUse));
    let next = aging.appended;
    aging.append(50);
    assert_eq!(aging.appended, next + 50);
}

#[test]
fn steps_of_the_wall_clock_within_a_boot_change_nothing() {
    let mut aging = Aging::new();
    for hours in [1i64, -1, -1, 1, 24 * 3650, -24 * 3650] {
        aging.run(LIMIT / 2);
        let wall = aging.platform.clock().wall_ns();
        aging.clock.set(wall.checked_add_signed(hours * HOUR as i64).unwrap());
        aging.retain();
    }
    aging.run(LIMIT);
    aging.assert_holds_the_limit(0, 0);
}

#[test]
fn one_record_from_the_future_neither_stops_retention_nor_hastens_it() {
    let mut aging = Aging::new();
    aging.run(LIMIT / 2);
    let wall = aging.platform.clock().wall_ns();
    aging.clock.set(wall + 10 * 365 * 24 * HOUR);
    aging.append(1);
    aging.clock.set(wall);
    aging.retain();
    assert_eq!(aging.oldest(), 0, "nothing is older than the limit");
    aging.run(2 * LIMIT);
    assert!(aging.oldest() > 0);
    aging.assert_holds_the_limit(0, 0);
}

#[test]
fn across_boots_the_clock_never_goes_back_and_a_wrong_hour_counts_as_an_hour() {
    let mut aging = Aging::new();
    aging.run(2 * LIMIT);
    // The wall clock begins in 1970 after the reboot: time goes on where it stood.
    aging.clock.reboot();
    aging.clock.set(0);
    aging.retain();
    aging.assert_holds_the_limit(0, 0);
    aging.run(2 * LIMIT);
    aging.assert_holds_the_limit(0, 0);
    let before = aging.oldest();
    // It is an hour ahead: segments go an hour early at the most.
    aging.clock.reboot();
    aging.clock.set(TODAY + aging.now + HOUR);
    aging.retain();
    assert!(aging.oldest() > before);
    aging.assert_holds_the_limit(HOUR + SECOND, 0);
    aging.run(LIMIT / 2);
    aging.assert_holds_the_limit(HOUR + SECOND, 0);
    // The time in which the machine was off counts, by the wall clock.
    aging.clock.reboot();
    aging.now += 2 * LIMIT;
    aging.clock.set(TODAY + aging.now);
    aging.retain();
    let plan = plan_retention(aging.platform, |_| true).unwrap();
    assert_eq!(plan.oldest, plan.age_keeps_from);
    aging.run(LIMIT / 10);
    aging.assert_holds_the_limit(HOUR + SECOND, 0);
}

#[test]
fn a_durable_reader_beats_age_and_sees_every_record_in_order_under_steps_of_an_hour() {
    let mut aging = Aging::new();
    let mut options = TailOptions::default();
    options.name = Some(ReaderName::new("slow").unwrap());
    let mut reader = Tailer::open(aging.platform, &options).unwrap();
    let mut expected = 0;
    aging.append(10);
    for round in 0..40u64 {
        let now = aging.clock.wall_ns();
        aging.clock.set(if round % 2 == 0 { now + HOUR } else { now - HOUR });
        aging.run(LIMIT / 10);
        // It reads a part of what there is, and a wait for what is there ends at once.
        for _ in 0..300 {
            let waited = reader.wait(WaitStrategy::Park, Instant::NEVER, None).unwrap();
            assert_eq!(waited, WaitOutcome::Ready);
            let message = reader.next().unwrap().unwrap();
            assert_eq!((message.seq, message.payload), (expected, &payload(expected)[..]));
            expected += 1;
        }
        reader.commit().unwrap();
        assert!(aging.oldest() <= reader.position().segment.get());
    }
    let plan = plan_retention(aging.platform, |_| true).unwrap();
    assert!(plan.age_keeps_from > reader.position().segment);
    let held = plan.fate(reader.position().segment);
    assert_eq!(held, Fate::HeldBy(ReaderName::new("slow").unwrap()));
    while reader.next().unwrap().is_some() {}
    reader.commit().unwrap();
    let expired = plan_retention(aging.platform, |_| true).unwrap();
    assert_eq!(expired.fate(expired.oldest), Fate::Expired);
    aging.retain();
    aging.assert_holds_the_limit(0, 0);
}

#[test]
fn damaged_words_of_the_clock_make_segments_stay_longer_and_never_go_early() {
    let mut aging = Aging::new();
    aging.run(2 * LIMIT);
    aging.home.write_at("control.meta", control::AGE_CLOCK_NS as u64, &u64::MAX.to_le_bytes());
    aging.home.write_at("control.meta", 1024, &[0xff; 96 * 16]);
    aging.retain();
    let damaged = aging.oldest();
    aging.run(LIMIT / 2);
    assert_eq!(aging.oldest(), damaged);
    aging.run(LIMIT);
    aging.assert_holds_the_limit(0, 0);
    assert!(aging.oldest() > damaged);
}

#[test]
fn what_takes_the_ids_of_lost_segments_is_as_old_as_it_is() {
    let mut aging = Aging::new();
    aging.run(LIMIT / 2);
    // A power loss takes the newest segments, none of which was flushed.
    let kept = aging.oldest() + 3;
    for id in kept..=aging.sealed.len() as u32 {
        let _ = std::fs::remove_file(aging.home.file(&format!("{id:09}.q")));
    }
    aging.home.forget_boot();
    let mut appender = Appender::open(aging.platform, WriteOptions::default()).unwrap();
    aging.appended = appender.append(TYPE, b"after").unwrap() + 1;
    let end = appender.position().segment;
    drop(appender);
    aging.sealed.truncate(end.get() as usize);
    aging.run(LIMIT * 3 / 4);
    assert!(aging.sealed.len() > kept as usize + 20, "the ids were taken again");
    assert!(aging.oldest() > 0 && aging.oldest() <= end.get(), "nothing behind the cut is old");
}
