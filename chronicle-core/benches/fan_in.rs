//! What a message costs that is read through a fan-in of 2, 8 and 32 sources, beside a plain reader
//! and the same messages. Checksums are verified in both.
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark")]

use std::ffi::CString;
use std::hint::black_box;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use chronicle_core::{
    Appender, CreateOptions, FanIn, Merged, Patience, SourceId, TailOptions, Tailer, WriteOptions,
    create,
};
use chronicle_platform_linux::LinuxPlatform;
use chronicle_sync::Platform;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use tempfile::TempDir;

const TYPE: u16 = 0x8000;
/// In all queues together.
const RECORDS: usize = 64_000;
const MOST: usize = 32;

fn open(directory: &Path) -> LinuxPlatform {
    LinuxPlatform::open(&CString::new(directory.as_os_str().as_bytes()).unwrap()).unwrap()
}

/// So many queues, appended to in turn: the worst case, in which each message comes from another
/// queue than the one before.
fn queues(count: usize) -> Vec<TempDir> {
    let memory = Path::new("/dev/shm");
    let directories: Vec<_> = (0..count)
        .map(|_| match memory.is_dir() {
            true => tempfile::tempdir_in(memory).unwrap(),
            false => tempfile::tempdir().unwrap(),
        })
        .collect();
    let mut appenders: Vec<_> = directories
        .iter()
        .map(|directory| {
            create(&open(directory.path()), &CreateOptions::default()).unwrap();
            Appender::open(open(directory.path()), WriteOptions::default()).unwrap()
        })
        .collect();
    for _ in 0..RECORDS / count {
        for appender in &mut appenders {
            appender.append(TYPE, &[7; 64]).unwrap();
        }
    }
    directories
}

fn reader(directory: &TempDir) -> Tailer<LinuxPlatform> {
    Tailer::open(open(directory.path()), &TailOptions::default()).unwrap()
}

fn fan_in(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fan_in");
    group.sample_size(20).measurement_time(Duration::from_secs(2));
    let timed = |iterations: u64, mut pass: Box<dyn FnMut(u64) -> Duration + '_>| {
        let (mut total, mut left) = (Duration::ZERO, iterations);
        while left > 0 {
            let count = left.min(RECORDS as u64);
            total += pass(count);
            left -= count;
        }
        total
    };
    let one = queues(1);
    group.bench_function("plain reader", |bencher| {
        bencher.iter_custom(|iterations| {
            timed(
                iterations,
                Box::new(|count| {
                    let mut tailer = reader(one.first().unwrap());
                    let begun = Instant::now();
                    for _ in 0..count {
                        black_box(tailer.next().unwrap());
                    }
                    begun.elapsed()
                }),
            )
        });
    });
    for count in [2, 8, 32] {
        let directories = queues(count);
        let clock = *open(directories.first().unwrap().path()).clock();
        group.bench_function(BenchmarkId::new("sources", count), |bencher| {
            bencher.iter_custom(|iterations| {
                timed(
                    iterations,
                    Box::new(|messages| {
                        let mut merge = FanIn::<_, MOST>::new(Patience::Lateness(Duration::ZERO));
                        for (number, directory) in (0..).zip(&directories) {
                            merge.add(SourceId(number), reader(directory)).unwrap();
                        }
                        let begun = Instant::now();
                        for _ in 0..messages {
                            let merged = merge.next(&clock).unwrap();
                            assert!(matches!(merged, Merged::InOrder(_)));
                            black_box(merged);
                        }
                        begun.elapsed()
                    }),
                )
            });
        });
    }
    group.finish();
}

criterion_group!(benches, fan_in);
criterion_main!(benches);
