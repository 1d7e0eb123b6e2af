//! How long the next writer takes after one was killed, and after power was lost, by how much the last
//! segment holds.
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark")]

use std::ffi::CString;
use std::fs;
use std::hint::black_box;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use chronicle_core::{Appender, CreateOptions, WriteOptions, create};
use chronicle_format::layout::control;
use chronicle_platform_linux::LinuxPlatform;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tempfile::TempDir;

const TYPE: u16 = 0x8000;
const PAYLOAD: usize = 256;

fn open(directory: &Path) -> LinuxPlatform {
    let path = CString::new(directory.as_os_str().as_bytes()).unwrap();
    LinuxPlatform::open(&path).unwrap()
}

fn directory() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}

/// The files as a writer leaves them that is killed behind so many bytes.
fn killed(bytes: u64) -> TempDir {
    let (living, left) = (directory(), directory());
    create(&open(living.path()), &CreateOptions::default()).unwrap();
    let mut appender = Appender::open(open(living.path()), WriteOptions::default()).unwrap();
    while appender.position().offset < bytes {
        appender.append(TYPE, &[7; PAYLOAD]).unwrap();
    }
    copy(living.path(), left.path());
    left
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn recovery(criterion: &mut Criterion) {
    for power_lost in [false, true] {
        let name = if power_lost { "recovery/power lost" } else { "recovery/killed" };
        let mut group = criterion.benchmark_group(name);
        group.sample_size(10).measurement_time(Duration::from_secs(2));
        for mebibytes in [1u64, 16, 100] {
            let bytes = mebibytes << 20;
            let left = killed(bytes);
            group.throughput(Throughput::Bytes(bytes));
            group.bench_function(BenchmarkId::new("MiB", mebibytes), |bencher| {
                bencher.iter_custom(|iterations| {
                    let mut total = Duration::ZERO;
                    for _ in 0..iterations {
                        let queue = directory();
                        copy(left.path(), queue.path());
                        if power_lost {
                            let file = queue.path().join("control.meta");
                            let file = fs::OpenOptions::new().write(true).open(file).unwrap();
                            file.write_all_at(&[0xee; 8], control::WRITER_BOOT as u64).unwrap();
                        }
                        let begun = Instant::now();
                        let opened = Appender::open(open(queue.path()), WriteOptions::default());
                        total += begun.elapsed();
                        drop(black_box(opened.unwrap()));
                    }
                    total
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, recovery);
criterion_main!(benches);
