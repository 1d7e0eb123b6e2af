//! What `inspect` says, exactly.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod support;

use std::path::Path;

use serde_json::{Value, json};
use support::{Place, Running, lines, patch, run};

fn inspect(place: &Place) -> Value {
    run(["inspect", &place.queue(), "--json"], b"").succeeded().json()
}

#[test]
fn an_empty_queue_has_no_last_sequence_number() {
    let place = Place::new();
    run(["create", &place.queue(), "--segment-size", "64K"], b"").succeeded();
    let found = inspect(&place);
    assert_eq!(found["path"], place.queue());
    assert_eq!((&found["version"], &found["segment_size"]), (&json!(2), &json!(65536)));
    assert_eq!(found["queue_id"].as_str().unwrap().len(), 16);
    assert!(found["created_ns"].as_u64().unwrap() > 1_700_000_000_000_000_000);
    assert_eq!((&found["checksums"], &found["segments"]), (&json!(true), &json!(1)));
    assert_eq!(found["oldest"], json!({"segment": 0, "offset": 64, "seq": 0}));
    // Behind the record with which the queue's first writer began.
    assert_eq!(found["head"], json!({"segment": 0, "offset": 128, "seq": 0}));
    assert_eq!(found["last_seq"], Value::Null);
    assert_eq!((&found["durable_seq"], &found["epoch"]), (&json!(0), &json!(1)));
    let nobody = json!({"status": "dead", "pid": null, "start_time": null, "epoch": null});
    assert_eq!(found["writer"], nobody);
    assert_eq!(found["readers"], json!([]));
}

#[test]
fn lag_is_exact_in_messages_and_bytes() {
    let place = Place::new();
    // Records of 32 bytes of header and a payload padded to 32 bytes, behind one of the queue's own.
    place.append(b"a\nb\nc\nd\ne\n");
    for (name, limit) in [("one", "1"), ("three", "3"), ("all", "5")] {
        run(["tail", &place.queue(), "--reader", name, "--limit", limit], b"").succeeded();
    }
    let found = inspect(&place);
    assert_eq!(found["head"], json!({"segment": 0, "offset": 128 + 5 * 64, "seq": 5}));
    assert_eq!(found["last_seq"], 4);
    let readers = found["readers"].as_array().unwrap();
    let lags: Vec<_> = readers
        .iter()
        .map(|reader| {
            (reader["name"].as_str().unwrap(), &reader["lag_messages"], &reader["lag_bytes"])
        })
        .collect();
    assert_eq!(
        lags,
        [
            ("all", &json!(0), &json!(0)),
            ("one", &json!(4), &json!(256)),
            ("three", &json!(2), &json!(128))
        ]
    );
    assert_eq!(readers[1]["committed"], json!({"segment": 0, "offset": 192, "seq": 1}));
    assert_eq!((&readers[1]["active"], &readers[1]["policy"]), (&json!(false), &json!("durable")));
}

#[test]
fn lag_over_many_segments_counts_every_message_once() {
    let place = Place::new();
    place.append(&lines(6, 2000));
    run(["tail", &place.queue(), "--reader", "r", "--limit", "123"], b"").succeeded();
    let found = inspect(&place);
    assert_eq!(found["head"]["seq"], 2000);
    assert!(found["segments"].as_u64().unwrap() > 5);
    assert_eq!(found["readers"][0]["lag_messages"], 2000 - 123);
    let text = run(["inspect", &place.queue()], b"").succeeded();
    assert!(text.text().contains("1877"), "{}", text.text());
}

#[test]
fn a_writer_and_a_reader_at_work_are_shown_with_their_processes() {
    let place = Place::new();
    let mut writer = Running::start(["append", &place.queue(), "--ack", "--segment-size", "64K"]);
    writer.write(b"a\n");
    assert_eq!(writer.line(), "0\n");
    let mut reader = Running::start(["tail", &place.queue(), "-f", "--reader", "r"]);
    assert!(reader.line().contains('a'));
    let found = inspect(&place);
    let status = found["writer"]["status"].as_str().unwrap();
    assert!(["alive", "idle"].contains(&status), "{status}");
    assert_eq!(found["writer"]["pid"], writer.pid());
    assert_eq!(found["writer"]["epoch"], 1);
    assert!(found["writer"]["start_time"].as_u64().unwrap() > 0);
    assert_eq!(found["readers"][0]["active"], true);
    assert_eq!(found["readers"][0]["pid"], reader.pid());
}

#[test]
fn a_damaged_reader_is_shown_beside_the_others() {
    let place = Place::new();
    place.append(b"a\n");
    for name in ["good", "bad"] {
        run(["tail", &place.queue(), "--reader", name], b"").succeeded();
    }
    patch(&Path::new(&place.queue()).join("readers/bad.meta"), 0, b"garbage!");
    let found = inspect(&place);
    let readers = found["readers"].as_array().unwrap();
    assert_eq!(readers.len(), 2);
    assert!(readers[0]["error"].as_str().unwrap().contains("bad.meta"), "{found}");
    assert_eq!(readers[1]["name"], "good");
}
