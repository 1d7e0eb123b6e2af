use std::collections::BTreeMap;
use std::time::Duration;

use chronicle_std::{FanIn, FanInWait, Merged, Patience, ReaderConfig, SourceId};

use crate::directory::Identity;
use crate::{BusError, BusLayout, Change, RouterDiscovery, StrategyEvent, StrategyId};

/// Reads the orders of all strategies that can be found as one stream, in the order of time.
///
/// A strategy that ends is waited for no longer, and all that it wrote is given out. It keeps its place
/// among the `N` sources, so that it goes on where it was when it comes back; see
/// [`forget`](Self::forget).
///
/// Messages of the same time are in the order of [`StrategyId::source`], which depends on the names
/// only.
pub struct StrategyFanIn<const N: usize = 64> {
    discovery: RouterDiscovery,
    merge: FanIn<N>,
    sources: BTreeMap<SourceId, Source>,
    reader: ReaderConfig,
}

/// Where a source's messages come from.
struct Source {
    strategy: StrategyId,
    /// The queue's directory when its reader was opened: one that was removed and made again is another.
    queue: Option<Identity>,
}

/// What has become of a strategy, and of reading its orders.
#[derive(Debug)]
pub struct FanInEvent {
    /// What has become of the strategy.
    pub event: StrategyEvent,
    /// Whether its orders are read. Where they are not, those of the others are all the same.
    pub attached: Result<(), BusError>,
}

impl StrategyId {
    /// The number of this strategy's orders in a fan-in: a hash of its name (FNV-1a with 32 bits).
    #[must_use]
    pub fn source(&self) -> SourceId {
        let hash = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        SourceId(self.as_str().as_bytes().iter().fold(0x811c_9dc5, hash))
    }
}

impl<const N: usize> StrategyFanIn<N> {
    /// Begins without strategies. Their queues are read as `reader` says; with a name, each goes on where
    /// that one has committed.
    #[must_use]
    pub fn new(layout: &BusLayout, reader: ReaderConfig, patience: Patience) -> Self {
        Self {
            discovery: RouterDiscovery::new(layout),
            merge: FanIn::new(patience),
            sources: BTreeMap::new(),
            reader,
        }
    }

    /// Takes in strategies that have come, and says what has changed. Where there is no reason to look,
    /// this is one system call.
    ///
    /// # Errors
    /// Those of [`RouterDiscovery::poll`].
    pub fn poll(&mut self) -> Result<Vec<FanInEvent>, BusError> {
        let events = self.discovery.poll()?;
        let attach = |event: StrategyEvent| {
            let attached = self.attach(&event);
            FanInEvent { event, attached }
        };
        Ok(events.into_iter().map(attach).collect())
    }

    fn attach(&mut self, event: &StrategyEvent) -> Result<(), BusError> {
        let id = event.strategy.id();
        let number = id.source();
        let known = self.sources.get(&number).filter(|source| source.strategy == *id);
        if let Change::Removed(_) = event.change {
            if known.is_some() {
                self.merge.finish(number);
            }
            return Ok(());
        }
        let orders = event.strategy.orders_out();
        let queue = Identity::of_directory(&orders.path());
        let same = known.is_some_and(|source| source.queue == queue);
        let kept = if known.is_some() { self.merge.remove(number) } else { None };
        let reader = match kept.filter(|_| same) {
            Some(reader) => reader,
            None => orders.open_reader(self.reader.clone())?,
        };
        // Of another strategy with the same number there is a reader already.
        let no_place = |_| BusError::NoPlace { strategy: id.to_string() };
        self.merge.add(number, reader).map_err(no_place)?;
        self.sources.insert(number, Source { strategy: id.clone(), queue });
        Ok(())
    }

    /// Drops a strategy's reader, to make room for another. Returns whether there was one.
    pub fn forget(&mut self, strategy: &StrategyId) -> bool {
        let number = strategy.source();
        let known = self.sources.get(&number).is_some_and(|source| source.strategy == *strategy);
        if known {
            self.sources.remove(&number);
            self.merge.remove(number);
        }
        known
    }

    /// The next message of all strategies, or that there is none that may be given out now.
    ///
    /// # Errors
    /// Those of [`FanIn::next`]; [`failed`](Self::failed) says whose queue it is.
    #[allow(clippy::should_implement_trait, reason = "the view borrows the merge: no iterator can")]
    pub fn next(&mut self) -> Result<Merged<'_>, BusError> {
        Ok(self.merge.next()?)
    }

    /// The strategy whose queue made the last call of [`next`](Self::next) fail. The others go on once it
    /// is [forgotten](Self::forget).
    #[must_use]
    pub fn failed(&self) -> Option<&StrategyId> {
        self.strategy(self.merge.failed()?)
    }

    /// The strategy whose messages have this number.
    #[must_use]
    pub fn strategy(&self, source: SourceId) -> Option<&StrategyId> {
        self.sources.get(&source).map(|source| &source.strategy)
    }

    /// Keeps the place behind the last message of a strategy that was given out.
    ///
    /// # Errors
    /// Those of [`FanIn::commit`].
    pub fn commit(&mut self, source: SourceId) -> Result<(), BusError> {
        Ok(self.merge.commit(source)?)
    }

    /// Waits until [`next`](Self::next) may give something, at most for `timeout`: that is also how long a
    /// strategy that comes meanwhile waits to be found by [`poll`](Self::poll).
    ///
    /// # Errors
    /// Those of [`FanIn::wait`].
    pub fn wait(&mut self, timeout: Duration) -> Result<FanInWait, BusError> {
        Ok(self.merge.wait(Some(timeout))?)
    }
}
