//! What it costs to read the files' heads with all checks, and a record's header.
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark")]

use std::hint::black_box;

use chronicle_format::{RecordHeader, SegmentHeader, SegmentId, SegmentSize, SegmentStart};
use criterion::{Criterion, criterion_group, criterion_main};

fn headers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    let header = SegmentHeader {
        segment_size: SegmentSize::new(128 << 20).unwrap(),
        id: SegmentId::FIRST,
        salt: 7,
        checksums: true,
    };
    let segment = header.encode();
    group.bench_function("segment header", |bencher| {
        bencher.iter(|| SegmentHeader::decode(black_box(&segment)).unwrap());
    });
    let start = SegmentStart { first_seq: 1, time_floor_ns: 2, epoch: 3 };
    group.bench_function("segment start, encoded", |bencher| {
        bencher.iter(|| black_box(start).words(&header));
    });
    group.bench_function("record header", |bencher| {
        bencher.iter(|| RecordHeader::from_words(black_box([0x1_0000_8000, 5, 6])));
    });
    group.finish();
}

criterion_group!(benches, headers);
criterion_main!(benches);
