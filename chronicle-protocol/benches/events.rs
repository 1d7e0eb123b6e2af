//! What it costs to write a book event and to read it, by the number of its levels.
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark")]

use std::hint::black_box;

use chronicle_protocol::{BookEvent, BookEventHeader, Kind, Level, SeqRule};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

fn events(criterion: &mut Criterion) {
    let header = BookEventHeader::new(Kind::L2_DIFF, SeqRule::Range);
    for levels in [2usize, 20, 1000] {
        let bids: Vec<_> =
            (0..levels as i64 / 2).map(|n| Level { price: 1_000 - n, size: 1 }).collect();
        let asks: Vec<_> =
            (0..levels as i64 / 2).map(|n| Level { price: 1_001 + n, size: 1 }).collect();
        let mut bytes = vec![0; BookEvent::levels_size(bids.len(), asks.len())];
        let mut group = criterion.benchmark_group("event");
        group.throughput(Throughput::Elements(levels as u64));
        group.bench_function(BenchmarkId::new("encode", levels), |bencher| {
            bencher.iter(|| {
                BookEvent::encode_levels(&header, black_box(&bids), black_box(&asks), &mut bytes)
            });
        });
        group.bench_function(BenchmarkId::new("decode and sum", levels), |bencher| {
            bencher.iter(|| {
                let event = BookEvent::decode(black_box(&bytes)).unwrap();
                let sum = |side: i64, level: Level| side + level.price * level.size.cast_signed();
                event.bids().unwrap().fold(0, sum) + event.asks().unwrap().fold(0, sum)
            });
        });
        group.finish();
    }
}

criterion_group!(benches, events);
criterion_main!(benches);
