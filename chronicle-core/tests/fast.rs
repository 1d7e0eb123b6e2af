//! Short records go another way than others. What comes of them is the same.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod support;

use std::cell::{Cell, RefCell};
use std::sync::mpsc::{self, TryRecvError};
use std::time::Duration;

use chronicle_core::{
    Appender, CreateOptions, Error, Fast, NoSupply, Probe, Site, Start, WaitOutcome, WaitStrategy,
    WriteOptions, create,
};
use chronicle_platform_linux::LinuxPlatform;
use chronicle_sync::{Clock, Platform};
use support::{Home, QueueError, TYPE, drain};

/// Without checksums and with them.
const KINDS: [bool; 2] = [false, true];

fn queue(checksums: bool) -> Home {
    let home = Home::new();
    let mut options = CreateOptions::default();
    options.checksums = checksums;
    create(&home.platform(), &options).unwrap();
    home
}

fn fast(appender: &mut Appender<LinuxPlatform>, checksums: bool, payload: &[u8]) -> Fast {
    match checksums {
        false => appender.append_fast::<false>(TYPE, 7_u64, payload),
        true => appender.append_fast::<true>(TYPE, 7_u64, payload),
    }
}

/// Whether this machine has a checksum that takes no call.
fn is_fast_with_checksums() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("sse4.2") && is_x86_feature_detected!("pclmulqdq");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

#[test]
fn records_are_the_same_whichever_way_they_went() {
    for checksums in KINDS {
        let homes = [queue(checksums), queue(checksums)];
        let [mut by_itself, mut slow] = [homes[0].appender(), homes[1].appender()];
        for number in 0..600_u64 {
            let payload: Vec<u8> = (0..number).map(|byte| (byte * 31 + number) as u8).collect();
            // Records that were given up, now and then, so that what lies behind is not zero.
            for appender in [&mut by_itself, &mut slow] {
                if number % 7 == 0 {
                    appender.claim(300).unwrap().fill(0xff);
                }
            }
            assert_eq!(by_itself.append_at(TYPE, number, &payload).unwrap(), number);
            assert_eq!(slow.append_any(TYPE, number, &payload).unwrap(), number);
            assert_eq!(by_itself.position(), slow.position());
        }
        drop((by_itself, slow));
        let [found, expected] = homes.map(|home| {
            let mut tailer = home.tailer();
            let mut found = Vec::new();
            while let Some(message) = tailer.next().unwrap() {
                found.push((message.seq, message.timestamp_ns, message.payload.to_vec()));
            }
            found
        });
        assert_eq!(found.len(), 600);
        assert!(found == expected);
    }
}

#[test]
fn what_is_fast_is_stated() {
    for checksums in KINDS {
        let home = queue(checksums);
        let mut appender = home.appender();
        let longest = if checksums { 128 } else { 256 };
        // The first one leaves the fast path, because there is something to be done for the next segment.
        appender.append(TYPE, b"first").unwrap();
        appender.append(TYPE, b"second").unwrap();
        for length in [0, 31, 32, 33, 64, longest, longest + 1, 4000] {
            let is_fast =
                (32..=longest).contains(&length) && (!checksums || is_fast_with_checksums());
            let payload = vec![1; length];
            let seq = appender.next_seq();
            let expected = if is_fast { Fast::Appended(seq) } else { Fast::Refused };
            assert_eq!(fast(&mut appender, checksums, &payload), expected, "{length} bytes");
            assert_eq!(fast(&mut appender, !checksums, &payload), Fast::Refused);
            assert_eq!(appender.next_seq(), seq + u64::from(is_fast), "refused, nothing is stored");
        }
        assert_eq!(appender.append_fast::<false>(0xff, 7_u64, &[0; 64]), Fast::Refused);
        drop(appender);
        assert_eq!(
            home.read_all().len(),
            if is_fast_with_checksums() || !checksums { 6 } else { 2 }
        );
    }
}

/// What an aborted claim leaves must not be taken for a record behind a short one.
#[test]
fn a_short_record_before_the_rest_of_a_claim_ends_the_log() {
    for checksums in KINDS {
        let home = queue(checksums);
        let mut appender = home.appender();
        let at = appender.position();
        let body = [0x5a; 40];
        appender.append_at(TYPE, 1, &body).unwrap();
        let record = home.read_at("000000000.q", at.offset, 96);
        let mut claim = appender.claim(960).unwrap();
        for place in claim.chunks_exact_mut(32) {
            place.copy_from_slice(&record[..32]);
        }
        drop(claim);
        for count in 2..10 {
            appender.append_at(TYPE, 1, &body).unwrap();
            assert_eq!(home.read_all().len(), count);
        }
    }
}

/// Does something at a place, once it is due.
struct At<'a>(Site, &'a Cell<bool>, &'a dyn Fn());

impl Probe for At<'_> {
    fn at(&self, site: Site) {
        if site == self.0 && self.1.take() {
            (self.2)();
        }
    }
}

#[test]
fn a_writer_that_loses_the_queue_at_a_short_record_is_told() {
    for checksums in KINDS {
        let home = queue(checksums);
        let successor = RefCell::new(None);
        let due = Cell::new(false);
        let take_over = || {
            std::fs::remove_file(home.file("writer.lock")).unwrap();
            successor.replace(Some(home.appender()));
        };
        let probe = At(Site::Published, &due, &take_over);
        let options = WriteOptions::default();
        let mut old = Appender::open_with(home.platform(), options, probe, NoSupply).unwrap();
        old.append_at(TYPE, 1, b"first").unwrap();
        old.append_at(TYPE, 1, b"second").unwrap();
        due.set(true);
        let refused = old.append_at(TYPE, 1, &[3; 64]).unwrap_err();
        let mut new = successor.take().unwrap();
        assert_eq!(refused, Error::Fenced { mine: old.epoch(), current: new.epoch() });
        // In flight, and found by the successor.
        assert_eq!(new.next_seq(), 3);
        new.append_at(TYPE, 1, &[4; 64]).unwrap();
        let bodies: Vec<_> = home.read_all().into_iter().map(|(_, body)| body).collect();
        assert_eq!(bodies[2..], [vec![3; 64], vec![4; 64]]);
    }
}

#[test]
fn a_writer_that_lost_the_queue_long_ago_stores_no_short_record_over_its_successors() {
    type Append = fn(&mut Appender<LinuxPlatform>) -> Result<u64, QueueError>;
    let ways: [Append; 2] = [
        |appender| appender.append_at(TYPE, 1, &[5; 64]),
        |appender| appender.append_quietly(TYPE, &[5; 64]),
    ];
    for (checksums, way) in KINDS.into_iter().flat_map(|kind| ways.map(|way| (kind, way))) {
        let home = queue(checksums);
        let mut old = home.appender();
        old.append(TYPE, b"first").unwrap();
        // So that it knows how fast its counter is, if it has one.
        std::thread::sleep(Duration::from_millis(2));
        old.append(TYPE, b"second").unwrap();
        std::fs::remove_file(home.file("writer.lock")).unwrap();
        let mut new = home.appender();
        new.append_at(TYPE, 1, &[4; 64]).unwrap();
        let refused = way(&mut old).unwrap_err();
        assert_eq!(refused, Error::Fenced { mine: old.epoch(), current: new.epoch() });
        assert_eq!(home.read_all().last().unwrap().1, [4; 64]);
    }
}

#[test]
fn a_short_record_wakes_who_sleeps() {
    for checksums in KINDS {
        let home = queue(checksums);
        let mut appender = home.appender();
        appender.append(TYPE, b"first").unwrap();
        appender.append(TYPE, b"second").unwrap();
        let mut tailer = home.tailer_from(Start::Latest).unwrap();
        let (reading, until_here) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                while until_here.try_recv() == Err(TryRecvError::Empty) {
                    let until = tailer.platform().clock().now().after(Duration::from_secs(20));
                    let outcome = tailer.wait(WaitStrategy::Park, until, None).unwrap();
                    assert_eq!(outcome, WaitOutcome::Ready);
                    drain(&mut tailer);
                }
            });
            // The reader sleeps at one of these, if not at the first. So few that none gets an entry of the index,
            // which is made on the long way.
            let woken = (0..100).any(|_| {
                std::thread::sleep(Duration::from_millis(10));
                appender.append_at(TYPE, 1, &[9; 64]).unwrap();
                appender.stats().wakes > 0
            });
            drop(reading);
            appender.append(TYPE, b"the end").unwrap();
            assert!(woken, "nobody was woken");
        });
    }
}
