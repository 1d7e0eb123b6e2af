//! `chron-cli counters` and `chron-cli metrics`, on buses at work.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use chronicle_bus::{BusLayout, QueueEndpoint};
use chronicle_std::{QueueReader, QueueWriter, ReaderConfig, WriterConfig};
use serde_json::{Value, json};
use support::{Place, Running, run, snapshot};

const QUEUE: &str = "live/market_data/queue/demo_feed";
/// Longer than anything here takes, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

fn feed(bus: &str) -> QueueEndpoint {
    BusLayout::new(bus).unwrap().live("market_data", "demo_feed").unwrap()
}

fn writer(bus: &str) -> QueueWriter {
    let mut config = WriterConfig::default();
    config.segment_size = 65536;
    feed(bus).open_publisher(config).unwrap()
}

fn reader(bus: &str, name: &str) -> QueueReader {
    let mut config = ReaderConfig::default();
    config.name = Some(name.to_owned());
    feed(bus).open_reader(config).unwrap()
}

fn append(writer: &mut QueueWriter, count: usize) {
    for number in 0..count {
        writer.append(0x8000, &[number as u8; 100]).unwrap();
    }
    writer.publish_counters();
}

/// A bus with a writer that has written 300 messages and two readers, one of which has read 100.
fn at_work(bus: &str) -> (QueueWriter, QueueReader, QueueReader) {
    let mut writer = writer(bus);
    let (mut risk, idle) = (reader(bus, "risk"), reader(bus, "idle"));
    append(&mut writer, 300);
    assert_eq!(risk.read_all(100, |_| ()).unwrap(), 100);
    risk.commit().unwrap();
    risk.publish_counters();
    (writer, risk, idle)
}

#[test]
fn a_bus_at_work_is_shown_with_its_lags() {
    let place = Place::new();
    let bus = place.path("bus");
    let (_writer, _risk, _idle) = at_work(&bus);
    let shown = run(["counters", &bus, "--json"], b"").succeeded().json();
    let queue = &shown["queues"][0];
    assert_eq!(queue["queue"], QUEUE);
    let writer = &queue["writer"];
    assert_eq!((&writer["state"], &writer["next_seq"]), (&json!("alive"), &json!(300)));
    assert_eq!(writer["pid"], std::process::id());
    assert_eq!(writer["appended_messages"], 300);
    assert!(writer["newest_age_ns"].as_u64().unwrap() < PATIENCE.as_nanos() as u64);
    assert_eq!(writer["messages_per_second"], Value::Null);
    let [idle, risk] = [&queue["readers"][0], &queue["readers"][1]];
    assert_eq!((&idle["name"], &idle["lag_messages"]), (&json!("idle"), &json!(300)));
    // It has read nothing, so there is no time to count from.
    assert_eq!(idle["lag_ns"], Value::Null);
    assert_eq!((&risk["name"], &risk["lag_messages"]), (&json!("risk"), &json!(200)));
    assert_eq!(risk["committed_seq"], 100);
    assert!(risk["lag_bytes"].as_u64().unwrap() >= 200 * 160);
    assert!(shown["free_bytes"].as_u64().unwrap() > 0);

    let shown = run(["counters", &bus], b"").succeeded();
    let lines: Vec<_> = shown.text().lines().collect();
    assert!(lines[0].contains("free"), "{lines:?}");
    assert!(lines[2].starts_with(QUEUE) && lines[2].contains("alive"), "{lines:?}");
    let risk = lines.iter().find(|line| line.contains(" risk ")).unwrap();
    assert!(risk.split_whitespace().any(|word| word == "200"), "{risk}");
}

#[test]
fn a_look_changes_nothing_and_opens_no_queue() {
    let place = Place::new();
    let bus = place.path("bus");
    drop(at_work(&bus));
    let before = snapshot(Path::new(&bus));
    // Even without the queue it says what was counted.
    let whole = run(["counters", &bus, "--json"], b"").succeeded().json();
    assert!(before == snapshot(Path::new(&bus)), "a look has changed something");
    fs::remove_dir_all(format!("{bus}/live")).unwrap();
    let without = run(["counters", &bus, "--json"], b"").succeeded().json();
    assert_eq!(whole["queues"][0]["readers"], without["queues"][0]["readers"]);
    assert_eq!(whole["queues"][0]["writer"]["state"], "closed");
}

#[test]
fn watching_shows_rates() {
    let place = Place::new();
    let bus = place.path("bus");
    let mut writer = writer(&bus);
    let mut watching =
        Running::start(["counters", &bus, "--json", "--watch=200ms", "--limit", "3"]);
    let mut looks = Vec::new();
    for _ in 0..3 {
        let line = watching.line();
        looks.push(serde_json::from_str::<Value>(&line).unwrap());
        append(&mut writer, 1000);
    }
    assert!(watching.finish().succeeded().errors.is_empty());
    let rate = |look: &Value| look["queues"][0]["writer"]["messages_per_second"].as_f64();
    assert_eq!(rate(&looks[0]), None);
    let rate = rate(&looks[1]).unwrap();
    assert!(rate > 0.0 && rate <= 5000.0, "{rate}: a thousand in 200 ms at least");
    assert!(looks[2]["queues"][0]["writer"]["bytes_per_second"].as_f64().unwrap() > 0.0);
}

#[test]
fn what_is_no_bus_and_files_that_are_damaged_are_told() {
    let place = Place::new();
    let bus = place.path("bus");
    let outcome = run(["counters", &bus], b"");
    assert_eq!(outcome.code, Some(2));
    assert!(outcome.errors.contains("cannot open the bus"), "{}", outcome.errors);
    fs::write(&bus, b"a file").unwrap();
    assert!(run(["metrics", &bus], b"").errors.contains("is not a directory"));
    fs::remove_file(&bus).unwrap();
    fs::create_dir(&bus).unwrap();
    assert!(run(["counters", &bus], b"").succeeded().text().contains("nobody is counted here"));

    drop(at_work(&bus));
    let file = format!("{bus}/counters/reader.risk.live.market_data.queue.demo_feed");
    fs::write(&file, b"garbage").unwrap();
    let shown = run(["counters", &bus], b"").succeeded();
    assert!(shown.text().contains(&format!("damaged: {file}: ")), "{}", shown.text());
    assert!(shown.text().contains(" idle "), "the other reader is shown");
}

/// The endpoint at work.
struct Endpoint {
    running: Running,
    address: SocketAddr,
}

impl Endpoint {
    fn of(bus: &str) -> Self {
        let mut running = Running::start(["metrics", bus, "--listen", "127.0.0.1:0"]);
        let line = running.line();
        let address = line.split_once("http://").expect(&line).1.split_once('/').unwrap().0;
        Self { running, address: address.parse().unwrap() }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Status line and headers, and the body of the length that they say.
    fn ask(&self, request: &str) -> (String, String) {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(reader.read_line(&mut head).unwrap(), 0, "{head}");
        }
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("content-length").then(|| value.parse::<usize>().unwrap())
        });
        let mut body = String::new();
        reader.read_to_string(&mut body).unwrap();
        if !request.starts_with("HEAD") {
            assert_eq!(length, Some(body.len()), "{head}");
        }
        (head, body)
    }

    fn get(&self, path: &str) -> (String, String) {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
    }

    /// The value of a metric with these labels.
    fn value(&self, name: &str, labels: &str) -> f64 {
        let (_, body) = self.get("/metrics");
        let found = body.lines().find_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (found, rest) = series.split_once('{')?;
            (found == name && rest.contains(labels)).then(|| value.parse().unwrap())
        });
        found.unwrap_or_else(|| panic!("no {name} of {labels} in\n{body}"))
    }

    fn end(self, signal: &str) -> support::Outcome {
        let pid = self.running.pid().to_string();
        let sent = Command::new("kill").args([signal, &pid]).stdin(Stdio::null()).status();
        assert!(sent.unwrap().success());
        self.running.finish()
    }
}

#[test]
fn metrics_are_in_the_format_that_prometheus_reads() {
    let place = Place::new();
    let bus = place.path("bus");
    let (_writer, _risk, _idle) = at_work(&bus);
    let endpoint = Endpoint::of(&bus);
    let (head, body) = endpoint.get("/metrics");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let kind = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n";
    assert!(head.contains(kind), "{head}");
    assert!(head.to_lowercase().contains("connection: close\r\n"), "{head}");
    assert!(body.ends_with("# EOF\n"), "{body}");
    // Each sample is behind the lines about its metric, and each series is there once.
    let (mut about, mut series) = (String::new(), Vec::new());
    for line in body.lines().filter(|line| *line != "# EOF") {
        match line.strip_prefix("# ") {
            Some(text) if text.starts_with("HELP ") || text.starts_with("TYPE ") => {
                about = text.split(' ').nth(1).unwrap().to_owned();
            }
            Some(_) => panic!("{line}"),
            None => {
                let (name, _) = line.split_once('{').unwrap();
                assert_eq!(name.strip_suffix("_total").unwrap_or(name), about, "{line}");
                let (labels, value) = line.rsplit_once(' ').unwrap();
                value.parse::<f64>().unwrap();
                assert!(labels.contains(&format!("bus=\"{bus}\"")), "{line}");
                series.push(labels.to_owned());
            }
        }
    }
    let count = series.len();
    series.sort();
    series.dedup();
    assert_eq!(series.len(), count, "a series is there twice");
    let of_queue = format!("queue=\"{QUEUE}\"");
    assert_eq!(endpoint.value("chronicle_queue_appended_messages_total", &of_queue), 300.0);
    assert_eq!(endpoint.value("chronicle_writer_up", &of_queue), 1.0);
    assert_eq!(endpoint.value("chronicle_reader_lag_messages", "reader=\"risk\""), 200.0);
    assert!(endpoint.value("chronicle_reader_lag_seconds", "reader=\"risk\"") < 60.0);
    assert!(endpoint.value("chronicle_bus_free_bytes", "bus=") > 0.0);
}

#[test]
fn other_requests_get_the_answer_that_they_deserve() {
    let place = Place::new();
    let bus = place.path("bus");
    fs::create_dir(&bus).unwrap();
    let endpoint = Endpoint::of(&bus);
    let (head, body) = endpoint.get("/");
    assert!(head.starts_with("HTTP/1.1 200 ") && body.contains("/metrics"), "{head}{body}");
    assert!(endpoint.get("/metric").0.starts_with("HTTP/1.1 404 "));
    let (head, _) = endpoint.ask("POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 405 ") && head.contains("allow: GET, HEAD"), "{head}");
    let (head, body) = endpoint.ask("HEAD /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 ") && body.is_empty(), "{head}{body}");
    let (head, _) = endpoint.ask("GET /metrics HTTP/1.0\r\n\r\n");
    assert!(head.starts_with("HTTP/1.0 200 "), "{head}");
    // The bus itself may go, and come back.
    fs::remove_dir(&bus).unwrap();
    assert!(endpoint.get("/metrics").0.starts_with("HTTP/1.1 200 "));
    let (head, _) = endpoint.ask("this is no request\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
}

#[test]
fn clients_that_say_nothing_do_not_stop_the_others() {
    let place = Place::new();
    let bus = place.path("bus");
    fs::create_dir(&bus).unwrap();
    let endpoint = Endpoint::of(&bus);
    let mut silent: Vec<_> = (0..20).map(|_| endpoint.connect()).collect();
    let mut slow = endpoint.connect();
    slow.write_all(b"GET /metrics HT").unwrap();
    let begun = Instant::now();
    assert!(endpoint.get("/metrics").0.starts_with("HTTP/1.1 200 "));
    assert!(begun.elapsed() < Duration::from_secs(4), "it waited for the silent ones");
    // They are left after a while.
    assert_eq!(silent[0].read(&mut [0; 64]).unwrap_or(0), 0);
    assert!(begun.elapsed() < Duration::from_secs(30));
}

#[test]
fn an_address_that_is_taken_is_named() {
    let place = Place::new();
    let bus = place.path("bus");
    fs::create_dir(&bus).unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let outcome = run(["metrics", &bus, "--listen", &address], b"");
    assert_eq!(outcome.code, Some(2));
    assert!(outcome.errors.contains(&format!("{address}: cannot listen: ")), "{}", outcome.errors);
    let outcome = run(["metrics", &bus, "--listen", "nowhere"], b"");
    assert_eq!(outcome.code, Some(2));
}

#[test]
fn it_ends_in_order_when_it_is_told_to() {
    let place = Place::new();
    let bus = place.path("bus");
    fs::create_dir(&bus).unwrap();
    for signal in ["-INT", "-TERM"] {
        let endpoint = Endpoint::of(&bus);
        // Not even one that says nothing keeps it for long.
        let _silent = endpoint.connect();
        assert!(endpoint.get("/metrics").0.starts_with("HTTP/1.1 200 "));
        let outcome = endpoint.end(signal);
        assert_eq!((outcome.code, outcome.errors.as_str()), (Some(0), ""), "{signal}");
        assert!(outcome.took < Duration::from_secs(20));
    }
}

#[test]
fn scrapes_beside_writers_at_work_come_to_the_truth() {
    let place = Place::new();
    let bus = place.path("bus");
    drop(writer(&bus));
    let endpoint = Endpoint::of(&bus);
    let of_queue = format!("queue=\"{QUEUE}\"");
    thread::scope(|scope| {
        let working = scope.spawn(|| {
            let (mut writer, mut reader) = (writer(&bus), reader(&bus, "risk"));
            let until = Instant::now() + Duration::from_secs(2);
            let mut read = 0;
            while Instant::now() < until {
                writer.append(0x8000, &[1; 100]).unwrap();
                read += reader.read_all(u64::MAX, |_| ()).unwrap();
            }
            assert_eq!(read, writer.next_seq());
            (read, u64::from(writer.position().segment.get()))
        });
        let mut last = 0.0;
        let mut moved = 0;
        while !working.is_finished() {
            let now = endpoint.value("chronicle_queue_appended_messages_total", &of_queue);
            assert!(now >= last, "{now} after {last}");
            moved += u32::from(now > last);
            last = now;
        }
        assert!(moved > 5, "{moved}");
        let (messages, rolls) = working.join().unwrap();
        let value = |name| endpoint.value(name, &of_queue) as u64;
        assert_eq!(value("chronicle_queue_appended_messages_total"), messages);
        assert_eq!(value("chronicle_queue_rolls_total"), rolls);
        assert!(value("chronicle_queue_appended_bytes_total") >= messages * 160);
        assert_eq!(value("chronicle_reader_lag_messages"), 0);
        assert_eq!((value("chronicle_writer_up"), value("chronicle_writer_closed")), (0, 1));
    });
}
