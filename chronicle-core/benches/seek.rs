//! What a seek costs in a queue of some hundred megabytes, by sequence number and by time, with the
//! indexes and without them, remembering the segments and not. Places are all over the queue, so nearly every seek opens another
//! segment; the files are in the page cache.
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark")]

use std::ffi::CString;
use std::fs;
use std::hint::black_box;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use chronicle_core::{
    Appender, CreateOptions, SeekCache, Sought, TailOptions, Tailer, WriteOptions, create,
};
use chronicle_platform_linux::LinuxPlatform;
use criterion::{Criterion, criterion_group, criterion_main};

const TYPE: u16 = 0x8000;
const PAYLOAD: usize = 224;
const RECORDS: u64 = 1_600_000;

/// Numbers that look random and are the same every time.
struct Places(u64);

impl Places {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

fn seek(criterion: &mut Criterion) {
    let memory = std::path::Path::new("/dev/shm");
    let directory = match memory.is_dir() {
        true => tempfile::tempdir_in(memory).unwrap(),
        false => tempfile::tempdir().unwrap(),
    };
    let path = CString::new(directory.path().as_os_str().as_bytes()).unwrap();
    let open = || LinuxPlatform::open(&path).unwrap();
    create(&open(), &CreateOptions::default()).unwrap();
    let mut appender = Appender::open(open(), WriteOptions::default()).unwrap();
    for _ in 0..RECORDS {
        appender.append(TYPE, &[7; PAYLOAD]).unwrap();
    }
    drop(appender);
    let mut tailer = Tailer::open(open(), &TailOptions::default()).unwrap();
    let first = tailer.next().unwrap().unwrap().timestamp_ns;
    tailer.seek_seq(RECORDS - 1).unwrap();
    let last = tailer.next().unwrap().unwrap().timestamp_ns;

    let mut none = SeekCache::<_, 0>::new();
    let mut cache = SeekCache::<_, 128>::new();
    for (name, remembers, indexed) in
        [("seek", true, true), ("seek/anew", false, true), ("seek/no index", false, false)]
    {
        if !indexed {
            for entry in fs::read_dir(directory.path()).unwrap() {
                let path = entry.unwrap().path();
                if path.extension().is_some_and(|extension| extension == "idx") {
                    fs::remove_file(path).unwrap();
                }
            }
        }
        let mut group = criterion.benchmark_group(name);
        group.sample_size(10).measurement_time(Duration::from_secs(3));
        let mut places = Places(0x5eed);
        let mut passed = Passed::default();
        group.bench_function("seq", |bencher| {
            bencher.iter(|| {
                let seq = places.next(RECORDS);
                let sought = match remembers {
                    true => tailer.seek_seq_with(seq, &mut cache).unwrap(),
                    false => tailer.seek_seq_with(seq, &mut none).unwrap(),
                };
                passed.add(sought);
                black_box(tailer.next().unwrap());
            });
        });
        passed.print("seq");
        let mut passed = Passed::default();
        group.bench_function("time", |bencher| {
            bencher.iter(|| {
                let ns = first + places.next(last - first);
                let sought = match remembers {
                    true => tailer.seek_timestamp_with(ns, &mut cache).unwrap(),
                    false => tailer.seek_timestamp_with(ns, &mut none).unwrap(),
                };
                passed.add(sought);
                black_box(tailer.next().unwrap());
            });
        });
        passed.print("time");
        group.finish();
    }
}

/// What seeks passed over.
#[derive(Default)]
struct Passed {
    seeks: u64,
    bytes: u64,
    most: u64,
}

impl Passed {
    fn add(&mut self, sought: Sought) {
        self.seeks += 1;
        self.bytes += sought.passed_bytes;
        self.most = self.most.max(sought.passed_bytes);
    }

    fn print(&self, what: &str) {
        let mean = self.bytes / self.seeks.max(1);
        println!(
            "{what}: {} seeks passed over {mean} bytes each, {} at the most",
            self.seeks, self.most
        );
    }
}

criterion_group!(benches, seek);
criterion_main!(benches);
