use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chronicle_core::{
    Appender, Error, FormatError, NoProbe, ReaderName, RetentionPlan, RetentionReport, TailOptions,
    Tailer, Verification, Watermarks, apply_retention, create, lock_writer, plan_retention,
    remove_reader, verify,
};
use chronicle_format::{Object, READERS_DIRECTORY};

use crate::backend;
use crate::housekeeping::Housekeeping;
use crate::repair::{self, RepairOptions, RepairReport};
use crate::{
    DirectoryWatch, QueueError, QueueReader, QueueReport, QueueWatermarks, QueueWriter,
    ReaderConfig, ReplicaReporter, UntrustedReader, WriterConfig,
};

/// Looks at a directory between two hints that it changed: hints may get lost.
const RESCAN: Duration = Duration::from_secs(1);

/// Opens queues. A queue is a directory.
#[derive(Clone, Copy, Debug)]
pub struct Queue;

impl Queue {
    /// Makes a queue and opens its writer.
    ///
    /// # Errors
    /// [`QueueError::AlreadyExists`]; [`QueueError::InvalidArgument`] before anything was written;
    /// [`QueueError::NotADirectory`]; [`QueueError::ForeignFileSystem`]; the system's.
    pub fn create(path: impl AsRef<Path>, config: WriterConfig) -> Result<QueueWriter, QueueError> {
        let path = path.as_ref();
        make(path, &config)?;
        open_writer(path, &config)
    }

    /// Opens the writer of a queue, which is made with default options if there is none.
    ///
    /// # Errors
    /// [`QueueError::WriterAlreadyActive`]; [`QueueError::UnsupportedVersion`],
    /// [`QueueError::InvalidFile`] and [`QueueError::Corrupt`], after which nothing was changed;
    /// [`QueueError::NotADirectory`]; [`QueueError::ForeignFileSystem`]; the system's.
    pub fn open_publisher(path: impl AsRef<Path>) -> Result<QueueWriter, QueueError> {
        Self::open_publisher_with(path, WriterConfig::default())
    }

    /// Opens the writer of a queue, which is made as `config` says if there is none.
    ///
    /// # Errors
    /// As [`open_publisher`](Self::open_publisher), and [`QueueError::InvalidArgument`].
    pub fn open_publisher_with(
        path: impl AsRef<Path>,
        config: WriterConfig,
    ) -> Result<QueueWriter, QueueError> {
        let path = path.as_ref();
        checked(path, config.create_options())?;
        match open_writer(path, &config) {
            Err(QueueError::NotFound { .. }) => {}
            other => return other,
        }
        match make(path, &config) {
            Ok(()) | Err(QueueError::AlreadyExists { .. }) => open_writer(path, &config),
            Err(error) => Err(error),
        }
    }

    /// Opens a named reader with default options. It goes on where it last committed; a new one
    /// begins at the oldest message.
    ///
    /// # Errors
    /// [`QueueError::NotFound`]; [`QueueError::ReaderAlreadyActive`];
    /// [`QueueError::InvalidArgument`] for a name that is not valid; else as
    /// [`open_publisher`](Self::open_publisher).
    pub fn open_subscriber(path: impl AsRef<Path>, name: &str) -> Result<QueueReader, QueueError> {
        let config = ReaderConfig { name: Some(name.to_owned()), ..ReaderConfig::default() };
        Self::open_reader(path, config)
    }

    /// Opens a reader.
    ///
    /// # Errors
    /// As [`open_subscriber`](Self::open_subscriber).
    pub fn open_reader(
        path: impl AsRef<Path>,
        config: ReaderConfig,
    ) -> Result<QueueReader, QueueError> {
        let path = path.as_ref();
        let mut options = TailOptions::default();
        options.name = match &config.name {
            Some(name) => Some(checked(path, ReaderName::new(name))?),
            None => None,
        };
        options.policy = config.policy;
        options.start = config.start;
        options.verify = config.verify_checksums;
        options.visibility = config.visibility;
        let platform = backend::open_local(path, config.any_file_system)?;
        let tailer =
            Tailer::open(platform, &options).map_err(|error| QueueError::from_core(path, error))?;
        Ok(QueueReader::new(tailer, path.to_owned(), &config))
    }

    /// Opens a reader that does not trust the processes that may write to the queue: it copies each
    /// message and verifies the copy.
    ///
    /// # Errors
    /// As [`open_reader`](Self::open_reader).
    pub fn open_untrusted(
        path: impl AsRef<Path>,
        config: ReaderConfig,
    ) -> Result<UntrustedReader, QueueError> {
        Self::open_reader(path, config).map(UntrustedReader::from)
    }

    /// Opens a queue's watermarks, to read them or to wait for them. Registers nothing.
    ///
    /// # Errors
    /// [`QueueError::NotFound`] and those of a queue that cannot be read.
    pub fn open_watermarks(path: impl AsRef<Path>) -> Result<QueueWatermarks, QueueError> {
        let path = path.as_ref();
        let marks = Watermarks::open(backend::open(path)?);
        let marks = marks.map_err(|error| QueueError::from_core(path, error))?;
        Ok(QueueWatermarks::new(marks, path.to_owned()))
    }

    /// Opens the report of how far replicas have followed a queue; there is one at a time.
    ///
    /// # Errors
    /// [`QueueError::NotFound`] and those of a queue that cannot be read; [`QueueError::Io`] if
    /// another process reports for this queue.
    pub fn open_replica_reporter(path: impl AsRef<Path>) -> Result<ReplicaReporter, QueueError> {
        let path = path.as_ref();
        ReplicaReporter::open(backend::open(path)?)
            .map_err(|error| QueueError::from_core(path, error))
    }

    /// Looks at a queue and its readers. Registers nothing and changes nothing.
    ///
    /// # Errors
    /// [`QueueError::NotFound`] and those of a queue that cannot be read.
    pub fn inspect(path: impl AsRef<Path>) -> Result<QueueReport, QueueError> {
        let path = path.as_ref();
        QueueReport::of(path, &backend::open(path)?)
    }

    /// Checks every record of every file, without changing a byte; gives what was counted, and all
    /// faults with their places.
    ///
    /// # Errors
    /// [`QueueError::NotFound`] and those of a control file that cannot be read.
    pub fn verify(path: impl AsRef<Path>) -> Result<(Verification, Vec<QueueError>), QueueError> {
        let path = path.as_ref();
        let mut faults = Vec::new();
        let visit = |fault| faults.push(QueueError::from_core(path, fault));
        let report = verify(&backend::open(path)?, visit)
            .map_err(|error| QueueError::from_core(path, error))?;
        Ok((report, faults))
    }

    /// Looks what is wrong with a queue and what [`repair`](Self::repair) would do. Changes nothing.
    ///
    /// # Errors
    /// [`QueueError::NotFound`]; [`QueueError::UnsupportedVersion`]; the system's.
    pub fn repair_plan(path: impl AsRef<Path>) -> Result<RepairReport, QueueError> {
        repair::plan(path.as_ref())
    }

    /// Makes a damaged queue readable and writable again without losing what can be read: in place,
    /// with everything that is replaced kept in a quarantine, or as a copy.
    ///
    /// Messages that cannot be read become gaps, of which every reader is told
    /// ([`QueueError::Gap`]); all others keep their numbers. Readers without a name must be closed
    /// meanwhile, and opened again.
    ///
    /// # Errors
    /// [`QueueError::WriterAlreadyActive`] and [`QueueError::ReaderAlreadyActive`], before anything is
    /// changed; [`QueueError::NotEmpty`] for the directory of a copy; an error that says so if a sync
    /// failed in this boot, unless a copy is made; as [`repair_plan`](Self::repair_plan). A repair
    /// that was cut off can be made again.
    pub fn repair(
        path: impl AsRef<Path>,
        options: &RepairOptions,
    ) -> Result<RepairReport, QueueError> {
        repair::repair(path.as_ref(), options)
    }

    /// Looks which segments could be removed, and why the others stay. Changes nothing.
    ///
    /// # Errors
    /// [`QueueError::NotFound`] and those of a queue that cannot be read.
    pub fn retention_plan(path: impl AsRef<Path>) -> Result<RetentionPlan, QueueError> {
        let path = path.as_ref();
        plan_retention(&backend::open(path)?, |_| false)
            .map_err(|error| QueueError::from_core(path, error))
    }

    /// Removes segments that need not be kept, in a queue that has no writer just now.
    ///
    /// # Errors
    /// [`QueueError::WriterAlreadyActive`]: that writer does it itself. Else as
    /// [`retention_plan`](Self::retention_plan).
    pub fn apply_retention(path: impl AsRef<Path>) -> Result<RetentionReport, QueueError> {
        let path = path.as_ref();
        let platform = backend::open(path)?;
        let failed = |error| QueueError::from_core(path, error);
        plan_retention(&platform, |_| false).map_err(failed)?;
        let _lock = lock_writer(&platform).map_err(failed)?;
        apply_retention(&platform, |_| false).map_err(failed)
    }

    /// Removes a reader that nobody holds: what only it held back may then be removed.
    ///
    /// # Errors
    /// [`QueueError::ReaderAlreadyActive`]; [`QueueError::InvalidArgument`] for a name that is not
    /// valid; the system's if there is no such reader.
    pub fn remove_reader(path: impl AsRef<Path>, name: &str) -> Result<(), QueueError> {
        let path = path.as_ref();
        let name = checked(path, ReaderName::new(name))?;
        remove_reader(&backend::open(path)?, &name)
            .map_err(|error| QueueError::from_core(path, error))
    }

    /// Waits until there is a queue at `path`, at most for `timeout`. Returns whether there is one.
    ///
    /// # Errors
    /// Those of a queue that is there and cannot be read; the system's.
    pub fn wait_for(path: impl AsRef<Path>, timeout: Option<Duration>) -> Result<bool, QueueError> {
        let path = path.as_ref();
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            // Watched before it is looked at, so that nothing falls in between.
            let mut watch = DirectoryWatch::nearest(path)?;
            match backend::open(path) {
                Ok(platform) => match Tailer::open(platform, &TailOptions::default()) {
                    Ok(_) => return Ok(true),
                    Err(Error::NoQueue) => {}
                    Err(error) => return Err(QueueError::from_core(path, error)),
                },
                Err(QueueError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
            let left = deadline
                .map_or(RESCAN, |deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Ok(false);
            }
            watch.wait(left.min(RESCAN))?;
        }
    }
}

fn checked<T>(path: &Path, result: Result<T, FormatError>) -> Result<T, QueueError> {
    result.map_err(|source| QueueError::InvalidArgument { path: path.to_owned(), source })
}

fn open_writer(path: &Path, config: &WriterConfig) -> Result<QueueWriter, QueueError> {
    let platform = backend::open_local(path, config.any_file_system)?;
    let supply = if config.background {
        Housekeeping::start(path, config.zeros_ahead)?
    } else {
        Housekeeping::none()
    };
    let opened = supply.opened();
    let appender = Appender::open_with(platform, config.write_options(), NoProbe, supply)
        .map_err(|error| QueueError::from_core(path, error))?;
    opened.tell();
    QueueWriter::new(appender, path.to_owned(), config.sync, config.when_full)
}

/// Makes a queue, and the directories above it.
fn make(path: &Path, config: &WriterConfig) -> Result<(), QueueError> {
    let options = checked(path, config.create_options())?;
    if !config.any_file_system {
        // Looked at first, so that nothing is left behind where it is refused.
        backend::check_file_system(&nearest_directory(path)?)?;
    }
    make_directory(path, config.group_readable)
        .map_err(|error| QueueError::io(path, "create", error))?;
    let platform = backend::open_local(path, config.any_file_system)?;
    check_empty(path)?;
    create(&platform, &options).map_err(|error| QueueError::from_core(path, error))
}

fn make_directory(path: &Path, group_readable: bool) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        fs::create_dir_all(parent)?;
    }
    let mode = if group_readable { 0o750 } else { 0o700 };
    match DirBuilder::new().mode(mode).create(path) {
        Ok(()) => {
            // Whatever the umask took away; a set-group-id bit that was inherited stays, or the
            // files in it would belong to another group than the directory above says.
            let inherited = fs::metadata(path)?.permissions().mode() & 0o2000;
            fs::set_permissions(path, Permissions::from_mode(mode | inherited))?;
            // The queue is durable only if its own name is.
            File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
        }
        // Somebody else's directory keeps its mode; a file is refused when it is opened.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Refuses a directory that holds anything but what a creation that was cut off leaves: no home
/// directory becomes a queue by a slip of the hand.
fn check_empty(path: &Path) -> Result<(), QueueError> {
    let failed = |error| QueueError::io(path, "list", error);
    for entry in fs::read_dir(path).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let name = name.to_string_lossy();
        let objects = [
            Object::Control,
            Object::Notify,
            Object::Checkpoint,
            Object::Replicated,
            Object::WriterLock,
        ];
        let ours = Object::segment_named(&name).is_some()
            || name.ends_with(".tmp")
            || name == READERS_DIRECTORY
            || objects.iter().any(|object| object.name().file == *name);
        if !ours {
            // What is not in a queue in the making may be in one that is made, perhaps just now.
            if path.join(Object::Control.to_string()).exists() {
                return Err(QueueError::AlreadyExists { path: path.to_owned() });
            }
            return Err(QueueError::NotEmpty { path: path.to_owned(), entry: name.into_owned() });
        }
    }
    Ok(())
}

/// The directory at `path`, or the nearest one above it that exists.
pub(crate) fn nearest_directory(path: &Path) -> Result<PathBuf, QueueError> {
    let absolute =
        std::path::absolute(path).map_err(|error| QueueError::io(path, "open", error))?;
    let nearest = absolute.ancestors().find(|directory| directory.is_dir());
    nearest.map(Path::to_owned).ok_or_else(|| QueueError::NotFound { path: path.to_owned() })
}
