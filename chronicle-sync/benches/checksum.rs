//! What the checksum of a record costs, by payload size: by the processor's instruction where it has one, and by
//! table.
#![allow(missing_docs, reason = "a benchmark")]

use std::hint::black_box;

use chronicle_format::{RecordFlags, RecordHeader, TypeId, record_seed};
use chronicle_sync::Checksum;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

fn checksum(criterion: &mut Criterion) {
    let header = RecordHeader {
        type_id: TypeId::DEFAULT,
        flags: RecordFlags::empty(),
        epoch: 1,
        seq: 2,
        timestamp_ns: 3,
    };
    let seed = record_seed(4);
    let ways = [("checksum", Checksum::detect()), ("checksum/table", Checksum::portable())];
    for (name, way) in ways {
        let mut group = criterion.benchmark_group(name);
        for size in [64usize, 256, 1024, 16384] {
            let payload = vec![7; size];
            group.throughput(Throughput::Bytes(size as u64));
            group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
                bencher.iter(|| way.record(seed, black_box(&header), black_box(&payload)));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, checksum);
criterion_main!(benches);
