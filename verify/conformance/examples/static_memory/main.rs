//! A queue without an operating system: it appends, reads, and goes on after its writer was dropped.

mod backend;

use std::error::Error;

use backend::{Slots, StaticMemory};
use chronicle_core::{
    Appender, CreateOptions, SegmentSize, TailOptions, Tailer, WriteOptions, create,
};

fn main() -> Result<(), Box<dyn Error>> {
    // On a board this is a `static`, behind whatever makes it the main thread's.
    let memory = StaticMemory(Box::leak(Box::new(Slots::<16, 8192>::new())));
    let mut options = CreateOptions::default();
    options.segment_size = SegmentSize::new(4096).map_err(|error| error.to_string())?;
    create(&memory, &options).map_err(|error| error.to_string())?;
    let mut writer =
        Appender::open(memory, WriteOptions::default()).map_err(|error| error.to_string())?;
    let mut reader =
        Tailer::open(memory, &TailOptions::default()).map_err(|error| error.to_string())?;
    for text in ["no files", "no threads", "no allocator"] {
        writer.append(0x8000, text.as_bytes()).map_err(|error| error.to_string())?;
    }
    while let Some(message) = reader.next().map_err(|error| error.to_string())? {
        println!("{}: {}", message.seq, String::from_utf8_lossy(message.payload));
    }
    Ok(())
}
