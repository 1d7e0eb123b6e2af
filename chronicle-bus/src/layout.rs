use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use chronicle_std::{Queue, QueueError, QueueReader, QueueWriter, ReaderConfig, WriterConfig};

use crate::directory::Directory;
use crate::{BusError, message};

/// The longest name, in bytes.
pub const NAME_LIMIT: usize = 64;

const LIVE: &str = "live";
const ARCHIVE: &str = "archive";
const ORDERS: &str = "orders";
const QUEUE: &str = "queue";
const ORDERS_OUT: &str = "orders_out";
const ORDERS_IN: &str = "orders_in";

/// Where everything on a bus lies: a directory of queues, by name.
///
/// ```text
/// BUS/live/STREAM/queue/FEED                 what a feed publishes
/// BUS/archive/STREAM/queue/FEED              the same, kept
/// BUS/orders/queue/STRATEGY/orders_out       from a strategy to routers
/// BUS/orders/queue/STRATEGY/orders_in        from a router to the strategy
/// BUS/orders/queue/STRATEGY/LEASE, READY     that the strategy runs, and can be talked to
/// BUS/counters/...                           what writers and readers have counted
/// ```
///
/// Names have 1 to [`NAME_LIMIT`] characters out of `A-Z a-z 0-9 _ -`, so none leads out of its place.
/// The root may be reached through links; below it they are refused. That is looked at when something is
/// opened: whoever may write in the bus's directories could put a link there just then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusLayout {
    root: PathBuf,
}

impl BusLayout {
    /// The layout of the bus in a directory, which need not exist.
    ///
    /// # Errors
    /// [`BusError::Io`] if the path is empty, or relative to a directory that is gone.
    pub fn new(root: impl AsRef<Path>) -> Result<Self, BusError> {
        let root = root.as_ref();
        let absolute =
            std::path::absolute(root).map_err(|error| BusError::io(root, "find", error))?;
        Ok(Self { root: absolute })
    }

    /// The bus's directory, as an absolute path.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The queue that a feed publishes.
    ///
    /// # Errors
    /// [`BusError::InvalidName`]
    pub fn live(&self, stream: &str, feed: &str) -> Result<QueueEndpoint, BusError> {
        self.feed(LIVE, stream, feed)
    }

    /// The queue in which a feed is kept.
    ///
    /// # Errors
    /// [`BusError::InvalidName`]
    pub fn archive(&self, stream: &str, feed: &str) -> Result<QueueEndpoint, BusError> {
        self.feed(ARCHIVE, stream, feed)
    }

    fn feed(&self, kind: &str, stream: &str, feed: &str) -> Result<QueueEndpoint, BusError> {
        let (stream, feed) = (checked(stream)?, checked(feed)?);
        Ok(QueueEndpoint::new(&self.root, &[kind, stream, QUEUE, feed]))
    }

    /// The place of a strategy.
    #[must_use]
    pub fn strategy(&self, id: StrategyId) -> StrategyEndpoints {
        let root = self.root.clone();
        StrategyEndpoints { root, id }
    }

    /// The directory of the strategies' directories.
    #[must_use]
    pub fn strategies(&self) -> PathBuf {
        let mut path = self.root.clone();
        path.extend(STRATEGIES);
        path
    }

    /// The same, opened.
    pub(crate) fn open_strategies(&self) -> Result<Directory, BusError> {
        walk(&self.root, STRATEGIES)
    }
}

const STRATEGIES: [&str; 2] = [ORDERS, QUEUE];

/// The name of a strategy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StrategyId(Box<str>);

impl StrategyId {
    /// Takes a name of 1 to [`NAME_LIMIT`] characters out of `A-Z a-z 0-9 _ -`.
    ///
    /// # Errors
    /// [`BusError::InvalidName`]
    pub fn new(name: &str) -> Result<Self, BusError> {
        checked(name).map(|name| Self(name.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StrategyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for StrategyId {
    type Err = BusError;

    fn from_str(name: &str) -> Result<Self, BusError> {
        Self::new(name)
    }
}

pub(crate) fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    (1..=NAME_LIMIT).contains(&name.len()) && name.bytes().all(allowed)
}

fn checked(name: &str) -> Result<&str, BusError> {
    if is_name(name) { Ok(name) } else { Err(BusError::InvalidName { name: name.to_owned() }) }
}

/// Where a strategy's two queues and its signs of life are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StrategyEndpoints {
    root: PathBuf,
    id: StrategyId,
}

impl StrategyEndpoints {
    /// Which strategy it is.
    #[must_use]
    pub fn id(&self) -> &StrategyId {
        &self.id
    }

    /// The strategy's directory.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        let mut path = self.root.clone();
        path.extend(STRATEGIES);
        path.push(self.id.as_str());
        path
    }

    /// The queue that the strategy writes.
    #[must_use]
    pub fn orders_out(&self) -> QueueEndpoint {
        self.queue(ORDERS_OUT)
    }

    /// The queue that a router writes to the strategy.
    #[must_use]
    pub fn orders_in(&self) -> QueueEndpoint {
        self.queue(ORDERS_IN)
    }

    fn queue(&self, name: &str) -> QueueEndpoint {
        let [orders, queue] = STRATEGIES;
        QueueEndpoint::new(&self.root, &[orders, queue, self.id.as_str(), name])
    }

    /// The directory above the strategy's, made if it is not there.
    pub(crate) fn make_strategies(&self) -> Result<Directory, BusError> {
        make(&self.root, STRATEGIES)
    }

    /// The strategy's directory.
    pub(crate) fn open(&self) -> Result<Directory, BusError> {
        walk(&self.root, STRATEGIES)?.inner(self.id.as_str())
    }
}

/// Where a queue of a bus is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueEndpoint {
    root: PathBuf,
    /// Names of the directories below the root that lead to the queue.
    above: Vec<String>,
    name: String,
}

impl QueueEndpoint {
    fn new(root: &Path, names: &[&str]) -> Self {
        let mut above: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let name = above.pop().unwrap_or_default();
        Self { root: root.to_owned(), above, name }
    }

    /// The queue's directory.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        let mut path = self.root.clone();
        path.extend(&self.above);
        path.push(&self.name);
        path
    }

    /// Opens the queue's writer. The queue is made as `config` says if there is none, with the
    /// directories that lead to it, which only their owner may enter. It is
    /// [counted](BusLayout::counters), if that is possible.
    ///
    /// # Errors
    /// [`BusError::Refused`]; those of [`Queue::open_publisher_with`].
    pub fn open_publisher(&self, config: WriterConfig) -> Result<QueueWriter, BusError> {
        self.refuse_link(&make(&self.root, self.names_above())?)?;
        let mut writer = Queue::open_publisher_with(self.path(), config)?;
        // Without being counted it works as well, and says so.
        let _ = self.count_writer(&mut writer);
        Ok(writer)
    }

    /// Makes the queue, if there is none; whoever is to write it opens it then.
    ///
    /// # Errors
    /// [`BusError::Refused`]; those of [`Queue::create`].
    pub fn create(&self, config: WriterConfig) -> Result<(), BusError> {
        self.refuse_link(&make(&self.root, self.names_above())?)?;
        match Queue::create(self.path(), config) {
            Ok(_) | Err(QueueError::AlreadyExists { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens a reader. One with a name is [counted](BusLayout::counters) under it, if that is possible.
    ///
    /// # Errors
    /// [`BusError::Refused`]; [`QueueError::NotFound`] and the others of [`Queue::open_reader`].
    pub fn open_reader(&self, config: ReaderConfig) -> Result<QueueReader, BusError> {
        match walk(&self.root, self.names_above()) {
            Ok(above) => self.refuse_link(&above)?,
            Err(error) if error.is_not_found() => {
                return Err(QueueError::NotFound { path: self.path() }.into());
            }
            Err(error) => return Err(error),
        }
        let name = config.name.clone();
        let mut reader = Queue::open_reader(self.path(), config)?;
        if let Some(name) = name {
            let _ = self.count_reader(&mut reader, &name);
        }
        Ok(reader)
    }

    /// The bus's directory, opened.
    pub(crate) fn bus(&self) -> Result<Directory, BusError> {
        Directory::root(&self.root)
    }

    /// The queue's path below the bus.
    pub(crate) fn below_the_bus(&self) -> String {
        self.names_above().chain([self.name.as_str()]).collect::<Vec<_>>().join("/")
    }

    /// What the queue says of its messages: name, type id and fingerprint of their type, as one line.
    /// `None` if it does not say, as a queue of book events does not.
    ///
    /// # Errors
    /// [`BusError::Refused`]; the system's, that there is no such directory among them.
    pub fn message_type(&self) -> Result<Option<String>, BusError> {
        let line = message::stored(&self.open_directory()?)?;
        Ok(line.map(|line| line.trim_end().to_owned()))
    }

    /// The queue's directory, opened.
    pub(crate) fn open_directory(&self) -> Result<Directory, BusError> {
        walk(&self.root, self.names_above())?.inner(&self.name)
    }

    fn names_above(&self) -> impl Iterator<Item = &str> {
        self.above.iter().map(String::as_str)
    }

    fn refuse_link(&self, above: &Directory) -> Result<(), BusError> {
        match above.inner(&self.name) {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }
}

fn walk<'n>(root: &Path, names: impl IntoIterator<Item = &'n str>) -> Result<Directory, BusError> {
    names.into_iter().try_fold(Directory::root(root)?, |above, name| above.inner(name))
}

fn make<'n>(root: &Path, names: impl IntoIterator<Item = &'n str>) -> Result<Directory, BusError> {
    names.into_iter().try_fold(Directory::make_root(root)?, |above, name| above.make_inner(name))
}
