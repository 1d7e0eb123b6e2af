//! Half a round trip between two threads whose readers sleep: one wake-up. And one between threads that spin, for
//! the difference.
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark")]

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use chronicle_std::{Queue, QueueReader, QueueWriter, ReaderConfig, WaitStrategy, WriterConfig};
use criterion::{Criterion, criterion_group, criterion_main};

const TYPE: u16 = 0x8000;
const LIMIT: Duration = Duration::from_secs(10);

/// One end: writes one queue and reads the other.
struct End {
    writer: QueueWriter,
    reader: QueueReader,
}

impl End {
    fn send(&mut self) {
        self.writer.append(TYPE, &[7; 64]).unwrap();
    }

    fn receive(&mut self) {
        while self.reader.next().unwrap().is_none() {
            self.reader.wait(Some(LIMIT)).unwrap();
        }
    }
}

fn ends(directory: &Path, strategy: WaitStrategy) -> [End; 2] {
    let queues = ["there", "back"].map(|name| directory.join(name));
    let mut config = ReaderConfig::default();
    config.wait_strategy = strategy;
    let writers =
        queues.each_ref().map(|queue| Queue::create(queue, WriterConfig::default()).unwrap());
    let readers = queues.each_ref().map(|queue| Queue::open_reader(queue, config.clone()).unwrap());
    let ([there, back], [far, near]) = (writers, readers);
    [End { writer: there, reader: near }, End { writer: back, reader: far }]
}

fn wake(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("half a round trip");
    group.sample_size(10).measurement_time(Duration::from_secs(2));
    let park = WaitStrategy::SpinThenPark { spin: Duration::ZERO };
    for (name, strategy) in
        [("readers that sleep", park), ("readers that spin", WaitStrategy::BusySpin)]
    {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| {
                let directory = tempfile::tempdir().unwrap();
                let [mut near, mut far] = ends(directory.path(), strategy);
                let echo = thread::spawn(move || {
                    for _ in 0..iterations {
                        far.receive();
                        far.send();
                    }
                });
                let begun = Instant::now();
                for _ in 0..iterations {
                    near.send();
                    near.receive();
                }
                let total = begun.elapsed();
                echo.join().unwrap();
                total / 2
            });
        });
    }
    group.finish();
}

criterion_group!(benches, wake);
criterion_main!(benches);
