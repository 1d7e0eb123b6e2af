//! Market data as an exchange sent it, where it is at hand.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use support::{Place, Running, output_of, program, run};

fn recording() -> PathBuf {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let data = std::env::var_os("CHRONICLE_DATA").map_or(beside, PathBuf::from);
    data.join("binance/spot_btcusdt_20240808.gz")
}

#[test]
fn a_recorded_day_comes_through_a_following_reader_byte_for_byte() {
    let recording = recording();
    if !recording.exists() {
        eprintln!("SKIPPED: there is no {}; set CHRONICLE_DATA", recording.display());
        return;
    }
    let expected = output_of(Command::new("zcat").arg(&recording)).stdout;
    let count = expected.iter().filter(|byte| **byte == b'\n').count();
    assert_eq!(count, 41_249);

    let place = Place::new();
    let queue = place.queue();
    let following = Running::start([
        "tail", &queue, "-f", "--reader", "a", "--format", "raw", "--limit", "41249",
    ]);
    let mut zcat = Command::new("zcat").arg(&recording).stdout(Stdio::piped()).spawn().unwrap();
    let append = Running::spawn(
        program()
            .args(["append", &queue, "--segment-size", "4194304"])
            .stdin(zcat.stdout.take().unwrap()),
    );
    let appended = append.finish().succeeded();
    assert!(zcat.wait().unwrap().success());
    assert!(appended.errors.contains("appended 41249 messages"), "{}", appended.errors);
    assert!(appended.errors.contains("seq 0..41248"), "{}", appended.errors);

    assert!(following.finish().succeeded().output == expected);
    for name in ["b", "c"] {
        let later = ["tail", &queue, "--reader", name, "--from", "earliest", "--format", "raw"];
        assert!(run(later, b"").succeeded().output == expected);
    }
    assert!(place.contents() == expected);
    let inspection = run(["inspect", &queue, "--json"], b"").succeeded().json();
    assert_eq!(inspection["last_seq"], 41_248);
    for reader in inspection["readers"].as_array().unwrap() {
        assert_eq!(reader["lag_messages"], 0);
    }
}
