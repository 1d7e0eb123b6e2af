//! A queue in a program without standard library, allocator and C runtime.
//!
//! This file is what one writes for a machine of one's own; `machine.rs` is what its board brings along.
//! Here it is a process of Linux on x86-64 that makes three system calls, so that it can run:
//!
//!     cargo run --release --manifest-path examples/freestanding/Cargo.toml
#![no_std]
#![no_main]
#![allow(clippy::disallowed_types, reason = "a park is handed the word that it sleeps on")]

mod machine;

use core::fmt::Write as _;
use core::num::NonZeroU32;
use core::time::Duration;

use chronicle_core::{
    Appender, CreateOptions, Result, SegmentSize, TailOptions, Tailer, WaitStrategy, WriteOptions,
    apply_retention, create,
};
use chronicle_platform_static::{Slots, StaticError, StaticPlatform};
use chronicle_sync::{AtomicU32, Clock, Instant, Park, Wake};

// The backend.

struct Board;

impl Park for Board {
    type Error = StaticError;

    /// Returns for no reason, which is always allowed: whoever waits looks again. A board with
    /// interrupts waits for the next one here.
    fn wait(&self, _: &AtomicU32, _: u32, _: Instant) -> core::result::Result<Wake, StaticError> {
        core::hint::spin_loop();
        Ok(Wake::Woken)
    }

    fn wake(&self, _: &AtomicU32, _: NonZeroU32) -> core::result::Result<u32, StaticError> {
        Ok(0)
    }
}

impl Clock for Board {
    fn now(&self) -> Instant {
        Instant::from_nanos(machine::nanoseconds())
    }

    fn wall_ns(&self) -> u64 {
        machine::nanoseconds()
    }

    fn boot(&self) -> u64 {
        1
    }
}

static MEMORY: Slots<8, 8192> = Slots::new();

// The program.

type Queue = StaticPlatform<Board, 8, 8192>;

const READING: u16 = 0x8000;

fn run(console: &mut machine::Console) -> Result<(), Queue> {
    let queue = MEMORY.platform(Board);
    let mut options = CreateOptions::default();
    // 4 KiB is the smallest that there is.
    options.segment_size = SegmentSize::new(4096).unwrap_or_default();
    options.retention.max_segments = Some(3);
    create(&queue, &options)?;

    let mut writer = Appender::open(&queue, WriteOptions::default())?;
    let mut reader = Tailer::open(&queue, &TailOptions::default())?;
    for text in ["no files", "no threads", "no allocator"] {
        writer.append(READING, text.as_bytes())?;
    }
    while let Some(message) = reader.next()? {
        let text = str::from_utf8(message.payload).unwrap_or("?");
        let _ = writeln!(console, "{}: {text}", message.seq);
    }
    let soon = Board.now().after(Duration::from_millis(1));
    let outcome = reader.wait(WaitStrategy::Park, soon, None)?;
    let _ = writeln!(console, "then: {outcome:?}");

    // More than the memory holds: the oldest segments go.
    let mut read = 0;
    for number in 0..1000u32 {
        writer.append(READING, &number.to_le_bytes())?;
        read += reader.read_all(1, |_| ())?;
        apply_retention(&queue, |_| false)?;
    }
    drop(writer);
    let writer = Appender::open(&queue, WriteOptions::default())?;
    let _ = writeln!(console, "read {read}, and go on with {}", writer.next_seq());
    Ok(())
}

/// Called by the machine once it is set up. Returns the program's exit code.
fn main() -> u8 {
    let mut console = machine::Console;
    match run(&mut console) {
        Ok(()) => 0,
        Err(error) => {
            let _ = writeln!(console, "{error}");
            1
        }
    }
}
