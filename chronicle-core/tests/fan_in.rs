//! Many queues read as one, against a list that is sorted.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod support;

use std::time::Duration;

use chronicle_core::{Appender, FanIn, Merged, Patience, Rejection, SourceId, WriteOptions};
use chronicle_sync::Platform;
use support::clock::{SetClock, Timed};
use support::{Home, TYPE};

/// Time stamps of the tests begin here.
const START: u64 = 1_000_000;

/// A queue whose writer's clock is set by hand.
struct Feed {
    home: Home,
    appender: Appender<Timed>,
    clock: SetClock,
}

impl Feed {
    fn new() -> Self {
        let home = Home::with_queue(4096);
        let platform = Timed::new(home.platform());
        let clock = platform.set_clock();
        let appender = Appender::open(platform, WriteOptions::default()).unwrap();
        Self { home, appender, clock }
    }

    fn append(&mut self, timestamp_ns: u64) -> u64 {
        self.clock.set(timestamp_ns);
        self.appender.append(TYPE, &timestamp_ns.to_le_bytes()).unwrap()
    }
}

/// A reader's clock that is set by hand.
fn reader_clock(feed: &Feed) -> SetClock {
    let clock = Timed::new(feed.home.platform()).set_clock();
    clock.set(START);
    clock
}

type Merge = FanIn<chronicle_platform_linux::LinuxPlatform, 8>;

fn merge_of(feeds: &[Feed], patience: Patience) -> Merge {
    let mut merge = Merge::new(patience);
    for (number, feed) in (0..).zip(feeds) {
        merge.add(SourceId(number), feed.home.tailer()).unwrap();
    }
    merge
}

/// What a step of a merge gave: in order or late, with source, time and sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    InOrder(u64, u32, u64),
    Late(u64, u32, u64),
    Nothing,
}

fn step(merge: &mut Merge, clock: &SetClock) -> Step {
    match merge.next(clock).unwrap() {
        Merged::InOrder(record) => {
            Step::InOrder(record.time_ns, record.source.0, record.message.seq)
        }
        Merged::Late { record, .. } => {
            Step::Late(record.time_ns, record.source.0, record.message.seq)
        }
        Merged::Nothing(_) => Step::Nothing,
        other => panic!("{other:?}"),
    }
}

/// Numbers that a seed decides (xorshift64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

#[test]
fn any_interleaving_of_writers_and_reader_gives_what_sorting_gives() {
    for seed in 1..=40u64 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let lateness = (seed % 2 == 0).then_some(50);
        let patience = match lateness {
            Some(lateness) => Patience::Lateness(Duration::from_nanos(lateness)),
            None => Patience::Unlimited,
        };
        let count = 2 + random.below(4) as usize;
        let mut feeds: Vec<_> = (0..count).map(|_| Feed::new()).collect();
        let clock = reader_clock(&feeds[0]);
        let mut merge = merge_of(&feeds, patience);
        let (mut expected, mut given) = (Vec::new(), Vec::new());
        let mut newest = vec![0; count];
        let mut now = START;
        for _ in 0..300 {
            now += random.below(30);
            clock.set(now);
            let number = random.below(count as u64) as usize;
            // Within the bound of now, so a feed's own time may go backwards.
            let time = now - random.below(40);
            let seq = feeds[number].append(time);
            newest[number] = time.max(newest[number]);
            expected.push((newest[number], number as u32, seq));
            for _ in 0..random.below(3) {
                match step(&mut merge, &clock) {
                    Step::InOrder(time, source, seq) => given.push((time, source, seq)),
                    Step::Nothing => {}
                    late @ Step::Late(..) => panic!("seed {seed}: {late:?} within the bound"),
                }
            }
        }
        clock.set(now + 1000);
        for number in 0..count {
            assert!(merge.finish(SourceId(number as u32)));
        }
        while let Step::InOrder(time, source, seq) = step(&mut merge, &clock) {
            given.push((time, source, seq));
        }
        expected.sort_unstable();
        assert_eq!(given, expected, "seed {seed}");
    }
}

#[test]
fn a_merge_without_a_bound_waits_for_the_silent_source() {
    let mut feeds = [Feed::new(), Feed::new()];
    let clock = reader_clock(&feeds[0]);
    let mut merge = merge_of(&feeds, Patience::Unlimited);
    feeds[0].append(START + 5);
    clock.set(u64::MAX);
    let Merged::Nothing(hold) = merge.next(&clock).unwrap() else { panic!("did not wait") };
    assert_eq!((hold.waits_for, hold.until_ns), (Some(SourceId(1)), None));
    // The same time goes by the source's number, so this one may follow at once.
    feeds[1].append(START + 5);
    assert_eq!(step(&mut merge, &clock), Step::InOrder(START + 5, 0, 0));
    assert_eq!(step(&mut merge, &clock), Step::Nothing, "source 0 may bring the same time");
    feeds[0].append(START + 6);
    assert_eq!(step(&mut merge, &clock), Step::InOrder(START + 5, 1, 0));
    assert_eq!(step(&mut merge, &clock), Step::Nothing);
    assert!(merge.finish(SourceId(1)));
    assert_eq!(step(&mut merge, &clock), Step::InOrder(START + 6, 0, 1));
}

#[test]
fn a_bound_lets_the_output_go_on_by_the_clock_and_what_comes_behind_it_is_late() {
    let mut feeds = [Feed::new(), Feed::new()];
    let clock = reader_clock(&feeds[0]);
    let mut merge = merge_of(&feeds, Patience::Lateness(Duration::from_nanos(100)));
    feeds[0].append(START + 50);
    clock.set(START + 149);
    let Merged::Nothing(hold) = merge.next(&clock).unwrap() else { panic!("did not wait") };
    assert_eq!((hold.waits_for, hold.until_ns), (Some(SourceId(1)), Some(START + 151)));
    clock.set(START + 151);
    assert_eq!(step(&mut merge, &clock), Step::InOrder(START + 50, 0, 0));
    feeds[1].append(START + 20);
    feeds[1].append(START + 60);
    match merge.next(&clock).unwrap() {
        Merged::Late { record, behind_ns } => {
            assert_eq!((record.source, record.message.timestamp_ns), (SourceId(1), START + 20));
            assert_eq!((record.message.payload, behind_ns), (&(START + 20).to_le_bytes()[..], 30));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(merge.watermark().unwrap().time_ns, START + 50, "a late record moves nothing");
    // A clock that runs backwards takes nothing back.
    clock.set(START);
    assert_eq!(step(&mut merge, &clock), Step::Nothing);
    clock.set(START + 161);
    assert_eq!(step(&mut merge, &clock), Step::InOrder(START + 60, 1, 1));
}

#[test]
fn a_source_goes_on_where_it_committed_whatever_was_looked_at_ahead() {
    let mut feeds = [Feed::new(), Feed::new()];
    for number in 0..10 {
        feeds[0].append(START + 10 * number);
        feeds[1].append(START + 10 * number + 5);
    }
    let clock = reader_clock(&feeds[0]);
    clock.set(START + 10_000);
    let named = || {
        let mut merge = Merge::new(Patience::Lateness(Duration::ZERO));
        for (number, feed) in (0..).zip(&feeds) {
            merge.add(SourceId(number), feed.home.named("merge").unwrap()).unwrap();
        }
        merge
    };
    let mut merge = named();
    for number in 0..7 {
        let source = number % 2;
        let expected = Step::InOrder(START + 5 * number, source as u32, number / 2);
        assert_eq!(step(&mut merge, &clock), expected);
        merge.commit(SourceId(source as u32)).unwrap();
    }
    // Given out and not committed.
    assert_eq!(step(&mut merge, &clock), Step::InOrder(START + 35, 1, 3));
    drop(merge);
    let mut merge = named();
    for number in 7..20 {
        let expected = Step::InOrder(START + 5 * number, (number % 2) as u32, number / 2);
        assert_eq!(step(&mut merge, &clock), expected);
    }
    assert_eq!(step(&mut merge, &clock), Step::Nothing);
}

#[test]
fn sources_join_and_leave_between_two_records() {
    let mut feeds = [Feed::new(), Feed::new(), Feed::new()];
    let clock = reader_clock(&feeds[0]);
    clock.set(START + 10_000);
    for number in 0..6 {
        for (offset, feed) in (0..).zip(&mut feeds) {
            feed.append(START + 10 * number + offset);
        }
    }
    let mut merge = merge_of(&feeds[..2], Patience::Lateness(Duration::ZERO));
    assert_eq!(merge.add(SourceId(1), feeds[2].home.tailer()).unwrap_err(), Rejection::Taken);
    for expected in [(0, 0, 0), (1, 1, 0), (10, 0, 1)] {
        let (time, source, seq) = expected;
        assert_eq!(step(&mut merge, &clock), Step::InOrder(START + time, source, seq));
    }
    merge.add(SourceId(2), feeds[2].home.tailer()).unwrap();
    assert_eq!(step(&mut merge, &clock), Step::Late(START + 2, 2, 0));
    assert_eq!(step(&mut merge, &clock), Step::InOrder(START + 11, 1, 1));
    let mut left = merge.remove(SourceId(0)).unwrap();
    assert!(merge.remove(SourceId(0)).is_none());
    assert_eq!(left.next().unwrap().unwrap().seq, 2, "it stands behind what was given out");
    for expected in [(12, 2, 1), (21, 1, 2), (22, 2, 2)] {
        let (time, source, seq) = expected;
        assert_eq!(step(&mut merge, &clock), Step::InOrder(START + time, source, seq));
    }
    for number in 3..9 {
        merge.add(SourceId(number), feeds[0].home.tailer()).unwrap();
    }
    let refused = merge.add(SourceId(9), feeds[0].home.tailer()).unwrap_err();
    assert_eq!(refused, Rejection::Full);
}

#[test]
fn damage_in_one_source_stops_the_output_until_the_source_is_removed() {
    let mut feeds = [Feed::new(), Feed::new()];
    let clock = reader_clock(&feeds[0]);
    clock.set(START + 10_000);
    feeds[0].append(START);
    feeds[0].append(START + 1);
    feeds[1].append(START + 2);
    let end = feeds[0].appender.position().offset;
    let segment = "000000000.q";
    feeds[0].home.flip_bit(segment, end - 32);
    let mut merge = merge_of(&feeds, Patience::Lateness(Duration::ZERO));
    assert_eq!(step(&mut merge, &clock), Step::InOrder(START, 0, 0));
    for _ in 0..2 {
        assert_eq!(merge.next(&clock).unwrap_err().source_id, SourceId(0));
    }
    assert!(merge.remove(SourceId(0)).is_some());
    assert_eq!(step(&mut merge, &clock), Step::InOrder(START + 2, 1, 0));
}

#[test]
fn the_wall_clock_is_that_of_the_readers_platform() {
    let mut feed = Feed::new();
    let now = feed.home.platform();
    feed.append(chronicle_sync::Clock::wall_ns(now.clock()) - 1_000_000);
    let mut merge = merge_of(std::slice::from_ref(&feed), Patience::Lateness(Duration::ZERO));
    assert!(matches!(merge.next(now.clock()).unwrap(), Merged::InOrder(_)));
}
