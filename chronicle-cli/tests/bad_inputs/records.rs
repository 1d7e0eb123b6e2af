//! Inputs 22 to 39: what is wrong with a record. All of them are in the newest segment, and durable.

use chronicle_std::format::layout::record;

use crate::queue::{FIRST_IN_NEWEST, IN_NEWEST, NEWEST, Queue, SEGMENT, TYPE, offset, put};
use crate::{Input, input};

/// In the middle of the segment.
const VICTIM: u64 = 20;

fn length(queue: &Queue, length_plus_one: u32) {
    queue.patch(NEWEST, offset(VICTIM) as usize, &length_plus_one.to_le_bytes());
}

fn seq(queue: &Queue, found: u64) {
    queue.edit_record(VICTIM, |bytes| put(bytes, record::SEQ, &found.to_le_bytes()));
}

fn epoch(queue: &Queue, found: u32) {
    queue.edit_record(VICTIM, |bytes| put(bytes, record::EPOCH, &found.to_le_bytes()));
}

fn rot(queue: &Queue, index: u64) {
    queue.patch(NEWEST, offset(index) as usize + record::CRC, &[1, 2, 3, 4]);
}

pub(crate) fn inputs() -> Vec<Input> {
    let left = (SEGMENT - offset(VICTIM) - 32) as u32;
    vec![
        input(22, "record of the highest length", |queue: &Queue| length(queue, u32::MAX)),
        input(23, "record whose end wraps in 32 bits", |queue| length(queue, u32::MAX - 1000)),
        input(24, "record one byte longer than what is left", move |queue| length(queue, left + 2)),
        input(25, "segment full of records without payload", |queue| queue.fill_with_empty(TYPE)),
        input(26, "commit word over a header of zeros", |queue| {
            queue.patch(NEWEST, offset(VICTIM) as usize + 8, &[0; 24]);
        }),
        input(27, "first record fails its checksum", |queue| rot(queue, 0)),
        input(27, "middle record fails its checksum", |queue| rot(queue, VICTIM)),
        input(27, "last record fails its checksum", |queue| rot(queue, IN_NEWEST - 1)),
        input(28, "sequence numbers skip one", |queue| seq(queue, FIRST_IN_NEWEST + VICTIM + 1)),
        input(29, "sequence number twice", |queue| seq(queue, FIRST_IN_NEWEST + VICTIM - 1)),
        input(30, "sequence numbers begin again", |queue| seq(queue, 0)),
        input(31, "older epoch between records", |queue| epoch(queue, 0)),
        input(32, "newer epoch without its record", |queue| epoch(queue, 2)),
        input(33, "length that is one less, under the old checksum", |queue| length(queue, 96)),
        input(34, "padding over the whole segment", |queue| {
            queue.edit(NEWEST, |bytes| bytes[96..].fill(0));
            let length_plus_one = (SEGMENT - 64 - 32 + 1) as u32;
            queue.edit(NEWEST, |bytes| put(bytes, 64, &length_plus_one.to_le_bytes()));
            // The first header stays; only its type is another one.
            queue.edit_record(0, |bytes| put(bytes, record::TYPE_ID, &[0xff, 0xff]));
        }),
        input(35, "chain of padding through the whole segment", |queue| {
            queue.fill_with_empty(0xffff);
        }),
        input(36, "payload full of whole records", |queue| {
            let bytes = queue.bytes(NEWEST);
            let at = offset(3) as usize;
            queue.edit_record(VICTIM, |record| put(record, 32, &bytes[at..at + 96]));
        }),
        input(37, "records behind a hole", |queue| length(queue, 0)),
        input(38, "record with flags that nobody knows", |queue| {
            queue.edit_record(VICTIM, |bytes| put(bytes, record::FLAGS, &[0xff, 0xff]));
        }),
        input(38, "record of type 0", |queue| {
            queue.edit_record(VICTIM, |bytes| put(bytes, record::TYPE_ID, &[0, 0]));
        }),
        input(39, "time stamp of the highest value", |queue| {
            queue.edit_record(VICTIM, |bytes| put(bytes, record::TIMESTAMP_NS, &[0xff; 8]));
        }),
    ]
}
