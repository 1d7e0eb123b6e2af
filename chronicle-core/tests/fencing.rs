//! A writer whose lock was taken from it changes nothing any more.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod support;

use std::cell::RefCell;

use chronicle_core::{Appender, Error, NoSupply, Probe, Site, WriteOptions};
use chronicle_format::layout::control;
use chronicle_platform_linux::LinuxPlatform;
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
