//! `chron-cli metrics`: what the writers and readers of a bus have done, for Prometheus.

mod server;

use chronicle_bus::{BusCounters, BusLayout, CountedReader, CountedWriter, Space};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

pub(crate) use server::run;

/// The names of labels and what they say.
type Labels<'a> = Vec<(&'static str, &'a str)>;

/// A metric's value, in the unit of its name.
#[derive(Clone, Copy)]
enum Value {
    Count(u64),
    Seconds(f64),
}

impl Value {
    fn nanoseconds(count: u64) -> Self {
        Self::Seconds(count as f64 / 1e9)
    }
}

/// A metric of each writer, each reader, or the bus: none of one that has no such value.
struct Metric<T> {
    /// Without the suffix `_total`, which a counter gets.
    name: &'static str,
    help: &'static str,
    is_counter: bool,
    value: fn(&T) -> Option<Value>,
}

const fn counter<T>(
    name: &'static str,
    help: &'static str,
    value: fn(&T) -> Option<Value>,
) -> Metric<T> {
    Metric { name, help, is_counter: true, value }
}

const fn gauge<T>(
    name: &'static str,
    help: &'static str,
    value: fn(&T) -> Option<Value>,
) -> Metric<T> {
    Metric { name, help, is_counter: false, value }
}

fn count(count: u64) -> Option<Value> {
    Some(Value::Count(count))
}

fn seconds(nanoseconds: u64) -> Option<Value> {
    Some(Value::nanoseconds(nanoseconds))
}

/// A moment, or nothing where it never was.
fn moment(ns: u64) -> Option<Value> {
    (ns != 0).then(|| Value::nanoseconds(ns))
}

const BUS: &[Metric<Space>] = &[
    gauge(
        "chronicle_bus_free_bytes",
        "Free space of the file system that the bus is on",
        |space| count(space.free_bytes),
    ),
    gauge("chronicle_bus_size_bytes", "Size of the file system that the bus is on", |space| {
        count(space.size_bytes)
    }),
];

const FAULTS: Metric<usize> =
    gauge("chronicle_bus_damaged_counters", "Files of counters that cannot be read", |faults| {
        count(*faults as u64)
    });

const WRITERS: &[Metric<CountedWriter>] = &[
    gauge("chronicle_writer_up", "1 while the process that writes the queue lives", |writer| {
        count(writer.alive.into())
    }),
    gauge(
        "chronicle_writer_closed",
        "1 if the writer was closed in order, 0 if it is there or its process died",
        |writer| count(u64::from(!writer.alive && writer.values.closed != 0)),
    ),
    counter("chronicle_writer_starts", "Times that the queue was opened to write", |writer| {
        count(writer.values.starts)
    }),
    gauge(
        "chronicle_writer_start_time_seconds",
        "When the queue was opened to write, since 1970",
        |writer| moment(writer.values.started_ns),
    ),
    gauge(
        "chronicle_writer_published_timestamp_seconds",
        "When the writer last published its counters, since 1970",
        |writer| moment(writer.values.published_ns.max(writer.keeper.published_ns)),
    ),
    counter("chronicle_writer_errors", "Calls of the writer that failed", |writer| {
        count(writer.values.errors)
    }),
    counter("chronicle_queue_appended_messages", "Messages ever appended to the queue", |writer| {
        count(writer.head.seq)
    }),
    counter(
        "chronicle_queue_appended_bytes",
        "Bytes that the writer's process has appended, headers and padding included",
        |writer| count(writer.values.bytes),
    ),
    gauge(
        "chronicle_queue_last_message_timestamp_seconds",
        "Time stamp of the newest message, since 1970",
        |writer| moment(writer.head.time_ns),
    ),
    counter("chronicle_queue_rolls", "Segments that were rolled out of", |writer| {
        count(writer.values.rolls)
    }),
    counter(
        "chronicle_queue_unprepared_rolls",
        "Rolls for which no segment was prepared, so that an append made it",
        |writer| count(writer.values.unprepared_rolls),
    ),
    counter(
        "chronicle_queue_extensions",
        "Times that an append allocated space in a segment",
        |writer| count(writer.values.extensions),
    ),
    counter("chronicle_queue_wakes", "System calls that woke readers", |writer| {
        count(writer.values.wakes)
    }),
    counter("chronicle_queue_full", "Appends that found the queue full", |writer| {
        count(writer.values.full)
    }),
    counter(
        "chronicle_queue_full_wait_seconds",
        "Time that appends waited for room in a full queue",
        |writer| seconds(writer.values.full_wait_ns),
    ),
    gauge("chronicle_queue_waiting_for_room", "1 while an append waits for room", |writer| {
        count(u64::from(writer.alive && writer.values.waiting_for_room != 0))
    }),
    counter("chronicle_queue_durable_messages", "Messages that survive a power loss", |writer| {
        count(writer.values.durable_seq)
    }),
    counter("chronicle_queue_syncs", "Syncs of messages", |writer| count(writer.keeper.syncs)),
    counter("chronicle_queue_sync_seconds", "Time that syncs of messages took", |writer| {
        seconds(writer.keeper.sync_ns)
    }),
    counter("chronicle_queue_sync_errors", "Syncs of messages that failed", |writer| {
        count(writer.keeper.sync_errors)
    }),
    gauge("chronicle_queue_kept_bytes", "Bytes of the queue's segments at the most", |writer| {
        count(writer.bytes_kept())
    }),
    gauge(
        "chronicle_queue_capacity_bytes",
        "Limit of the bytes that the queue's segments may take",
        |writer| {
            (writer.values.capacity_bytes > 0).then_some(Value::Count(writer.values.capacity_bytes))
        },
    ),
    counter("chronicle_queue_removed_segments", "Segments that were removed", |writer| {
        count(writer.keeper.removed_segments)
    }),
    gauge(
        "chronicle_queue_held_segments",
        "Segments that the limits ask to go and a reader holds",
        |writer| count(writer.keeper.held_segments),
    ),
    counter(
        "chronicle_queue_retention_errors",
        "Looks for segments to remove that failed",
        |writer| count(writer.keeper.retention_errors),
    ),
];

const READERS: &[Metric<CountedReader>] = &[
    gauge("chronicle_reader_up", "1 while the reader's process lives", |reader| {
        count(reader.alive.into())
    }),
    gauge(
        "chronicle_reader_closed",
        "1 if the reader was closed in order, 0 if it is there or its process died",
        |reader| count(u64::from(!reader.alive && reader.values.closed != 0)),
    ),
    counter("chronicle_reader_starts", "Times that the reader was opened", |reader| {
        count(reader.values.starts)
    }),
    gauge(
        "chronicle_reader_start_time_seconds",
        "When the reader was opened, since 1970",
        |reader| moment(reader.values.started_ns),
    ),
    gauge(
        "chronicle_reader_published_timestamp_seconds",
        "When the reader last published its counters, since 1970",
        |reader| moment(reader.values.published_ns),
    ),
    gauge("chronicle_reader_position", "Sequence number of the reader's next message", |reader| {
        count(reader.values.seq)
    }),
    gauge(
        "chronicle_reader_committed_position",
        "Sequence number of the place that the reader committed last",
        |reader| {
            (reader.values.registered != 0).then_some(Value::Count(reader.values.committed_seq))
        },
    ),
    gauge("chronicle_reader_lag_messages", "Messages that the reader is behind", |reader| {
        reader.lag.map(|lag| Value::Count(lag.messages))
    }),
    gauge("chronicle_reader_lag_bytes", "Bytes of segments that the reader is behind", |reader| {
        reader.lag.map(|lag| Value::Count(lag.bytes))
    }),
    gauge(
        "chronicle_reader_lag_seconds",
        "Time from the last message that was read to the newest",
        |reader| reader.lag?.time_ns.map(Value::nanoseconds),
    ),
    counter("chronicle_reader_waits", "Waits for a message", |reader| count(reader.values.waits)),
    counter("chronicle_reader_waits_timed_out", "Waits in which no message came", |reader| {
        count(reader.values.waits_timed_out)
    }),
    counter("chronicle_reader_gaps", "Times that messages were missing", |reader| {
        count(reader.values.gaps)
    }),
    counter(
        "chronicle_reader_fell_behind",
        "Times that the reader was cut off because its messages were removed",
        |reader| count(reader.values.fell_behind),
    ),
    counter("chronicle_reader_errors", "Calls of the reader that failed", |reader| {
        count(reader.values.errors)
    }),
];

/// What is shown at one moment.
#[derive(Debug)]
struct Shown {
    bus: String,
    counters: BusCounters,
}

/// The metrics of a bus in the text format of OpenMetrics.
fn exposition(layout: &BusLayout) -> Result<String, String> {
    let counters = layout.counters().map_err(|error| error.to_string())?;
    let shown = Shown { bus: layout.root().display().to_string(), counters };
    let mut registry = Registry::default();
    registry.register_collector(Box::new(shown));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)
        .map_err(|error| format!("cannot write the metrics: {error}"))?;
    Ok(text)
}

impl Collector for Shown {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let bus = self.bus.as_str();
        let of_bus = || vec![("bus", bus)];
        for metric in BUS {
            metric
                .encode(&mut encoder, self.counters.space.iter().map(|space| (of_bus(), space)))?;
        }
        let faults = self.counters.faults.len();
        FAULTS.encode(&mut encoder, [(of_bus(), &faults)])?;
        let queues = &self.counters.queues;
        for metric in WRITERS {
            let writers = queues.iter().filter_map(|(queue, counted)| {
                Some((vec![("bus", bus), ("queue", queue)], counted.writer.as_ref()?))
            });
            metric.encode(&mut encoder, writers)?;
        }
        for metric in READERS {
            let readers = queues.iter().flat_map(|(queue, counted)| {
                counted.readers.iter().map(move |(name, reader)| {
                    (
                        vec![("bus", bus), ("queue", queue.as_str()), ("reader", name.as_str())],
                        reader,
                    )
                })
            });
            metric.encode(&mut encoder, readers)?;
        }
        Ok(())
    }
}

impl<T> Metric<T> {
    /// Writes the metric with a value for each that has one; nothing if none has.
    fn encode<'a>(
        &self,
        encoder: &mut DescriptorEncoder,
        all: impl IntoIterator<Item = (Labels<'a>, &'a T)>,
    ) -> Result<(), std::fmt::Error>
    where
        T: 'a,
    {
        let values = all.into_iter().filter_map(|(labels, of)| Some((labels, (self.value)(of)?)));
        let mut values = values.peekable();
        if values.peek().is_none() {
            return Ok(());
        }
        let kind = if self.is_counter { MetricType::Counter } else { MetricType::Gauge };
        let mut family = encoder.encode_descriptor(self.name, self.help, None, kind)?;
        for (labels, value) in values {
            self.encode_value(family.encode_family(&labels)?, value)?;
        }
        Ok(())
    }

    fn encode_value(
        &self,
        mut encoder: MetricEncoder,
        value: Value,
    ) -> Result<(), std::fmt::Error> {
        match (self.is_counter, value) {
            (true, Value::Count(count)) => {
                encoder.encode_counter::<NoLabelSet, _, u64>(&count, None)
            }
            (true, Value::Seconds(time)) => {
                encoder.encode_counter::<NoLabelSet, _, u64>(&time, None)
            }
            // A gauge is a signed number; none of these comes near its end.
            (false, Value::Count(count)) => {
                encoder.encode_gauge(&i64::try_from(count).unwrap_or(i64::MAX))
            }
            (false, Value::Seconds(time)) => encoder.encode_gauge(&time),
        }
    }
}

#[cfg(test)]
mod tests;
