use std::io;
use std::path::PathBuf;

use chronicle_std::format::Holder;
use chronicle_std::{FileLock, LockState};

use crate::directory::Directory;
use crate::layout::is_name;
use crate::lease::{LEASE, READY, line};
use crate::{BusError, BusLayout, QueueEndpoint, StrategyEndpoints, StrategyId};

/// What there is on a bus, by its names, as it was at one moment.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Survey {
    /// The queues of feeds, live ones first, in the order of their names. Whether there is a queue in the
    /// directory is for whoever opens it to see.
    pub feeds: Vec<QueueEndpoint>,
    /// The strategies that have a directory, in the order of their names.
    pub strategies: Vec<StrategySurvey>,
    /// What does not belong on a bus, or cannot be looked at: links and other names among them.
    pub strangers: Vec<BusError>,
}

/// The signs of life of a strategy.
#[derive(Debug)]
#[non_exhaustive]
pub struct StrategySurvey {
    /// Which strategy.
    pub endpoints: StrategyEndpoints,
    /// Who runs it.
    pub lease: Sign,
    /// Who can be talked to.
    pub ready: Sign,
    /// A mark in the making.
    pub staged: Sign,
}

/// A file that a process holds while it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sign {
    /// There is no such file.
    Absent,
    /// A process holds it; who, if it says so and that may be read.
    Held(Option<Holder>),
    /// Nobody holds it: it was left by this process.
    Left(Option<Holder>),
    /// This process may not look.
    Unknown,
}

impl BusLayout {
    /// Looks what there is. Opens no queue and changes nothing.
    ///
    /// # Errors
    /// If the bus's directory cannot be opened, or the system has no descriptors left. Anything else that
    /// is wrong is told among the [strangers](Survey::strangers).
    pub fn survey(&self) -> Result<Survey, BusError> {
        let root = Directory::root(self.root())?;
        let mut survey = Survey::default();
        for kind in ["live", "archive"] {
            survey.feeds_of(self, &root, kind)?;
        }
        if let Some(orders) = survey.enter(&root, "orders")?
            && let Some(strategies) = survey.enter(&orders, "queue")?
        {
            survey.strategies_of(self, &strategies)?;
        }
        Ok(survey)
    }
}

impl Survey {
    /// The directory of this name, if it is one.
    fn enter(&mut self, above: &Directory, name: &str) -> Result<Option<Directory>, BusError> {
        match above.inner(name) {
            Ok(directory) => Ok(Some(directory)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) if error.is_about_the_file() => {
                self.strangers.push(error);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The names in a directory that are names of the bus, in order; others are strangers.
    fn names(&mut self, directory: &Directory) -> Result<Vec<String>, BusError> {
        let mut names = directory.names()?;
        names.retain(|name| !matches!(name.as_str(), "." | ".."));
        names.sort_unstable();
        let (names, others) = names.into_iter().partition(|name| is_name(name));
        for name in others {
            self.stranger(directory.path().join(name), "is no name on a bus");
        }
        Ok(names)
    }

    fn stranger(&mut self, path: PathBuf, reason: &str) {
        self.strangers.push(BusError::io(path, "use", io::Error::other(reason)));
    }

    fn feeds_of(
        &mut self,
        layout: &BusLayout,
        root: &Directory,
        kind: &str,
    ) -> Result<(), BusError> {
        let Some(streams) = self.enter(root, kind)? else { return Ok(()) };
        for stream in self.names(&streams)? {
            let Some(directory) = self.enter(&streams, &stream)? else { continue };
            let Some(feeds) = self.enter(&directory, "queue")? else { continue };
            for feed in self.names(&feeds)? {
                if self.enter(&feeds, &feed)?.is_some() {
                    let queue = match kind {
                        "live" => layout.live(&stream, &feed),
                        _ => layout.archive(&stream, &feed),
                    };
                    self.feeds.push(queue?);
                }
            }
        }
        Ok(())
    }

    fn strategies_of(
        &mut self,
        layout: &BusLayout,
        strategies: &Directory,
    ) -> Result<(), BusError> {
        let (mut ids, mut marks) = (Vec::new(), Vec::new());
        let mut names = strategies.names()?;
        names.retain(|name| !matches!(name.as_str(), "." | ".."));
        names.sort_unstable();
        for name in names {
            match (StrategyId::new(&name), name.strip_suffix(".ready").map(StrategyId::new)) {
                (Ok(id), _) => ids.push(id),
                (_, Some(Ok(_))) => marks.push(name),
                _ => self.stranger(strategies.path().join(name), "is no name on a bus"),
            }
        }
        for id in ids {
            let Some(directory) = self.enter(strategies, id.as_str())? else { continue };
            let mark = format!("{id}.ready");
            marks.retain(|name| *name != mark);
            // READY before LEASE: a process that ends in between had both or has neither.
            let ready = self.sign(&directory, READY)?;
            let (staged, lease) = (self.sign(strategies, &mark)?, self.sign(&directory, LEASE)?);
            let endpoints = layout.strategy(id);
            self.strategies.push(StrategySurvey { endpoints, lease, ready, staged });
        }
        for name in marks {
            self.stranger(strategies.path().join(name), "is the mark of no strategy");
        }
        Ok(())
    }

    fn sign(&mut self, directory: &Directory, name: &str) -> Result<Sign, BusError> {
        let file = match directory.file(name) {
            Ok(file) => file,
            Err(error) if error.is_not_found() => return Ok(Sign::Absent),
            Err(error) if error.is_about_the_file() => {
                self.strangers.push(error);
                return Ok(Sign::Unknown);
            }
            Err(error) => return Err(error),
        };
        let failed = |error| BusError::io(directory.path().join(name), "look at", error);
        Ok(match FileLock::state(&file).map_err(failed)? {
            LockState::Held(holder) => Sign::Held(holder),
            LockState::Free => Sign::Left(line(&file)),
            _ => Sign::Unknown,
        })
    }
}
