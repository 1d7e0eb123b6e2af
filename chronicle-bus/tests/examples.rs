//! The examples, as processes of their own, some of which are killed on the way.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use chronicle_bus::{BusLayout, QueueEndpoint, StrategyId};
use chronicle_std::ReaderConfig;

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
}
