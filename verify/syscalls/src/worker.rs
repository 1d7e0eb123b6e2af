//! A process that uses everything that `chron-cli` does not: group commit, claims, batches, seeks,
//! waiting for many queues by one call and by a descriptor, merging them. It does again what failed.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use chronicle_std::{
    EventSet, FanIn, Merged, Patience, Queue, QueueError, QueueReader, QueueWriter, ReaderConfig,
    RetentionPolicy, SourceId, SyncPolicy, WaitOutcome, WaitSet, WaitStrategy, Watermark,
    WriterConfig,
};

use crate::fixture::{READER, TYPE, config, line};
use crate::told;

/// So often each thing is tried. One call that fails costs at most two of them.
const ATTEMPTS: u32 = 4;
/// Nothing of this takes so long.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Works on a queue and on one beside it, which are not there yet. Prints the number of each message
/// of the first one once it is there.
pub(crate) fn run(queue: &Path) -> Result<(), String> {
    let mut worker = Worker {
        queue: Writing { path: queue.to_owned(), config: config_of_first, writer: None },
        beside: Writing {
            path: queue.with_extension("other"),
            config: || config(4096),
            writer: None,
        },
        next: 0,
    };
    worker.beside.again(|_| Ok(()))?;
    worker.appends()?;
    worker.reads()?;
    let others = worker.waits()?;
    worker.merges(others)?;
    worker.looks()?;
    // Closed, and opened again.
    worker.queue.writer = None;
    worker.append(5)?;
    worker.queue.again(QueueWriter::flush)
}

fn config_of_first() -> WriterConfig {
    let mut config = config(4096);
    config.background = true;
    config.sync = SyncPolicy::Group { interval: Duration::from_millis(1) };
    config.retention = RetentionPolicy { max_segments: Some(3), ..RetentionPolicy::KEEP_ALL };
    config
}

fn output(error: std::io::Error) -> String {
    format!("standard output: cannot write: {error}")
}

/// Says why on a line of its own.
pub(crate) fn complain(error: &str) {
    let _ = writeln!(std::io::stderr(), "worker: {error}");
}

/// Does it until it is done, a few times at most.
fn again<T>(mut call: impl FnMut() -> Result<T, QueueError>) -> Result<T, String> {
    for _ in 1..ATTEMPTS {
        match call() {
            Err(error) => complain(&error.to_string()),
            Ok(done) => return Ok(done),
        }
    }
    call().map_err(told)
}

fn named(queue: &Path) -> Result<QueueReader, QueueError> {
    Queue::open_subscriber(queue, READER)
}

/// Appends what is missing of so many messages.
fn appended(writer: &mut QueueWriter, count: u64) -> Result<(), QueueError> {
    while writer.next_seq() < count {
        writer.append(TYPE, b"beside")?;
    }
    Ok(())
}

/// A reader behind the last message, which sleeps at once.
fn latest(queue: &Path) -> Result<QueueReader, QueueError> {
    let mut config = ReaderConfig::default();
    config.start = chronicle_std::Start::Latest;
    Queue::open_reader(queue, config)
}

/// A queue, and its writer while there is one.
struct Writing {
    path: PathBuf,
    config: fn() -> WriterConfig,
    writer: Option<QueueWriter>,
}

impl Writing {
    /// Does something with the writer until it is done, a few times at most; a writer that is of no more
    /// use is opened anew.
    fn again<T>(
        &mut self,
        mut call: impl FnMut(&mut QueueWriter) -> Result<T, QueueError>,
    ) -> Result<T, String> {
        let mut last = String::new();
        for _ in 0..ATTEMPTS {
            let result = match self.writer.as_mut() {
                Some(writer) => call(writer),
                None => Queue::open_publisher_with(&self.path, (self.config)())
                    .and_then(|writer| call(self.writer.insert(writer))),
            };
            match result {
                Ok(done) => return Ok(done),
                Err(error) => {
                    last = error.to_string();
                    complain(&last);
                    let is_over = match &error {
                        QueueError::Io { operation, .. } => operation == "sync",
                        other => matches!(other, QueueError::Queue { .. }),
                    };
                    if is_over {
                        self.writer = None;
                    }
                }
            }
        }
        Err(last)
    }
}

struct Worker {
    queue: Writing,
    beside: Writing,
    next: u64,
}

impl Worker {
    fn acknowledge(&mut self, count: u64) -> Result<(), String> {
        for _ in 0..count {
            writeln!(std::io::stdout(), "{}", self.next).map_err(output)?;
            self.next += 1;
        }
        Ok(())
    }

    fn append(&mut self, count: u64) -> Result<(), String> {
        for _ in 0..count {
            let (next, payload) = (self.next, line(self.next));
            let seq = self.queue.again(|writer| {
                // One that was being appended when a sync failed may be there.
                if writer.next_seq() > next {
                    return Ok(next);
                }
                writer.append(TYPE, payload.as_bytes())
            })?;
            if seq != next {
                return Err(format!("{}: message {next} is {seq}", self.queue.path.display()));
            }
            self.acknowledge(1)?;
        }
        Ok(())
    }

    fn appends(&mut self) -> Result<(), String> {
        self.append(40)?;
        for _ in 0..3 {
            let (next, payload) = (self.next, line(self.next));
            self.queue.again(|writer| {
                if writer.next_seq() > next {
                    return Ok(next);
                }
                writer.claim(300)?.fill(0xff);
                let mut claim = writer.claim(payload.len())?;
                claim.copy_from_slice(payload.as_bytes());
                claim.commit(TYPE)
            })?;
            self.acknowledge(1)?;
        }
        let batch: Vec<String> = (self.next..self.next + 40).map(line).collect();
        let (mut done, first) = (0, self.next);
        self.queue.again(|writer| {
            // What came before an error stays.
            done = (writer.next_seq() - first) as usize;
            let rest = batch.iter().skip(done).map(String::as_bytes);
            writer.append_all(TYPE, rest).map(drop)
        })?;
        self.acknowledge(batch.len() as u64)?;
        let last = self.next - 1;
        let durable = self.queue.again(|writer| writer.wait_durable(last, PATIENCE))?;
        if !durable {
            return Err(format!("{}: nothing becomes durable", self.queue.path.display()));
        }
        self.queue.again(QueueWriter::prepare_next)
    }

    fn reads(&mut self) -> Result<(), String> {
        let (queue, count) = (self.queue.path.clone(), self.next);
        again(|| {
            let mut reader = named(&queue)?;
            while reader.next()?.is_some() {}
            reader.commit()?;
            reader.sync_position()
        })?;
        let (seq, ns) = again(|| {
            let mut reader = Queue::open_reader(&queue, ReaderConfig::default())?;
            reader.seek_seq(count - 5)?;
            let found = reader.next()?.map(|message| (message.seq, message.timestamp_ns));
            Ok(found.unwrap_or_default())
        })?;
        let by_time = again(|| {
            let mut reader = Queue::open_reader(&queue, ReaderConfig::default())?;
            reader.seek_timestamp(ns)?;
            let found = reader.next()?.map_or(0, |message| message.seq);
            let mut backwards = reader.reversed()?;
            for _ in 0..30 {
                backwards.previous()?;
            }
            Ok(found)
        })?;
        if seq != count - 5 || by_time > seq {
            return Err(format!("{}: seeks lead to {seq} and {by_time}", queue.display()));
        }
        Ok(())
    }

    /// Sleeps on both queues, by one call and by a descriptor. Returns the messages of the other one.
    fn waits(&mut self) -> Result<u64, String> {
        let (queue, other) = (self.queue.path.clone(), self.beside.path.clone());
        let mut events = Vec::new();
        let mut set = again(|| {
            let mut set = WaitSet::with_strategy(WaitStrategy::Park);
            set.add(latest(&queue)?)?;
            set.add(latest(&other)?)?;
            set.wait(&mut events, Some(Duration::from_millis(2))).map(|_| set)
        })?;
        self.append(1)?;
        self.beside.again(|writer| appended(writer, 1))?;
        let begun = Instant::now();
        loop {
            again(|| set.wait(&mut events, Some(Duration::from_millis(20))))?;
            let ready = |outcome: &Result<_, _>| matches!(outcome, Ok(WaitOutcome::Ready));
            if events.iter().filter(|event| ready(&event.outcome)).count() == 2 {
                break;
            }
            for event in events.drain(..) {
                if let Err(error) = event.outcome {
                    complain(&error.to_string());
                    let _ = set.reader_mut(event.member);
                }
            }
            if begun.elapsed() > PATIENCE {
                return Err(format!("{}: a wait for two queues does not end", queue.display()));
            }
        }
        drop(set);

        let mut set = again(|| {
            let new = |error| QueueError::Io {
                file: queue.clone(),
                operation: "make a descriptor for".to_owned(),
                source: error,
            };
            let mut set = EventSet::new().map_err(new)?;
            set.add(latest(&queue)?)?;
            set.add(latest(&other)?)?;
            Ok(set)
        })?;
        set.poll(&mut events);
        self.beside.again(|writer| appended(writer, 2))?;
        let begun = Instant::now();
        while events.is_empty() {
            thread::sleep(Duration::from_millis(1));
            set.poll(&mut events);
            if begun.elapsed() > PATIENCE {
                return Err(format!("{}: a set announces nothing", other.display()));
            }
        }
        self.beside.again(QueueWriter::flush)?;
        Ok(2)
    }

    fn merges(&mut self, others: u64) -> Result<(), String> {
        let (queue, other) = (self.queue.path.clone(), self.beside.path.clone());
        let merged = again(|| {
            let mut merge = FanIn::<2>::new(Patience::Lateness(Duration::ZERO));
            for (number, path) in (0..).zip([&queue, &other]) {
                let reader = Queue::open_reader(path, ReaderConfig::default())?;
                merge.add(SourceId(number), reader).unwrap_or_default();
            }
            let mut merged = 0;
            loop {
                match merge.next()? {
                    Merged::Nothing(_) => break,
                    Merged::InOrder(from) | Merged::Late { record: from, .. } => {
                        merged += u64::from(from.source == SourceId(1));
                    }
                    _ => {}
                }
            }
            merge.wait(Some(Duration::from_millis(1)))?;
            Ok(merged)
        })?;
        if merged != others {
            return Err(format!("{}: merged {merged} of {others}", other.display()));
        }
        Ok(())
    }

    fn looks(&mut self) -> Result<(), String> {
        let queue = self.queue.path.clone();
        let last = self.next - 1;
        // Nothing becomes durable any more where a sync has failed, until a writer opens the queue anew.
        self.queue.again(|_| {
            let mut marks = Queue::open_watermarks(&queue)?;
            marks.wait(Watermark::Visible, last, Some(PATIENCE))?;
            marks.wait(Watermark::Durable, last, Some(Duration::from_millis(50))).map(drop)
        })?;
        again(|| Queue::open_replica_reporter(&queue).map(|mut reporter| reporter.advance(last)))?;
        again(|| Queue::inspect(&queue).map(drop))?;
        again(|| Queue::retention_plan(&queue).map(drop))?;
        again(|| match Queue::verify(&queue)? {
            (_, mut faults) if !faults.is_empty() => Err(faults.swap_remove(0)),
            _ => Ok(()),
        })?;
        self.queue.again(QueueWriter::apply_retention)?;
        let segment = self.queue.again(|writer| Ok(writer.position().segment))?;
        self.queue.again(|writer| writer.rebuild_index(segment).or(Ok(false)))?;
        again(|| named(&queue).map(drop))
    }
}
