//! What a roll costs the appending thread, while another thread removes old segments from the same
//! directory: with segments that the roll makes itself, and with segments that were prepared.
//!
//! Prints the distribution; `--test` runs a few rolls only.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark")]

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use chronicle_core::{
    Appender, CreateOptions, NoProbe, PreparedSegment, RetiredSegment, SegmentId, SegmentSize,
    Supply, WriteOptions, create,
};
use chronicle_platform_linux::LinuxPlatform;

const TYPE: u16 = 0x8000;
const SEGMENT: u64 = 1 << 20;
/// Two of these do not fit a segment, so every append but the first is a roll.
const PAYLOAD: usize = SEGMENT as usize / 2;

fn platform(directory: &Path) -> LinuxPlatform {
    LinuxPlatform::open(&CString::new(directory.as_os_str().as_bytes()).unwrap()).unwrap()
}

type Retired = Arc<Mutex<Vec<RetiredSegment<LinuxPlatform>>>>;

/// Supplies nothing, and leaves old segments for another thread to unmap, which it does not wake.
struct UnmapElsewhere(Retired);

impl Supply<LinuxPlatform> for UnmapElsewhere {
    fn want(&mut self, _: SegmentId) {}

    fn take(&mut self, _: SegmentId) -> Option<PreparedSegment<LinuxPlatform>> {
        None
    }

    fn retire(&mut self, segment: RetiredSegment<LinuxPlatform>) {
        self.0.lock().unwrap().push(segment);
    }
}

/// Removes segments as they are named.
fn remover(directory: &Path, names: Receiver<u32>) -> thread::JoinHandle<u32> {
    let directory = directory.to_owned();
    thread::spawn(move || {
        let removed = names.into_iter().map(|id| {
            std::fs::remove_file(directory.join(format!("{id:09}.q"))).unwrap();
        });
        removed.count() as u32
    })
}

fn rolls(count: u32, prepared: bool, removing: bool) -> Vec<Duration> {
    let directory = tempfile::tempdir().unwrap();
    let mut options = CreateOptions::default();
    options.segment_size = SegmentSize::new(SEGMENT).unwrap();
    create(&platform(directory.path()), &options).unwrap();
    let retired = Retired::default();
    let unmapper = {
        let retired = Arc::clone(&retired);
        thread::spawn(move || {
            while Arc::strong_count(&retired) > 1 {
                thread::sleep(Duration::from_millis(1));
                let segments = std::mem::take(&mut *retired.lock().unwrap());
                drop(segments);
            }
        })
    };
    let mut appender = Appender::open_with(
        platform(directory.path()),
        WriteOptions::default(),
        NoProbe,
        UnmapElsewhere(retired),
    )
    .unwrap();
    let (names, received) = channel();
    let remover = remover(directory.path(), received);
    let payload = vec![7; PAYLOAD];
    let mut times = Vec::new();
    appender.append(TYPE, &payload).unwrap();
    for _ in 0..count {
        if prepared {
            appender.prepare_next().unwrap();
        }
        let begun = Instant::now();
        // Claimed and given up: the roll without the copy.
        drop(appender.claim(PAYLOAD).unwrap());
        times.push(begun.elapsed());
        appender.append(TYPE, &payload).unwrap();
        if removing {
            names.send(appender.position().segment.get() - 1).unwrap();
        }
    }
    drop((names, appender));
    remover.join().unwrap();
    unmapper.join().unwrap();
    times.sort();
    times
}

fn main() {
    let count = if std::env::args().any(|argument| argument == "--test") { 5 } else { 400 };
    for (prepared, removing) in [(false, false), (false, true), (true, false), (true, true)] {
        let times = rolls(count, prepared, removing);
        let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
        println!(
            "roll p50: {:?}, p99: {:?}, max: {:?} ({}, {})",
            at(0.5),
            at(0.99),
            at(1.0),
            if prepared { "prepared" } else { "made at the roll" },
            if removing { "old segments removed beside it" } else { "nothing removed" },
        );
    }
}
