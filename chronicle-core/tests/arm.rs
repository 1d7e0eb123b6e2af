//! Readers that sleep by other means than the platform's: what they are armed with, and what moves it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]
#![allow(clippy::disallowed_types, reason = "the seam hands shared words over under this name")]

mod support;

use std::num::NonZeroU32;
use std::time::Duration;

use chronicle_core::{Appender, TailOptions, Tailer, Visibility};
use chronicle_platform_linux::{LinuxClock, LinuxError, LinuxPlatform, LinuxStorage};
use chronicle_sync::notify::{Barrier, Ticket};
use chronicle_sync::{AtomicU32, Instant, Park, Platform, Wake};
use support::{Home, TYPE};

#[test]
fn an_armed_ticket_moves_with_the_next_record_and_with_no_other_of_a_burst() {
    let home = Home::with_queue(4096);
    let mut writer = home.appender();
    let mut reader = home.tailer();
    for _ in 0..3 {
        assert!(reader.next().unwrap().is_none());
        let armed = reader.arm().unwrap();
        assert!(!armed.ticket.has_moved());
        writer.append(TYPE, b"one").unwrap();
        assert!(armed.ticket.has_moved());
        let ticket = Ticket::watching(armed.ticket.word().into());
        writer.append(TYPE, b"two").unwrap();
        assert!(!ticket.has_moved(), "nobody asked for a second wake-up");
        assert_eq!(reader.read_all(10, |_| ()).unwrap(), 2);
    }
}

#[test]
fn every_way_of_appending_moves_the_ticket_and_a_quiet_one_does_when_it_is_announced() {
    let home = Home::with_queue(4096);
    let mut writer = home.appender();
    let mut reader = home.tailer();
    type Way = fn(&mut Appender<LinuxPlatform>) -> u64;
    let ways: [(&str, Way); 6] = [
        ("append", |writer| writer.append(TYPE, b"one").unwrap()),
        ("append_at", |writer| writer.append_at(TYPE, 1, b"one").unwrap()),
        ("append_all", |writer| writer.append_all(TYPE, [&b"one"[..]; 3]).unwrap()),
        ("claim", |writer| writer.claim(3).unwrap().commit(TYPE).unwrap()),
        // Into the next segment, where the record is stored when there is room.
        ("append over a roll", |writer| writer.append(TYPE, &[0; 3900]).unwrap()),
        ("append_quietly", |writer| writer.append_quietly(TYPE, b"one").unwrap()),
    ];
    for (way, append) in ways {
        while reader.next().unwrap().is_some() {}
        let armed = reader.arm().unwrap();
        append(&mut writer);
        let is_quiet = way == "append_quietly";
        assert_eq!(armed.ticket.has_moved(), !is_quiet, "{way}");
        writer.announce();
        assert!(armed.ticket.has_moved(), "{way}, announced");
    }
}

#[test]
fn nobody_is_armed_where_there_is_something_to_read() {
    let home = Home::with_queue(4096);
    let mut writer = home.appender();
    let mut reader = home.tailer();
    writer.append(TYPE, b"one").unwrap();
    assert!(reader.arm().is_none());
    while reader.next().unwrap().is_some() {}
    assert!(reader.arm().is_some());
}

#[test]
fn the_end_of_a_segment_is_something_to_look_at() {
    let home = Home::with_queue(4096);
    let mut writer = home.appender();
    let mut reader = home.tailer();
    while reader.position().segment == writer.position().segment {
        while reader.next().unwrap().is_some() {}
        writer.append(TYPE, &[0; 500]).unwrap();
    }
    assert!(reader.arm().is_none());
}

#[test]
fn a_reader_of_durable_records_is_armed_until_a_flush() {
    let home = Home::with_queue(4096);
    let mut writer = home.appender();
    let mut options = TailOptions::default();
    options.visibility = Visibility::Durable;
    let mut reader = Tailer::open(home.platform(), &options).unwrap();
    writer.append(TYPE, b"one").unwrap();
    assert!(reader.next().unwrap().is_none());
    let armed = reader.arm().unwrap();
    assert!(!armed.ticket.has_moved());
    writer.flush().unwrap();
    assert!(armed.ticket.has_moved());
    assert!(reader.arm().is_none());
}

/// A reader's system, which refuses the barrier that a writer may count on.
struct Refusing(LinuxPlatform);

impl Park for Refusing {
    type Error = LinuxError;

    fn wait(&self, word: &AtomicU32, expected: u32, until: Instant) -> Result<Wake, LinuxError> {
        self.0.park().wait(word, expected, until)
    }

    fn wake(&self, word: &AtomicU32, at_most: NonZeroU32) -> Result<u32, LinuxError> {
        self.0.park().wake(word, at_most)
    }
}

impl Platform for Refusing {
    type Error = LinuxError;
    type Storage = LinuxStorage;
    type Park = Self;
    type Clock = LinuxClock;

    fn storage(&self) -> &LinuxStorage {
        self.0.storage()
    }

    fn park(&self) -> &Self {
        self
    }

    fn clock(&self) -> &LinuxClock {
        self.0.clock()
    }

    fn entropy(&self) -> u64 {
        self.0.entropy()
    }
}

#[test]
fn a_sleep_is_short_where_the_barrier_is_refused_that_the_writer_counts_on() {
    let home = Home::with_queue(4096);
    let counts_on_it = {
        let writer = home.appender();
        let park = writer.platform().park();
        park.enlist() == Barrier::Asymmetric && park.heavy_barrier()
    };
    let mut ordinary = home.tailer();
    assert!(ordinary.next().unwrap().is_none());
    assert_eq!(ordinary.arm().unwrap().at_most, Duration::from_millis(100));
    let refusing = Refusing(home.platform());
    let mut reader = Tailer::open(refusing, &TailOptions::default()).unwrap();
    assert!(reader.next().unwrap().is_none());
    let expected = if counts_on_it { 10 } else { 100 };
    assert_eq!(reader.arm().unwrap().at_most, Duration::from_millis(expected));
}
