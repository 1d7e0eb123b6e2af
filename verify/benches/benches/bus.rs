//! What typed messages and requests cost over plain ones, and what a look at all strategies costs by their number.
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use chronicle_bus::{
    BusLayout, Duplex, Publisher, Reply, Requester, Responder, RouterDiscovery, StrategyId, message,
};
use chronicle_std::{ReaderConfig, WriterConfig};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

message! {
    /// An order.
    pub struct Order = 0x2001 {
        /// Its number.
        pub id: u64,
        /// How much.
        pub lots: i64,
        /// At what price, and for whom.
        pub rest: [u64; 6],
    }
}

const ORDER: Order = Order { id: 1, lots: 2, rest: [3; 6] };

fn messages(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().unwrap();
    let layout = BusLayout::new(directory.path()).unwrap();
    let mut config = WriterConfig::default();
    config.segment_size = 16 << 20;
    config.retention.max_segments = Some(2);
    let mut group = criterion.benchmark_group("send, 64 B");
    group.measurement_time(Duration::from_secs(2));
    let queue = layout.live("bench", "typed").unwrap();
    let mut publisher = Publisher::<Order>::open(&queue, config.clone()).unwrap();
    group.bench_function("typed", |bencher| {
        bencher.iter(|| publisher.send(black_box(&ORDER)).unwrap());
    });
    let mut writer = layout.live("bench", "plain").unwrap().open_publisher(config).unwrap();
    let bytes = [7; size_of::<Order>()];
    group.bench_function("plain", |bencher| {
        bencher.iter(|| writer.append(0x2001, black_box(&bytes)).unwrap());
    });
    group.finish();
}

message! {
    /// What became of an order.
    pub struct Fill = 0x2002 {
        /// The order.
        pub order_seq: u64,
        /// How much, at what price, and for whom.
        pub rest: [u64; 7],
    }
}

impl Reply for Fill {
    fn request_seq(&self) -> u64 {
        self.order_seq
    }
}

/// A request and its reply, and what two queues cost for as much, on one thread.
fn requests(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().unwrap();
    let layout = BusLayout::new(directory.path()).unwrap();
    let mut config = WriterConfig::default();
    config.segment_size = 16 << 20;
    config.retention.max_segments = Some(2);
    let named = || {
        let mut reader = ReaderConfig::default();
        reader.name = Some("bench".to_owned());
        reader
    };
    let mut group = criterion.benchmark_group("request and reply, 64 B each");
    group.measurement_time(Duration::from_secs(2));

    let (asked, answered) =
        (layout.live("bench", "asked").unwrap(), layout.live("bench", "answered").unwrap());
    let ends = Duplex::open_first(&asked, &answered, config.clone(), named()).unwrap();
    let mut client = Requester::<Order, Fill>::new(ends).unwrap();
    let ends = Duplex::open(&answered, &asked, config.clone(), named()).unwrap();
    let mut server = Responder::<Order, Fill>::new(ends).unwrap();
    group.bench_function("requester and responder", |bencher| {
        bencher.iter(|| {
            client.send(black_box(&ORDER)).unwrap();
            let order_seq = server.next().unwrap().unwrap().seq;
            server.reply(&Fill { order_seq, rest: [3; 7] }).unwrap();
            let answered = client.receive().unwrap().unwrap().message.order_seq;
            client.commit().unwrap();
            answered
        });
    });

    let open = |name: &str| {
        let queue = layout.live("bench", name).unwrap();
        let writer = queue.open_publisher(config.clone()).unwrap();
        (writer, queue.open_reader(named()).unwrap())
    };
    let (mut there, mut back) = (open("there"), open("back"));
    let bytes = [7; size_of::<Order>()];
    group.bench_function("two queues", |bencher| {
        bencher.iter(|| {
            for (writer, reader) in [&mut there, &mut back] {
                writer.append(0x2001, black_box(&bytes)).unwrap();
                black_box(reader.next().unwrap());
                reader.commit().unwrap();
            }
        });
    });
    group.finish();
}

fn discovery(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("look at all strategies");
    group.sample_size(10).measurement_time(Duration::from_secs(2));
    for count in [1usize, 10, 100] {
        let directory = tempfile::tempdir().unwrap();
        let layout = BusLayout::new(directory.path()).unwrap();
        let leases: Vec<_> = (0..count)
            .map(|number| {
                let id = StrategyId::new(&format!("strategy-{number}")).unwrap();
                let mut lease = layout.strategy(id).write_lease().unwrap();
                lease.mark_ready().unwrap();
                lease
            })
            .collect();
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            // Closing a watch waits for the kernel, milliseconds, and is no part of a look.
            bencher.iter_custom(|iterations| {
                let mut total = Duration::ZERO;
                for _ in 0..iterations {
                    let mut discovery = RouterDiscovery::new(&layout);
                    let begun = Instant::now();
                    assert_eq!(discovery.poll().unwrap().len(), count);
                    total += begun.elapsed();
                }
                total
            });
        });
        drop(leases);
    }
    group.finish();
}

criterion_group!(benches, messages, requests, discovery);
criterion_main!(benches);
