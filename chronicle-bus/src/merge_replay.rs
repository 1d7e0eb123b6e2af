use std::collections::BTreeMap;

use chronicle_std::{FromSource, Merged, QueueReader, SourceId};

use crate::{BusError, Subscriber};

crate::message! {
    /// Which message of which source a merge gave out, and how: the order of its output, one place for
    /// each message.
    ///
    /// Published before the message is acted on, it makes what a merge did repeatable, by a
    /// [`MergeReplay`], also where messages were late, sources came and went, or the merge was killed.
    pub struct MergedPlace = 0x2100 {
        /// Sequence number of the message in its source.
        pub seq: u64,
        /// Running maximum of the source's time stamps, in nanoseconds since 1970.
        pub time_ns: u64,
        /// How far a late message was behind the output, in nanoseconds.
        pub behind_ns: u64,
        /// Number of the source.
        pub source: u32,
        /// 1 if the message was late, else 0.
        pub is_late: u32,
    }
}

impl MergedPlace {
    /// The place of what a merge has just given out; `None` if that was nothing.
    #[must_use]
    pub fn of(merged: &Merged<'_>) -> Option<Self> {
        let (record, behind_ns, is_late) = match merged {
            Merged::InOrder(record) => (record, 0, 0),
            Merged::Late { record, behind_ns } => (record, *behind_ns, 1),
            _ => return None,
        };
        let FromSource { source, time_ns, message } = record;
        Some(Self { seq: message.seq, time_ns: *time_ns, behind_ns, source: source.0, is_late })
    }
}

/// Gives out what a merge gave out, from its recorded order and its sources, live or archived: the same
/// messages in the same order, late where they were late.
///
/// ```
/// use chronicle_bus::{BusLayout, MergeReplay, MergedPlace, Publisher, Subscriber};
/// use chronicle_std::{FanIn, Merged, Patience, ReaderConfig, SourceId, WriterConfig};
///
/// # let directory = tempfile::tempdir()?;
/// # let root = directory.path().join("bus");
/// let bus = BusLayout::new(&root)?;
/// let sources = [(SourceId(1), bus.live("trades", "a")?), (SourceId(2), bus.live("trades", "b")?)];
/// let order = bus.live("trades", "order")?;
/// # for (_, source) in &sources {
/// #     source.open_publisher(WriterConfig::default())?.append(0x8000, b"a trade")?;
/// # }
/// let mut merge = FanIn::<8>::new(Patience::Lateness(std::time::Duration::ZERO));
/// for (id, source) in &sources {
///     merge.add(*id, source.open_reader(ReaderConfig::default())?)?;
/// }
/// let mut places = Publisher::<MergedPlace>::open(&order, WriterConfig::default())?;
/// let mut seen = Vec::new();
/// # std::thread::sleep(std::time::Duration::from_millis(1));
/// while let Merged::InOrder(record) | Merged::Late { record, .. } = {
///     let merged = merge.next()?;
///     MergedPlace::of(&merged).map(|place| places.send(&place)).transpose()?;
///     merged
/// } {
///     seen.push((record.source, record.message.seq));
/// }
///
/// let order = Subscriber::<MergedPlace>::open(&order, ReaderConfig::default())?;
/// let mut replay = MergeReplay::new(order);
/// for (id, source) in &sources {
///     replay.add(*id, source.open_reader(ReaderConfig::default())?);
/// }
/// let mut again = Vec::new();
/// while let Some(Merged::InOrder(record) | Merged::Late { record, .. }) = replay.next()? {
///     again.push((record.source, record.message.seq));
/// }
/// assert_eq!(again, seen);
/// # assert_eq!(again.len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct MergeReplay {
    order: Subscriber<MergedPlace>,
    sources: BTreeMap<SourceId, QueueReader>,
    /// What is behind the last message of each source that the order has named.
    next: BTreeMap<SourceId, u64>,
}

impl MergeReplay {
    /// Begins with the first place that the reader of the order gives.
    #[must_use]
    pub fn new(order: Subscriber<MergedPlace>) -> Self {
        Self { order, sources: BTreeMap::new(), next: BTreeMap::new() }
    }

    /// Adds a source, or another reader of it, under the number that it had in the merge. Where the reader
    /// stands makes no difference.
    pub fn add(&mut self, source: SourceId, reader: QueueReader) {
        self.sources.insert(source, reader);
    }

    /// The next message of the merge's output, or `None` at the end of the recorded order.
    ///
    /// # Errors
    /// [`BusError::NotInSource`] if the message, or the source, is not there: the next call tries the same
    /// again. Those of [`Subscriber::next`] and of [`QueueReader::next`].
    #[allow(
        clippy::should_implement_trait,
        reason = "the view borrows the replay: no iterator can"
    )]
    pub fn next(&mut self) -> Result<Option<Merged<'_>>, BusError> {
        let Some(received) = self.order.next()? else { return Ok(None) };
        let (output, place) = (received.seq, *received.message);
        let (source, seq) = (SourceId(place.source), place.seq);
        let is_there = match self.sources.get_mut(&source) {
            Some(reader) => stands_at(reader, seq)?,
            None => false,
        };
        let Some(reader) = self.sources.get_mut(&source).filter(|_| is_there) else {
            self.order.reader().seek_seq(output)?;
            return Err(BusError::NotInSource { source, seq });
        };
        self.next.insert(source, seq + 1);
        let Some(message) = reader.next()? else { return Ok(None) };
        let record = FromSource { source, time_ns: place.time_ns, message };
        Ok(Some(match place.is_late {
            0 => Merged::InOrder(record),
            _ => Merged::Late { record, behind_ns: place.behind_ns },
        }))
    }

    /// Passes over so many messages of the output, without reading them; returns how many there were.
    ///
    /// # Errors
    /// Those of [`Subscriber::next`].
    pub fn skip(&mut self, count: u64) -> Result<u64, BusError> {
        for skipped in 0..count {
            let Some(received) = self.order.next()? else { return Ok(skipped) };
            let MergedPlace { source, seq, .. } = *received.message;
            self.next.insert(SourceId(source), seq + 1);
        }
        Ok(count)
    }

    /// The sources, each behind the last message that the order has named so far: for a merge that goes on
    /// where it was. One that was not named is at the beginning of what is kept of it.
    ///
    /// # Errors
    /// Those of [`QueueReader::seek_seq`].
    pub fn into_sources(self) -> Result<BTreeMap<SourceId, QueueReader>, BusError> {
        let Self { mut sources, next, .. } = self;
        for (source, reader) in &mut sources {
            match next.get(source) {
                Some(seq) => reader.seek_seq(*seq)?,
                None => reader.seek_to_start()?,
            };
        }
        Ok(sources)
    }
}

/// Goes to a message; whether it is there.
fn stands_at(reader: &mut QueueReader, seq: u64) -> Result<bool, BusError> {
    if reader.position().seq != seq {
        reader.seek_seq(seq)?;
    }
    Ok(reader.is_ready()? && reader.position().seq == seq)
}
