//! What `doctor` finds on a bus.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod support;

use std::fs;
use std::path::Path;
use std::process::Output;

use chronicle_bus::{BusLayout, StrategyChannel, StrategyEndpoints, StrategyId};
use chronicle_std::{ReaderConfig, WriterConfig};
use serde_json::{Value, json};
use support::{patch, program, settled, snapshot};

chronicle_bus::message! {
    /// An order.
    pub struct Order = 0x2001 {
        /// Its number.
        pub id: u64,
    }
}

/// A bus with a feed of three messages, of which a reader has read one, and a strategy that is not run.
fn bus(root: &Path) -> (BusLayout, StrategyEndpoints) {
    let layout = BusLayout::new(root).unwrap();
    let feed = layout.live("market_data", "demo_feed").unwrap();
    let mut writer = feed.open_publisher(WriterConfig::default()).unwrap();
    let mut config = ReaderConfig::default();
    config.name = Some("risk".to_owned());
    for payload in [b"a", b"b", b"c"] {
        writer.append(0x8000, payload).unwrap();
    }
    let mut reader = feed.open_reader(config).unwrap();
    reader.next().unwrap();
    reader.commit().unwrap();
    let strategy = layout.strategy(StrategyId::new("momentum").unwrap());
    drop(open(&strategy));
    (layout, strategy)
}

fn open(strategy: &StrategyEndpoints) -> StrategyChannel<Order, Order> {
    StrategyChannel::open(strategy, WriterConfig::default()).unwrap()
}

fn doctor(root: &Path, options: &[&str]) -> Output {
    program().arg("doctor").arg(root).args(options).output().unwrap()
}

/// What it says as JSON, and its exit code.
fn examined(root: &Path, options: &[&str]) -> (Value, i32) {
    let output = doctor(root, &[&["--json"], options].concat());
    let view = serde_json::from_slice(&output.stdout).unwrap();
    (view, output.status.code().unwrap())
}

/// The one finding that there is.
fn finding(root: &Path, options: &[&str]) -> String {
    let (view, code) = examined(root, options);
    assert_eq!((&view["healthy"], code), (&json!(false), 1));
    let findings = view["findings"].as_array().unwrap();
    assert_eq!(findings.len(), 1, "{findings:#?}");
    findings[0].as_str().unwrap().to_owned()
}

#[test]
fn a_healthy_bus_is_shown_and_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let (layout, strategy) = bus(root);
    let mut channel = open(&strategy);
    channel.queues.outgoing.send(&Order { id: 1 }).unwrap();
    channel.mark_ready().unwrap();
    let before = settled(root);
    let (view, code) = examined(root, &["--verify"]);
    assert_eq!((&view["healthy"], code), (&json!(true), 0));
    assert!(snapshot(root) == before);

    let pid = std::process::id();
    let queues: Vec<_> = view["queues"].as_array().unwrap().iter().collect();
    let names: Vec<_> = queues.iter().map(|queue| queue["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "live/market_data/queue/demo_feed",
            "orders/queue/momentum/orders_out",
            "orders/queue/momentum/orders_in"
        ]
    );
    assert_eq!(queues[0]["path"], layout.root().join(names[0]).display().to_string());
    assert_eq!((&queues[0]["head"]["seq"], &queues[0]["message_type"]), (&json!(3), &Value::Null));
    assert_eq!(queues[0]["writer"]["status"], "dead");
    let reader = &queues[0]["readers"][0];
    assert_eq!((&reader["name"], &reader["lag_messages"]), (&json!("risk"), &json!(2)));
    assert_eq!((&queues[1]["head"]["seq"], &queues[1]["writer"]["pid"]), (&json!(1), &json!(pid)));
    assert!(queues[1]["message_type"].as_str().unwrap().starts_with("Order type_id=0x2001"));
    let held = json!({"state": "held", "pid": pid, "epoch": 2});
    assert_eq!(view["strategies"], json!([{"name": "momentum", "lease": held, "ready": held}]));

    let output = doctor(root, &[]);
    let text = String::from_utf8(output.stdout).unwrap();
    for part in [
        "live/market_data/queue/demo_feed                        3         1  none",
        "    reader risk, not active, 2 messages behind",
        &format!("momentum                                     process {pid}"),
        "healthy; messages were not all checked, --verify does",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    assert!(output.stderr.is_empty() && output.status.success());
}

#[test]
fn a_strategy_that_was_killed_is_found_until_it_runs_again() {
    let directory = tempfile::tempdir().unwrap();
    let (_, strategy) = bus(directory.path());
    assert_eq!(examined(directory.path(), &[]).1, 0, "it ended in good order");
    // As a process leaves it that is killed.
    let lease = strategy.directory().join("LEASE");
    fs::copy(&lease, strategy.directory().join("READY")).unwrap();
    let found = finding(directory.path(), &[]);
    assert!(
        found.contains("queue/momentum: the process that ran the strategy has died"),
        "{found}"
    );
    let output = doctor(directory.path(), &[]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("1 finding; nothing was changed"), "{said}");
    let _channel = open(&strategy);
    assert_eq!(examined(directory.path(), &[]).1, 0);
}

#[test]
fn leftovers_and_strangers_are_found() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let (layout, strategy) = bus(root);
    let staged = layout.strategies().join("momentum.ready");
    fs::copy(strategy.directory().join("LEASE"), &staged).unwrap();
    let found = finding(root, &[]);
    assert!(found.contains("a process died while it made READY"), "{found}");
    fs::rename(&staged, layout.strategies().join("nobody.ready")).unwrap();
    let found = finding(root, &[]);
    assert!(found.contains("nobody.ready: cannot use: is the mark of no strategy"), "{found}");
    fs::remove_file(layout.strategies().join("nobody.ready")).unwrap();

    std::os::unix::fs::symlink(root, root.join("live/market_data/queue/elsewhere")).unwrap();
    let found = finding(root, &[]);
    assert!(found.contains("queue/elsewhere: neither a directory nor a plain file"), "{found}");
    fs::remove_file(root.join("live/market_data/queue/elsewhere")).unwrap();
    fs::create_dir(root.join("live/market_data/queue/empty")).unwrap();
    let found = finding(root, &[]);
    assert!(found.contains("queue/empty: there is no queue here"), "{found}");
}

#[test]
fn a_strategy_that_can_be_talked_to_without_its_queues_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let layout = BusLayout::new(directory.path()).unwrap();
    let strategy = layout.strategy(StrategyId::new("hasty").unwrap());
    let mut lease = strategy.write_lease().unwrap();
    assert_eq!(examined(directory.path(), &[]).1, 0, "it is only starting");
    lease.mark_ready().unwrap();
    let (view, code) = examined(directory.path(), &[]);
    let findings = view["findings"].as_array().unwrap();
    assert_eq!((findings.len(), code), (2, 1), "{findings:?}");
    assert!(findings[0].as_str().unwrap().contains("orders_out: there is no queue here"));
    for queue in [strategy.orders_out(), strategy.orders_in()] {
        queue.create(WriterConfig::default()).unwrap();
    }
    let found = finding(directory.path(), &[]);
    assert!(found.contains("orders_out: the strategy can be talked to, and nobody"), "{found}");
    fs::remove_file(strategy.directory().join("LEASE")).unwrap();
    let (view, _) = examined(directory.path(), &[]);
    let found = view["findings"][0].as_str().unwrap();
    assert!(found.contains("READY is held and LEASE is not"), "{found}");
}

#[test]
fn damage_is_found_and_stops_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let (_, strategy) = bus(root);
    let feed = root.join("live/market_data/queue/demo_feed");
    // The payload of the first message, behind the header of the segment, a record of the queue's own
    // and the message's header.
    patch(&feed.join("000000000.q"), 64 + 64 + 32, b"x");
    assert_eq!(examined(root, &[]).1, 0, "nobody has read it");
    let found = finding(root, &["--verify"]);
    assert!(found.contains("000000000.q: damaged at offset 128 (seq 0)"), "{found}");

    fs::write(strategy.orders_in().path().join("control.meta"), [0; 512]).unwrap();
    let (view, code) = examined(root, &["--verify"]);
    let findings = view["findings"].as_array().unwrap();
    assert_eq!((findings.len(), code), (2, 1), "{findings:#?}");
    assert!(findings[1].as_str().unwrap().contains("orders_in/control.meta"), "{findings:#?}");
    assert_eq!(view["queues"].as_array().unwrap().len(), 2);
    assert_eq!(view["strategies"][0]["name"], "momentum");
}

#[test]
fn segments_that_may_go_and_who_holds_others_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let layout = BusLayout::new(directory.path()).unwrap();
    let queue = layout.archive("market_data", "demo_feed").unwrap();
    let mut config = WriterConfig::default();
    config.segment_size = 64 << 10;
    config.background = false;
    config.retention.max_bytes = Some(64 << 10);
    let mut writer = queue.open_publisher(config).unwrap();
    let mut reader = ReaderConfig::default();
    reader.name = Some("slow".to_owned());
    let mut reader = queue.open_reader(reader).unwrap();
    for _ in 0..100 {
        writer.append(0x8000, &[0; 8000]).unwrap();
    }
    let (view, code) = examined(directory.path(), &[]);
    assert_eq!(code, 0);
    let held = |view: &Value| {
        let queue = &view["queues"][0];
        (queue["removable_segments"].as_u64().unwrap(), queue["held_by"].clone())
    };
    assert_eq!(held(&view), (0, json!("slow")));
    while reader.next().unwrap().is_some() {}
    reader.commit().unwrap();
    let (removable, _) = held(&examined(directory.path(), &[]).0);
    assert!(removable > 5, "{removable}");
}

#[test]
fn where_there_is_no_bus_there_is_nothing_to_examine() {
    let directory = tempfile::tempdir().unwrap();
    let output = doctor(&directory.path().join("nothing"), &[]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("nothing: cannot open"), "{said}");
    let output = doctor(directory.path(), &[]);
    assert_eq!(output.status.code(), Some(0), "an empty bus has nothing wrong with it");
}
