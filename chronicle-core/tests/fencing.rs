//! A writer whose lock was taken from it changes nothing any more.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod support;

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};

use chronicle_core::{Appender, Error, NoSupply, Probe, Site, WriteOptions};
use chronicle_format::layout::control;
use chronicle_platform_linux::LinuxPlatform;
use support::probes::At;
use support::{Home, TYPE, assert_holds, payload};

fn append(appender: &mut Appender<LinuxPlatform>, from: u64, to: u64) {
    for number in from..to {
        appender.append(TYPE, &payload(number)).unwrap();
    }
}

/// A second writer beside one that is alive, as after somebody removed the lock file.
fn taken_over(home: &Home) -> Appender<LinuxPlatform> {
    std::fs::remove_file(home.file("writer.lock")).unwrap();
    home.appender()
}

#[test]
fn a_fenced_writer_refuses_every_call_and_says_which_epoch_is_in_force() {
    let home = Home::with_queue(4096);
    let mut old = home.appender();
    append(&mut old, 0, 10);
    let mut new = taken_over(&home);
    let (mine, current) = (old.epoch(), new.epoch());
    let fenced = Error::Fenced { mine, current };
    // By the first call already, whichever that is.
    assert_eq!(old.begin_flush().unwrap_err(), fenced);
    assert_eq!(old.append(TYPE, b"x").unwrap_err(), fenced);
    assert_eq!(old.claim(8).map(drop).unwrap_err(), fenced);
    assert_eq!(old.flush().unwrap_err(), fenced);
    assert_eq!(old.prepare_next().unwrap_err(), fenced);
    append(&mut new, 10, 200);
    drop(old);
    append(&mut new, 200, 210);
    drop(new);
    assert_holds(&home.read_all(), 210);
}

#[test]
fn a_fenced_writer_does_not_roll() {
    let home = Home::with_queue(4096);
    let mut old = home.appender();
    append(&mut old, 0, 10);
    let new = taken_over(&home);
    assert!(matches!(old.append(TYPE, &[0; 3900]), Err(Error::Fenced { .. })));
    assert!(!home.file("000000001.q").exists());
    drop((old, new));
    assert_holds(&home.read_all(), 10);
}

#[test]
fn a_fenced_writer_that_closes_leaves_the_hint_and_the_prepared_segment_of_its_successor() {
    let home = Home::with_queue(4096);
    let mut old = home.appender();
    append(&mut old, 0, 10);
    let mut new = taken_over(&home);
    append(&mut new, 10, 20);
    new.flush().unwrap();
    new.prepare_next().unwrap();
    let hint = |home: &Home| home.read_at("control.meta", control::SEGMENT_GEN as u64, 48);
    let before = hint(&home);
    drop(old);
    assert_eq!(hint(&home), before);
    assert!(home.file("000000001.q").exists());
    append(&mut new, 20, 200);
    drop(new);
    assert_holds(&home.read_all(), 200);
}

/// Has the old writer take a step when its successor has found the end of the log, for the first time.
struct Meanwhile<F>(RefCell<Option<F>>);

impl<F: FnOnce()> Probe for Meanwhile<F> {
    fn at(&self, site: Site) {
        if site == Site::TakingOver
            && let Some(step) = self.0.take()
        {
            step();
        }
    }
}

/// What the old writer is told is appended, while its successor looks for the end, is there.
fn appended_meanwhile(lengths: &[usize]) {
    let home = Home::with_queue(4096);
    let old = RefCell::new(home.appender());
    append(&mut old.borrow_mut(), 0, 10);
    std::fs::remove_file(home.file("writer.lock")).unwrap();
    let mut bodies: Vec<Vec<u8>> = (0..10).map(payload).collect();
    let more = lengths.iter().map(|length| vec![0x5a; *length]);
    bodies.extend(more.clone());
    let step = Meanwhile(RefCell::new(Some(|| {
        for body in more {
            old.borrow_mut().append(TYPE, &body).unwrap();
        }
    })));
    let options = WriteOptions::default();
    let mut new = Appender::open_with(home.platform(), options, step, NoSupply).unwrap();
    assert_eq!(new.next_seq(), bodies.len() as u64);
    new.append(TYPE, b"behind").unwrap();
    bodies.push(b"behind".to_vec());
    assert!(matches!(old.borrow_mut().append(TYPE, b"x"), Err(Error::Fenced { .. })));
    let found: Vec<_> = home.read_all().into_iter().map(|(_, body)| body).collect();
    assert_eq!(found, bodies);
}

#[test]
fn what_is_appended_while_a_successor_looks_for_the_end_is_kept() {
    appended_meanwhile(&[100]);
    appended_meanwhile(&[0, 33, 700]);
}

#[test]
fn a_roll_while_a_successor_looks_for_the_end_is_kept() {
    appended_meanwhile(&[3900]);
    appended_meanwhile(&[3900, 3900, 10]);
}

/// Between the commit and the look at the epoch behind it.
#[test]
fn a_writer_that_loses_the_queue_while_it_appends_is_told() {
    let home = Home::with_queue(4096);
    let new = RefCell::new(None);
    let is_due = Cell::new(false);
    let take_over = || {
        if is_due.take() {
            new.replace(Some(taken_over(&home)));
        }
    };
    let probe = At(Site::Published, take_over);
    let mut old =
        Appender::open_with(home.platform(), WriteOptions::default(), probe, NoSupply).unwrap();
    old.append(TYPE, &payload(0)).unwrap();
    is_due.set(true);
    let (mine, refused) = (old.epoch(), old.append(TYPE, &payload(1)).unwrap_err());
    let mut new = new.take().unwrap();
    assert_eq!(refused, Error::Fenced { mine, current: new.epoch() });
    // It was in flight, and is part of the log: the new writer found it.
    append(&mut new, 2, 10);
    assert_holds(&home.read_all(), 10);
}

/// Who has it open and waits for nothing but the lock must get the one that everybody else looks at.
#[test]
fn the_lock_file_is_the_same_one_for_good() {
    let home = Home::with_queue(4096);
    let inode = || std::fs::metadata(home.file("writer.lock")).unwrap().ino();
    let first = home.appender();
    let before = inode();
    assert!(matches!(home.try_appender(), Err(Error::WriterAlreadyActive { .. })));
    drop(first);
    assert_eq!(inode(), before);
    drop(home.appender());
    assert_eq!(inode(), before);
}

#[test]
fn a_writer_that_was_fenced_says_so_for_good_whatever_becomes_of_its_successor() {
    let home = Home::with_queue(4096);
    let mut old = home.appender();
    append(&mut old, 0, 10);
    let new = taken_over(&home);
    let fenced = Error::Fenced { mine: old.epoch(), current: new.epoch() };
    assert_eq!(old.append(TYPE, b"x").unwrap_err(), fenced);
    // As where a sync of the successor fails.
    let boot = home.read_at("control.meta", control::WRITER_BOOT as u64, 8);
    let file = File::options().write(true).open(home.file("control.meta")).unwrap();
    file.write_all_at(&boot, control::POISONED_BOOT as u64).unwrap();
    assert_eq!(old.append(TYPE, b"x").unwrap_err(), fenced);
    assert_eq!(old.append_all(TYPE, [&b"x"[..]]).unwrap_err(), fenced);
    assert_eq!(old.claim(1).map(drop).unwrap_err(), fenced);
    drop(new);
}
