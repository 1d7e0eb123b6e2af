//! The ideal queue: what a mapped file, one writer and one reader cost if nothing else is asked for. It
//! recovers nothing, rolls into memory that is mapped already, and wakes nobody. Each feature that
//! Chronicle has can be switched on, with Chronicle's own record size, counter and look for sleepers, so
//! that what is left between the two is what the rest of Chronicle costs.
//!
//! Unsafe lives here because records are stored to and read from a mapped file.
#![allow(clippy::disallowed_types, reason = "a bare queue of its own, to measure against")]

use std::fs::{self, File};
use std::path::Path;
use std::slice;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use chronicle_format::{HEADER_SIZE, record_size};
use chronicle_platform_linux::{LinuxClock, LinuxPark};
use chronicle_sync::notify::{Barrier, Waiters};
use chronicle_sync::{AtomicU32, Clock, Park};
use memmap2::{Advice, MmapOptions, MmapRaw};

use crate::measure::scan::Rewind;
use crate::system::{Place, Processes, Receiver, Sender};

/// Between two looks at the clock the processor's counter says how late it is, as in Chronicle.
const SPAN_NS: u64 = 1_000_000;
const CALIBRATION: Duration = Duration::from_millis(5);
const WITH_SEQ: u32 = 1;
const WITH_TIME: u32 = 2;
const WITH_WAKE: u32 = 4;
const WITH_SEGMENTS: u32 = 8;
const WITH_CRC: u32 = 16;
const WITH_LAZY_READER: u32 = 32;

pub const BARE: u32 = 0;
pub const SEQ: u32 = WITH_SEQ;
pub const SEQ_TIME: u32 = SEQ | WITH_TIME;
pub const SEQ_TIME_WAKE: u32 = SEQ_TIME | WITH_WAKE;
/// Everything but the checksum.
pub const PLAIN: u32 = SEQ_TIME_WAKE | WITH_SEGMENTS;
pub const SEALED: u32 = PLAIN | WITH_CRC;
pub const PLAIN_LAZY: u32 = PLAIN | WITH_LAZY_READER;

/// Bytes of a segment, where there are segments.
const SEGMENT: usize = 16 << 20;
/// The commit word of a segment's end.
const END: u64 = u64::MAX;
const HEADER: usize = HEADER_SIZE as usize;

/// The queue with features.
pub struct Ideal<const FEATURES: u32>;

struct Words {
    map: MmapRaw,
    notify: MmapRaw,
    offset: usize,
    seq: u64,
    segment_end: usize,
}

pub struct IdealSender<const FEATURES: u32> {
    words: Words,
    stamps: Stamps,
    barrier: Barrier,
}

/// Time stamps: the wall clock once a millisecond, and the processor's counter in between, where Chronicle
/// would use it too.
struct Stamps {
    clock: LinuxClock,
    ticks: u64,
    wall_ns: u64,
    /// Nanoseconds of a tick in fractions of 2^32.
    rate: u64,
    span: u64,
}

impl Stamps {
    fn new() -> Self {
        let clock = LinuxClock::new();
        let (begin_ticks, begin_ns) = (clock.ticks().unwrap_or(0), clock.wall_ns());
        thread::sleep(CALIBRATION);
        let (ticks, wall_ns) = (clock.ticks().unwrap_or(0), clock.wall_ns());
        let elapsed = (wall_ns - begin_ns) << 32;
        let rate = elapsed.checked_div(ticks - begin_ticks).unwrap_or(0);
        let span = (SPAN_NS << 32).checked_div(rate).unwrap_or(0);
        Self { clock, ticks, wall_ns, rate, span }
    }

    #[inline(always)]
    fn now(&mut self) -> u64 {
        let Some(ticks) = self.clock.ticks() else { return self.clock.wall_ns() };
        let since = ticks.wrapping_sub(self.ticks);
        if since >= self.span {
            (self.ticks, self.wall_ns) = (ticks, self.clock.wall_ns());
            return self.wall_ns;
        }
        self.wall_ns + ((since * self.rate) >> 32)
    }
}

pub struct IdealReceiver<const FEATURES: u32>(Words);

impl<const FEATURES: u32> Processes for Ideal<FEATURES> {
    type Sender = IdealSender<FEATURES>;
    type Receiver = IdealReceiver<FEATURES>;

    fn sender(place: &Place) -> Result<Self::Sender> {
        let bytes = place.bytes().next_multiple_of(SEGMENT as u64) + SEGMENT as u64;
        let new = place.directory.join("new");
        let file = File::options().read(true).write(true).create_new(true).open(&new)?;
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes)?;
        File::create(place.directory.join("notify"))?.set_len(4096)?;
        let words = Words::open(&file, place, Advice::PopulateWrite)?;
        fs::rename(&new, place.directory.join("queue"))?;
        Ok(IdealSender { words, stamps: Stamps::new(), barrier: LinuxPark::new().enlist() })
    }

    fn receiver(place: &Place) -> Result<Self::Receiver> {
        let path = place.directory.join("queue");
        while !path.exists() {
            thread::sleep(Duration::from_millis(1));
        }
        let file = File::options().read(true).write(true).open(path)?;
        let lazy = FEATURES & WITH_LAZY_READER != 0;
        let advice = if lazy { Advice::Normal } else { Advice::PopulateRead };
        Ok(IdealReceiver(Words::open(&file, place, advice)?))
    }
}

impl Words {
    fn open(file: &File, place: &Place, advice: Advice) -> Result<Self> {
        let map = MmapRaw::map_raw(file)?;
        map.advise(advice)?;
        let notify = open_notify(&place.directory.join("notify"))?;
        Ok(Self { map, notify, offset: 0, seq: 0, segment_end: SEGMENT })
    }

    /// A word of a record's header; its offset was checked when the record was begun.
    #[inline(always)]
    fn word(&self, index: usize) -> &AtomicU64 {
        debug_assert!(self.offset + HEADER <= self.map.len());
        let at = self.map.as_mut_ptr().wrapping_add(self.offset + index * 8);
        // SAFETY: records begin at multiples of 32 inside the mapping, with room for a header (`send`
        // and `poll` check), and headers are accessed as atomics only.
        unsafe { AtomicU64::from_ptr(at.cast()) }
    }

    #[inline(always)]
    fn payload(&self) -> *mut u8 {
        self.map.as_mut_ptr().wrapping_add(self.offset + HEADER)
    }

    fn flag(&self, index: usize) -> &AtomicU32 {
        let at = self.notify.as_mut_ptr().wrapping_add(index * 4);
        // SAFETY: the mapping has a page, the two words used are at its beginning, and they are accessed
        // as atomics only.
        unsafe { AtomicU32::from_ptr(at.cast()) }
    }
}

fn open_notify(path: &Path) -> Result<MmapRaw> {
    let file = File::options().read(true).write(true).open(path)?;
    Ok(MmapOptions::new().populate().map_raw(&file)?)
}

impl<const FEATURES: u32> Sender for IdealSender<FEATURES> {
    #[inline(always)]
    fn send(&mut self, message: &[u8]) -> Result<()> {
        let words = &mut self.words;
        let record = record_size(message.len() as u32) as usize;
        if FEATURES & WITH_SEGMENTS != 0 && words.offset + record + HEADER > words.segment_end {
            // ORDER: Release, with the Acquire fence in `poll`.
            words.word(0).store(END, Ordering::Release);
            words.offset = words.segment_end;
            words.segment_end += SEGMENT;
        }
        if words.offset + record + HEADER > words.map.len() {
            bail!("the ideal queue is full");
        }
        let seq = if FEATURES & WITH_SEQ != 0 { words.seq } else { 0 };
        let time = if FEATURES & WITH_TIME != 0 { self.stamps.now() } else { 0 };
        if FEATURES & WITH_SEQ != 0 {
            // ORDER: Relaxed, carried by the Release store of the commit word, as is the payload.
            words.word(1).store(1, Ordering::Relaxed);
            words.word(2).store(seq, Ordering::Relaxed);
            words.seq += 1;
        }
        if FEATURES & WITH_TIME != 0 {
            words.word(3).store(time, Ordering::Relaxed);
        }
        // SAFETY: the record lies inside the mapping, as checked above, and belongs to the one writer
        // until it is committed.
        unsafe { words.payload().copy_from_nonoverlapping(message.as_ptr(), message.len()) };
        let crc = if FEATURES & WITH_CRC != 0 { checksum(seq, time, message) } else { 0 };
        let commit = (message.len() as u64 + 1) | (u64::from(crc) << 32);
        // ORDER: Release, with the Acquire fence in `poll`.
        words.word(0).store(commit, Ordering::Release);
        words.offset += record;
        if FEATURES & WITH_WAKE != 0 {
            let waiters = Waiters { waiting: words.flag(0), notify_seq: words.flag(1) };
            if waiters.someone_waits(self.barrier) {
                bail!("nobody sleeps in this comparison");
            }
        }
        Ok(())
    }
}

impl<const FEATURES: u32> Receiver for IdealReceiver<FEATURES> {
    #[inline(always)]
    fn poll(&mut self, most: u64, mut each: impl FnMut(&[u8])) -> Result<u64> {
        let words = &mut self.0;
        let mut count = 0;
        while count < most {
            let commit = words.word(0).load(Ordering::Relaxed);
            if commit == 0 {
                break;
            }
            // ORDER: Acquire, with the Release store of the commit word in `send`.
            fence(Ordering::Acquire);
            if FEATURES & WITH_SEGMENTS != 0 && commit == END {
                words.offset = words.segment_end;
                words.segment_end += SEGMENT;
                continue;
            }
            let length = (commit as u32).wrapping_sub(1);
            let next = words.offset + record_size(length) as usize;
            if next + HEADER > words.map.len() {
                bail!("a record leads out of the ideal queue");
            }
            // SAFETY: the record lies inside the mapping, as just checked, and committed bytes do not
            // change.
            let message = unsafe { slice::from_raw_parts(words.payload(), length as usize) };
            let seq =
                if FEATURES & WITH_SEQ != 0 { words.word(2).load(Ordering::Relaxed) } else { 0 };
            if FEATURES & WITH_SEQ != 0 {
                if seq != words.seq {
                    bail!("record {} has number {seq}", words.seq);
                }
                words.seq += 1;
            }
            if FEATURES & WITH_CRC != 0 {
                let time = words.word(3).load(Ordering::Relaxed);
                if checksum(seq, time, message) != (commit >> 32) as u32 {
                    bail!("record {seq} is damaged");
                }
            }
            each(message);
            words.offset = next;
            count += 1;
        }
        Ok(count)
    }
}

impl<const FEATURES: u32> Rewind for IdealReceiver<FEATURES> {
    fn rewind(&mut self) -> Result<()> {
        let words = &mut self.0;
        (words.offset, words.seq, words.segment_end) = (0, 0, SEGMENT);
        Ok(())
    }
}

/// CRC-32C over header and payload. Short messages go word by word through the processor's instruction;
/// for long ones the library interleaves several streams, which hides the instruction's latency.
#[inline(always)]
fn checksum(seq: u64, time: u64, message: &[u8]) -> u32 {
    const SHORT: usize = 512;
    #[cfg(target_arch = "x86_64")]
    if message.len() < SHORT {
        // SAFETY: `supported` was asked before any queue with checksums was opened.
        return unsafe { short(seq, time, message) };
    }
    let mut header = [0; 24];
    for (target, word) in header.chunks_exact_mut(8).zip([message.len() as u64, seq, time]) {
        target.copy_from_slice(&word.to_le_bytes());
    }
    crc32c::crc32c_append(crc32c::crc32c(&header), message)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse4.2")]
fn short(seq: u64, time: u64, message: &[u8]) -> u32 {
    use core::arch::x86_64::{_mm_crc32_u8, _mm_crc32_u64};
    let mut crc = u64::from(u32::MAX);
    for word in [message.len() as u64, seq, time] {
        crc = _mm_crc32_u64(crc, word);
    }
    let (words, rest) = message.as_chunks::<8>();
    for word in words {
        crc = _mm_crc32_u64(crc, u64::from_le_bytes(*word));
    }
    !rest.iter().fold(crc as u32, |crc, byte| _mm_crc32_u8(crc, *byte))
}

/// Whether this processor can run the ideal queue.
pub fn check_processor() -> Result<()> {
    #[cfg(target_arch = "x86_64")]
    std::is_x86_feature_detected!("sse4.2")
        .then_some(())
        .context("the ideal queue needs SSE4.2")?;
    Ok(())
}
