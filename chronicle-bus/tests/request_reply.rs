//! Requests and the replies to them, through deaths of both sides.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../../chronicle-core/tests/support/child.rs"]
mod child;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use child::{Body, Process, told};
use chronicle_bus::{
    BusError, BusLayout, Duplex, QueueEndpoint, REQUESTS_IN_FLIGHT, Reply, Requester, Responder,
    RouterChannel, RouterDiscovery, StrategyChannel, StrategyId, Subscriber,
};
use chronicle_std::{Queue, QueueError, ReaderConfig, RepairOptions, WriterConfig};

chronicle_bus::message! {
    /// Square this.
    pub struct Question = 0x2011 {
        /// The number.
        pub number: u64,
    }
}

chronicle_bus::message! {
    /// The square of it.
    pub struct Square = 0x2012 {
        /// The request.
        pub request_seq: u64,
        /// The square.
        pub square: u64,
        /// The process.
        pub answered_by: u64,
    }
}

impl Reply for Square {
    fn request_seq(&self) -> u64 {
        self.request_seq
    }
}

const PATIENCE: Option<Duration> = Some(Duration::from_secs(60));

fn queues(root: &Path) -> (QueueEndpoint, QueueEndpoint) {
    let layout = BusLayout::new(root).unwrap();
    (layout.live("squares", "asked").unwrap(), layout.live("squares", "answered").unwrap())
}

fn named(name: &str) -> ReaderConfig {
    let mut config = ReaderConfig::default();
    config.name = Some(name.to_owned());
    config
}

fn small() -> WriterConfig {
    let mut config = WriterConfig::default();
    config.segment_size = 1 << 20;
    config
}

fn requester(root: &Path) -> Requester<Question, Square> {
    let (asked, answered) = queues(root);
    let queues = Duplex::open_first(&asked, &answered, small(), named("client")).unwrap();
    Requester::new(queues).unwrap()
}

fn responder(root: &Path) -> Responder<Question, Square> {
    let (asked, answered) = queues(root);
    Responder::new(Duplex::open(&answered, &asked, small(), named("server")).unwrap()).unwrap()
}

fn answer(responder: &mut Responder<Question, Square>, request_seq: u64) {
    let square = Square { request_seq, square: request_seq * request_seq, answered_by: 0 };
    responder.reply(&square).unwrap();
}

/// The next requests, as many as there are.
fn given(responder: &mut Responder<Question, Square>) -> Vec<u64> {
    let mut given = Vec::new();
    while let Some(request) = responder.next().unwrap() {
        assert_eq!(request.message.number, request.seq);
        given.push(request.seq);
    }
    given
}

#[test]
fn replies_come_in_any_order_and_each_is_found_by_its_request() {
    let directory = tempfile::tempdir().unwrap();
    let mut client = requester(directory.path());
    for number in 0..6 {
        assert_eq!(client.send(&Question { number }).unwrap(), number);
    }
    let mut server = responder(directory.path());
    assert_eq!(given(&mut server), [0, 1, 2, 3, 4, 5]);
    for request in [4, 1, 0, 5] {
        answer(&mut server, request);
    }
    assert_eq!(server.open_requests().collect::<Vec<_>>(), [2, 3]);
    assert_eq!(client.wait_for(0, PATIENCE).unwrap().unwrap().square, 0);
    assert_eq!(client.wait_for(2, Some(Duration::from_millis(20))).unwrap(), None);
    assert_eq!(client.wait_for(5, PATIENCE).unwrap().unwrap().square, 25);
    // What came before them was kept, in the order in which it came.
    for (request, seq) in [(4, 0), (1, 1)] {
        let received = client.receive().unwrap().unwrap();
        assert_eq!((received.message.request_seq, received.seq), (request, seq));
    }
    assert!(client.receive().unwrap().is_none());
    assert_eq!(client.in_flight().collect::<Vec<_>>(), [2, 3]);
}

#[test]
fn a_request_is_answered_once_and_only_if_it_was_given_out() {
    let directory = tempfile::tempdir().unwrap();
    let mut client = requester(directory.path());
    for number in 0..2 {
        client.send(&Question { number }).unwrap();
    }
    let mut server = responder(directory.path());
    assert_eq!(server.next().unwrap().unwrap().seq, 0);
    answer(&mut server, 0);
    for request_seq in [0, 1, 2] {
        let refused = server.reply(&Square { request_seq, square: 0, answered_by: 0 });
        assert!(matches!(refused, Err(BusError::NotAsked { .. })), "{request_seq}");
    }
    assert_eq!(server.queues().outgoing.writer().next_seq(), 1);
}

#[test]
fn a_reply_that_nobody_asked_for_is_an_error_and_the_next_one_comes() {
    let directory = tempfile::tempdir().unwrap();
    let mut client = requester(directory.path());
    client.send(&Question { number: 0 }).unwrap();
    let mut server = responder(directory.path());
    assert_eq!(given(&mut server), [0]);
    let outgoing = &mut server.queues().outgoing;
    for request_seq in [7, 0, 0] {
        outgoing.send(&Square { request_seq, square: 0, answered_by: 0 }).unwrap();
    }
    for expected in [Err((0, 7)), Ok(0), Err((2, 0))] {
        match client.receive() {
            Ok(received) => assert_eq!(Ok(received.unwrap().message.request_seq), expected),
            Err(BusError::UnexpectedReply { seq, request_seq, .. }) => {
                assert_eq!(Err((seq, request_seq)), expected);
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(client.receive().unwrap().is_none());
}

#[test]
fn a_responder_that_comes_back_goes_on_with_what_has_no_reply() {
    let directory = tempfile::tempdir().unwrap();
    let mut client = requester(directory.path());
    for number in 0..5 {
        client.send(&Question { number }).unwrap();
    }
    let mut server = responder(directory.path());
    assert_eq!(given(&mut server), [0, 1, 2, 3, 4]);
    answer(&mut server, 3);
    answer(&mut server, 1);
    drop(server);
    let mut server = responder(directory.path());
    assert_eq!(given(&mut server), [0, 2, 4]);
    for request in [4, 2, 0] {
        answer(&mut server, request);
    }
    drop(server);
    assert_eq!(given(&mut responder(directory.path())), [0; 0]);
}

#[test]
fn no_more_requests_are_open_than_a_responder_can_know_of_when_it_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let mut client = requester(directory.path());
    for number in 0..3 * REQUESTS_IN_FLIGHT {
        client.send(&Question { number }).unwrap();
    }
    let mut server = responder(directory.path());
    assert_eq!(given(&mut server), (0..REQUESTS_IN_FLIGHT).collect::<Vec<_>>());
    assert!(server.is_full());
    for request in (1..REQUESTS_IN_FLIGHT).rev() {
        answer(&mut server, request);
    }
    assert!(server.next().unwrap().is_none(), "the oldest one is still open");
    answer(&mut server, 0);
    assert_eq!(given(&mut server).len() as u64, REQUESTS_IN_FLIGHT);
    assert_eq!(server.queues().incoming.reader().committed().unwrap().seq, REQUESTS_IN_FLIGHT);
}

#[test]
fn the_place_in_the_queue_of_requests_is_kept_though_some_request_is_always_open() {
    let directory = tempfile::tempdir().unwrap();
    let mut client = requester(directory.path());
    let mut server = responder(directory.path());
    client.send(&Question { number: 0 }).unwrap();
    for number in 1..=4 * REQUESTS_IN_FLIGHT {
        client.send(&Question { number }).unwrap();
        given(&mut server);
        answer(&mut server, number - 1);
    }
    let committed = server.queues().incoming.reader().committed().unwrap().seq;
    assert!(committed >= 3 * REQUESTS_IN_FLIGHT, "{committed}");
    assert_eq!(server.open_requests().collect::<Vec<_>>(), [4 * REQUESTS_IN_FLIGHT]);
    drop(server);
    assert_eq!(given(&mut responder(directory.path())), [4 * REQUESTS_IN_FLIGHT]);
}

#[test]
fn a_requester_that_comes_back_finds_its_replies_and_knows_what_has_none() {
    let directory = tempfile::tempdir().unwrap();
    let mut client = requester(directory.path());
    let mut server = responder(directory.path());
    for number in 0..6 {
        client.send(&Question { number }).unwrap();
    }
    given(&mut server);
    for request in [2, 0, 5] {
        answer(&mut server, request);
    }
    assert_eq!(client.receive().unwrap().unwrap().message.request_seq, 2);
    client.commit().unwrap();
    assert_eq!(client.wait_for(5, PATIENCE).unwrap().unwrap().square, 25);
    // The reply to 0 has not been given out: its place is not passed.
    client.commit().unwrap();
    drop(client);

    let mut client = requester(directory.path());
    assert_eq!(client.in_flight().collect::<Vec<_>>(), [0, 1, 3, 4, 5]);
    assert_eq!(client.wait_for(0, PATIENCE).unwrap().unwrap().square, 0);
    assert_eq!(client.receive().unwrap().unwrap().message.request_seq, 5);
    assert_eq!(client.in_flight().collect::<Vec<_>>(), [1, 3, 4]);
    client.commit().unwrap();
    drop(client);
    let mut client = requester(directory.path());
    assert_eq!(client.in_flight().collect::<Vec<_>>(), [1, 3, 4]);
    assert!(client.receive().unwrap().is_none());
}

#[test]
fn replies_to_requests_that_are_not_there_are_told_and_nothing_is_answered() {
    let directory = tempfile::tempdir().unwrap();
    let mut client = requester(directory.path());
    client.send(&Question { number: 0 }).unwrap();
    let mut server = responder(directory.path());
    given(&mut server);
    answer(&mut server, 0);
    drop((client, server));
    let (asked, answered) = queues(directory.path());
    std::fs::remove_dir_all(asked.path()).unwrap();
    drop(requester(directory.path()));
    let opened = Duplex::open(&answered, &asked, small(), named("server")).unwrap();
    let refused = Responder::<Question, Square>::new(opened).map(drop);
    assert!(matches!(refused, Err(BusError::UnexpectedReply { request_seq: 0, .. })));
}

#[test]
fn a_strategy_asks_a_router_that_finds_it() {
    let directory = tempfile::tempdir().unwrap();
    let layout = BusLayout::new(directory.path()).unwrap();
    let strategy = layout.strategy(StrategyId::new("momentum").unwrap());
    let channel = StrategyChannel::<Question, Square>::open(&strategy, small()).unwrap();
    let (queues, mut lease) = channel.into_parts();
    let mut client = Requester::new(queues).unwrap();
    lease.mark_ready().unwrap();

    let mut discovery = RouterDiscovery::new(&layout);
    let found = discovery.poll().unwrap().remove(0).strategy;
    let channel = RouterChannel::<Question, Square>::open(&found, "router", small()).unwrap();
    let mut server = Responder::new(channel.queues).unwrap();
    client.send(&Question { number: 0 }).unwrap();
    assert_eq!(given(&mut server), [0]);
    answer(&mut server, 0);
    assert_eq!(client.wait_for(0, PATIENCE).unwrap().unwrap().square, 0);
    lease.withdraw().unwrap();
    assert_eq!(discovery.wait(PATIENCE).unwrap().len(), 1);
}

#[test]
fn requests_that_a_repair_has_found_lost_stop_nothing() {
    const COUNT: u64 = 4000;
    let directory = tempfile::tempdir().unwrap();
    let (asked, answered) = queues(directory.path());
    let mut config = WriterConfig::default();
    config.segment_size = 4096;
    let ends = Duplex::open_first(&asked, &answered, config, named("client")).unwrap();
    let mut client = Requester::<Question, Square>::new(ends).unwrap();
    for number in 0..COUNT {
        client.send(&Question { number }).unwrap();
    }
    drop(client);
    for segment in 3..40 {
        std::fs::write(asked.path().join(format!("{segment:09}.q")), [0; 4096]).unwrap();
    }
    let report = Queue::repair(asked.path(), &RepairOptions::default()).unwrap();
    let lost = report.messages_lost;
    assert!(lost > REQUESTS_IN_FLIGHT, "more than can be open: {lost}");

    let mut server = responder(directory.path());
    let (mut replies, mut gaps, mut waits) = (0, 0, 0);
    loop {
        match server.next().map(|request| request.map(|request| request.seq)) {
            // The first one is answered when nothing else can be.
            Ok(Some(0)) => {}
            Ok(Some(request)) => {
                answer(&mut server, request);
                replies += 1;
            }
            Ok(None) if server.is_full() => {
                answer(&mut server, 0);
                replies += 1;
                waits += 1;
            }
            Ok(None) => break,
            Err(BusError::Queue(QueueError::Gap { first, next, .. })) => gaps += next - first,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!((replies, gaps, waits), (COUNT - lost, lost, 1));
    assert_eq!(server.open_requests().count(), 0);
    client = requester(directory.path());
    let mut received = 0;
    while client.receive().unwrap().is_some() {
        received += 1;
    }
    assert_eq!(received, COUNT - lost);
    drop(server);
    let mut server = responder(directory.path());
    assert!(server.next().unwrap().is_none());
    client.send(&Question { number: COUNT }).unwrap();
    assert_eq!(given(&mut server), [COUNT]);
}

/// Not a test of its own: answers requests in any order, until it is killed.
#[test]
fn body_answers() {
    let Some(root) = told::<PathBuf>("ROOT") else { return };
    let answered_by = u64::from(std::process::id());
    let mut server = responder(&root);
    println!("answering");
    loop {
        server.wait(Some(Duration::from_millis(5))).unwrap();
        while let Some(_request) = server.next().unwrap() {}
        let mut open: Vec<u64> = server.open_requests().collect();
        fastrand::shuffle(&mut open);
        // Some are left for later.
        open.truncate(open.len().div_ceil(2));
        for request_seq in open {
            let square = request_seq * request_seq;
            server.reply(&Square { request_seq, square, answered_by }).unwrap();
        }
    }
}

/// Not a test of its own: asks until it is told to stop and each request has its reply, or it is killed.
#[test]
fn body_asks() {
    let Some(root) = told::<PathBuf>("ROOT") else { return };
    let mut client = requester(&root);
    println!("asking");
    loop {
        let mut in_flight = client.in_flight().count();
        if !root.join("stop").exists() {
            for _ in in_flight..100 {
                let number = client.queues().outgoing.writer().next_seq();
                client.send(&Question { number }).unwrap();
            }
            in_flight = in_flight.max(100);
        }
        if in_flight == 0 {
            return;
        }
        client.wait(Some(Duration::from_millis(5))).unwrap();
        while let Some(received) = client.receive().unwrap() {
            let Square { request_seq, square, .. } = *received.message;
            assert_eq!(square, request_seq * request_seq);
        }
        client.commit().unwrap();
    }
}

#[test]
fn whichever_side_is_killed_each_request_has_one_reply() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let start = |name: &str, mark: &str| -> Process {
        let mut process = Body::named(name).tell("ROOT", root.display()).start();
        process.said(mark).unwrap();
        process
    };
    let mut client = start("body_asks", "asking");
    let mut server = start("body_answers", "answering");
    let begun = Instant::now();
    let mut kills = 0;
    while begun.elapsed() < child::seconds(3) {
        thread::sleep(Duration::from_millis(fastrand::u64(5..80)));
        if fastrand::bool() {
            client.kill();
            client = start("body_asks", "asking");
        } else {
            server.kill();
            server = start("body_answers", "answering");
        }
        kills += 1;
    }
    std::fs::write(root.join("stop"), "").unwrap();
    client.succeed();
    server.kill();

    let (asked, answered) = queues(root);
    let mut requests = Subscriber::<Question>::open(&asked, ReaderConfig::default()).unwrap();
    let mut count = 0;
    while let Some(request) = requests.next().unwrap() {
        assert_eq!(request.message.number, request.seq);
        count += 1;
    }
    let mut replies = Subscriber::<Square>::open(&answered, ReaderConfig::default()).unwrap();
    let (mut seen, mut servers) = (BTreeSet::new(), BTreeSet::new());
    while let Some(reply) = replies.next().unwrap() {
        assert!(seen.insert(reply.message.request_seq), "{} twice", reply.message.request_seq);
        servers.insert(reply.message.answered_by);
    }
    assert_eq!(seen.len(), count);
    println!("{kills} kills, {count} requests, {} processes answered", servers.len());
    assert!(servers.len() > 1);
}
