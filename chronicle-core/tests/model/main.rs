//! Long random scripts against a queue and against a plain list, which have to agree at every step:
//! appends of every size up to the edge of a segment, rolls, flushes, closes, kills, power losses
//! that tear the tail, damage above the durable watermark, named readers, seeks, retention.
//!
//! Scripts are made and shortened by proptest. A failure prints the seed and the shortest script that
//! still fails; `CHRONICLE_TEST_SEED` repeats it, `CHRONICLE_TEST_SECONDS` searches longer.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod queue;
#[path = "../support/mod.rs"]
mod support;

use std::env;
use std::panic;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};
use queue::{Command, Damage, Model, Size};

fn size() -> impl Strategy<Value = Size> {
    prop_oneof![
        6 => (0..120u32).prop_map(Size::Small),
        3 => (1..8u32).prop_map(Size::EighthsOfSegment),
        3 => (0..3u32).prop_map(Size::ExactFitLess),
        1 => Just(Size::Largest),
    ]
}

fn damage() -> impl Strategy<Value = Damage> {
    (any::<u16>(), any::<u16>(), any::<bool>()).prop_map(|(record, bit, torn)| Damage {
        record,
        bit,
        torn,
    })
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        12 => (size(), 1..20u32).prop_map(|(size, count)| Command::Append { size, count }),
        2 => vec(0..200u32, 1..40).prop_map(Command::AppendAll),
        2 => Just(Command::AppendTooLarge),
        3 => (size(), any::<bool>()).prop_map(|(size, commit)| Command::Claim { size, commit }),
        4 => Just(Command::Flush),
        2 => Just(Command::PrepareNext),
        3 => Just(Command::Reopen),
        3 => Just(Command::Kill),
        2 => damage().prop_map(Command::Reboot),
        2 => damage().prop_map(Command::DamageOpenSegment),
        3 => (0..3u8, 0..40u32).prop_map(|(name, count)| Command::Read { name, count }),
        1 => (0..3u8).prop_map(Command::RemoveReader),
        2 => Just(Command::Retain),
        3 => any::<u16>().prop_map(Command::SeekSeq),
        3 => any::<u16>().prop_map(Command::SeekTime),
        2 => (-5..20i64).prop_map(Command::Clock),
        2 => Just(Command::Check),
    ]
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().and_then(|value| value.parse().ok())
}

#[test]
fn a_queue_agrees_with_a_list_whatever_is_done_to_it() {
    let seconds = number("CHRONICLE_TEST_SECONDS").unwrap_or(4);
    let given = number("CHRONICLE_TEST_SEED");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let mut seed = given.unwrap_or(now.as_nanos() as u64);
    let until = Instant::now() + Duration::from_secs(seconds);
    let script = (prop::sample::select(vec![4096u64, 8192, 68 << 10]), vec(command(), 1..60));
    let mut scripts = 0;
    while Instant::now() < until {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let config = Config {
            cases: 8,
            failure_persistence: None,
            max_shrink_iters: 20_000,
            ..Config::default()
        };
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let mut runner = TestRunner::new_with_rng(config, rng);
        // Thousands of scripts fail while one is being shortened.
        let hook = panic::take_hook();
        panic::set_hook(Box::new(|_| {}));
        let ran = runner.run(&script, |(segment_size, commands)| {
            let mut model = Model::new(segment_size);
            for command in &commands {
                model.execute(command);
            }
            model.check();
            Ok(())
        });
        panic::set_hook(hook);
        match ran {
            Ok(()) => {}
            Err(TestError::Fail(reason, script)) => {
                panic!("CHRONICLE_TEST_SEED={seed}: {reason}\nshortest script: {script:?}");
            }
            Err(error) => panic!("CHRONICLE_TEST_SEED={seed}: {error}"),
        }
        scripts += 8;
        if given.is_some() {
            break;
        }
        seed = seed.wrapping_add(1);
    }
    println!("counts: {{\"scripts\": {scripts}}}");
}
