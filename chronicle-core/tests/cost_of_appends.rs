//! What appends and reads cost the thread that makes them: calls across the seam, which are the only way into
//! the kernel that the engine has, and page faults as the kernel counts them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod support;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::hint::black_box;
use std::rc::Rc;

use chronicle_core::{
    Appender, NoProbe, PreparedSegment, ReaderName, RetiredSegment, SegmentId, Supply, TailOptions,
    Tailer, WriteOptions, prepare_segment,
};
use support::counting::{Calls, Counting};
use support::{Home, TYPE};

const SIZE: u64 = 4 << 20;
const ROLLS: u32 = 10;

/// Minor faults of this thread so far (`proc_pid_stat(5)`, field 10; the same counter as
/// `getrusage(2)` shows for `RUSAGE_THREAD`).
fn minor_faults() -> u64 {
    let stat = fs::read_to_string("/proc/thread-self/stat").unwrap();
    let fields = stat.rsplit(')').next().unwrap();
    fields.split_ascii_whitespace().nth(10 - 3).unwrap().parse().unwrap()
}

/// A supply that another thread is imagined to keep: filled and emptied while nothing is counted.
#[derive(Clone, Default)]
struct Shelf(Rc<RefCell<Segments>>);

#[derive(Default)]
struct Segments {
    ready: Option<PreparedSegment<Counting>>,
    left: Vec<RetiredSegment<Counting>>,
}

impl Supply<Counting> for Shelf {
    fn want(&mut self, _: SegmentId) {}

    fn take(&mut self, id: SegmentId) -> Option<PreparedSegment<Counting>> {
        self.0.borrow_mut().ready.take_if(|ready| ready.id() == id)
    }

    fn retire(&mut self, segment: RetiredSegment<Counting>) {
        self.0.borrow_mut().left.push(segment);
    }
}

#[test]
fn ten_rolls_into_prepared_segments_enter_the_kernel_not_at_all() {
    // Files in memory where there are such: on a disk the kernel write-protects pages when it writes
    // them back, and the next store to each is a fault again.
    let home = Home::in_memory();
    home.create(SIZE);
    let (calls, preparing) = (Calls::default(), Calls::default());
    let shelf = Shelf::default();
    let platform = Counting::new(home.platform(), &calls);
    let helper = Counting::new(home.platform(), &preparing);
    let mut appender =
        Appender::open_with(platform, WriteOptions::default(), NoProbe, shelf.clone()).unwrap();
    let payload = [5; 232];
    let before = minor_faults();
    let fresh = black_box(vec![1u8; 8 << 20]);
    assert!(minor_faults() > before, "the counter of {} fresh bytes stands still", fresh.len());
    let prepare = |segment: u32| {
        let id = SegmentId::new(segment.into()).unwrap();
        let prepared = prepare_segment(&helper, id).unwrap().unwrap();
        let mut shelf = shelf.0.borrow_mut();
        shelf.left.clear();
        shelf.ready = Some(prepared);
    };
    prepare(1);
    while appender.position().segment.get() == 0 {
        appender.append(TYPE, &payload).unwrap();
    }
    calls.take();
    let mut appended = 0u64;
    let (mut faults, mut rolls) = (0u64, 0);
    let mut entered = BTreeMap::new();
    for segment in 2..2 + ROLLS {
        prepare(segment);
        // Reading the counter may fault by itself the first time.
        minor_faults();
        let before = minor_faults();
        while appender.position().segment.get() < segment {
            appender.append(TYPE, &payload).unwrap();
            appended += 1;
        }
        faults += minor_faults() - before;
        rolls += 1;
        for (call, count) in calls.take() {
            *entered.entry(call).or_insert(0) += count;
        }
    }
    println!("{rolls} rolls, {appended} appends: {faults} minor faults, calls {entered:?}");
    assert_eq!(rolls, ROLLS);
    assert!(appended > u64::from(ROLLS) * SIZE / 300);
    assert_eq!(entered, BTreeMap::new(), "system calls by the thread that appends");
    // Pages are made ready when a segment is prepared, so only what the process touches for the first
    // time in its life is left: its own stack and heap, and a page table now and then.
    assert!(faults <= u64::from(4 * rolls), "{faults} faults in {rolls} rolls");
}

#[test]
fn a_roll_that_makes_its_segment_enters_the_kernel_a_known_number_of_times() {
    let home = Home::in_memory();
    home.create(SIZE);
    let calls = Calls::default();
    let platform = Counting::new(home.platform(), &calls);
    let mut appender = Appender::open(platform, WriteOptions::default()).unwrap();
    let payload = [5; 232];
    while appender.position().segment.get() == 0 {
        appender.append(TYPE, &payload).unwrap();
    }
    calls.take();
    while appender.position().segment.get() < 1 + ROLLS {
        appender.append(TYPE, &payload).unwrap();
    }
    let entered = calls.take();
    println!("{ROLLS} rolls: {entered:?}");
    let count = |call| entered.get(call).copied().unwrap_or(0);
    // A segment and its index each; four steps of a MiB in a segment, of which the
    // first one is reserved as the segment is made.
    assert_eq!([count("stage"), count("publish")], [2 * ROLLS; 2]);
    assert_eq!(count("reserve"), 3 * ROLLS);
    assert_eq!(count("prefault"), 5 * ROLLS);
    assert_eq!([count("wake"), count("sync"), count("sync_names")], [0; 3]);
}

#[test]
fn a_flush_behind_rolls_opens_no_segment_anew() {
    let home = Home::in_memory();
    home.create(SIZE);
    let calls = Calls::default();
    let platform = Counting::new(home.platform(), &calls);
    let mut appender =
        Appender::open_with(platform, WriteOptions::default(), NoProbe, Shelf::default()).unwrap();
    appender.append(TYPE, &[5; 232]).unwrap();
    appender.flush().unwrap();
    let id = |segment: u32| SegmentId::new(segment.into()).unwrap();
    for segment in [2, 4, 6] {
        while appender.position().segment < id(segment) {
            appender.append(TYPE, &[5; 232]).unwrap();
        }
        calls.take();
        appender.flush().unwrap();
        let entered = calls.take();
        // The one that is written to is opened for the syncer; those before have never been closed.
        assert_eq!(entered.get("open"), Some(&1), "{entered:?}");
    }
}

#[test]
fn reading_and_committing_enter_the_kernel_once_a_segment() {
    let home = Home::in_memory();
    home.create(SIZE);
    let mut appender = home.appender();
    let payload = [5; 232];
    while appender.position().segment.get() < ROLLS {
        appender.append(TYPE, &payload).unwrap();
    }
    let calls = Calls::default();
    let mut options = TailOptions::default();
    options.name = Some(ReaderName::new("counted").unwrap());
    let mut tailer = Tailer::open(Counting::new(home.platform(), &calls), &options).unwrap();
    calls.take();
    let mut read = 0;
    while tailer.next().unwrap().is_some() {
        tailer.commit().unwrap();
        read += 1;
    }
    assert_eq!(read, appender.next_seq());
    let entered = calls.take();
    println!("{read} records read and committed in {} segments: {entered:?}", ROLLS + 1);
    assert_eq!(entered, BTreeMap::from([("view", ROLLS)]));
}
