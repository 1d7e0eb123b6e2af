//! The queues of eight processes read as one while they are written, and again from an archive of them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../../chronicle-core/tests/support/child.rs"]
mod child;

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime};

use child::{Body, Process, told};
use chronicle_bus::{
    BusError, BusLayout, MergeReplay, MergedPlace, Publisher, QueueEndpoint, Subscriber,
};
use chronicle_std::{
    FanIn, Merged, Patience, QueueWriter, ReaderConfig, SourceId, Start, WriterConfig,
};

const WRITERS: u32 = 8;

/// What is to be the same: sequence number, type, time and bytes.
type Record = (u64, u16, u64, Vec<u8>);

fn input(root: &Path, number: u32) -> QueueEndpoint {
    BusLayout::new(root).unwrap().live("inputs", &format!("writer{number}")).unwrap()
}

fn archived(root: &Path, number: u32) -> QueueEndpoint {
    BusLayout::new(root).unwrap().archive("inputs", &format!("writer{number}")).unwrap()
}

fn merged(root: &Path, name: &str) -> QueueEndpoint {
    BusLayout::new(root).unwrap().live("merged", name).unwrap()
}

/// Small segments, so that everything rolls many times.
fn config() -> WriterConfig {
    let mut config = WriterConfig::default();
    config.segment_size = 1 << 20;
    config
}

/// Not a test of its own: writes in bursts until it is told to stop. Where a lateness is declared, the
/// first writer's bursts begin with a message that becomes visible when the merge has passed its time.
#[test]
fn body_writes() {
    let Some(root) = told::<PathBuf>("ROOT") else { return };
    let number: u32 = told("NUMBER").unwrap();
    let is_late = number == 0 && told::<u64>("LATENESS_US").is_some();
    let mut writer = input(&root, number).open_publisher(config()).unwrap();
    println!("writing");
    while !root.join("stop").exists() {
        let stamp = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let stamp_ns = stamp.as_nanos() as u64;
        if is_late {
            await_output(&root, stamp_ns);
        }
        thread::sleep(Duration::from_micros(fastrand::u64(..3000)));
        for message in 0..fastrand::u32(1..30) {
            let seq = writer.next_seq();
            let mut payload = [seq.to_le_bytes(), u64::from(number).to_le_bytes()].concat();
            payload.resize(16 + fastrand::usize(..200), number as u8);
            let type_id = 0x8000 + number as u16;
            if is_late && message == 0 {
                writer.append_at(type_id, stamp_ns, &payload).unwrap();
                println!("late");
            } else {
                writer.append(type_id, &payload).unwrap();
            }
        }
    }
    println!("written {}", writer.next_seq());
}

/// Waits until the merge has given out something that is younger than this, or the others are to stop.
fn await_output(root: &Path, stamp_ns: u64) {
    let mut config = ReaderConfig::default();
    config.start = Start::Latest;
    let mut output = loop {
        match merged(root, "output").open_reader(config.clone()) {
            Ok(reader) => break reader,
            Err(error) => assert!(error.is_not_found(), "{error}"),
        }
        thread::sleep(Duration::from_millis(5));
    };
    loop {
        output.wait(Some(Duration::from_millis(100))).unwrap();
        while let Some(message) = output.next().unwrap() {
            if message.timestamp_ns > stamp_ns {
                return;
            }
        }
        if root.join("stop").exists() {
            return;
        }
        assert!(root.exists(), "the test is over");
    }
}

fn append(output: &mut QueueWriter, merged: &Merged<'_>) {
    let (Merged::InOrder(record) | Merged::Late { record, .. }) = merged else { panic!() };
    let message = record.message;
    output.append_at(message.type_id, message.timestamp_ns, message.payload).unwrap();
}

/// Not a test of its own: merges what is written, and writes down in which order, until all writers have
/// ended, or it is killed. Started again it goes on behind what is in its output.
#[test]
fn body_merges() {
    let Some(root) = told::<PathBuf>("ROOT") else { return };
    let patience = match told::<u64>("LATENESS_US") {
        Some(lateness) => Patience::Lateness(Duration::from_micros(lateness)),
        None => Patience::Unlimited,
    };
    let mut places = Publisher::<MergedPlace>::open(&merged(&root, "order"), config()).unwrap();
    let mut output = merged(&root, "output").open_publisher(config()).unwrap();
    let mut replay = replay(&merged(&root, "order"), |number| input(&root, number));
    replay.skip(output.next_seq()).unwrap();
    // What was given out, and was not in the output when the process before this one died.
    while let Some(given) = replay.next().unwrap() {
        append(&mut output, &given);
    }
    let mut merge = FanIn::<8>::new(patience);
    for (source, reader) in replay.into_sources().unwrap() {
        merge.add(source, reader).unwrap();
    }
    println!("merging");
    let mut is_finished = false;
    loop {
        let given = merge.next().unwrap();
        if let Some(place) = MergedPlace::of(&given) {
            places.send(&place).unwrap();
            append(&mut output, &given);
            continue;
        }
        if is_finished {
            break;
        }
        // Before the next look, so that nothing is written behind that.
        if root.join("ended").exists() {
            for number in 0..WRITERS {
                merge.finish(SourceId(number));
            }
            is_finished = true;
        } else {
            merge.wait(Some(Duration::from_millis(5))).unwrap();
        }
    }
    println!("merged {}", output.next_seq());
}

/// A replay of a recorded order over these sources.
fn replay(order: &QueueEndpoint, source: impl Fn(u32) -> QueueEndpoint) -> MergeReplay {
    let mut replay = MergeReplay::new(Subscriber::open(order, ReaderConfig::default()).unwrap());
    for number in 0..WRITERS {
        let reader = source(number).open_reader(ReaderConfig::default()).unwrap();
        replay.add(SourceId(number), reader);
    }
    replay
}

/// Runs eight writers and a merge, which is killed so often; gives how many messages there are.
fn run(root: &Path, lateness_us: Option<u64>, kills: u32) -> u64 {
    let start = |mut body: Body, number: u32, mark: &str| -> Process {
        body = body.tell("ROOT", root.display()).tell("NUMBER", number);
        if let Some(lateness) = lateness_us {
            body = body.tell("LATENESS_US", lateness);
        }
        let mut process = body.start();
        process.said(mark).unwrap();
        process
    };
    let mut writers: Vec<Process> =
        (0..WRITERS).map(|number| start(Body::named("body_writes"), number, "writing")).collect();
    let mut merge = start(Body::named("body_merges"), 0, "merging");
    let period = child::seconds(2) / (kills + 1);
    for _ in 0..kills {
        thread::sleep(period);
        merge.kill();
        merge = start(Body::named("body_merges"), 0, "merging");
    }
    thread::sleep(period);
    if lateness_us.is_some() {
        writers.first_mut().and_then(|writer| writer.said("late")).unwrap();
    }
    fs::write(root.join("stop"), "").unwrap();
    let written = writers.iter_mut().map(|writer| {
        let written: u64 = writer.said("written").unwrap().parse().unwrap();
        writer.succeed();
        written
    });
    let written = written.sum();
    fs::write(root.join("ended"), "").unwrap();
    assert_eq!(merge.said("merged").unwrap(), format!("{written}"));
    merge.succeed();
    written
}

fn records(queue: &QueueEndpoint) -> Vec<Record> {
    let mut reader = queue.open_reader(ReaderConfig::default()).unwrap();
    let mut records = Vec::new();
    while let Some(message) = reader.next().unwrap() {
        let payload = message.payload.to_vec();
        records.push((message.seq, message.type_id, message.timestamp_ns, payload));
    }
    records
}

fn places(queue: &QueueEndpoint) -> Vec<MergedPlace> {
    let mut order = Subscriber::<MergedPlace>::open(queue, ReaderConfig::default()).unwrap();
    let mut places = Vec::new();
    while let Some(place) = order.next().unwrap() {
        places.push(*place.message);
    }
    places
}

/// Puts all inputs into archives, message by message.
fn archive(root: &Path) {
    for number in 0..WRITERS {
        let mut writer = archived(root, number).open_publisher(config()).unwrap();
        for (_, type_id, timestamp_ns, payload) in records(&input(root, number)) {
            writer.append_at(type_id, timestamp_ns, &payload).unwrap();
        }
    }
}

/// Compares two outputs, which are too long to be shown.
fn assert_same(left: &[Record], right: &[Record]) {
    let different = left.iter().zip(right).position(|(left, right)| left != right);
    assert_eq!(
        (different, left.len()),
        (None, right.len()),
        "the first that differs, and how many"
    );
}

#[test]
fn without_a_bound_the_archives_alone_give_the_same_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let written = run(root, None, 3);
    archive(root);
    let live = records(&merged(root, "output"));
    assert_eq!(live.len() as u64, written);
    assert!(places(&merged(root, "order")).iter().all(|place| place.is_late == 0));

    let mut again = merged(root, "again").open_publisher(config()).unwrap();
    let mut merge = FanIn::<8>::new(Patience::Lateness(Duration::ZERO));
    for number in 0..WRITERS {
        let reader = archived(root, number).open_reader(ReaderConfig::default()).unwrap();
        merge.add(SourceId(number), reader).unwrap();
    }
    while again.next_seq() < written {
        let given = merge.next().unwrap();
        assert!(matches!(given, Merged::InOrder(_)), "{given:?}");
        append(&mut again, &given);
    }
    assert_same(&live, &records(&merged(root, "again")));
    println!("{written} messages of {WRITERS} processes");
}

#[test]
fn with_late_messages_the_archives_and_the_recorded_order_give_the_same_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let written = run(root, Some(0), 5);
    archive(root);
    let live = records(&merged(root, "output"));
    let order = places(&merged(root, "order"));
    assert_eq!((live.len() as u64, order.len() as u64), (written, written));
    let late = order.iter().filter(|place| place.is_late == 1).count();
    println!("{written} messages of {WRITERS} processes, {late} late");
    assert!(late > 0, "nothing was late: the archives alone would do");

    let mut replay = replay(&merged(root, "order"), |number| archived(root, number));
    let mut again = merged(root, "again").open_publisher(config()).unwrap();
    let mut places_again = Vec::new();
    while let Some(given) = replay.next().unwrap() {
        append(&mut again, &given);
        places_again.extend(MergedPlace::of(&given));
    }
    assert!(places_again == order, "messages are late in other places");
    assert_same(&live, &records(&merged(root, "again")));
}

#[test]
fn a_replay_begins_anywhere_and_says_what_is_not_there() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    for number in 0..2 {
        let mut writer = input(root, number).open_publisher(config()).unwrap();
        for time in 0..5 {
            let time = 1000 * time + u64::from(number);
            writer.append_at(0x8000, time, &time.to_le_bytes()).unwrap();
        }
    }
    let mut merge = FanIn::<8>::new(Patience::Lateness(Duration::ZERO));
    let mut order = Publisher::<MergedPlace>::open(&merged(root, "order"), config()).unwrap();
    for number in 0..2 {
        let reader = input(root, number).open_reader(ReaderConfig::default()).unwrap();
        merge.add(SourceId(number), reader).unwrap();
    }
    while let Some(place) = MergedPlace::of(&merge.next().unwrap()) {
        order.send(&place).unwrap();
    }
    let subscriber = || {
        Subscriber::<MergedPlace>::open(&merged(root, "order"), ReaderConfig::default()).unwrap()
    };
    let reader = |number, start| {
        let mut config = ReaderConfig::default();
        config.start = start;
        input(root, number).open_reader(config).unwrap()
    };
    let time = |given: Option<Merged<'_>>| match given {
        Some(Merged::InOrder(record)) => Some(record.message.timestamp_ns),
        None => None,
        other => panic!("{other:?}"),
    };

    let mut replay = MergeReplay::new(subscriber());
    replay.add(SourceId(0), reader(0, Start::Latest));
    assert_eq!(replay.skip(6).unwrap(), 6);
    assert_eq!(time(replay.next().unwrap()), Some(3000));
    for _ in 0..2 {
        let missing = replay.next().map(drop).unwrap_err();
        assert!(matches!(missing, BusError::NotInSource { source: SourceId(1), seq: 3 }));
    }
    replay.add(SourceId(1), reader(1, Start::Earliest));
    assert_eq!(time(replay.next().unwrap()), Some(3001));
    let mut sources = replay.into_sources().unwrap();
    for number in 0..2 {
        let next = sources.get_mut(&SourceId(number)).unwrap().next().unwrap().unwrap();
        assert_eq!(next.timestamp_ns, 4000 + u64::from(number));
    }

    // A source that was cut off is not replayed as if it had ended.
    let beyond = MergedPlace { seq: 5, time_ns: 5000, behind_ns: 0, source: 0, is_late: 0 };
    order.send(&beyond).unwrap();
    let mut replay = MergeReplay::new(subscriber());
    replay.add(SourceId(0), reader(0, Start::Earliest));
    assert_eq!(replay.skip(10).unwrap(), 10);
    assert!(matches!(replay.next(), Err(BusError::NotInSource { seq: 5, .. })));
    assert_eq!(replay.skip(10).unwrap(), 1);
    assert_eq!(time(replay.next().unwrap()), None);
}
