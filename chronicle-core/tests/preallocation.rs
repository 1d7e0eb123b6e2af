//! Segments that are prepared before they are needed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod support;

use std::cell::{Cell, RefCell};
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use chronicle_core::{
    Appender, NoProbe, NoSupply, PreparedSegment, RetiredSegment, SegmentId, Site, Space, Supply,
    WriteOptions, prepare_segment, prepare_segment_with,
};
use chronicle_format::INDEX_STRIDE;
use chronicle_platform_linux::LinuxPlatform;
use chronicle_sync::ErrorKind;
use support::counting::{Calls, Counting};
use support::faulty::{Call, Faults, Faulty};
use support::probes::At;
use support::{Home, TYPE, assert_holds, payload};

const SIZE: u64 = 65536;

fn inode(home: &Home, segment: u32) -> Option<u64> {
    let name = format!("{segment:09}.q");
    std::fs::metadata(home.file(&name)).ok().map(|metadata| metadata.ino())
}

/// Appends until the appender is in this segment; returns how many records there are then.
fn fill_up_to<S: Supply<LinuxPlatform>>(
    appender: &mut Appender<LinuxPlatform, NoProbe, S>,
    segment: u32,
) -> u64 {
    while appender.position().segment.get() < segment {
        let number = appender.next_seq();
        appender.append(TYPE, &payload(number)).unwrap();
    }
    appender.next_seq()
}

#[test]
fn open_or_create_preserves_preallocated() {
    let home = Home::with_queue(SIZE);
    let mut appender = home.appender();
    // Published beside the writer, which was not told.
    let prepared = prepare_segment(&home.platform(), SegmentId::new(1).unwrap()).unwrap().unwrap();
    let before = inode(&home, 1).unwrap();
    let count = fill_up_to(&mut appender, 2);
    assert_eq!(inode(&home, 1).unwrap(), before, "the prepared file was replaced");
    assert_eq!(prepared.id().get(), 1);
    assert_holds(&home.read_all(), count);
}

#[test]
fn a_segment_that_the_writer_made_first_is_left_alone() {
    let home = Home::with_queue(SIZE);
    let mut appender = home.appender();
    let count = fill_up_to(&mut appender, 3);
    for id in 0..=3 {
        let id = SegmentId::new(id).unwrap();
        assert!(prepare_segment(&home.platform(), id).unwrap().is_none());
    }
    assert_holds(&home.read_all(), count);
}

#[test]
fn what_is_prepared_in_pieces_may_be_left_in_the_middle() {
    let home = Home::with_queue(SIZE);
    let mut appender = home.appender();
    let id = SegmentId::new(1).unwrap();
    let prepare = |pieces: usize| {
        let mut left = vec![5000; pieces];
        prepare_segment_with(&home.platform(), id, Space::Allocated, &NoProbe, || left.pop())
            .unwrap()
    };
    assert!(prepare(3).is_none());
    assert!(prepare(0).is_none());
    assert!(prepare(1 + 14).is_some(), "what is there is gone on with");
    assert!(prepare(2).is_none());
    let before = inode(&home, 1).unwrap();
    let count = fill_up_to(&mut appender, 2);
    assert_eq!(inode(&home, 1).unwrap(), before, "the writer uses what is there");
    assert_holds(&home.read_all(), count);
}

#[test]
fn who_prepares_is_told_when_a_segment_that_takes_long_is_begun() {
    let home = Home::with_queue(8 << 20);
    let shelves = Shelves::default();
    let mut appender = shelves.appender(&home);
    for begun in 1..4 {
        for _ in 0..10 {
            appender.append(TYPE, &[1; 1000]).unwrap();
        }
        assert_eq!(shelves.0.borrow().begun, begun);
        while shelves.0.borrow().wanted.len() < begun {
            appender.append(TYPE, &[1; 1000]).unwrap();
        }
        let asked_at = appender.position().offset;
        assert!((2 << 20..(2 << 20) + 2048).contains(&asked_at), "{asked_at}");
        fill_up_to(&mut appender, begun as u32);
    }
}

#[test]
fn prepare_next_makes_the_roll_use_what_is_there() {
    let home = Home::with_queue(SIZE);
    let mut appender = home.appender();
    let mut count = 0;
    for segment in 1..6 {
        appender.prepare_next().unwrap();
        appender.prepare_next().unwrap();
        let before = inode(&home, segment).unwrap();
        count = fill_up_to(&mut appender, segment);
        assert_eq!(inode(&home, segment).unwrap(), before);
    }
    assert_holds(&home.read_all(), count);
}

#[test]
fn what_is_in_the_place_of_a_prepared_segments_index_is_replaced_or_cleared() {
    // Smaller ones have none.
    let [home, other] = [(); 2].map(|()| Home::with_queue(1 << 20));
    let mut another = other.appender();
    another.prepare_next().unwrap();
    let index = |segment| home.file(&format!("{segment:09}.idx"));
    // Another queue's, so that whoever prepares leaves it to the writer.
    std::fs::copy(other.file("000000001.idx"), index(1)).unwrap();
    let leftover = std::fs::read(index(1)).unwrap();
    let mut appender = home.appender();
    appender.prepare_next().unwrap();
    assert_ne!(std::fs::read(index(1)).unwrap()[..32], leftover[..32]);
    fill_up_to(&mut appender, 1);
    // Prepared before, and something stored to it since.
    prepare_segment(&home.platform(), SegmentId::new(2).unwrap()).unwrap().unwrap();
    home.write_at("000000002.idx", 32, &[0xee; 96]);
    appender.prepare_next().unwrap();
    assert!(std::fs::read(index(2)).unwrap()[32..].iter().all(|byte| *byte == 0));
    let count = fill_up_to(&mut appender, 3);
    let mut tailer = home.tailer();
    for seq in (0..count).step_by(7) {
        let sought = tailer.seek_seq(seq).unwrap();
        assert!(sought.found && sought.passed_bytes <= INDEX_STRIDE + 4096, "{seq}: {sought:?}");
    }
}

/// What a supply was asked for, and what it has.
#[derive(Default)]
struct Shelf {
    begun: usize,
    flushes: usize,
    wanted: Vec<u32>,
    ready: Option<PreparedSegment<LinuxPlatform>>,
    taken: Vec<u32>,
    retired: Vec<u32>,
}

#[derive(Clone, Default)]
struct Shelves(Rc<RefCell<Shelf>>);

impl Shelves {
    /// A writer that is supplied from here.
    fn appender(&self, home: &Home) -> Appender<LinuxPlatform, NoProbe, Self> {
        let options = WriteOptions::default();
        Appender::open_with(home.platform(), options, NoProbe, self.clone()).unwrap()
    }

    fn retired(&self) -> Vec<u32> {
        self.0.borrow().retired.clone()
    }
}

impl Supply<LinuxPlatform> for Shelves {
    fn begun(&mut self) {
        self.0.borrow_mut().begun += 1;
    }

    fn flushes(&mut self) {
        self.0.borrow_mut().flushes += 1;
    }

    fn want(&mut self, id: SegmentId) {
        self.0.borrow_mut().wanted.push(id.get());
    }

    fn take(&mut self, id: SegmentId) -> Option<PreparedSegment<LinuxPlatform>> {
        let mut shelf = self.0.borrow_mut();
        shelf.taken.push(id.get());
        shelf.ready.take_if(|ready| ready.id() == id)
    }

    fn retire(&mut self, segment: RetiredSegment<LinuxPlatform>) {
        self.0.borrow_mut().retired.push(segment.id().get());
    }
}

#[test]
fn a_segment_that_was_left_is_handed_over_with_the_append_behind_the_roll() {
    let home = Home::with_queue(SIZE);
    let shelves = Shelves::default();
    let mut appender = shelves.appender(&home);
    for segment in [1, 2] {
        shelves.0.borrow_mut().ready =
            prepare_segment(&home.platform(), SegmentId::new(segment.into()).unwrap()).unwrap();
        fill_up_to(&mut appender, segment);
        assert_eq!(shelves.retired(), [0, 1][..segment as usize - 1]);
        appender.append(TYPE, b"behind the roll").unwrap();
        assert_eq!(shelves.retired(), [0, 1][..segment as usize]);
    }
    // One that the writer makes itself, and the flush comes before another append.
    fill_up_to(&mut appender, 3);
    assert_eq!(shelves.retired(), [0, 1]);
    appender.flush().unwrap();
    assert_eq!(shelves.retired(), [0, 1, 2]);
    // From now on segments are kept until they are synced.
    fill_up_to(&mut appender, 5);
    appender.flush().unwrap();
    assert_eq!(shelves.retired(), [0, 1, 2]);
}

#[test]
fn what_was_left_is_handed_over_before_space_is_taken_for_the_next_segment() {
    let home = Home::with_queue(SIZE);
    let shelves = Shelves::default();
    let mut appender = shelves.appender(&home);
    fill_up_to(&mut appender, 1);
    assert_eq!(shelves.retired(), []);
    // What cannot be made for now.
    std::fs::create_dir(home.file("000000002.q")).unwrap();
    appender.prepare_next().unwrap_err();
    assert_eq!(shelves.retired(), [0]);
    std::fs::remove_dir(home.file("000000002.q")).unwrap();
    appender.prepare_next().unwrap();
    fill_up_to(&mut appender, 2);
    // Prepared, and the next record does not fit into what is left of this segment: a roll behind a roll.
    appender.prepare_next().unwrap();
    assert_eq!(shelves.retired(), [0, 1]);
    let longest = vec![1; SIZE as usize - 128];
    appender.append(TYPE, &longest).unwrap();
    fill_up_to(&mut appender, 4);
    appender.append(TYPE, &longest).unwrap();
    assert_eq!(appender.position().segment.get(), 5);
    assert_eq!(shelves.retired(), [0, 1, 2, 3, 4]);
    assert_eq!(home.read_all().len() as u64, appender.next_seq());
}

#[test]
fn where_few_records_fit_a_segment_is_handed_over_with_the_roll_and_the_next_one_asked_for() {
    let home = Home::with_queue(SIZE);
    let shelves = Shelves::default();
    let mut appender = shelves.appender(&home);
    let long = vec![7; 40 << 10];
    for segment in 0..4 {
        appender.append(TYPE, &long).unwrap();
        assert_eq!(appender.position().segment.get(), segment);
        assert_eq!(shelves.retired(), (0..segment).collect::<Vec<_>>());
        assert_eq!(shelves.0.borrow().wanted.last(), Some(&(segment + 1)));
    }
}

#[test]
fn stale_prealloc_is_ignored() {
    let home = Home::with_queue(SIZE);
    let shelves = Shelves::default();
    let mut appender = shelves.appender(&home);
    // Ready for a segment that is far ahead; the writer must not take it for the next one.
    let far = prepare_segment(&home.platform(), SegmentId::new(40).unwrap()).unwrap();
    shelves.0.borrow_mut().ready = far;
    let count = fill_up_to(&mut appender, 3);
    assert_eq!(shelves.0.borrow().wanted, [1, 2, 3], "asked once for each");
    assert_eq!(shelves.0.borrow().taken, [1, 1, 2, 2, 3, 3], "before the roll, and at it");
    assert!(shelves.0.borrow().ready.is_some());
    assert_holds(&home.read_all(), count);
}

#[test]
fn who_prepares_is_told_once_that_the_writer_flushes() {
    let home = Home::with_queue(SIZE);
    let shelves = Shelves::default();
    let mut appender = shelves.appender(&home);
    appender.append(TYPE, b"one").unwrap();
    assert_eq!(shelves.0.borrow().flushes, 0);
    for _ in 0..3 {
        appender.append(TYPE, b"more").unwrap();
        appender.flush().unwrap();
        assert_eq!(shelves.0.borrow().flushes, 1);
    }
}

#[test]
fn a_segment_is_written_ahead_only_if_that_is_asked_for_and_is_the_same_to_its_writer() {
    let home = Home::with_queue(1 << 20);
    let mut appender = home.appender();
    let calls = Calls::default();
    let prepare = |id, space, piece| {
        let platform = Counting::new(home.platform(), &calls);
        let id = SegmentId::new(id).unwrap();
        assert!(
            prepare_segment_with(&platform, id, space, &NoProbe, || Some(piece)).unwrap().is_some()
        );
        let calls = calls.take();
        (calls.get("prefault").copied(), calls.get("write_staged").copied())
    };
    // Those of the segment, and those of the index.
    assert_eq!(prepare(1, Space::Written, 1 << 16), (Some(17), Some(16)));
    assert_eq!(prepare(2, Space::Allocated, 1 << 16), (Some(17), None));
    assert_eq!(prepare(3, Space::Written, 1 << 19), (Some(3), None), "there is no time for it");
    let before = [1, 2].map(|id| inode(&home, id).unwrap());
    let count = fill_up_to(&mut appender, 3);
    appender.flush().unwrap();
    assert_eq!([1, 2].map(|id| inode(&home, id).unwrap()), before);
    assert_holds(&home.read_all(), count);
}

/// Who waits for a write that fails is told of it in the place of whoever opens the file later: nobody may come to have such
/// a file.
#[test]
fn a_segment_whose_zeros_cannot_be_written_gets_no_name() {
    let home = Home::with_queue(1 << 20);
    let mut appender = home.appender();
    let faults = Faults::default();
    let id = SegmentId::new(1).unwrap();
    let prepare = || {
        let platform = Faulty::new(|| home.platform(), &faults);
        prepare_segment_with(&platform, id, Space::Written, &NoProbe, || Some(1 << 16))
            .map(|prepared| prepared.is_some())
    };
    faults.fail(Call::WriteStaged, 7, ErrorKind::Io);
    prepare().unwrap_err();
    assert!(inode(&home, 1).is_none());
    assert!(prepare().unwrap());
    let count = fill_up_to(&mut appender, 2);
    assert_holds(&home.read_all(), count);
}

#[test]
fn a_prepared_segment_is_taken_on_the_page_before_the_roll() {
    let home = Home::with_queue(SIZE);
    let shelves = Shelves::default();
    let mut appender = shelves.appender(&home);
    for segment in 1..5u32 {
        let id = SegmentId::new(segment.into()).unwrap();
        shelves.0.borrow_mut().ready = prepare_segment(&home.platform(), id).unwrap();
        let mut taken_at = None;
        while appender.position().segment < id {
            appender.append(TYPE, b"short").unwrap();
            if shelves.0.borrow().ready.is_none() {
                taken_at.get_or_insert(appender.position());
            }
        }
        let taken_at = taken_at.unwrap();
        assert_eq!(taken_at.segment.get(), segment - 1, "not at the roll");
        assert!((SIZE - 4096..SIZE - 3072).contains(&taken_at.offset), "{taken_at:?}");
    }
    assert_eq!(appender.stats().unprepared_rolls, 0);
}

#[test]
fn the_next_segment_is_asked_for_where_each_holds_one_record() {
    let home = Home::with_queue(SIZE);
    let shelves = Shelves::default();
    let mut appender = shelves.appender(&home);
    for _ in 0..4 {
        appender.append(TYPE, &[1; SIZE as usize * 3 / 5]).unwrap();
    }
    assert_eq!(appender.position().segment.get(), 3);
    assert_eq!(shelves.0.borrow().wanted, [1, 2, 3, 4]);
}

#[test]
fn what_is_done_for_the_next_segment_cuts_no_batch() {
    let home = Home::with_queue(SIZE);
    let shelves = Shelves::default();
    let published = Cell::new(0);
    let probe = At(Site::Published, || published.set(published.get() + 1));
    let options = WriteOptions::default();
    let mut appender =
        Appender::open_with(home.platform(), options, probe, shelves.clone()).unwrap();
    let batch = [[3_u8; 64]; 12];
    let append_batch = |appender: &mut Appender<_, _, _>| {
        let before = published.get();
        appender.append_all(TYPE, batch.iter().map(<[u8; 64]>::as_slice)).unwrap();
        published.get() - before
    };
    assert_eq!(append_batch(&mut appender), 1, "which asked");
    while appender.position().offset < SIZE - 4096 - 200 {
        appender.append(TYPE, &[1; 64]).unwrap();
    }
    assert!(shelves.0.borrow().taken.is_empty());
    assert_eq!(append_batch(&mut appender), 1, "over the beginning of the last page");
    assert_eq!(shelves.0.borrow().wanted, [1]);
    assert_eq!(shelves.0.borrow().taken, [1]);
}

#[test]
fn a_prepared_segment_is_taken_at_the_roll_if_it_comes_late() {
    let home = Home::with_queue(SIZE);
    let shelves = Shelves::default();
    let mut appender = shelves.appender(&home);
    let mut count = 0;
    for segment in 1..5u32 {
        let id = SegmentId::new(segment.into()).unwrap();
        while appender.position().offset < SIZE - 512 {
            appender.append(TYPE, &payload(count)).unwrap();
            count += 1;
        }
        shelves.0.borrow_mut().ready = prepare_segment(&home.platform(), id).unwrap();
        let before = inode(&home, segment).unwrap();
        count = fill_up_to(&mut appender, segment);
        assert!(shelves.0.borrow().ready.is_none());
        assert_eq!(inode(&home, segment).unwrap(), before);
    }
    assert_holds(&home.read_all(), count);
}

#[test]
fn a_writer_that_closes_leaves_no_prepared_segment() {
    let home = Home::with_queue(SIZE);
    let mut appender = home.appender();
    let count = fill_up_to(&mut appender, 1);
    appender.prepare_next().unwrap();
    assert!(inode(&home, 2).is_some());
    drop(appender);
    assert_eq!(inode(&home, 2), None);
    assert_holds(&home.read_all(), count);
}

#[test]
fn what_a_dead_writer_had_prepared_is_made_anew() {
    let home = Home::with_queue(SIZE);
    let mut appender = home.appender();
    let count = fill_up_to(&mut appender, 1);
    drop(appender);
    // As one that was killed leaves it; and whatever a power loss left behind its first slot.
    drop(prepare_segment(&home.platform(), SegmentId::new(2).unwrap()).unwrap());
    home.write_at("000000002.q", 4096, &[0xab; 4096]);
    let mut appender = home.appender();
    assert_eq!((inode(&home, 2), appender.recovery().cut), (None, None));
    let more = fill_up_to(&mut appender, 4);
    assert!(more > count);
    assert_holds(&home.read_all(), more);
}

/// That the next segment is there proves nothing: its writer may have died before it went there.
#[test]
fn a_reader_waits_at_the_end_of_an_open_segment_whatever_lies_behind_it() {
    let home = Home::with_queue(4096);
    let mut tailer = home.tailer();
    let dies = At(Site::NextPublished, || panic!("killed"));
    let mut appender =
        Appender::open_with(home.platform(), WriteOptions::default(), dies, NoSupply).unwrap();
    let mut count = 0;
    let filling = catch_unwind(AssertUnwindSafe(|| {
        loop {
            appender.append(TYPE, &[7; 600]).unwrap();
            count += 1;
        }
    }));
    assert!(filling.is_err() && inode(&home, 1).is_some());
    drop(appender);
    for seq in 0..count {
        assert_eq!(tailer.next().unwrap().unwrap().seq, seq);
    }
    assert!(tailer.next().unwrap().is_none());
    let mut appender = home.appender();
    assert_eq!(appender.append(TYPE, b"small enough").unwrap(), count);
    assert_eq!(appender.position().segment.get(), 0);
    assert_eq!(tailer.next().unwrap().unwrap().payload, b"small enough");
}
