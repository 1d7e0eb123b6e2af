//! What one append costs, by payload size and with or without checksums.
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark")]

use std::ffi::CString;
use std::hint::black_box;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use chronicle_core::{Appender, CreateOptions, SegmentSize, WriteOptions, create};
use chronicle_platform_linux::LinuxPlatform;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const TYPE: u16 = 0x8000;
/// Records per queue: they fit one segment with its space allocated, so that neither a roll nor the
/// allocation is part of the figure.
const BATCH: u64 = 50_000;
/// Records of one `append_all`.
const MANY: usize = 16;

/// A queue of one large segment in memory, and its appender, past the allocation of all space.
fn appender(directory: &std::path::Path, checksums: bool) -> Appender<LinuxPlatform> {
    let path = CString::new(directory.as_os_str().as_bytes()).unwrap();
    let mut options = CreateOptions::default();
    options.segment_size = SegmentSize::new(128 << 20).unwrap();
    options.checksums = checksums;
    create(&LinuxPlatform::open(&path).unwrap(), &options).unwrap();
    let mut options = WriteOptions::default();
    options.step = 128 << 20;
    let mut appender = Appender::open(LinuxPlatform::open(&path).unwrap(), options).unwrap();
    // The first record behind the first step allocates and populates the rest.
    appender.append(TYPE, &vec![0; 1 << 20]).unwrap();
    // Until the clock's rate is known each time stamp is a reading of the clock.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(5) {
        appender.append(TYPE, &[0; 64]).unwrap();
    }
    appender
}

/// Runs an operation so many times, on as many queues as that takes; how long it ran.
fn timed(
    iterations: u64,
    checksums: bool,
    mut operation: impl FnMut(&mut Appender<LinuxPlatform>),
) -> Duration {
    let memory = std::path::Path::new("/dev/shm");
    let mut total = Duration::ZERO;
    let mut left = iterations;
    while left > 0 {
        let directory = match memory.is_dir() {
            true => tempfile::tempdir_in(memory).unwrap(),
            false => tempfile::tempdir().unwrap(),
        };
        let mut appender = appender(directory.path(), checksums);
        let count = left.min(BATCH);
        let begun = Instant::now();
        for _ in 0..count {
            operation(&mut appender);
        }
        total += begun.elapsed();
        left -= count;
    }
    total
}

fn append(criterion: &mut Criterion) {
    for checksums in [false, true] {
        let name = if checksums { "append/checksum" } else { "append/no checksum" };
        let mut group = criterion.benchmark_group(name);
        group.sample_size(20).measurement_time(Duration::from_secs(2));
        for size in [64usize, 256, 1024] {
            group.throughput(Throughput::Bytes(size as u64));
            let payload = vec![7u8; size];
            group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
                bencher.iter_custom(|iterations| {
                    timed(iterations, checksums, |appender| {
                        black_box(appender.append(TYPE, black_box(&payload)).unwrap());
                    })
                });
            });
        }
        group.finish();
    }
}

/// What else appends: records that are filled in place, and many with one publication.
fn others(criterion: &mut Criterion) {
    let payload = [7u8; 64];
    let mut group = criterion.benchmark_group("append/64 B");
    group.sample_size(20).measurement_time(Duration::from_secs(2));
    group.bench_function("claim and commit", |bencher| {
        bencher.iter_custom(|iterations| {
            timed(iterations, true, |appender| {
                let mut claim = appender.claim(payload.len()).unwrap();
                claim.copy_from_slice(black_box(&payload));
                black_box(claim.commit(TYPE).unwrap());
            })
        });
    });
    let batch = [&payload[..]; MANY];
    group.throughput(Throughput::Elements(MANY as u64));
    group.bench_function("16 at once", |bencher| {
        bencher.iter_custom(|iterations| {
            timed(iterations, true, |appender| {
                black_box(appender.append_all(TYPE, black_box(batch)).unwrap());
            })
        });
    });
    group.finish();
}

criterion_group!(benches, append, others);
criterion_main!(benches);
