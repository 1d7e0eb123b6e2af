//! The examples, as processes of their own, some of which are killed on the way.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use chronicle_bus::{BusLayout, Change, QueueEndpoint, RouterDiscovery, StrategyId};
use chronicle_std::{Queue, ReaderConfig};

/// Longer than anything here takes, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(120);
const STRATEGIES: [&str; 3] = ["alpha", "beta", "gamma"];

/// Builds the examples, and says where they are.
fn examples() -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    let built = cargo.args(["build", "--quiet", "-p", "chronicle-bus", "--examples"]).status();
    assert!(built.unwrap().success());
    // This program is in `deps`, beside them.
    std::env::current_exe().unwrap().parent().unwrap().with_file_name("examples")
}

/// A running example, which does not outlive its test.
struct Running(Child);

impl Running {
    fn start(examples: &Path, name: &str, bus: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(examples.join(name));
        command.arg("--bus-root").arg(bus).args(arguments);
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap())
    }

    fn id(&self) -> u32 {
        self.0.id()
    }

    fn still_runs(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    fn succeed(mut self, name: &str) {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                assert!(status.success(), "{name} ended with {status}");
                return;
            }
            assert!(Instant::now() < until, "{name} does not end");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The first number of each message of a queue.
fn first_numbers(queue: &QueueEndpoint) -> Vec<u64> {
    let mut reader = queue.open_reader(ReaderConfig::default()).unwrap();
    let mut numbers = Vec::new();
    while let Some(message) = reader.next().unwrap() {
        numbers.push(u64::from_le_bytes(*message.payload.first_chunk().unwrap()));
    }
    numbers
}

#[test]
fn whoever_is_killed_no_order_is_lost_and_none_is_sent_or_filled_twice() {
    let examples = examples();
    let directory = tempfile::tempdir().unwrap();
    let bus = directory.path();
    let start = |name, arguments: &[&str]| Running::start(&examples, name, bus, arguments);
    let strategy = |id| start("strategy", &["--id", id, "--every", "10", "--orders", "200"]);
    let feed = || start("feed", &["--events", "2000", "--rate", "1000"]);

    let mut publisher = feed();
    let mut router = start("router", &[]);
    let mut strategies: Vec<Running> = STRATEGIES.into_iter().map(strategy).collect();
    let observer = start("passive", &["--seconds", "2"]);
    for round in 0..6 {
        thread::sleep(Duration::from_millis(200));
        match round % 3 {
            0 => {
                strategies.remove(0).kill();
                strategies.insert(0, strategy(STRATEGIES[0]));
            }
            1 => {
                router.kill();
                router = start("router", &[]);
            }
            _ => {
                publisher.kill();
                publisher = feed();
            }
        }
    }
    publisher.succeed("feed");
    for (strategy, id) in strategies.into_iter().zip(STRATEGIES) {
        strategy.succeed(id);
    }
    observer.succeed("passive");
    router.kill();

    let layout = BusLayout::new(bus).unwrap();
    let feed = layout.live("market_data", "demo_feed").unwrap();
    let mut reader = feed.open_reader(ReaderConfig::default()).unwrap();
    let mut events = BTreeSet::new();
    while let Some(message) = reader.next().unwrap() {
        assert_eq!((message.type_id, message.payload.len()), (0x1000, 128));
        events.insert(message.seq);
    }
    assert_eq!(events.len(), 2000);
    for id in STRATEGIES {
        let endpoints = layout.strategy(StrategyId::new(id).unwrap());
        let expected: Vec<u64> = (0..200).map(|number| 10 * number).collect();
        assert_eq!(first_numbers(&endpoints.orders_out()), expected, "orders of {id}");
        let expected: Vec<u64> = (0..200).collect();
        assert_eq!(first_numbers(&endpoints.orders_in()), expected, "fills of {id}");
    }
    // All of them are counted, and what they have counted agrees with what there is.
    let counters = layout.counters().unwrap();
    assert!(counters.faults.is_empty(), "{:?}", counters.faults);
    let of = |queue: &str| &counters.queues[queue];
    let feed = of("live/market_data/queue/demo_feed");
    assert_eq!(feed.writer.unwrap().head.seq, 2000);
    for id in STRATEGIES {
        assert!(feed.readers.contains_key(id), "{id} is not seen");
        let orders = of(&format!("orders/queue/{id}/orders_out"));
        assert_eq!(orders.writer.unwrap().head.seq, 200);
        assert!(orders.readers["router"].lag.is_some());
        let fills = of(&format!("orders/queue/{id}/orders_in"));
        let (writer, strategy) = (fills.writer.unwrap(), &fills.readers["strategy"]);
        assert!(!writer.alive && !strategy.alive, "{id}");
        assert_eq!((strategy.values.seq, strategy.values.closed), (200, 1));
    }
}

/// Messages that were ever visible in a queue.
fn visible(queue: &QueueEndpoint) -> u64 {
    Queue::open_watermarks(queue.path()).unwrap().visible().unwrap()
}

/// Waits until a queue has so many messages more than now.
fn await_more(queue: &QueueEndpoint, more: u64) {
    let until = Instant::now() + PATIENCE;
    let enough = visible(queue) + more;
    while visible(queue) < enough {
        assert!(Instant::now() < until, "{} stands still", queue.path().display());
        thread::sleep(Duration::from_millis(5));
    }
}

/// The next changes that are told, with the process that each is about.
fn told(discovery: &mut RouterDiscovery) -> Vec<(String, char, u32)> {
    let events = discovery.wait(Some(PATIENCE)).unwrap();
    let words = events.iter().map(|event| {
        let (change, holder) = match event.change {
            Change::Added(holder) => ('+', holder),
            Change::Removed(holder) => ('-', holder),
            Change::Restarted(holder) => ('~', holder),
            other => panic!("{other:?}"),
        };
        (event.strategy.id().to_string(), change, holder.pid)
    });
    words.collect()
}

#[test]
fn a_kill_is_told_once_and_so_is_the_return_and_the_others_go_on_meanwhile() {
    let examples = examples();
    let directory = tempfile::tempdir().unwrap();
    let bus = directory.path();
    let start = |name, arguments: &[&str]| Running::start(&examples, name, bus, arguments);
    let strategy = |id| start("strategy", &["--id", id, "--every", "10"]);
    let feed = || start("feed", &["--events", "0"]);
    let layout = BusLayout::new(bus).unwrap();
    let endpoints = |id: &str| layout.strategy(StrategyId::new(id).unwrap());
    let mut discovery = RouterDiscovery::new(&layout);
    let nothing_more = |discovery: &mut RouterDiscovery| {
        // Longer than the time between two looks.
        let events = discovery.wait(Some(Duration::from_millis(1500))).unwrap();
        assert!(events.is_empty(), "{events:?}");
    };

    let (publisher, mut router) = (feed(), start("router", &[]));
    let mut observer = start("passive", &["--seconds", "0"]);
    let alpha = strategy("alpha");
    assert_eq!(told(&mut discovery), [("alpha".to_owned(), '+', alpha.id())]);
    let mut beta = strategy("beta");
    assert_eq!(told(&mut discovery), [("beta".to_owned(), '+', beta.id())]);
    await_more(&endpoints("alpha").orders_in(), 1);

    let dead = alpha.id();
    alpha.kill();
    assert_eq!(told(&mut discovery), [("alpha".to_owned(), '-', dead)]);
    await_more(&endpoints("beta").orders_in(), 10);
    nothing_more(&mut discovery);
    let mut alpha = strategy("alpha");
    assert_eq!(told(&mut discovery), [("alpha".to_owned(), '+', alpha.id())]);
    await_more(&endpoints("alpha").orders_in(), 10);

    router.kill();
    await_more(&endpoints("alpha").orders_out(), 10);
    router = start("router", &[]);
    await_more(&endpoints("beta").orders_in(), 10);

    publisher.kill();
    thread::sleep(Duration::from_millis(100));
    for other in [&mut alpha, &mut beta, &mut router, &mut observer] {
        assert!(other.still_runs());
    }
    let publisher = feed();
    await_more(&endpoints("alpha").orders_in(), 10);
    observer.kill();
    await_more(&endpoints("beta").orders_in(), 10);
    // Neither router nor feed nor observer are anything that discovery tells.
    nothing_more(&mut discovery);
    for process in [publisher, router, alpha, beta] {
        process.kill();
    }
}

fn demo(arguments: &[&str]) -> Output {
    let mut demo = Command::new(examples().join("demo"));
    demo.args(arguments).stdin(Stdio::null()).output().unwrap()
}

#[test]
fn one_command_runs_them_all_and_counts_every_order() {
    let output = demo(&["--seconds", "4"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    for part in ["kill -9", "alpha added", "demo_feed: ", "no order was lost, and none was sent"] {
        assert!(said.contains(part), "{part} is not in\n{said}");
    }
}

/// A capture as it was published: time stamps and numbers of the queue are not part of it.
fn payloads(bus: &Path) -> Vec<Vec<u8>> {
    let feed = BusLayout::new(bus).unwrap().live("market_data", "demo_feed").unwrap();
    let mut reader = feed.open_reader(ReaderConfig::default()).unwrap();
    let mut payloads = Vec::new();
    while let Some(message) = reader.next().unwrap() {
        payloads.push(message.payload.to_vec());
    }
    payloads
}

#[test]
fn captures_are_published_in_the_order_of_receipt_whole_and_once_though_the_feed_is_killed() {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let data = std::env::var_os("CHRONICLE_DATA").map_or(beside, PathBuf::from).join("binance");
    let files =
        ["spot_btcusdt_20240808.gz", "spot_ethusdt_20240808.gz"].map(|name| data.join(name));
    if !files.iter().all(|file| file.exists()) {
        eprintln!("SKIPPED: no captures in {}; set CHRONICLE_DATA", data.display());
        return;
    }
    let examples = examples();
    let directory = tempfile::tempdir().unwrap();
    let (whole, killed) = (directory.path().join("whole"), directory.path().join("killed"));
    let [btc, eth] = files.each_ref().map(|file| file.to_str().unwrap());
    let arguments = ["--capture", btc, "--capture", eth, "--speed", "0"];
    Running::start(&examples, "feed", &whole, &arguments).succeed("feed");
    for _ in 0..4 {
        let feed = Running::start(&examples, "feed", &killed, &arguments);
        thread::sleep(Duration::from_millis(700));
        feed.kill();
    }
    Running::start(&examples, "feed", &killed, &arguments).succeed("feed");

    let events = payloads(&whole);
    assert!(events == payloads(&killed), "a feed that was killed publishes something else");
    // Each line of a capture is an event.
    assert_eq!(events.len(), 41_249 + 33_618);
    let market = |event: &Vec<u8>| u32::from_le_bytes(*event[12..].first_chunk().unwrap());
    for (number, expected) in [(1, 41_249), (2, 33_618)] {
        assert_eq!(events.iter().filter(|event| market(event) == number).count(), expected);
    }
    // The first line: a diff of three bids and nine asks, received at this time; the first bid's price.
    let number = |event: &[u8], at: usize| u64::from_le_bytes(*event[at..].first_chunk().unwrap());
    let first = events.iter().find(|event| market(event) == 1).unwrap();
    assert_eq!((first[1], first.len()), (1, 64 + 12 * 16));
    assert_eq!(number(first, 24), 1_723_161_253_937_085_768);
    assert_eq!((number(first, 32), number(first, 40)), (50_093_239_202, 50_093_239_188));
    assert_eq!((number(first, 64), number(first, 72)), (6_173_763_000_000, 0));
}
