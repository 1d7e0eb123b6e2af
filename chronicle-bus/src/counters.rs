use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use chronicle_std::format::{CountersKind, KeeperCounters, ReaderCounters, WriterCounters};
use chronicle_std::{CountersFile, CountersReport, CountersValues, QueueReader, QueueWriter};

use crate::directory::Directory;
use crate::layout::is_name;
use crate::{BusError, BusLayout, QueueEndpoint};

/// The directory of a bus in which its writers and readers are counted.
pub(crate) const COUNTERS: &str = "counters";
const WRITER: &str = "writer";
const READER: &str = "reader";

/// How often a file is tried that another process has. Who has opened a queue's writer just as the one
/// before was killed may come before that one's last lock is gone.
const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(1);

/// Whose counters a file holds, as its name says: `writer.live.STREAM.queue.FEED` and
/// `reader.NAME.live.STREAM.queue.FEED`. Names have no dots, so that this is read in one way only.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Owner {
    /// The queue's path below the bus.
    queue: String,
    reader: Option<String>,
}

impl Owner {
    fn file_name(&self) -> String {
        let queue = self.queue.replace('/', ".");
        match &self.reader {
            None => format!("{WRITER}.{queue}"),
            Some(reader) => format!("{READER}.{reader}.{queue}"),
        }
    }

    fn named(file: &str) -> Option<Self> {
        let (reader, queue) = match file.split_once('.')? {
            (WRITER, queue) => (None, queue),
            (READER, rest) => {
                let (reader, queue) = rest.split_once('.')?;
                (Some(reader.to_owned()), queue)
            }
            _ => return None,
        };
        let whole = queue.split('.').chain(reader.as_deref()).all(is_name);
        whole.then(|| Self { queue: queue.replace('.', "/"), reader })
    }

    fn kind(&self) -> CountersKind {
        if self.reader.is_some() { CountersKind::Reader } else { CountersKind::Writer }
    }

    /// Takes the file in which this one is counted.
    fn take(&self, bus: &Directory) -> Result<CountersFile, BusError> {
        let directory = bus.make_inner(COUNTERS)?;
        let name = self.file_name();
        let path = directory.path().join(&name);
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                thread::sleep(PAUSE);
            }
            if let Some(file) = CountersFile::take(&path, directory.make_file(&name)?, self.kind())?
            {
                return Ok(file);
            }
        }
        Err(BusError::io(path, "take", std::io::ErrorKind::ResourceBusy))
    }
}

impl QueueEndpoint {
    fn owner(&self, reader: Option<&str>) -> Owner {
        Owner { queue: self.below_the_bus(), reader: reader.map(str::to_owned) }
    }

    /// Has a writer of this queue counted, as [`open_publisher`](Self::open_publisher) does by itself. One
    /// that is counted already stays so.
    ///
    /// # Errors
    /// If its file cannot be made, or another process has it: the writer works as before.
    pub fn count_writer(&self, writer: &mut QueueWriter) -> Result<(), BusError> {
        if writer.is_counted() {
            return Ok(());
        }
        Ok(writer.count_in(self.owner(None).take(&self.bus()?)?)?)
    }

    /// Has a reader of this queue counted under a name, as [`open_reader`](Self::open_reader) does by itself
    /// with one that has a name: for readers without one. One that is counted already stays so.
    ///
    /// # Errors
    /// [`BusError::InvalidName`]; if its file cannot be made, or another process has it: the reader works as
    /// before.
    pub fn count_reader(&self, reader: &mut QueueReader, name: &str) -> Result<(), BusError> {
        if !is_name(name) {
            return Err(BusError::InvalidName { name: name.to_owned() });
        }
        if reader.is_counted() {
            return Ok(());
        }
        Ok(reader.count_in(self.owner(Some(name)).take(&self.bus()?)?)?)
    }
}

/// What the writers and readers of a bus have counted.
///
/// This is looked at from outside: no queue is opened, and nothing is written. What whoever has died has
/// counted is there until the next one of the same queue and name comes.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct BusCounters {
    /// The queues by their paths below the bus.
    pub queues: BTreeMap<String, QueueCounters>,
    /// Files that could not be read.
    pub faults: Vec<BusError>,
    /// The file system that the bus is on; `None` if it does not say.
    pub space: Option<Space>,
}

/// A file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Space {
    /// Bytes that processes without special rights may still take (`statvfs(3)`, `f_bavail`).
    pub free_bytes: u64,
    /// Its size in bytes.
    pub size_bytes: u64,
}

/// What was counted of one queue.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct QueueCounters {
    /// Its writer, if it was ever counted.
    pub writer: Option<CountedWriter>,
    /// Its readers by name.
    pub readers: BTreeMap<String, CountedReader>,
}

/// A writer.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct CountedWriter {
    /// Whether it is there; if not, these are its last values.
    pub alive: bool,
    /// What its thread has counted.
    pub values: WriterCounters,
    /// What the threads beside it have.
    pub keeper: KeeperCounters,
    /// Where the messages end: the latest place that the writer, its threads, or a reader that is there has
    /// published.
    pub head: Head,
}

/// A reader.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct CountedReader {
    /// Whether it is there; if not, these are its last values.
    pub alive: bool,
    /// What its thread has counted.
    pub values: ReaderCounters,
    /// How far it is behind the writer; `None` if the writer was never counted.
    pub lag: Option<Lag>,
}

/// Where a queue's messages end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Head {
    /// The segment that is written.
    pub segment: u64,
    /// The offset of the next message.
    pub offset: u64,
    /// Its sequence number.
    pub seq: u64,
    /// The highest time stamp of any message, in nanoseconds since 1970.
    pub time_ns: u64,
}

/// How far a reader is behind the writer, by what both have published last: within ten milliseconds of
/// each other while both are at work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lag {
    /// Messages that it has not read.
    pub messages: u64,
    /// Bytes of segments from its place to the head. What is left free at the end of a segment counts.
    pub bytes: u64,
    /// Nanoseconds from the last message that it has read to the newest; `None` where it has read none.
    pub time_ns: Option<u64>,
}

impl CountedWriter {
    fn new(alive: bool, values: WriterCounters, keeper: KeeperCounters) -> Self {
        let WriterCounters { segment, offset, seq, time_ns, .. } = values;
        let mut writer =
            Self { alive, values, keeper, head: Head { segment, offset, seq, time_ns } };
        let KeeperCounters { segment, offset, seq, time_ns, .. } = keeper;
        writer.is_at_least_at(Head { segment, offset, seq, time_ns });
        writer
    }

    /// Somebody was seen at this place.
    fn is_at_least_at(&mut self, place: Head) {
        if place.seq > self.head.seq {
            // Where times went backwards, the newest message is not the one with the highest.
            self.head = Head { time_ns: place.time_ns.max(self.head.time_ns), ..place };
        }
    }

    /// Bytes that the queue's segments take at the most.
    #[must_use]
    pub fn bytes_kept(&self) -> u64 {
        let segments = self.head.segment.saturating_sub(self.keeper.oldest_segment);
        segments.saturating_add(1).saturating_mul(self.values.segment_size)
    }
}

impl Lag {
    /// How far a reader is behind a writer.
    #[must_use]
    pub fn between(reader: &ReaderCounters, writer: &CountedWriter) -> Self {
        let head = writer.head;
        let messages = head.seq.saturating_sub(reader.seq);
        if messages == 0 {
            return Self { time_ns: Some(0), ..Self::default() };
        }
        let segments = head.segment.saturating_sub(reader.segment);
        let end = segments.saturating_mul(writer.values.segment_size).saturating_add(head.offset);
        let time_ns = (reader.time_ns > 0).then(|| head.time_ns.saturating_sub(reader.time_ns));
        Self { messages, bytes: end.saturating_sub(reader.offset), time_ns }
    }
}

impl BusLayout {
    /// Looks at what the writers and readers of this bus have counted. A bus that is not there has none.
    ///
    /// # Errors
    /// [`BusError::Refused`]; the system's. What is wrong with single files is among the
    /// [faults](BusCounters::faults).
    pub fn counters(&self) -> Result<BusCounters, BusError> {
        let mut found = BusCounters::default();
        let bus = match Directory::root(self.root()) {
            Err(error) if error.is_not_found() => return Ok(found),
            other => other?,
        };
        found.space = bus.space();
        let directory = match bus.inner(COUNTERS) {
            Err(error) if error.is_not_found() => return Ok(found),
            other => other?,
        };
        for name in directory.names()? {
            let Some(owner) = Owner::named(&name) else { continue };
            match look(&directory, &name) {
                Ok(Some(report)) => found.take_in(owner, &report),
                // Just being made, or just removed.
                Ok(None) => {}
                Err(error) => found.faults.push(error),
            }
        }
        found.compare();
        Ok(found)
    }
}

fn look(directory: &Directory, name: &str) -> Result<Option<CountersReport>, BusError> {
    match directory.file(name) {
        Ok(file) => Ok(CountersFile::look(&directory.path().join(name), &file)?),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

impl BusCounters {
    fn take_in(&mut self, owner: Owner, report: &CountersReport) {
        let queue = self.queues.entry(owner.queue).or_default();
        let alive = report.alive;
        match (report.values, owner.reader) {
            (CountersValues::Writer { writer: values, keeper }, None) => {
                queue.writer = Some(CountedWriter::new(alive, values, keeper));
            }
            (CountersValues::Reader(values), Some(name)) => {
                queue.readers.insert(name, CountedReader { alive, values, lag: None });
            }
            // A file under the name of another: what it says is nobody's.
            _ => {}
        }
    }

    fn compare(&mut self) {
        self.queues.retain(|_, queue| queue.writer.is_some() || !queue.readers.is_empty());
        for queue in self.queues.values_mut() {
            let Some(writer) = &mut queue.writer else { continue };
            // What a living reader has passed is there, though its writer may have died before it said so.
            // A dead one's place may be in an earlier queue of the name.
            for reader in queue.readers.values().filter(|reader| reader.alive) {
                let ReaderCounters { segment, offset, seq, time_ns, .. } = reader.values;
                writer.is_at_least_at(Head { segment, offset, seq, time_ns });
            }
            for reader in queue.readers.values_mut() {
                reader.lag = Some(Lag::between(&reader.values, writer));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_file_says_whose_it_is() {
        for (queue, reader) in [
            ("live/market_data/queue/demo_feed", None),
            ("live/market_data/queue/demo_feed", Some("momentum")),
            // Names that are words of ours lead nowhere else.
            ("live/writer/queue/reader", Some("writer")),
            ("live/reader/queue/writer", None),
        ] {
            let owner = Owner { queue: queue.to_owned(), reader: reader.map(str::to_owned) };
            assert_eq!(Owner::named(&owner.file_name()), Some(owner));
        }
        for foreign in
            ["", "writer", "writer.", "reader.a", "reader..a", "other.a.b", "writer.a..b"]
        {
            assert_eq!(Owner::named(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn a_lag_counts_from_the_later_of_two_heads_and_is_never_negative() {
        let values = WriterCounters {
            segment: 2,
            offset: 1000,
            seq: 100,
            time_ns: 5000,
            segment_size: 4096,
            ..WriterCounters::default()
        };
        let keeper =
            KeeperCounters { segment: 3, offset: 64, seq: 110, ..KeeperCounters::default() };
        let writer = CountedWriter::new(true, values, KeeperCounters::default());
        let reader = ReaderCounters {
            segment: 1,
            offset: 4000,
            seq: 90,
            time_ns: 4000,
            ..ReaderCounters::default()
        };
        let lag = Lag { messages: 10, bytes: 4096 + 1000 - 4000, time_ns: Some(1000) };
        // One segment behind, and the rest of the reader's own.
        assert_eq!(Lag::between(&reader, &writer), lag);
        let writer = CountedWriter::new(true, values, keeper);
        assert_eq!(Lag::between(&reader, &writer).messages, 20);
        let ahead = ReaderCounters { seq: 111, ..reader };
        assert_eq!(Lag::between(&ahead, &writer), Lag { time_ns: Some(0), ..Lag::default() });
        let new = ReaderCounters { seq: 0, time_ns: 0, ..reader };
        assert_eq!(Lag::between(&new, &writer).time_ns, None);
    }

    #[test]
    fn a_living_reader_shows_that_messages_are_there_and_a_dead_one_does_not() {
        let values = WriterCounters { seq: 100, ..WriterCounters::default() };
        let place = |seq, alive| {
            let values = ReaderCounters { seq, time_ns: 7000, ..ReaderCounters::default() };
            CountedReader { alive, values, lag: None }
        };
        let mut queue = QueueCounters {
            writer: Some(CountedWriter::new(false, values, KeeperCounters::default())),
            readers: BTreeMap::new(),
        };
        queue.readers.insert("of_a_queue_before".to_owned(), place(5000, false));
        queue.readers.insert("quick".to_owned(), place(110, true));
        queue.readers.insert("slow".to_owned(), place(90, true));
        let mut found = BusCounters::default();
        found.queues.insert("q".to_owned(), queue);
        found.compare();
        let queue = &found.queues["q"];
        assert_eq!(
            queue.writer.map(|writer| (writer.head.seq, writer.head.time_ns)),
            Some((110, 7000))
        );
        let lags: Vec<_> =
            queue.readers.values().map(|reader| reader.lag.map(|lag| lag.messages)).collect();
        assert_eq!(lags, [Some(0), Some(0), Some(20)]);
    }
}
