//! Four queues read as one, whose writers are processes of their own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod support;

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use chronicle_std::{
    FanIn, FanInWait, FromSource, Merged, Patience, Queue, ReaderConfig, SourceId, WriterStatus,
};
use support::{TYPE, await_line, given_queue, make_queues, queue, small, start, wall_ns};

const MESSAGES: u64 = 4000;
const WRITERS: usize = 4;
const SECOND: Duration = Duration::from_secs(1);
/// How long one writer is silent; much longer than the merge's bound.
const PAUSE: Duration = Duration::from_secs(3);

/// Not a test of its own: appends numbers in bursts; the last queue's writer pauses for long.
#[test]
fn body_feeds_a_merge() {
    let Some(path) = given_queue() else { return };
    let pauses = path.ends_with("q003");
    let mut writer = Queue::open_publisher_with(&path, small()).unwrap();
    println!("writing");
    for number in 0..MESSAGES {
        if number.is_multiple_of(100) {
            thread::sleep(Duration::from_millis(2));
        }
        if pauses && number == MESSAGES / 2 {
            thread::sleep(PAUSE);
        }
        writer.append(TYPE, &number.to_le_bytes()).unwrap();
    }
}

fn merge_over(directory: &Path, patience: Patience, writer_timeout: Option<Duration>) -> FanIn {
    let mut merge = FanIn::new(patience);
    for number in 0..WRITERS {
        let mut config = ReaderConfig::default();
        config.writer_timeout = writer_timeout;
        let reader = Queue::open_reader(queue(directory, number), config).unwrap();
        merge.add(SourceId(number as u32), reader).unwrap();
    }
    merge
}

/// Everything that is compared of an output.
fn put(bytes: &mut Vec<u8>, record: &FromSource<'_>) {
    bytes.extend_from_slice(&record.time_ns.to_le_bytes());
    bytes.extend_from_slice(&record.source.0.to_le_bytes());
    bytes.extend_from_slice(&record.message.seq.to_le_bytes());
    bytes.extend_from_slice(record.message.payload);
}

/// Reads queues to whose end everything is there.
fn replay(directory: &Path) -> Vec<u8> {
    let mut merge = merge_over(directory, Patience::Lateness(Duration::ZERO), None);
    let mut bytes = Vec::new();
    loop {
        match merge.next().unwrap() {
            Merged::InOrder(record) => put(&mut bytes, &record),
            Merged::Nothing(hold) if hold.waits_for.is_none() => return bytes,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_output_of_four_processes_never_goes_backwards_and_is_the_same_each_time_it_is_read() {
    let directory = tempfile::tempdir().unwrap();
    make_queues(directory.path(), WRITERS);
    let lateness = Duration::from_millis(300);
    let mut merge = merge_over(directory.path(), Patience::Lateness(lateness), None);
    let mut writers: Vec<_> = (0..WRITERS)
        .map(|number| start("body_feeds_a_merge", &queue(directory.path(), number)))
        .collect();
    for writer in &mut writers {
        await_line(writer, "writing");
    }
    let (mut last, mut late, mut longest_ns) = (None, 0, 0);
    let mut next_of = [0; WRITERS];
    let mut live = Vec::new();
    for _ in 0..WRITERS as u64 * MESSAGES {
        let record = loop {
            match merge.next().unwrap() {
                Merged::InOrder(record) => {
                    let key = (record.time_ns, record.source, record.message.seq);
                    assert!(last < Some(key), "{key:?} behind {last:?}");
                    last = Some(key);
                    put(&mut live, &record);
                    longest_ns = longest_ns.max(wall_ns().saturating_sub(record.time_ns));
                    break (record.source.0 as usize, record.message.seq);
                }
                Merged::Late { record, .. } => {
                    late += 1;
                    break (record.source.0 as usize, record.message.seq);
                }
                _ => assert_eq!(merge.wait(Some(20 * SECOND)).unwrap(), FanInWait::Ready),
            }
        };
        let (source, seq) = record;
        assert_eq!(seq, next_of[source], "every message once, in its source's order");
        next_of[source] += 1;
    }
    for mut writer in writers {
        assert!(writer.wait().unwrap().success());
    }
    let longest = Duration::from_nanos(longest_ns);
    println!("output at most {longest:?} behind its time stamp, {late} late");
    assert!(longest < PAUSE, "a silent source held the output up for longer than the bound");
    let again = replay(directory.path());
    assert_eq!(again, replay(directory.path()), "the same files, other bytes");
    // Where nothing was late, live output is what is read later.
    if late == 0 {
        assert!(live == again, "the output as it was read live differs from the one of the files");
    }
}

#[test]
fn a_dead_writer_is_told_and_holds_nothing_up_once_it_is_finished() {
    let directory = tempfile::tempdir().unwrap();
    make_queues(directory.path(), WRITERS);
    let timeout = Some(Duration::from_millis(50));
    let mut merge = merge_over(directory.path(), Patience::Unlimited, timeout);
    let mut writer = Queue::open_publisher_with(queue(directory.path(), 2), small()).unwrap();
    writer.append(TYPE, b"held up").unwrap();
    let mut dead = Vec::new();
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < 20 * SECOND);
        if let Merged::InOrder(record) = merge.next().unwrap() {
            assert_eq!(record.message.payload, b"held up");
            break;
        }
        match merge.wait(Some(20 * SECOND)).unwrap() {
            FanInWait::Writer(source, WriterStatus::Dead) => {
                dead.push(source);
                assert!(merge.finish(source));
            }
            other => assert_eq!(other, FanInWait::Ready),
        }
    }
    dead.sort_unstable();
    assert_eq!(dead, [SourceId(0), SourceId(1), SourceId(3)]);
}

#[test]
fn a_wait_ends_when_the_clock_has_passed_the_bound_and_when_its_time_is_up() {
    let directory = tempfile::tempdir().unwrap();
    make_queues(directory.path(), WRITERS);
    let lateness = Duration::from_millis(200);
    let mut merge = merge_over(directory.path(), Patience::Lateness(lateness), None);
    assert!(matches!(merge.next().unwrap(), Merged::Nothing(_)));
    assert_eq!(merge.wait(Some(Duration::from_millis(20))).unwrap(), FanInWait::TimedOut);
    let mut writer = Queue::open_publisher_with(queue(directory.path(), 1), small()).unwrap();
    let begun = Instant::now();
    writer.append(TYPE, b"x").unwrap();
    while !matches!(merge.next().unwrap(), Merged::InOrder(_)) {
        assert_eq!(merge.wait(Some(20 * SECOND)).unwrap(), FanInWait::Ready);
    }
    assert!((lateness..lateness + 5 * SECOND).contains(&begun.elapsed()), "{:?}", begun.elapsed());
}

#[test]
#[cfg(target_os = "linux")]
fn a_merge_without_sources_sleeps_for_its_time_and_uses_none() {
    // Nanoseconds on a processor, first (Documentation/scheduler/sched-stats in Linux).
    let used = || -> u64 {
        let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        stat.split(' ').next().unwrap().parse().unwrap()
    };
    let mut merge = FanIn::<4>::new(Patience::Unlimited);
    let (begun, before) = (Instant::now(), used());
    let waited = merge.wait(Some(Duration::from_millis(300))).unwrap();
    assert_eq!(waited, FanInWait::TimedOut);
    assert!(begun.elapsed() >= Duration::from_millis(300));
    assert!(used() - before < 50_000_000, "{} ns of 300 ms", used() - before);
    assert_eq!(merge.wait(None).unwrap(), FanInWait::TimedOut, "nothing would ever end it");
}
