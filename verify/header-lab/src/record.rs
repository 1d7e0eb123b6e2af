//! The record layouts and the loops over them, compiled once per layout, payload and feature set.

#![allow(clippy::disallowed_types, reason = "a bare queue of its own, to measure against")]

use std::arch::x86_64::{_mm_crc32_u64, _rdtsc};
use std::hint::black_box;
use std::slice;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

pub const PAYLOADS: [usize; 2] = [64, 256];

pub const BARE: u8 = 0;
pub const STAMP: u8 = 1;
pub const STAMP_CRC: u8 = 2;
pub const FEATURES: [(&str, u8); 3] = [("bare", BARE), ("stamp", STAMP), ("stamp+crc", STAMP_CRC)];

/// Commit word; type and 48-bit time. The sequence number is implied by the position.
const H16: u8 = 0;
/// Commit word; type, flags and low half of the sequence number; time.
const H24: u8 = 1;
/// As `H24`, with length and checksum stored separately.
const H24_SPLIT: u8 = 2;
/// Commit word; type, flags and epoch; sequence number; time.
const H32: u8 = 3;
/// As `H32`, filled up with zeros to a cache line.
const H64: u8 = 4;

const RECORD_TYPE: u64 = 7;
const EPOCH: u64 = 1;
const LAG_CHECK_INTERVAL: usize = 64;
const SOURCE_WORDS: usize = 32;

pub struct Variant {
    pub name: &'static str,
    pub operations: fn(usize, u8) -> Operations,
}

const fn variant<const KIND: u8, const ALIGN: usize>(name: &'static str) -> Variant {
    Variant { name, operations: select::<KIND, ALIGN> }
}

/// The first one is the reference of all ratios.
pub const VARIANTS: [Variant; 12] = [
    variant::<H16, 8>("h16/al8"),
    variant::<H16, 32>("h16/al32"),
    variant::<H16, 64>("h16/al64"),
    variant::<H24, 8>("h24/al8"),
    variant::<H24, 32>("h24/al32"),
    variant::<H24, 64>("h24/al64"),
    variant::<H24_SPLIT, 8>("h24s/al8"),
    variant::<H32, 8>("h32/al8"),
    variant::<H32, 32>("h32/al32"),
    variant::<H32, 64>("h32/al64"),
    variant::<H64, 64>("h64/al64"),
    variant::<H16, 8>("h16-again/al8"),
];

pub struct Received {
    /// TSC after the last record.
    pub end: u64,
    pub errors: u64,
}

/// The loops of one layout. All of them need SSE4.2, and every queue pointer must be 64-byte
/// aligned and valid for `count * stride` bytes that were zero before the first record was sent.
pub struct Operations {
    pub stride: usize,
    pub send: unsafe fn(*mut u8, usize),
    pub receive_caught_up: unsafe fn(*mut u8, usize) -> Received,
    pub receive_behind: unsafe fn(*mut u8, usize, usize) -> Received,
    pub ping: unsafe fn(*mut u8, *mut u8, &mut [u32]) -> u64,
    pub echo: unsafe fn(*mut u8, *mut u8, usize) -> Received,
}

fn select<const KIND: u8, const ALIGN: usize>(payload: usize, feature: u8) -> Operations {
    match (payload, feature) {
        (64, BARE) => operations::<KIND, ALIGN, 64, BARE>(),
        (64, STAMP) => operations::<KIND, ALIGN, 64, STAMP>(),
        (64, STAMP_CRC) => operations::<KIND, ALIGN, 64, STAMP_CRC>(),
        (256, BARE) => operations::<KIND, ALIGN, 256, BARE>(),
        (256, STAMP) => operations::<KIND, ALIGN, 256, STAMP>(),
        (256, STAMP_CRC) => operations::<KIND, ALIGN, 256, STAMP_CRC>(),
        _ => unreachable!("payload {payload} with feature set {feature} is not compiled"),
    }
}

fn operations<const KIND: u8, const ALIGN: usize, const PAYLOAD: usize, const FEATURE: u8>()
-> Operations {
    Operations {
        stride: stride(KIND, ALIGN, PAYLOAD),
        send: send::<KIND, ALIGN, PAYLOAD, FEATURE>,
        receive_caught_up: receive_caught_up::<KIND, ALIGN, PAYLOAD, FEATURE>,
        receive_behind: receive_behind::<KIND, ALIGN, PAYLOAD, FEATURE>,
        ping: ping::<KIND, ALIGN, PAYLOAD, FEATURE>,
        echo: echo::<KIND, ALIGN, PAYLOAD, FEATURE>,
    }
}

const fn header_words(kind: u8) -> usize {
    match kind {
        H16 => 2,
        H24 | H24_SPLIT => 3,
        H32 => 4,
        _ => 8,
    }
}

const fn stride(kind: u8, align: usize, payload: usize) -> usize {
    (header_words(kind) * 8 + payload).next_multiple_of(align)
}

#[inline]
pub fn tsc() -> u64 {
    // SAFETY: every x86-64 CPU has the time stamp counter, and Linux leaves it readable.
    unsafe { _rdtsc() }
}

#[inline]
#[target_feature(enable = "sse4.2")]
fn checksum(header: &[u64], payload: &[u64]) -> u32 {
    let seed = u64::from(u32::MAX);
    let crc = header.iter().chain(payload).fold(seed, |crc, &word| _mm_crc32_u64(crc, word));
    !(crc as u32)
}

fn new_source() -> [u64; SOURCE_WORDS] {
    std::array::from_fn(|word| (word as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// Writes and publishes the record `index` at `slot`, which must have room for it.
#[inline]
#[target_feature(enable = "sse4.2")]
unsafe fn put<const KIND: u8, const PAYLOAD: usize, const FEATURE: u8>(
    slot: *mut u8,
    index: u64,
    origin: u64,
    source: &mut [u64; SOURCE_WORDS],
) {
    let words = header_words(KIND);
    source[0] = index;
    let payload = &black_box(&*source)[..PAYLOAD / 8];
    let time = if FEATURE == BARE { index } else { tsc() };
    let length = PAYLOAD as u64 + 1;
    let header = match KIND {
        H16 => {
            let delta = time.wrapping_sub(origin) & ((1 << 48) - 1);
            [length, RECORD_TYPE << 48 | delta, 0, 0, 0, 0, 0, 0]
        }
        H24 | H24_SPLIT => [length, RECORD_TYPE | index << 32, time, 0, 0, 0, 0, 0],
        _ => [length, RECORD_TYPE | EPOCH << 32, index, time, 0, 0, 0, 0],
    };
    let crc = if FEATURE == STAMP_CRC { checksum(&header[..words], payload) } else { 0 };
    // SAFETY: the caller gives room for header and payload at an 8-byte aligned slot that no one
    // reads beyond the commit word before it is set, and only this process writes.
    unsafe {
        let target = slot.cast::<u64>();
        target.add(1).copy_from_nonoverlapping(header.as_ptr().add(1), words - 1);
        target.add(words).copy_from_nonoverlapping(payload.as_ptr(), payload.len());
        if KIND == H24_SPLIT {
            AtomicU32::from_ptr(slot.add(4).cast()).store(crc, Ordering::Relaxed);
            AtomicU32::from_ptr(slot.cast()).store(length as u32, Ordering::Release);
        } else {
            let commit = length | u64::from(crc) << 32;
            AtomicU64::from_ptr(target).store(commit, Ordering::Release);
        }
    }
}

/// Spins until a record is published at `slot`; returns the commit word.
#[inline]
unsafe fn wait_for<const KIND: u8>(slot: *mut u8) -> u64 {
    loop {
        // SAFETY: the caller gives an 8-byte aligned slot inside the mapping; commit words are
        // only accessed atomically, in halves by both sides or as a whole by both sides.
        let commit = unsafe {
            if KIND == H24_SPLIT {
                match AtomicU32::from_ptr(slot.cast()).load(Ordering::Acquire) {
                    0 => 0,
                    length => {
                        let crc = AtomicU32::from_ptr(slot.add(4).cast()).load(Ordering::Relaxed);
                        u64::from(length) | u64::from(crc) << 32
                    }
                }
            } else {
                AtomicU64::from_ptr(slot.cast()).load(Ordering::Acquire)
            }
        };
        if commit != 0 {
            return commit;
        }
    }
}

/// Waits for the record `index` at `slot`, reads header and one word per cache line of the payload
/// (all of it where there is a checksum), and says whether it is the record expected.
#[inline]
#[target_feature(enable = "sse4.2")]
unsafe fn take<const KIND: u8, const PAYLOAD: usize, const FEATURE: u8>(
    slot: *mut u8,
    index: u64,
    sink: &mut u64,
) -> bool {
    let words = header_words(KIND);
    // SAFETY: the caller's slot is a record of the mapping.
    let commit = unsafe { wait_for::<KIND>(slot) };
    // SAFETY: the acquire load saw the record published, and no one changes it afterwards; the
    // slices leave out the commit word.
    let (fields, payload) = unsafe {
        let record = slot.cast::<u64>().cast_const();
        (
            slice::from_raw_parts(record.add(1), words - 1),
            slice::from_raw_parts(record.add(words), PAYLOAD / 8),
        )
    };
    for &field in &fields[..fields.len().min(3)] {
        *sink = sink.wrapping_add(field);
    }
    for &word in payload.iter().step_by(8).chain(payload.last()) {
        *sink = sink.wrapping_add(word);
    }
    let sequence_fits = match KIND {
        H16 => true,
        H24 | H24_SPLIT => fields[0] >> 32 == index & 0xffff_ffff,
        _ => fields[1] == index,
    };
    let length = commit & 0xffff_ffff;
    let checksum_fits = FEATURE != STAMP_CRC || {
        let seed = _mm_crc32_u64(u64::from(u32::MAX), length);
        let crc = fields.iter().chain(payload).fold(seed, |crc, &word| _mm_crc32_u64(crc, word));
        u64::from(!(crc as u32)) == commit >> 32
    };
    length == PAYLOAD as u64 + 1 && payload[0] == index && sequence_fits && checksum_fits
}

#[target_feature(enable = "sse4.2")]
unsafe fn send<const KIND: u8, const ALIGN: usize, const PAYLOAD: usize, const FEATURE: u8>(
    queue: *mut u8,
    count: usize,
) {
    let (mut source, origin) = (new_source(), tsc());
    for index in 0..count {
        let slot = queue.wrapping_add(index * stride(KIND, ALIGN, PAYLOAD));
        // SAFETY: the caller gives room for `count` records.
        unsafe { put::<KIND, PAYLOAD, FEATURE>(slot, index as u64, origin, &mut source) };
    }
}

#[target_feature(enable = "sse4.2")]
unsafe fn receive_caught_up<
    const KIND: u8,
    const ALIGN: usize,
    const PAYLOAD: usize,
    const FEATURE: u8,
>(
    queue: *mut u8,
    count: usize,
) -> Received {
    let (mut errors, mut sink) = (0, 0);
    for index in 0..count {
        let slot = queue.wrapping_add(index * stride(KIND, ALIGN, PAYLOAD));
        // SAFETY: the caller's queue has `count` records.
        let fits = unsafe { take::<KIND, PAYLOAD, FEATURE>(slot, index as u64, &mut sink) };
        errors += u64::from(!fits);
    }
    black_box(sink);
    Received { end: tsc(), errors }
}

#[target_feature(enable = "sse4.2")]
unsafe fn receive_behind<
    const KIND: u8,
    const ALIGN: usize,
    const PAYLOAD: usize,
    const FEATURE: u8,
>(
    queue: *mut u8,
    count: usize,
    lag: usize,
) -> Received {
    let (mut errors, mut sink) = (0, 0);
    for first in (0..count).step_by(LAG_CHECK_INTERVAL) {
        let past = (first + LAG_CHECK_INTERVAL).min(count);
        let ahead = (past - 1 + lag).min(count - 1);
        // SAFETY: `ahead` is below `count`, and the caller's queue has that many records.
        unsafe { wait_for::<KIND>(queue.wrapping_add(ahead * stride(KIND, ALIGN, PAYLOAD))) };
        for index in first..past {
            let slot = queue.wrapping_add(index * stride(KIND, ALIGN, PAYLOAD));
            // SAFETY: as above.
            let fits = unsafe { take::<KIND, PAYLOAD, FEATURE>(slot, index as u64, &mut sink) };
            errors += u64::from(!fits);
        }
    }
    black_box(sink);
    Received { end: tsc(), errors }
}

/// Sends one request per element of `half_trips`, waits for each echo and notes half the ticks in
/// between; returns the number of wrong echoes.
#[target_feature(enable = "sse4.2")]
unsafe fn ping<const KIND: u8, const ALIGN: usize, const PAYLOAD: usize, const FEATURE: u8>(
    requests: *mut u8,
    echoes: *mut u8,
    half_trips: &mut [u32],
) -> u64 {
    let (mut source, origin) = (new_source(), tsc());
    let (mut errors, mut sink) = (0, 0);
    for (index, half_trip) in half_trips.iter_mut().enumerate() {
        let offset = index * stride(KIND, ALIGN, PAYLOAD);
        let (request, echo) = (requests.wrapping_add(offset), echoes.wrapping_add(offset));
        let begin = tsc();
        // SAFETY: the caller gives room for one record per element in both queues.
        let fits = unsafe {
            put::<KIND, PAYLOAD, FEATURE>(request, index as u64, origin, &mut source);
            take::<KIND, PAYLOAD, FEATURE>(echo, index as u64, &mut sink)
        };
        *half_trip = u32::try_from((tsc() - begin) / 2).unwrap_or(u32::MAX);
        errors += u64::from(!fits);
    }
    black_box(sink);
    errors
}

#[target_feature(enable = "sse4.2")]
unsafe fn echo<const KIND: u8, const ALIGN: usize, const PAYLOAD: usize, const FEATURE: u8>(
    requests: *mut u8,
    echoes: *mut u8,
    count: usize,
) -> Received {
    let (mut source, origin) = (new_source(), tsc());
    let (mut errors, mut sink) = (0, 0);
    for index in 0..count {
        let offset = index * stride(KIND, ALIGN, PAYLOAD);
        // SAFETY: the caller gives room for `count` records in both queues.
        let fits = unsafe {
            let request = requests.wrapping_add(offset);
            let fits = take::<KIND, PAYLOAD, FEATURE>(request, index as u64, &mut sink);
            put::<KIND, PAYLOAD, FEATURE>(
                echoes.wrapping_add(offset),
                index as u64,
                origin,
                &mut source,
            );
            fits
        };
        errors += u64::from(!fits);
    }
    black_box(sink);
    Received { end: tsc(), errors }
}
