//! The bus's directories, reached name by name through descriptors, so that no link is followed.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fd::OwnedFd;
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, fstat, fstatvfs, fsync, mkdirat, openat, renameat,
    unlinkat,
};
use rustix::io::Errno;

use crate::{BusError, Space};

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// `O_NONBLOCK`: opening a FIFO does not wait for its other end (`fifo(7)`).
const FILE: OFlags =
    OFlags::NOFOLLOW.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// Which file or directory it is, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    pub(crate) fn of(metadata: &fs::Metadata) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        Self { device: metadata.dev(), inode: metadata.ino() }
    }

    /// Of the directory with this path; `None` if there is none.
    pub(crate) fn of_directory(path: &Path) -> Option<Self> {
        let metadata = fs::symlink_metadata(path).ok()?;
        metadata.is_dir().then(|| Self::of(&metadata))
    }
}

/// An open directory.
#[derive(Debug)]
pub(crate) struct Directory {
    descriptor: OwnedFd,
    path: PathBuf,
}

impl Directory {
    /// The root of a bus, which may be a link: where a bus lies is its owner's choice.
    pub(crate) fn root(path: &Path) -> Result<Self, BusError> {
        let descriptor = openat(CWD, path, DIRECTORY, Mode::empty());
        let descriptor = descriptor.map_err(|errno| failed(path.to_owned(), "open", errno))?;
        Ok(Self { descriptor, path: path.to_owned() })
    }

    /// The same, made if it is not there.
    pub(crate) fn make_root(path: &Path) -> Result<Self, BusError> {
        fs::create_dir_all(path).map_err(|error| BusError::io(path, "create", error))?;
        Self::root(path)
    }

    pub(crate) fn inner(&self, name: &str) -> Result<Self, BusError> {
        let path = self.path.join(name);
        match openat(&self.descriptor, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(descriptor) => Ok(Self { descriptor, path }),
            Err(errno) => Err(failed(path, "open", errno)),
        }
    }

    /// A directory in this one, made if it is not there; its name is durable then.
    pub(crate) fn make_inner(&self, name: &str) -> Result<Self, BusError> {
        match mkdirat(&self.descriptor, name, Mode::RWXU) {
            Ok(()) => self.sync()?,
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(failed(self.path.join(name), "create", errno)),
        }
        self.inner(name)
    }

    /// A plain file, to be read.
    pub(crate) fn file(&self, name: &str) -> Result<File, BusError> {
        self.plain(name, OFlags::RDONLY)
    }

    /// A plain file, to be read and written, made if it is not there.
    pub(crate) fn make_file(&self, name: &str) -> Result<File, BusError> {
        self.plain(name, OFlags::RDWR | OFlags::CREATE)
    }

    /// A new plain file in place of whatever had the name.
    pub(crate) fn new_file(&self, name: &str) -> Result<File, BusError> {
        self.remove(name)?;
        self.plain(name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)
    }

    fn plain(&self, name: &str, access: OFlags) -> Result<File, BusError> {
        let path = self.path.join(name);
        let file = match openat(&self.descriptor, name, FILE | access, Mode::RUSR | Mode::WUSR) {
            Ok(file) => file,
            Err(errno) => return Err(failed(path, "open", errno)),
        };
        let stat = fstat(&file).map_err(|errno| failed(path.clone(), "look at", errno))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(BusError::Refused { path });
        }
        Ok(File::from(file))
    }

    /// Moves a file to a name in another directory, in place of what has it, in one step.
    pub(crate) fn rename(&self, from: &str, to: &Self, name: &str) -> Result<(), BusError> {
        renameat(&self.descriptor, from, &to.descriptor, name)
            .map_err(|errno| failed(to.path.join(name), "rename", errno))
    }

    /// Removes a file, if it is there.
    pub(crate) fn remove(&self, name: &str) -> Result<(), BusError> {
        match unlinkat(&self.descriptor, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(failed(self.path.join(name), "remove", errno)),
        }
    }

    /// Makes names that were made, moved or removed durable.
    pub(crate) fn sync(&self) -> Result<(), BusError> {
        fsync(&self.descriptor).map_err(|errno| failed(self.path.clone(), "sync", errno))
    }

    /// The names in it that are text, in no order.
    pub(crate) fn names(&self) -> Result<Vec<String>, BusError> {
        let failed = |errno| failed(self.path.clone(), "list", errno);
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.descriptor).map_err(failed)? {
            match entry {
                Ok(entry) => names.extend(entry.file_name().to_str().ok().map(str::to_owned)),
                // getdents(2): the directory itself was removed.
                Err(Errno::NOENT) => break,
                Err(errno) => return Err(failed(errno)),
            }
        }
        Ok(names)
    }

    /// The file system that it is on, if that says.
    pub(crate) fn space(&self) -> Option<Space> {
        let found = fstatvfs(&self.descriptor).ok()?;
        Some(Space {
            free_bytes: found.f_bavail.saturating_mul(found.f_frsize),
            size_bytes: found.f_blocks.saturating_mul(found.f_frsize),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

fn failed(path: PathBuf, operation: &'static str, errno: Errno) -> BusError {
    match errno {
        // open(2), O_NOFOLLOW and O_DIRECTORY: which of them a link gives is left to the system.
        Errno::LOOP | Errno::NOTDIR | Errno::ISDIR | Errno::NXIO => BusError::Refused { path },
        _ => BusError::io(path, operation, io::Error::from(errno)),
    }
}
