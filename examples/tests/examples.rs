//! The examples run by the command that they name, and print what they say they do.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::process::Command;

use support::{Ended, cargo, run};

/// Runs an example by the command at its head.
fn example(name: &str) -> Ended {
    let head =
        std::fs::read_to_string(format!("{}/{name}.rs", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let command = format!("run -p chronicle-examples --example {name}");
    assert!(
        head.contains(&format!("//!     cargo {command}\n")),
        "{name} does not name its command"
    );
    let mut cargo = cargo();
    cargo.arg("--quiet").args(command.split(' '));
    run(cargo)
}

#[test]
fn a_backend_of_ones_own_carries_a_queue_over_its_end() {
    let ended = example("custom_backend");
    ended.assert_printed(
        "display: 0 20 degrees\n\
         display: 1 21 degrees\n\
         durable below 3\n\
         opened again, epoch 2\n\
         display: 2 22 degrees\n\
         display: 3 23 degrees\n",
    );
}

#[test]
fn tasks_of_a_hand_written_executor_wait_and_block_no_thread() {
    let ended = example("custom_async");
    ended.assert_printed(
        "fill 0: bought 0\n\
         fill 1: bought 100\n\
         fill 2: bought 200\n\
         fill 3: bought 300\n\
         fill 4: bought 400\n\
         nothing to run: 0 times\n",
    );
    assert!(!ended.errors.contains("blocks"), "{}", ended.errors);
}

#[test]
#[cfg(target_os = "linux")]
fn an_epoll_loop_reads_two_queues_beside_a_timer() {
    let ended = example("epoll");
    assert!(ended.success, "{}", ended.errors);
    // The queues take turns as they like; each is in its own order.
    for (queue, what) in [("orders", "order"), ("prices", "price")] {
        let lines = ended.printed.lines().filter(|line| line.starts_with(queue));
        let expected = (0..3).map(|number| format!("{queue}: {number} {what} {number}"));
        assert_eq!(lines.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    }
    assert!(ended.printed.ends_with("read 6 messages beside a timer\n"), "{}", ended.printed);
}

#[test]
fn an_example_that_never_ends_is_killed_and_counts_as_failed() {
    let mut sleep = Command::new("sleep");
    sleep.arg("600");
    let ended = support::run_within(sleep, std::time::Duration::from_millis(50));
    assert!(!ended.success);
}
