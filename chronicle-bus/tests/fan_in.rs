//! The orders of strategies that come and go, as one stream.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;
use std::time::{Duration, Instant};

use chronicle_bus::{BusLayout, Change, Lease, StrategyFanIn, StrategyId};
use chronicle_std::{Merged, Patience, QueueWriter, ReaderConfig, WriterConfig};

const TYPE: u16 = 0x2001;

/// A strategy of this process.
fn strategy(root: &Path, name: &str) -> (Lease, QueueWriter) {
    let endpoints = BusLayout::new(root).unwrap().strategy(StrategyId::new(name).unwrap());
    let mut lease = endpoints.write_lease().unwrap();
    let writer = endpoints.orders_out().open_publisher(WriterConfig::default()).unwrap();
    lease.mark_ready().unwrap();
    (lease, writer)
}

fn merge(root: &Path) -> StrategyFanIn<4> {
    let mut reader = ReaderConfig::default();
    reader.name = Some("router".to_owned());
    let layout = BusLayout::new(root).unwrap();
    StrategyFanIn::new(&layout, reader, Patience::Lateness(Duration::from_millis(1)))
}

/// Takes in what has come until that were so many events, all of which are attached.
fn attach(merge: &mut StrategyFanIn<4>, events: usize) {
    let until = Instant::now() + Duration::from_secs(60);
    let mut seen = 0;
    while seen < events {
        assert!(Instant::now() < until, "{seen} events");
        for event in merge.poll().unwrap() {
            event.attached.unwrap();
            seen += 1;
        }
        merge.wait(Duration::from_millis(5)).unwrap();
    }
    assert_eq!(seen, events);
}

/// The next so many messages, each committed: whose, and what.
fn messages(merge: &mut StrategyFanIn<4>, count: usize) -> Vec<(String, String)> {
    let until = Instant::now() + Duration::from_secs(60);
    let mut given = Vec::new();
    while given.len() < count {
        assert!(Instant::now() < until, "{given:?}");
        let (source, text) = match merge.next().unwrap() {
            Merged::InOrder(record) | Merged::Late { record, .. } => {
                (record.source, String::from_utf8_lossy(record.message.payload).into_owned())
            }
            _ => {
                merge.wait(Duration::from_millis(5)).unwrap();
                continue;
            }
        };
        given.push((merge.strategy(source).unwrap().to_string(), text));
        merge.commit(source).unwrap();
    }
    given
}

fn pair(name: &str, text: &str) -> (String, String) {
    (name.to_owned(), text.to_owned())
}

#[test]
fn what_a_strategy_wrote_before_it_ended_is_given_out_and_it_goes_on_when_it_is_back() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let mut merge = merge(root);
    let (lease, mut a) = strategy(root, "a");
    let (_b_lease, mut b) = strategy(root, "b");
    attach(&mut merge, 2);
    a.append(TYPE, b"1").unwrap();
    b.append(TYPE, b"2").unwrap();
    assert_eq!(messages(&mut merge, 2), [pair("a", "1"), pair("b", "2")]);

    a.append(TYPE, b"3").unwrap();
    drop((lease, a));
    attach(&mut merge, 1);
    assert_eq!(messages(&mut merge, 1), [pair("a", "3")]);
    b.append(TYPE, b"4").unwrap();
    assert_eq!(messages(&mut merge, 1), [pair("b", "4")]);

    let (_lease, mut a) = strategy(root, "a");
    attach(&mut merge, 1);
    a.append(TYPE, b"5").unwrap();
    assert_eq!(messages(&mut merge, 1), [pair("a", "5")]);
}

#[test]
fn a_strategy_whose_queue_cannot_be_read_is_told_and_the_others_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let mut merge = merge(root);
    let (_a_lease, mut a) = strategy(root, "a");
    let (_b_lease, b) = strategy(root, "b");
    drop(b);
    let id = StrategyId::new("b").unwrap();
    let orders = BusLayout::new(root).unwrap().strategy(id).orders_out().path();
    std::fs::write(orders.join("control.meta"), [0; 512]).unwrap();
    let events = merge.poll().unwrap();
    let attached: Vec<_> = events.iter().map(|event| event.attached.is_ok()).collect();
    assert_eq!(attached, [true, false]);
    assert!(matches!(events[1].event.change, Change::Added(_)));
    a.append(TYPE, b"1").unwrap();
    assert_eq!(messages(&mut merge, 1), [pair("a", "1")]);
}

#[test]
fn a_strategy_that_is_forgotten_makes_room_for_another() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let mut merge = merge(root);
    let strategies: Vec<_> = ["a", "b", "c", "d", "e"].map(|name| strategy(root, name)).into();
    let refused: Vec<_> =
        merge.poll().unwrap().into_iter().filter(|event| event.attached.is_err()).collect();
    assert_eq!(refused.len(), 1, "there are four places");
    assert_eq!(refused[0].event.strategy.id().as_str(), "e");
    assert!(merge.forget(&StrategyId::new("a").unwrap()));
    assert!(!merge.forget(&StrategyId::new("a").unwrap()));
    let mut strategies = strategies.into_iter();
    let (lease, writer) = strategies.next_back().unwrap();
    drop((lease, writer));
    let (_lease, mut e) = strategy(root, "e");
    attach(&mut merge, 1);
    e.append(TYPE, b"1").unwrap();
    assert_eq!(messages(&mut merge, 1), [pair("e", "1")]);
}
