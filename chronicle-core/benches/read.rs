//! What one read costs, by payload size and with or without verified checksums. Each pass maps the
//! segment anew, so its page faults are part of the figure.
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark")]

use std::ffi::CString;
use std::hint::black_box;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use chronicle_core::{Appender, CreateOptions, TailOptions, Tailer, WriteOptions, create};
use chronicle_platform_linux::LinuxPlatform;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const TYPE: u16 = 0x8000;
const RECORDS: u64 = 50_000;

fn read(criterion: &mut Criterion) {
    let memory = std::path::Path::new("/dev/shm");
    for verify in [false, true] {
        let name = if verify { "read/checksum" } else { "read/no checksum" };
        let mut group = criterion.benchmark_group(name);
        group.sample_size(20).measurement_time(Duration::from_secs(2));
        for size in [64usize, 256, 1024] {
            let directory = match memory.is_dir() {
                true => tempfile::tempdir_in(memory).unwrap(),
                false => tempfile::tempdir().unwrap(),
            };
            let path = CString::new(directory.path().as_os_str().as_bytes()).unwrap();
            let open = || LinuxPlatform::open(&path).unwrap();
            create(&open(), &CreateOptions::default()).unwrap();
            let mut appender = Appender::open(open(), WriteOptions::default()).unwrap();
            for _ in 0..RECORDS {
                appender.append(TYPE, &vec![7; size]).unwrap();
            }
            let mut options = TailOptions::default();
            options.verify = verify;
            group.throughput(Throughput::Bytes(size as u64));
            group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
                bencher.iter_custom(|iterations| {
                    let mut total = Duration::ZERO;
                    let mut left = iterations;
                    while left > 0 {
                        let mut tailer = Tailer::open(open(), &options).unwrap();
                        let count = left.min(RECORDS);
                        let begun = Instant::now();
                        for _ in 0..count {
                            black_box(tailer.next().unwrap());
                        }
                        total += begun.elapsed();
                        left -= count;
                    }
                    total
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, read);
criterion_main!(benches);
