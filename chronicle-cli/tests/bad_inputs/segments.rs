//! Inputs 1 to 21: what is wrong with a segment's file.

use std::fs;

use chronicle_std::format::layout::segment;

use crate::queue::{FIRST, MIDDLE, NEWEST, Queue, SEGMENT, offset, put};
use crate::{Input, input};

const fn seal(end: u64) -> [u8; 8] {
    (end | 1).to_le_bytes()
}

pub(crate) fn inputs() -> Vec<Input> {
    vec![
        input(1, "segment of 0 bytes", |queue: &Queue| queue.resize(NEWEST, 0)),
        input(2, "segment of 1 byte", |queue| queue.resize(NEWEST, 1)),
        input(3, "segment one byte shorter than its head", |queue| queue.resize(NEWEST, 63)),
        input(4, "segment that ends inside a page", |queue| queue.resize(NEWEST, SEGMENT - 4000)),
        input(5, "segment one byte short", |queue| queue.resize(NEWEST, SEGMENT - 1)),
        input(6, "segment one page longer", |queue| queue.resize(NEWEST, SEGMENT + 4096)),
        input(7, "segment as long as the file system allows", |queue| queue.huge(NEWEST)),
        input(8, "segment of zeros", |queue| queue.write(NEWEST, &[0; SEGMENT as usize])),
        input(9, "segment of 0xFF", |queue| queue.write(NEWEST, &[0xff; SEGMENT as usize])),
        input(10, "segment with another magic", |queue| queue.patch(NEWEST, 0, b"CHRONSEQ")),
        input(11, "segment with the magic backwards", |queue| queue.patch(NEWEST, 0, b"GESNORHC")),
        input(12, "segment of version 0", |queue| {
            queue.edit_head(|head| put(head, segment::VERSION, &[0, 0]));
        }),
        input(13, "segment of version 65535", |queue| {
            queue.edit_head(|head| put(head, segment::VERSION, &[0xff, 0xff]));
        }),
        input(14, "segment with flags that nobody knows", |queue| {
            queue.edit_head(|head| put(head, segment::FLAGS, &[0xff, 0xff]));
        }),
        input(15, "segment with the id of another", |queue| {
            fs::copy(queue.file(MIDDLE), queue.file(NEWEST)).unwrap();
        }),
        input(16, "segment with the highest id of its width", |queue| {
            queue.edit_head(|head| put(head, segment::SEGMENT_ID, &[0xff; 4]));
        }),
        input(17, "segment whose head fails its checksum", |queue| {
            queue.patch(NEWEST, segment::HEADER_CRC, &[1, 2, 3, 4]);
        }),
        input(18, "segment with a salt of 0", |queue| {
            queue.edit_head(|head| put(head, segment::SALT, &[0; 4]));
        }),
        input(19, "seal behind the end of the segment", |queue| {
            queue.patch(MIDDLE, segment::SEAL, &seal(2 * SEGMENT));
        }),
        input(20, "seal before the first record", |queue| {
            queue.patch(MIDDLE, segment::SEAL, &seal(32));
        }),
        input(20, "seal between records", |queue| {
            queue.patch(MIDDLE, segment::SEAL, &seal(offset(20)));
        }),
        input(20, "seal inside a record", |queue| {
            queue.patch(MIDDLE, segment::SEAL, &seal(offset(20) + 32));
        }),
        input(21, "seal before records that follow, and no next segment", |queue| {
            queue.patch(NEWEST, segment::SEAL, &seal(offset(20)));
        }),
        input(21, "seal behind all records, and no next segment", |queue| {
            queue.patch(NEWEST, segment::SEAL, &seal(offset(34)));
        }),
        input(21, "first segment that is not sealed", |queue| {
            queue.patch(FIRST, segment::SEAL, &[0; 8]);
        }),
    ]
}
