//! What the record header and the record alignment of a memory-mapped queue cost.
//!
//! A writer process on CPU 0 and a reader process on CPU 1 share one populated file. The writer
//! lays records (header, payload, padding to the alignment) one after another and publishes each
//! with a release store of the commit word at its start; the reader polls that word. There is no
//! index, no wrap-around and no flow control, so differences are those of the layout alone.
//!
//! Measured for every variant, for payloads of 64 and 256 bytes, and for three feature sets
//! (`bare`, `stamp` = a TSC read per record, `stamp+crc` = also CRC-32C written and verified):
//!
//! * `behind`: messages per second while the reader stays at least 2 MiB behind the writer. The
//!   distance is checked once per 64 records so that the check itself does not chase the writer.
//! * `caught-up`: messages per second while the reader spins on the next commit word. This has two
//!   states: the reader contends for the lines being written, or it slips behind the writer and
//!   both go faster. `min` and `max` over the repeats show whether a median mixes them.
//! * round trip / 2 of a ping-pong over two such queues, 50th, 99th and 99.9th percentile.
//!
//! The variants take turns inside every repeat, rotated by one each time; the tables show medians
//! over the repeats and ratios of medians to `h16/al8`. The `±` columns are half the interquartile
//! range over the median. `h16-again/al8` is the same code as `h16/al8` measured a second time: how
//! far its ratio is from 1 is a floor for what may be called a difference.
//!
//! Repeat with `cargo run --release -- --repeats 5 --json result.json` on two otherwise idle CPUs;
//! `SCHED_FIFO` is used when permitted. x86-64 with SSE4.2 only.

#[cfg(target_arch = "x86_64")]
mod lab;
#[cfg(target_arch = "x86_64")]
mod record;

#[cfg(target_arch = "x86_64")]
fn main() -> lab::Outcome<()> {
    lab::main()
}

#[cfg(not(target_arch = "x86_64"))]
fn main() {
    eprintln!("header-lab reads the processor's time stamp counter and is made for x86-64 only");
}
