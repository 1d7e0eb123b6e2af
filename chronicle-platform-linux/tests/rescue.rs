//! What is brought to the medium once more after a sync that failed.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use chronicle_platform_linux::LinuxMap;
use chronicle_sync::{RegionMutExt, Storage};
use support::{Queue, segment};

/// What is compared at a time.
const PIECE: u64 = 32 << 10;

/// Calls of this thread that have written to files.
fn writes() -> u64 {
    let counts = std::fs::read_to_string("/proc/thread-self/io").unwrap();
    let count = counts.lines().find_map(|line| line.strip_prefix("syscw: "));
    count.unwrap().parse().unwrap()
}

/// Calls that it takes to bring a range of a segment to the medium; `None` where the file system has
/// none that it could be read from.
fn rescue(queue: &Queue, map: &LinuxMap, end: u64) -> Option<u64> {
    let before = writes();
    let done = queue.storage().rescue(&segment(0), map, 0..end).unwrap();
    done.then(|| writes() - before)
}

#[test]
fn zeros_are_written_past_the_cache_because_blocks_that_were_never_written_hold_them_too() {
    let queue = Queue::new();
    let map = queue.make(&segment(0), 2 * PIECE);
    for at in (0..PIECE).step_by(8) {
        map.store_words(at, &[at + 1]).unwrap();
    }
    let Some(of_bytes) = rescue(&queue, &map, PIECE) else {
        println!("skipped: files of the temporary directory cannot be read directly");
        return;
    };
    assert_eq!(of_bytes, 0, "what is read from the medium as it should be was written");
    assert_eq!(rescue(&queue, &map, 2 * PIECE), Some(1));
    // A sector of zeros is enough.
    map.store_words(PIECE, &[7]).unwrap();
    assert_eq!(rescue(&queue, &map, 2 * PIECE), Some(1));
}
