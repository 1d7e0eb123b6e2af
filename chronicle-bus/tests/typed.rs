//! Queues that say what their messages are, and conversations over two of them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use chronicle_bus::{
    BusError, BusLayout, Message, Publisher, QueueEndpoint, RouterChannel, StrategyChannel,
    StrategyEndpoints, StrategyId, Subscriber,
};
use chronicle_std::{QueueError, ReaderConfig, WriterConfig};

chronicle_bus::message! {
    /// An order.
    pub struct Order = 0x2001 {
        /// Its number.
        pub id: u64,
        /// Lots.
        pub lots: i64,
    }
}

chronicle_bus::message! {
    /// A fill.
    pub struct Fill = 0x2002 {
        /// The order's number.
        pub order: u64,
    }
}

/// The same but for one field's type, as in another version of a program.
mod other {
    chronicle_bus::message! {
        pub struct Order = 0x2001 {
            pub id: u64,
            pub lots: u64,
        }
    }
}

fn feed(root: &Path) -> QueueEndpoint {
    BusLayout::new(root).unwrap().live("stream", "feed").unwrap()
}

fn strategy(root: &Path) -> StrategyEndpoints {
    BusLayout::new(root).unwrap().strategy(StrategyId::new("momentum").unwrap())
}

fn publisher<M: Message>(queue: &QueueEndpoint) -> Result<Publisher<M>, BusError> {
    Publisher::open(queue, WriterConfig::default())
}

fn subscriber<M: Message>(queue: &QueueEndpoint) -> Result<Subscriber<M>, BusError> {
    Subscriber::open(queue, ReaderConfig::default())
}

#[test]
fn messages_come_as_they_were_sent() {
    let directory = tempfile::tempdir().unwrap();
    let queue = feed(directory.path());
    let mut sender = publisher(&queue).unwrap();
    for id in 0..3 {
        assert_eq!(sender.send(&Order { id, lots: -5 }).unwrap(), id);
    }
    drop(sender);
    publisher::<Order>(&queue).unwrap().send(&Order { id: 3, lots: 7 }).unwrap();
    let mut receiver = subscriber::<Order>(&queue).unwrap();
    for (seq, lots) in [(0, -5), (1, -5), (2, -5), (3, 7)] {
        let received = receiver.next().unwrap().unwrap();
        assert_eq!((received.seq, *received.message), (seq, Order { id: seq, lots }));
    }
    assert!(receiver.next().unwrap().is_none());
}

#[test]
fn another_type_is_refused_by_both_names_before_anything_is_touched() {
    let directory = tempfile::tempdir().unwrap();
    let queue = feed(directory.path());
    let epoch = publisher::<Order>(&queue).unwrap().writer().epoch();
    for refused in [
        publisher::<Fill>(&queue).map(drop),
        subscriber::<Fill>(&queue).map(drop),
        publisher::<other::Order>(&queue).map(drop),
        subscriber::<other::Order>(&queue).map(drop),
    ] {
        let error = refused.unwrap_err();
        let BusError::WrongType { stored, expected, .. } = &error else { panic!("{error}") };
        assert!(stored.starts_with("Order type_id=0x2001 fingerprint="), "{stored}");
        assert!(expected != stored, "{expected}");
        let said = error.to_string();
        assert!(said.contains(stored) && said.contains(expected), "{said}");
    }
    assert_eq!(publisher::<Order>(&queue).unwrap().writer().epoch(), epoch + 1);
}

#[test]
fn a_queue_that_does_not_say_is_no_queue_of_messages() {
    let directory = tempfile::tempdir().unwrap();
    let queue = feed(directory.path());
    queue.create(WriterConfig::default()).unwrap();
    assert!(matches!(subscriber::<Order>(&queue), Err(BusError::NotTyped { .. })));
    // Empty, as a publisher leaves it that dies while it makes the queue, it is made to say.
    publisher::<Order>(&queue).unwrap();
    subscriber::<Order>(&queue).unwrap();

    fs::remove_file(queue.path().join("message.type")).unwrap();
    queue.open_publisher(WriterConfig::default()).unwrap().append(0x2001, b"a").unwrap();
    assert!(matches!(publisher::<Order>(&queue), Err(BusError::NotTyped { .. })));
}

#[test]
fn a_record_that_is_no_such_message_is_an_error_and_the_next_one_comes() {
    let directory = tempfile::tempdir().unwrap();
    let queue = feed(directory.path());
    let mut sender = publisher::<Order>(&queue).unwrap();
    sender.writer().append(Order::TYPE_ID, b"short").unwrap();
    sender.writer().append(Fill::TYPE_ID, &[0; 16]).unwrap();
    sender.send(&Order { id: 1, lots: 1 }).unwrap();
    let mut receiver = subscriber::<Order>(&queue).unwrap();
    for expected in [(0, Order::TYPE_ID, 5), (1, Fill::TYPE_ID, 16)] {
        let error = receiver.next().map(drop).unwrap_err();
        let BusError::UnexpectedMessage { seq, type_id, length, .. } = error else { panic!() };
        assert_eq!((seq, type_id, length), expected);
    }
    assert_eq!(receiver.next().unwrap().unwrap().message.id, 1);
}

#[test]
fn a_strategy_and_a_router_talk_and_each_goes_on_after_the_other() {
    let directory = tempfile::tempdir().unwrap();
    let strategy = strategy(directory.path());
    let open_strategy =
        || StrategyChannel::<Order, Fill>::open(&strategy, WriterConfig::default()).unwrap();
    let open_router =
        || RouterChannel::<Order, Fill>::open(&strategy, "router", WriterConfig::default());
    assert!(open_router().map(drop).is_err(), "there is no strategy yet");

    let mut trading = open_strategy();
    assert_eq!(strategy.ready_holder().unwrap(), None);
    trading.mark_ready().unwrap();
    assert_eq!(strategy.ready_holder().unwrap(), trading.lease().holder());
    let mut routing = open_router().unwrap();
    let second = open_router().map(drop).unwrap_err();
    assert!(matches!(second, BusError::Queue(QueueError::WriterAlreadyActive { .. })), "{second}");

    for round in 0..4 {
        trading.queues.outgoing.send(&Order { id: round, lots: 1 }).unwrap();
        if round == 2 {
            drop(trading);
            trading = open_strategy();
        }
        if round == 3 {
            drop(routing);
            routing = open_router().unwrap();
        }
        let order = routing.queues.incoming.next().unwrap().unwrap().message.id;
        assert_eq!(order, round);
        routing.queues.incoming.commit().unwrap();
        routing.queues.outgoing.send(&Fill { order }).unwrap();
        assert_eq!(trading.queues.incoming.next().unwrap().unwrap().message.order, round);
        trading.queues.incoming.commit().unwrap();
    }
    assert!(routing.queues.incoming.next().unwrap().is_none());
    assert!(trading.queues.incoming.next().unwrap().is_none());
}
