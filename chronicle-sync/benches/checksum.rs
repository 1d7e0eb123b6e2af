//! What the checksum of a record costs, by payload size: by the processor's instruction where it has one, and by
//! table.
#![allow(missing_docs, reason = "a benchmark")]

use std::hint::black_box;

use chronicle_format::{RecordFlags, RecordHeader, TypeId, record_seed};
use chronicle_sync::Checksum;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const HEADER: RecordHeader = RecordHeader {
    type_id: TypeId::DEFAULT,
    flags: RecordFlags::empty(),
    epoch: 1,
    seq: 2,
    timestamp_ns: 3,
};

fn checksum(criterion: &mut Criterion) {
    let seed = record_seed(4);
    let ways = [("checksum", Checksum::detect()), ("checksum/table", Checksum::portable())];
    for (name, way) in ways {
        let mut group = criterion.benchmark_group(name);
        for size in [64usize, 256, 1024, 16384] {
            let payload = vec![7; size];
            group.throughput(Throughput::Bytes(size as u64));
            group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
                bencher.iter(|| way.record(seed, black_box(&HEADER), black_box(&payload)));
            });
        }
        group.finish();
    }
}

/// Payloads that lie behind each other in more memory than caches have.
fn from_memory(criterion: &mut Criterion) {
    const MEMORY: usize = 256 << 20;
    let memory: Vec<u8> = (0..MEMORY).map(|i| (i * 31) as u8).collect();
    let (way, seed) = (Checksum::detect(), record_seed(4));
    let mut group = criterion.benchmark_group("checksum/from memory");
    for size in [64usize, 256, 1024, 4096, 16384] {
        let mut payloads = memory.chunks_exact(size).cycle();
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter(|| payloads.next().map(|payload| way.record(seed, &HEADER, payload)));
        });
    }
    group.finish();
}

criterion_group!(benches, checksum, from_memory);
criterion_main!(benches);
