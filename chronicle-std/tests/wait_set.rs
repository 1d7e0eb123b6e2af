//! One wait for many queues, whose writers are processes of their own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod support;

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use chronicle_std::{
    MemberId, Queue, QueueError, QueueReader, ReaderConfig, Visibility, WaitEvent, WaitOutcome,
    WaitSet, WaitStrategy, WriterStatus,
};
use support::{TYPE, await_line, given_queue, make_queues, queue, small, start, wall_ns};

const LONG: Option<Duration> = Some(Duration::from_secs(20));
const QUEUES: usize = 200;
const MESSAGES: usize = 400;

fn reader(path: &Path, writer_timeout: Option<Duration>) -> QueueReader {
    let mut config = ReaderConfig::default();
    config.writer_timeout = writer_timeout;
    Queue::open_reader(path, config).unwrap()
}

/// A set that sleeps at once over the queues of a directory.
fn set_over(directory: &Path, queues: usize) -> (WaitSet, Vec<MemberId>) {
    let mut set = WaitSet::with_strategy(WaitStrategy::Park);
    let ids = (0..queues)
        .map(|number| set.add(reader(&queue(directory, number), None)).unwrap())
        .collect();
    (set, ids)
}

/// The one event of a wait in which only one queue has something.
fn only_event(set: &mut WaitSet) -> WaitEvent {
    let mut events = Vec::new();
    set.wait(&mut events, LONG).unwrap();
    assert_eq!(events.len(), 1, "{events:?}");
    events.pop().unwrap()
}

/// Not a test of its own: appends to one queue after the other, with pauses, when the reader sleeps.
#[test]
fn body_appends_to_many_queues_in_turn() {
    let Some(directory) = given_queue() else { return };
    let mut writers: Vec<_> = (0..QUEUES)
        .map(|number| Queue::open_publisher_with(queue(&directory, number), small()).unwrap())
        .collect();
    println!("writing");
    for message in 0..MESSAGES {
        thread::sleep(Duration::from_millis(4));
        // Strides over all queues, those that a relay listens to among them.
        let number = message * 37 % QUEUES;
        writers[number].append(TYPE, &wall_ns().to_le_bytes()).unwrap();
    }
}

/// Not a test of its own: holds a queue until it is killed.
#[test]
fn body_holds_a_queue() {
    let Some(queue) = given_queue() else { return };
    let mut writer = Queue::open_publisher(&queue).unwrap();
    writer.append(TYPE, b"held").unwrap();
    println!("holding");
    thread::sleep(Duration::from_secs(60));
}

/// Times that the threads of this process which wait for queues went to sleep.
fn sleeps() -> u64 {
    let mut sum = 0;
    for task in fs::read_dir("/proc/self/task").unwrap() {
        let task = task.unwrap().path();
        let Ok(status) = fs::read_to_string(task.join("status")) else { continue };
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        sum += line.unwrap().trim().parse::<u64>().unwrap();
    }
    sum
}

/// Not a test of its own: what the test below does, in a process without other tests.
#[test]
fn body_waits_for_two_hundred_queues() {
    let Some(directory) = given_queue() else { return };
    make_queues(&directory, QUEUES);
    let (mut set, ids) = set_over(&directory, QUEUES);
    assert!(set.threads() <= 1, "one thread for the 73 queues that one call does not take");
    let mut events = Vec::new();

    let before = sleeps();
    set.wait(&mut events, Some(Duration::from_secs(2))).unwrap();
    assert!(events.is_empty());
    let idle = sleeps() - before;

    let mut writer = start("body_appends_to_many_queues_in_turn", &directory);
    await_line(&mut writer, "writing");
    let before = sleeps();
    // Of the queues that one call takes, and of those that a relay listens to.
    let mut latencies = [Vec::new(), Vec::new()];
    while latencies.iter().map(Vec::len).sum::<usize>() < MESSAGES {
        set.wait(&mut events, LONG).unwrap();
        assert!(!events.is_empty(), "nothing came for long");
        for event in events.drain(..) {
            assert_eq!(event.outcome.unwrap(), WaitOutcome::Ready);
            let reader = set.reader_mut(event.member).unwrap();
            let message = reader.next().unwrap().unwrap();
            let sent = u64::from_le_bytes(message.payload.try_into().unwrap());
            let is_relayed = set.threads() > 0 && ids[127..].contains(&event.member);
            latencies[usize::from(is_relayed)].push(wall_ns().saturating_sub(sent) / 1000);
        }
    }
    let busy = sleeps() - before;
    assert!(writer.wait().unwrap().success());
    let mut told = String::new();
    for (name, latencies) in ["direct", "relayed"].iter().zip(&mut latencies) {
        latencies.sort_unstable();
        let Some(last) = latencies.len().checked_sub(1) else { continue };
        let [p50, p90, p99] = [50, 90, 99].map(|percent| latencies[last * percent / 100]);
        told += &format!("; {name} p50 {p50} us, p90 {p90} us, p99 {p99} us");
        assert!(p50 < 5_000, "half of the wake-ups took longer than 5 ms");
    }
    println!("measured: idle for 2 s: {idle} sleeps; {MESSAGES} messages: {busy} sleeps{told}");
    // Slices of 100 ms, and no more; looking every 10 ms would be 200.
    assert!(idle <= 40, "{idle} sleeps in two idle seconds");
    // The sleeper, and the relay for its share.
    assert!(busy <= 4 * MESSAGES as u64, "{busy} sleeps for {MESSAGES} messages");
}

#[test]
#[cfg_attr(
    any(target_os = "macos", chronicle_darwin_shim),
    ignore = "macOS sleeps on one word only, so a set looks every 10 ms"
)]
fn a_set_over_two_hundred_queues_wakes_promptly_and_does_not_poll() {
    let directory = tempfile::tempdir().unwrap();
    let mut waiting = start("body_waits_for_two_hundred_queues", directory.path());
    println!("{}", await_line(&mut waiting, "measured"));
    assert!(waiting.wait().unwrap().success());
}

#[test]
fn readers_come_and_go_on_both_sides_of_what_one_call_takes() {
    let directory = tempfile::tempdir().unwrap();
    make_queues(directory.path(), 260);
    let mut writers: Vec<_> = (0..260)
        .map(|number| Queue::open_publisher_with(queue(directory.path(), number), small()).unwrap())
        .collect();
    let (mut set, mut ids) = set_over(directory.path(), 260);
    let relays = set.threads();
    assert!(relays == 2 || relays == 0, "{relays} threads");
    // Every second one leaves; what is left is heard, wherever it is.
    let mut left: Vec<_> = (0..260).collect();
    for number in (0..260).rev().step_by(2) {
        assert!(set.remove(ids.remove(number)).is_some());
        left.remove(number);
    }
    for (id, number) in ids.iter().zip(&left).step_by(13) {
        let mut append = {
            let writer = &mut writers[*number];
            move || writer.append(TYPE, &[7; 20]).map(drop)
        };
        let event = thread::scope(|scope| {
            scope.spawn(move || {
                thread::sleep(Duration::from_millis(20));
                append().unwrap();
            });
            let begun = Instant::now();
            let event = only_event(&mut set);
            assert!(begun.elapsed() < Duration::from_millis(3000));
            event
        });
        assert_eq!((event.member, event.outcome.unwrap()), (*id, WaitOutcome::Ready));
        assert_eq!(set.reader_mut(*id).unwrap().next().unwrap().unwrap().payload, [7; 20]);
    }
    for id in ids {
        let member = set.remove(id).unwrap();
        assert!(set.remove(id).is_none());
        drop(member);
    }
    assert_eq!((set.len(), set.threads()), (0, 0));
}

#[test]
fn the_death_of_one_writer_is_reported_and_the_others_are_heard() {
    let directory = tempfile::tempdir().unwrap();
    let (killed, lives) = (directory.path().join("killed"), directory.path().join("lives"));
    let mut holder = start("body_holds_a_queue", &killed);
    await_line(&mut holder, "holding");
    let mut writer = Queue::open_publisher_with(&lives, small()).unwrap();
    let mut set = WaitSet::new();
    let killed = set.add(reader(&killed, Some(Duration::from_millis(200)))).unwrap();
    let lives = set.add(reader(&lives, Some(Duration::from_millis(200)))).unwrap();
    assert_eq!(set.reader_mut(killed).unwrap().next().unwrap().unwrap().payload, b"held");
    let mut events = Vec::new();
    set.wait(&mut events, Some(Duration::from_millis(500))).unwrap();
    assert!(events.is_empty(), "both writers live: {events:?}");
    holder.kill().unwrap();
    holder.wait().unwrap();

    // One that has messages all the time does not hide that another one is dead.
    let begun = Instant::now();
    let (mut deaths, mut messages) = (0, 0);
    while deaths < 2 {
        assert!(begun.elapsed() < Duration::from_secs(20));
        writer.append(TYPE, b"on").unwrap();
        set.wait(&mut events, LONG).unwrap();
        for event in events.drain(..) {
            match event.outcome.unwrap() {
                WaitOutcome::Ready => {
                    assert_eq!(event.member, lives);
                    messages += 1;
                    assert!(set.reader_mut(lives).unwrap().next().unwrap().is_some());
                }
                outcome => {
                    assert_eq!(event.member, killed);
                    assert_eq!(outcome, WaitOutcome::Writer(WriterStatus::Dead));
                    deaths += 1;
                }
            }
        }
    }
    assert!(messages > 2 && begun.elapsed() >= Duration::from_millis(150), "{messages}");
}

#[test]
fn damage_in_one_queue_is_said_once_and_does_not_disturb_the_rest() {
    use std::os::unix::fs::FileExt;
    let directory = tempfile::tempdir().unwrap();
    make_queues(directory.path(), 2);
    let mut writer = Queue::open_publisher_with(queue(directory.path(), 0), small()).unwrap();
    writer.append(TYPE, &[1; 100]).unwrap();
    let segment = fs::OpenOptions::new()
        .write(true)
        .open(queue(directory.path(), 0).join("000000000.q"))
        .unwrap();
    // The header of the first message, behind the EPOCH record.
    segment.write_all_at(&[0xff; 16], 136).unwrap();
    let (mut set, ids) = set_over(directory.path(), 2);
    let mut writer = Queue::open_publisher_with(queue(directory.path(), 1), small()).unwrap();
    let damaged = only_event(&mut set);
    assert_eq!(damaged.member, ids[0]);
    assert!(matches!(damaged.outcome, Err(QueueError::Corrupt { .. })));
    let mut events = Vec::new();
    set.wait(&mut events, Some(Duration::from_millis(50))).unwrap();
    assert!(events.is_empty(), "said once: {events:?}");
    writer.append(TYPE, b"sound").unwrap();
    let sound = only_event(&mut set);
    assert_eq!((sound.member, sound.outcome.unwrap()), (ids[1], WaitOutcome::Ready));
    // Looked after, it is asked again.
    assert!(set.reader_mut(ids[0]).unwrap().next().is_err());
    set.wait(&mut events, LONG).unwrap();
    assert_eq!(events.len(), 2, "{events:?}");
}

#[test]
fn readers_of_durable_messages_are_woken_by_the_flush_with_and_without_a_relay() {
    let directory = tempfile::tempdir().unwrap();
    make_queues(directory.path(), 130);
    let mut set = WaitSet::with_strategy(WaitStrategy::Park);
    let ids: Vec<_> = (0..130)
        .map(|number| {
            let mut config = ReaderConfig::default();
            config.writer_timeout = None;
            config.visibility = Visibility::Durable;
            set.add(Queue::open_reader(queue(directory.path(), number), config).unwrap()).unwrap()
        })
        .collect();
    for number in [0, 129] {
        let path = queue(directory.path(), number);
        let mut writer = Queue::open_publisher_with(path, small()).unwrap();
        writer.append(TYPE, b"durable").unwrap();
        let mut events = Vec::new();
        set.wait(&mut events, Some(Duration::from_millis(150))).unwrap();
        assert!(events.is_empty(), "visible is not durable: {events:?}");
        let event = thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(20));
                writer.flush().unwrap();
            });
            only_event(&mut set)
        });
        assert_eq!((event.member, event.outcome.unwrap()), (ids[number], WaitOutcome::Ready));
        assert!(set.reader_mut(ids[number]).unwrap().next().unwrap().is_some());
    }
}

#[test]
fn an_interrupt_ends_a_wait_and_the_next_one_if_none_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    make_queues(directory.path(), 3);
    let (mut set, _) = set_over(directory.path(), 3);
    let interrupter = set.interrupter();
    interrupter.interrupt();
    let mut events = Vec::new();
    set.wait(&mut events, LONG).unwrap();
    let begun = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(50));
            interrupter.interrupt();
        });
        set.wait(&mut events, LONG).unwrap();
    });
    assert!(events.is_empty());
    assert!((Duration::from_millis(45)..Duration::from_secs(5)).contains(&begun.elapsed()));
    set.wait(&mut events, Some(Duration::from_millis(30))).unwrap();
    assert!(events.is_empty(), "an interrupt counts once");
}

#[test]
fn a_reader_without_write_permission_is_heard_within_its_slice() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    if let Some(directory) = given_queue() {
        let (mut set, ids) = set_over(&directory, 2);
        assert!(!set.reader(ids[0]).unwrap().can_be_woken());
        println!("waiting");
        for _ in 0..20 {
            let event = only_event(&mut set);
            assert_eq!(event.member, ids[1]);
            let message = set.reader_mut(ids[1]).unwrap().next().unwrap().unwrap();
            let sent = u64::from_le_bytes(message.payload.try_into().unwrap());
            let late = Duration::from_nanos(wall_ns().saturating_sub(sent));
            assert!(late < Duration::from_secs(2), "{late:?}");
        }
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    make_queues(directory.path(), 2);
    let mut writer = Queue::open_publisher_with(queue(directory.path(), 1), small()).unwrap();
    // Readable by all, for the test: another user may look and not write.
    let open = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    open(directory.path(), 0o755);
    for number in 0..2 {
        let queue = queue(directory.path(), number);
        open(&queue, 0o755);
        for entry in fs::read_dir(&queue).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_file() && !entry.ends_with("writer.lock") {
                open(&entry, 0o644);
            }
        }
    }
    let mut command = support::command(
        "a_reader_without_write_permission_is_heard_within_its_slice",
        directory.path(),
    );
    let mut child = match command.uid(65534).gid(65534).spawn() {
        Ok(child) => child,
        Err(error) => return eprintln!("SKIPPED: cannot be another user: {error}"),
    };
    await_line(&mut child, "waiting");
    for _ in 0..20 {
        thread::sleep(Duration::from_millis(25));
        writer.append(TYPE, &wall_ns().to_le_bytes()).unwrap();
    }
    assert!(child.wait().unwrap().success());
}
