use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chronicle_std::format::Holder;

use crate::directory::Directory;
use crate::hints::Hints;
use crate::lease::{Incarnation, incarnation};
use crate::{BusError, BusLayout, StrategyEndpoints, StrategyId};

/// How long a dead strategy may go unnoticed, unless a router says otherwise.
pub(crate) const RESCAN: Duration = Duration::from_secs(1);

/// What has become of a strategy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StrategyEvent {
    /// Which strategy, and where its queues are.
    pub strategy: StrategyEndpoints,
    /// What has become of it.
    pub change: Change,
}

/// What may become of a strategy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// It can be talked to; by this process.
    Added(Holder),
    /// It cannot be talked to any more: the process that ran it has ended or has withdrawn. What it
    /// wrote is still in its queue.
    Removed(Holder),
    /// Another process runs it than before, and can be talked to.
    Restarted(Holder),
}

/// Finds the strategies that can be talked to.
///
/// A strategy is there while the process that [marked it ready](crate::Lease::mark_ready) lives and has
/// not withdrawn. Each fact is told once: a strategy that ends and comes back between two looks is
/// [`Restarted`](Change::Restarted), one whose end was seen is [`Removed`](Change::Removed) and then
/// [`Added`](Change::Added). What happened twice between two looks is told once, as what came of it.
///
/// Strategies that come, and those that end in good order, are noticed at once through a watch on one
/// directory, however many they are. That a process was killed is noticed by the next look at all of
/// them, one second later at most. In between nothing is done. Everybody who looks sees the same facts,
/// and nobody changes anything.
#[derive(Debug)]
pub struct RouterDiscovery {
    layout: BusLayout,
    hints: Hints,
    known: BTreeMap<StrategyId, Incarnation>,
}

impl RouterDiscovery {
    /// Begins to look; the first look finds those that are there. The bus need not exist.
    #[must_use]
    pub fn new(layout: &BusLayout) -> Self {
        Self::with_rescan(layout, RESCAN)
    }

    /// The same, with another time between two looks for which there was no hint: the longest for which
    /// the death of a process goes unnoticed. A look costs about ten microseconds for each strategy.
    #[must_use]
    pub fn with_rescan(layout: &BusLayout, rescan: Duration) -> Self {
        let hints = Hints::new(layout.strategies(), rescan);
        Self { layout: layout.clone(), hints, known: BTreeMap::new() }
    }

    /// What has changed, in the order of the names. Where there is no reason to look, this is one system
    /// call.
    ///
    /// # Errors
    /// [`BusError::Refused`] for the directories above the strategies'; the system's, no descriptors left
    /// among them. Nothing is forgotten: the next call tells what this one could not. A strategy whose own
    /// files are no good is not there.
    pub fn poll(&mut self) -> Result<Vec<StrategyEvent>, BusError> {
        self.wait(Some(Duration::ZERO))
    }

    /// Waits until something has changed, at most for `timeout`. No event: the time was up.
    ///
    /// # Errors
    /// As [`poll`](Self::poll).
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<Vec<StrategyEvent>, BusError> {
        let Self { layout, hints, known } = self;
        let found = hints.until_found(timeout, || {
            let seen = look(layout, known)?;
            let events = differences(layout, known, &seen);
            *known = seen;
            Ok((!events.is_empty()).then_some(events))
        })?;
        Ok(found.unwrap_or_default())
    }

    /// The strategies that were there at the last look, and who runs them.
    pub fn strategies(&self) -> impl Iterator<Item = (&StrategyId, Holder)> {
        self.known.iter().map(|(id, incarnation)| (id, incarnation.holder))
    }

    /// Whether the system gives hints. Where it has no watches left, everything is noticed by the looks
    /// that are made without one.
    #[must_use]
    pub fn is_watching(&self) -> bool {
        self.hints.is_watching()
    }
}

fn look(
    layout: &BusLayout,
    known: &BTreeMap<StrategyId, Incarnation>,
) -> Result<BTreeMap<StrategyId, Incarnation>, BusError> {
    let strategies = match layout.open_strategies() {
        Ok(strategies) => strategies,
        Err(error) if error.is_not_found() => return Ok(BTreeMap::new()),
        Err(error) => return Err(error),
    };
    let names = strategies.names()?;
    let mut candidates: BTreeSet<StrategyId> =
        names.iter().filter_map(|name| StrategyId::new(name).ok()).collect();
    // Whether a list of names that change meanwhile has those that stay is the file system's affair
    // (readdir(3)): nobody is gone because a list left him out.
    candidates.extend(known.keys().cloned());
    let mut seen = BTreeMap::new();
    for id in candidates {
        if let Some(found) = look_at(&strategies, &id)? {
            seen.insert(id, found);
        }
    }
    Ok(seen)
}

fn look_at(strategies: &Directory, id: &StrategyId) -> Result<Option<Incarnation>, BusError> {
    match strategies.inner(id.as_str()) {
        Ok(directory) => incarnation(&directory),
        Err(error) if error.is_about_the_file() => Ok(None),
        Err(error) => Err(error),
    }
}

fn differences(
    layout: &BusLayout,
    known: &BTreeMap<StrategyId, Incarnation>,
    seen: &BTreeMap<StrategyId, Incarnation>,
) -> Vec<StrategyEvent> {
    let ids: BTreeSet<&StrategyId> = known.keys().chain(seen.keys()).collect();
    let event = |id: &StrategyId| {
        let change = match (known.get(id), seen.get(id)) {
            (None, Some(now)) => Change::Added(now.holder),
            (Some(before), None) => Change::Removed(before.holder),
            (Some(before), Some(now)) if before != now => Change::Restarted(now.holder),
            _ => return None,
        };
        Some(StrategyEvent { strategy: layout.strategy(id.clone()), change })
    };
    ids.into_iter().filter_map(event).collect()
}
