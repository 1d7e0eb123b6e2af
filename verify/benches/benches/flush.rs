//! Appends that survive a power loss when they return, on the disk of the temporary directory: by themselves, and
//! many with one sync.
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark")]

use std::time::Duration;

use chronicle_std::{Queue, WriterConfig};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const TYPE: u16 = 0x8000;

fn flush(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append and flush, 256 B");
    group.sample_size(10).measurement_time(Duration::from_secs(2));
    for batch in [1u64, 16, 256] {
        let directory = tempfile::tempdir().unwrap();
        let queue = directory.path().join("queue");
        let mut writer = Queue::create(queue, WriterConfig::default()).unwrap();
        group.throughput(Throughput::Elements(batch));
        group.bench_function(BenchmarkId::new("at a time", batch), |bencher| {
            bencher.iter(|| {
                for _ in 0..batch {
                    writer.append(TYPE, &[7; 256]).unwrap();
                }
                writer.flush().unwrap();
            });
        });
    }
    group.finish();
}

criterion_group!(benches, flush);
criterion_main!(benches);
