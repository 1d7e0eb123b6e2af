//! What is counted, by processes of their own that are killed on the way, and what an observer is told.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "../../chronicle-core/tests/support/child.rs"]
mod child;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use child::{Body, Process, told};
use chronicle_bus::{
    BusCounters, BusError, BusLayout, CountedReader, CountedWriter, QueueEndpoint, StrategyId,
    SubscriberDiscovery,
};
use chronicle_std::format::{HEADER_SIZE, record_size};
use chronicle_std::{
    FanIn, Merged, Patience, QueueError, QueueReader, QueueWriter, ReaderConfig, RetentionPolicy,
    SourceId, SyncPolicy, WaitSet, WhenFull, WriterConfig,
};

const TYPE: u16 = 0x8000;
const QUEUE: &str = "live/market_data/queue/demo_feed";
/// Longer than anything here takes, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

fn feed(root: &Path) -> QueueEndpoint {
    BusLayout::new(root).unwrap().live("market_data", "demo_feed").unwrap()
}

fn small() -> WriterConfig {
    let mut config = WriterConfig::default();
    config.segment_size = 65536;
    config.retention = RetentionPolicy::KEEP_ALL;
    config
}

fn named(name: &str) -> ReaderConfig {
    let mut config = ReaderConfig::default();
    config.name = Some(name.to_owned());
    config
}

fn look(root: &Path) -> BusCounters {
    BusLayout::new(root).unwrap().counters().unwrap()
}

fn writer_of(root: &Path) -> CountedWriter {
    look(root).queues[QUEUE].writer.unwrap()
}

fn reader_of(root: &Path, name: &str) -> CountedReader {
    look(root).queues[QUEUE].readers[name]
}

/// Waits until an observer sees it.
fn until<T>(mut seen: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = seen() {
            return seen;
        }
        assert!(Instant::now() < until, "nobody saw it");
        thread::sleep(Duration::from_millis(2));
    }
}

fn append(writer: &mut QueueWriter, count: usize) {
    for number in 0..count {
        writer.append(TYPE, &[number as u8; 100]).unwrap();
    }
}

fn read(reader: &mut QueueReader, limit: u64) -> u64 {
    reader.read_all(limit, |_| ()).unwrap()
}

/// Not a test of its own: appends so many messages, and then stays.
#[test]
fn body_appends() {
    let Some(root) = told::<PathBuf>("ROOT") else { return };
    let mut writer = feed(&root).open_publisher(small()).unwrap();
    assert!(writer.is_counted());
    append(&mut writer, told("COUNT").unwrap());
    println!("appended");
    thread::sleep(PATIENCE);
}

/// Not a test of its own: reads and commits so many messages, and then waits for more.
#[test]
fn body_reads() {
    let Some(root) = told::<PathBuf>("ROOT") else { return };
    let mut reader = feed(&root).open_reader(named("risk")).unwrap();
    assert!(reader.is_counted());
    for _ in 0..told::<u64>("COUNT").unwrap() {
        while reader.next().unwrap().is_none() {
            reader.wait(None).unwrap();
        }
        reader.commit().unwrap();
    }
    reader.publish_counters();
    println!("read");
    thread::sleep(PATIENCE);
}

fn process(body: &str, root: &Path, count: u64, said: &str) -> Process {
    let mut process = Body::named(body).tell("ROOT", root.display()).tell("COUNT", count).start();
    process.said(said).unwrap();
    process
}

#[test]
fn killed_processes_are_told_as_gone_and_the_next_ones_take_their_place() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let mut writer = process("body_appends", root, 1000, "appended");
    let mut reader = process("body_reads", root, 400, "read");
    let bystander = feed(root).open_reader(named("bystander")).unwrap();
    let counted = until(|| Some(writer_of(root)).filter(|counted| counted.head.seq == 1000));
    assert!(counted.alive);
    assert_eq!(counted.values.pid, u64::from(writer.pid()));
    assert!(counted.values.process_start > 0);
    let counted = reader_of(root, "risk");
    assert!(counted.alive);
    assert_eq!((counted.values.seq, counted.values.committed_seq), (400, 400));
    let lag = counted.lag.unwrap();
    assert_eq!(lag.messages, 600);
    let bytes = 600 * record_size(100);
    assert!((bytes..bytes + 4096).contains(&lag.bytes), "{lag:?}");
    assert!(lag.time_ns.is_some_and(|time| time > 0), "{lag:?}");
    let beside = reader_of(root, "bystander").values;

    writer.kill();
    reader.kill();
    let (writer, reader) = (writer_of(root), reader_of(root, "risk"));
    assert!(!writer.alive && !reader.alive);
    assert_eq!((writer.values.closed, reader.values.closed), (0, 0));
    assert_eq!((writer.head.seq, reader.values.seq), (1000, 400));

    let files = || fs::read_dir(root.join("counters")).unwrap().count();
    let before = files();
    let next_writer = process("body_appends", root, 10, "appended");
    let next_reader = process("body_reads", root, 100, "read");
    let writer = until(|| Some(writer_of(root)).filter(|writer| writer.head.seq == 1010));
    assert!(writer.alive);
    assert_eq!((writer.values.pid, writer.values.starts), (next_writer.pid().into(), 2));
    let reader = reader_of(root, "risk");
    assert!(reader.alive);
    assert_eq!((reader.values.pid, reader.values.starts), (next_reader.pid().into(), 2));
    assert_eq!((reader.values.seq, reader.lag.unwrap().messages), (500, 510));
    assert_eq!(files(), before);
    assert_eq!(reader_of(root, "bystander").values, beside, "nothing else has moved");
    drop(bystander);
}

#[test]
fn at_the_end_sums_are_the_truth() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let mut writer = feed(root).open_publisher(small()).unwrap();
    let mut reader = feed(root).open_reader(named("risk")).unwrap();
    append(&mut writer, 5000);
    assert_eq!(read(&mut reader, u64::MAX), 5000);
    reader.commit().unwrap();
    let rolls = writer.position().segment.get();
    writer.flush().unwrap();
    drop((writer, reader));

    let counted = writer_of(root);
    assert_eq!((counted.alive, counted.values.closed), (false, 1));
    assert_eq!((counted.values.messages, counted.values.rolls), (5000, rolls.into()));
    // Beside the messages there is the record that begins the epoch.
    let epoch = record_size(32);
    assert_eq!(counted.values.bytes, 5000 * record_size(100) + epoch);
    assert!(record_size(100) > HEADER_SIZE + 100);
    assert_eq!((counted.keeper.syncs, counted.keeper.sync_errors), (1, 0));
    assert_eq!(counted.values.durable_seq, 5000);
    let reader = reader_of(root, "risk");
    assert_eq!((reader.values.seq, reader.values.closed), (5000, 1));
    assert_eq!((reader.lag.unwrap().messages, reader.lag.unwrap().bytes), (0, 0));

    // The next one begins in the middle of a segment, and counts what is its own.
    let mut writer = feed(root).open_publisher(small()).unwrap();
    let mut reader = feed(root).open_reader(named("risk")).unwrap();
    append(&mut writer, 3000);
    assert_eq!(read(&mut reader, 2990), 2990);
    reader.publish_counters();
    // Too soon for a publication of their own.
    while reader.next().unwrap().is_some() {}
    drop((writer, reader));
    let counted = writer_of(root);
    assert_eq!((counted.values.messages, counted.head.seq), (3000, 8000));
    assert_eq!(counted.values.bytes, 3000 * record_size(100) + epoch);
    assert_eq!(reader_of(root, "risk").values.seq, 8000);
}

#[test]
fn the_last_messages_before_a_rest_are_seen_all_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = feed(directory.path()).open_publisher(small()).unwrap();
    let seen = |seq| until(|| Some(writer_of(directory.path())).filter(|w| w.head.seq == seq));
    // Until something comes too soon behind a publication, as it does at once unless the machine is busy.
    let mut appended = 0;
    while writer_of(directory.path()).values.seq == appended {
        writer.append(TYPE, b"soon").unwrap();
        appended += 1;
    }
    let counted = seen(appended);
    assert!(counted.head.time_ns > 0);
    writer.append(TYPE, b"later").unwrap();
    seen(appended + 1);
}

#[test]
fn a_reader_that_waits_polls_or_is_in_a_set_is_seen_where_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let mut writer = feed(root).open_publisher(small()).unwrap();
    let place = |name| reader_of(root, name).values.seq;
    let mut waiting = feed(root).open_reader(named("waiting")).unwrap();
    let mut polling = feed(root).open_reader(named("polling")).unwrap();
    let in_set = feed(root).open_reader(named("in_set")).unwrap();
    let in_merge = feed(root).open_reader(named("in_merge")).unwrap();
    append(&mut writer, 10);

    assert_eq!(read(&mut waiting, 10), 10);
    waiting.wait(Some(Duration::from_millis(50))).unwrap();
    assert_eq!(place("waiting"), 10);
    let values = reader_of(root, "waiting").values;
    assert_eq!(
        (values.waits, values.waits_timed_out),
        (0, 0),
        "published before the wait was over"
    );

    assert_eq!(read(&mut polling, 10), 10);
    until(|| {
        assert!(polling.next().unwrap().is_none());
        (place("polling") == 10).then_some(())
    });

    let mut set = WaitSet::new();
    let member = set.add(in_set).unwrap();
    assert_eq!(read(set.reader_mut(member).unwrap(), 10), 10);
    until(|| {
        set.wait(&mut Vec::new(), Some(Duration::from_millis(50))).unwrap();
        (place("in_set") == 10).then_some(())
    });

    let mut merge = FanIn::<4>::new(Patience::Lateness(Duration::ZERO));
    merge.add(SourceId(1), in_merge).unwrap();
    let mut given = 0;
    while given < 10 {
        given += u64::from(matches!(merge.next().unwrap(), Merged::InOrder(_)));
    }
    until(|| {
        merge.wait(Some(Duration::from_millis(50))).unwrap();
        (place("in_merge") == 10).then_some(())
    });
    append(&mut writer, 5);
    waiting.seek_to_start().unwrap();
    thread::sleep(Duration::from_millis(20));
    assert_eq!(read(&mut waiting, 1), 1);
    assert_eq!(place("waiting"), 1, "it has gone back");
    while given < 15 {
        given += u64::from(matches!(merge.next().unwrap(), Merged::InOrder(_)));
    }
    // Without a wait too.
    until(|| {
        assert!(matches!(merge.next().unwrap(), Merged::Nothing(_)));
        (place("in_merge") == 15).then_some(())
    });
    drop(merge);
    let values = reader_of(root, "in_merge").values;
    assert_eq!((values.seq, values.closed), (15, 1));
}

#[test]
fn a_reader_without_a_name_is_counted_if_it_is_given_one() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let mut writer = feed(root).open_publisher(small()).unwrap();
    let mut passive = feed(root).open_reader(ReaderConfig::default()).unwrap();
    assert!(!passive.is_counted());
    assert!(look(root).queues[QUEUE].readers.is_empty());
    assert!(matches!(
        feed(root).count_reader(&mut passive, "../momentum"),
        Err(BusError::InvalidName { .. })
    ));
    feed(root).count_reader(&mut passive, "momentum").unwrap();
    assert_eq!(reader_of(root, "momentum").values.registered, 0);

    let mut second = feed(root).open_reader(ReaderConfig::default()).unwrap();
    feed(root).count_reader(&mut second, "momentum").unwrap_err();
    assert!(!second.is_counted());
    append(&mut writer, 1);
    assert!(second.next().unwrap().is_some(), "it reads all the same");

    let mut discovery =
        SubscriberDiscovery::new(feed(root), ReaderConfig::default()).counted_as("other");
    discovery.poll().unwrap();
    assert!(reader_of(root, "other").alive);
}

#[test]
fn a_full_queue_and_who_holds_it_can_be_seen_while_the_writer_waits() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let mut config = small();
    config.retention = RetentionPolicy {
        max_segments: Some(1),
        capacity_bytes: Some(3 * 65536),
        ..RetentionPolicy::KEEP_ALL
    };
    config.when_full = WhenFull::Wait(PATIENCE);
    let mut writer = feed(root).open_publisher(config).unwrap();
    let mut reader = feed(root).open_reader(named("slow")).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| append(&mut writer, 2000));
        let held = until(|| {
            let counted = writer_of(root);
            let is_held = counted.values.waiting_for_room == 1 && counted.keeper.held_segments > 0;
            is_held.then_some(counted)
        });
        assert_eq!(held.values.capacity_bytes, 3 * 65536);
        assert_eq!(held.bytes_kept(), 3 * 65536);
        until(|| {
            read(&mut reader, 100);
            reader.commit().unwrap();
            (reader.position().seq == 2000).then_some(())
        });
    });
    drop(writer);
    let counted = writer_of(root);
    assert!(counted.values.full > 0 && counted.values.full_wait_ns > 0);
    assert_eq!((counted.values.waiting_for_room, counted.values.errors), (0, 0));
    assert!(counted.keeper.removed_segments > 0 && counted.keeper.oldest_segment > 0);

    // Whoever opens the queue next says at once how much of it there is.
    let mut config = small();
    config.background = false;
    let _writer = feed(root).open_publisher(config).unwrap();
    assert!(writer_of(root).bytes_kept() <= 3 * 65536);
}

#[test]
fn errors_are_counted_and_syncs_of_the_group_too() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let mut config = small();
    config.sync = SyncPolicy::Group { interval: Duration::from_millis(1) };
    let mut writer = feed(root).open_publisher(config).unwrap();
    assert!(matches!(writer.append(TYPE, &[0; 70_000]), Err(QueueError::Queue { .. })));
    let counted = writer_of(root).values;
    assert_eq!(counted.errors, 1);
    assert!(counted.last_error_ns > 0);
    let seq = writer.append(TYPE, b"a").unwrap();
    assert!(writer.wait_durable(seq, PATIENCE).unwrap());
    let keeper = until(|| Some(writer_of(root).keeper).filter(|keeper| keeper.syncs > 0));
    assert!(keeper.sync_ns > 0);
    assert_eq!(keeper.sync_errors, 0);
}

#[test]
fn whoever_cannot_be_counted_works_without() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    fs::write(root.join("counters"), b"not a directory").unwrap();
    let mut writer = feed(root).open_publisher(small()).unwrap();
    let mut reader = feed(root).open_reader(named("risk")).unwrap();
    assert!(!writer.is_counted() && !reader.is_counted());
    append(&mut writer, 300);
    assert_eq!(read(&mut reader, u64::MAX), 300);
    assert!(matches!(feed(root).count_writer(&mut writer), Err(BusError::Refused { .. })));
    fs::remove_file(root.join("counters")).unwrap();
    feed(root).count_writer(&mut writer).unwrap();
    assert_eq!(writer_of(root).head.seq, 300);
}

#[test]
fn counters_are_for_their_owner_alone() {
    let directory = tempfile::tempdir().unwrap();
    let _writer = feed(directory.path()).open_publisher(small()).unwrap();
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let counters = directory.path().join("counters");
    assert_eq!(mode(counters.clone()), 0o700);
    assert_eq!(mode(counters.join("writer.live.market_data.queue.demo_feed")), 0o600);
}

#[test]
fn a_file_that_is_damaged_or_foreign_is_named_and_the_others_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    drop(feed(root).open_publisher(small()).unwrap());
    let strategy = BusLayout::new(root).unwrap().strategy(StrategyId::new("alpha").unwrap());
    drop(strategy.orders_out().open_publisher(small()).unwrap());
    let file = root.join("counters/writer.live.market_data.queue.demo_feed");
    let good = fs::read(&file).unwrap();
    fs::write(root.join("counters/notes"), b"mine").unwrap();

    for (at, what) in [(0, "magic"), (8, "version"), (13, "checksum stored at byte 16")] {
        let mut bad = good.clone();
        bad[at] ^= 0x40;
        fs::write(&file, &bad).unwrap();
        let found = look(root);
        let fault = found.faults[0].to_string();
        assert!(fault.contains(what) && fault.contains(file.to_str().unwrap()), "{fault}");
        assert_eq!(found.queues.len(), 1, "the other one is there");
    }
    fs::write(&file, &good[..100]).unwrap();
    assert!(look(root).faults[0].to_string().contains("100 bytes where 4096"));
    fs::write(&file, b"").unwrap();
    assert_eq!(look(root).faults.len(), 1, "nobody is making it");

    // The next writer begins anew in whatever lies there.
    let writer = feed(root).open_publisher(small()).unwrap();
    assert!(writer.is_counted());
    assert!(look(root).faults.is_empty());
    assert_eq!(writer_of(root).values.starts, 1);

    fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &file).unwrap();
    assert!(matches!(look(root).faults[..], [BusError::Refused { .. }]));
}

#[test]
fn whatever_the_values_are_an_observer_is_told_them() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    drop(feed(root).open_publisher(small()).unwrap());
    drop(feed(root).open_reader(named("risk")).unwrap());
    let mut random = fastrand::Rng::with_seed(85);
    for name in
        ["writer.live.market_data.queue.demo_feed", "reader.risk.live.market_data.queue.demo_feed"]
    {
        let file = root.join("counters").join(name);
        let good = fs::read(&file).unwrap();
        for round in 0..300 {
            let mut bytes = good.clone();
            let from = if round % 3 == 0 { 0 } else { 256 };
            for byte in &mut bytes[from..] {
                *byte = if round % 2 == 0 { random.u8(..) } else { 0xff };
            }
            fs::write(&file, &bytes).unwrap();
            let found = look(root);
            assert!(found.faults.len() == usize::from(from == 0), "{round}: {:?}", found.faults);
            if let Some(writer) = found.queues[QUEUE].writer {
                let _ = writer.bytes_kept();
            }
        }
        fs::write(&file, &good).unwrap();
    }
}
