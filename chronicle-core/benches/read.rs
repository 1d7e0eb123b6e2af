//! What one read costs, by payload size and with or without verified checksums. Each pass maps the
//! segment anew, so its page faults are part of the figure.
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark")]

use std::ffi::CString;
use std::hint::black_box;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use chronicle_core::{
    Appender, CreateOptions, ReaderName, TailOptions, Tailer, WriteOptions, create,
};
use chronicle_platform_linux::LinuxPlatform;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tempfile::TempDir;

const TYPE: u16 = 0x8000;
const RECORDS: u64 = 50_000;

/// A queue with as many records of a size.
fn queue(size: usize) -> TempDir {
    let memory = std::path::Path::new("/dev/shm");
    let directory = match memory.is_dir() {
        true => tempfile::tempdir_in(memory).unwrap(),
        false => tempfile::tempdir().unwrap(),
    };
    create(&open(&directory), &CreateOptions::default()).unwrap();
    let mut appender = Appender::open(open(&directory), WriteOptions::default()).unwrap();
    for _ in 0..RECORDS {
        appender.append(TYPE, &vec![7; size]).unwrap();
    }
    directory
}

fn open(directory: &TempDir) -> LinuxPlatform {
    let path = CString::new(directory.path().as_os_str().as_bytes()).unwrap();
    LinuxPlatform::open(&path).unwrap()
}

/// Reads so many records, from the beginning again and again; how long that took.
fn timed(
    iterations: u64,
    directory: &TempDir,
    options: &TailOptions,
    mut read: impl FnMut(&mut Tailer<LinuxPlatform>, u64),
) -> Duration {
    let mut total = Duration::ZERO;
    let mut left = iterations;
    while left > 0 {
        let mut tailer = Tailer::open(open(directory), options).unwrap();
        let count = left.min(RECORDS);
        let begun = Instant::now();
        read(&mut tailer, count);
        total += begun.elapsed();
        left -= count;
    }
    total
}

fn read(criterion: &mut Criterion) {
    for verify in [false, true] {
        let name = if verify { "read/checksum" } else { "read/no checksum" };
        let mut group = criterion.benchmark_group(name);
        group.sample_size(20).measurement_time(Duration::from_secs(2));
        for size in [64usize, 256, 1024] {
            let directory = queue(size);
            let mut options = TailOptions::default();
            options.verify = verify;
            group.throughput(Throughput::Bytes(size as u64));
            group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
                bencher.iter_custom(|iterations| {
                    timed(iterations, &directory, &options, |tailer, count| {
                        for _ in 0..count {
                            black_box(tailer.next().unwrap());
                        }
                    })
                });
            });
        }
        group.finish();
    }
}

/// What else readers do: take many at once, keep their place, and look where nothing has come.
fn others(criterion: &mut Criterion) {
    let directory = queue(64);
    let mut group = criterion.benchmark_group("read/64 B");
    group.sample_size(20).measurement_time(Duration::from_secs(2));
    group.bench_function("all at once", |bencher| {
        bencher.iter_custom(|iterations| {
            timed(iterations, &directory, &TailOptions::default(), |tailer, count| {
                let read = tailer.read_all(count, |message| {
                    black_box(message);
                });
                assert_eq!(read.unwrap(), count);
            })
        });
    });
    let mut options = TailOptions::default();
    options.name = Some(ReaderName::new("bench").unwrap());
    let mut tailer = Tailer::open(open(&directory), &options).unwrap();
    tailer.next().unwrap();
    group.bench_function("commit", |bencher| bencher.iter(|| tailer.commit().unwrap()));
    tailer.seek_to_end().unwrap();
    group.bench_function("nothing there", |bencher| {
        bencher.iter(|| assert!(tailer.next().unwrap().is_none()));
    });
    group.finish();
}

criterion_group!(benches, read, others);
criterion_main!(benches);
