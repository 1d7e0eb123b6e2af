//! Latencies and what is said about them.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::units::nanoseconds;

/// The longest latency that is told apart: a minute.
const LONGEST_NS: u64 = 60_000_000_000;

/// Latencies in nanoseconds.
pub(crate) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(crate) fn new() -> Result<Self, Failure> {
        Histogram::new_with_bounds(1, LONGEST_NS, 3)
            .map(Self)
            .map_err(|error| Failure::Internal(format!("demo: {error}")))
    }

    pub(crate) fn record(&mut self, latency_ns: u64) {
        self.0.saturating_record(latency_ns);
    }

    pub(crate) fn percentiles(&self) -> Percentiles {
        Percentiles {
            count: self.0.len(),
            p50_ns: self.0.value_at_quantile(0.5),
            p99_ns: self.0.value_at_quantile(0.99),
            p99_9_ns: self.0.value_at_quantile(0.999),
            p99_99_ns: self.0.value_at_quantile(0.9999),
            max_ns: self.0.max(),
        }
    }
}

/// What is said about latencies, in nanoseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Percentiles {
    pub(crate) count: u64,
    pub(crate) p50_ns: u64,
    pub(crate) p99_ns: u64,
    pub(crate) p99_9_ns: u64,
    pub(crate) p99_99_ns: u64,
    pub(crate) max_ns: u64,
}

impl Percentiles {
    pub(crate) fn text(&self) -> String {
        [
            ("p50", self.p50_ns),
            ("p99", self.p99_ns),
            ("p99.9", self.p99_9_ns),
            ("p99.99", self.p99_99_ns),
            ("max", self.max_ns),
        ]
        .map(|(name, value)| format!("{name} {}", nanoseconds(value)))
        .join("   ")
    }
}
