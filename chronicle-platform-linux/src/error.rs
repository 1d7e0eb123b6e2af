use core::fmt;

use chronicle_sync::{Error, ErrorKind};
use rustix::io::{self, Errno};

/// How often a call is repeated that a signal interrupted. A program with a timer that signals
/// faster than the call can finish would otherwise never come out of it.
const INTERRUPTIONS: u32 = 100;

/// A system call that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Call {
    /// `openat(2)`
    Open,
    /// `fstat(2)` and `newfstatat(2)`
    Stat,
    /// `fstatfs(2)`
    StatFileSystem,
    /// `fchmod(2)`
    Chmod,
    /// `mkdirat(2)`
    MakeDirectory,
    /// `ftruncate(2)`
    Truncate,
    /// `fallocate(2)`
    Allocate,
    /// `mmap(2)`
    Map,
    /// `renameat2(2)`
    Rename,
    /// `linkat(2)`
    Link,
    /// `unlinkat(2)`
    Unlink,
    /// `getdents64(2)`
    ReadDirectory,
    /// `msync(2)`
    SyncData,
    /// `fsync(2)`
    Sync,
    /// `fcntl(2)` with `F_OFD_SETLK`
    Lock,
    /// `fcntl(2)` with `F_OFD_GETLK`
    LockQuery,
    /// `fcntl(2)` with `F_DUPFD_CLOEXEC`
    Duplicate,
    /// `pread64(2)` and `read(2)`
    Read,
    /// `pwrite64(2)`
    Write,
    /// `futex(2)`
    Futex,
    /// `futex_waitv(2)`
    FutexWaitv,
    /// `getrandom(2)`
    Random,
    /// `inotify_init1(2)`
    WatchInit,
    /// `inotify_add_watch(2)`
    WatchAdd,
    /// `ppoll(2)`
    Poll,
}

impl Call {
    /// Name of the system call.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "openat",
            Self::Stat => "fstat",
            Self::StatFileSystem => "fstatfs",
            Self::Chmod => "fchmod",
            Self::MakeDirectory => "mkdirat",
            Self::Truncate => "ftruncate",
            Self::Allocate => "fallocate",
            Self::Map => "mmap",
            Self::Rename => "renameat2",
            Self::Link => "linkat",
            Self::Unlink => "unlinkat",
            Self::ReadDirectory => "getdents64",
            Self::SyncData => "msync",
            Self::Sync => "fsync",
            Self::Lock | Self::LockQuery | Self::Duplicate => "fcntl",
            Self::Read => "read",
            Self::Write => "pwrite64",
            Self::Futex => "futex",
            Self::FutexWaitv => "futex_waitv",
            Self::Random => "getrandom",
            Self::WatchInit => "inotify_init1",
            Self::WatchAdd => "inotify_add_watch",
            Self::Poll => "ppoll",
        }
    }

    /// Makes the call, again if a signal interrupted it, and names it in the error.
    pub(crate) fn make<T>(
        self,
        mut attempt: impl FnMut() -> io::Result<T>,
    ) -> Result<T, LinuxError> {
        for _ in 0..INTERRUPTIONS {
            match attempt() {
                Err(Errno::INTR) => {}
                done => return done.map_err(|errno| self.failed(errno)),
            }
        }
        Err(self.failed(Errno::INTR))
    }

    pub(crate) const fn failed(self, errno: Errno) -> LinuxError {
        LinuxError { call: self, cause: Cause::Errno(errno) }
    }
}

/// What went wrong: a system call and why it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinuxError {
    call: Call,
    cause: Cause,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Errno(Errno),
    NotRegular,
    Foreign(&'static str),
}

impl LinuxError {
    /// The file was opened, but is not a regular one.
    pub(crate) const NOT_REGULAR: Self = Self { call: Call::Open, cause: Cause::NotRegular };

    /// The directory is on a file system of this name, which may be another host's.
    pub(crate) const fn foreign(name: &'static str) -> Self {
        Self { call: Call::StatFileSystem, cause: Cause::Foreign(name) }
    }

    /// Name of the file system, if that is what was refused: one that may be another host's.
    #[must_use]
    pub const fn foreign_file_system(&self) -> Option<&'static str> {
        match self.cause {
            Cause::Foreign(name) => Some(name),
            _ => None,
        }
    }

    /// The call that failed.
    #[must_use]
    pub const fn call(&self) -> Call {
        self.call
    }

    /// The system's error number, if the error is the system's.
    #[must_use]
    pub const fn raw_os_error(&self) -> Option<i32> {
        match self.cause {
            Cause::Errno(errno) => Some(errno.raw_os_error()),
            Cause::NotRegular | Cause::Foreign(_) => None,
        }
    }

    pub(crate) fn is(&self, errno: Errno) -> bool {
        self.cause == Cause::Errno(errno)
    }
}

impl Error for LinuxError {
    fn kind(&self) -> ErrorKind {
        let errno = match self.cause {
            Cause::Errno(errno) => errno,
            Cause::NotRegular => return ErrorKind::NotRegular,
            Cause::Foreign(_) => return ErrorKind::Unsupported,
        };
        match (self.call, errno) {
            // fcntl_locking(2), F_SETLK: which of the two says "held" is left to the system.
            (Call::Lock, Errno::AGAIN | Errno::ACCESS) => ErrorKind::Locked,
            // mmap(2): too much memory is locked already.
            (Call::Map, Errno::AGAIN) => ErrorKind::Exhausted,
            // mmap(2): the file system has no mappings. openat(2): a device without a driver.
            (Call::Map, Errno::NODEV) => ErrorKind::Unsupported,
            (Call::Open, Errno::NODEV) => ErrorKind::NotRegular,
            // inotify_add_watch(2): the user has too many watches; the disk is not full.
            (Call::WatchAdd, Errno::NOSPC) => ErrorKind::Exhausted,
            // fsync(2), msync(2): whatever the reason, pages may have been given up by then, so that
            // another try says nothing. The other kinds would say that nothing has happened.
            (Call::Sync | Call::SyncData, Errno::NOSPC | Errno::DQUOT) => ErrorKind::NoSpace,
            (Call::Sync | Call::SyncData, _) => ErrorKind::Io,
            (_, Errno::NOENT) => ErrorKind::NotFound,
            (_, Errno::EXIST) => ErrorKind::AlreadyExists,
            (_, Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => ErrorKind::NoSpace,
            (_, Errno::ACCESS | Errno::PERM | Errno::ROFS) => ErrorKind::Denied,
            (_, Errno::LOOP | Errno::ISDIR | Errno::NOTDIR | Errno::NXIO) => ErrorKind::NotRegular,
            (_, Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOLCK) => ErrorKind::Exhausted,
            (_, Errno::IO) => ErrorKind::Io,
            (_, Errno::NOSYS | Errno::OPNOTSUPP) => ErrorKind::Unsupported,
            _ => ErrorKind::Other,
        }
    }
}

impl fmt::Display for LinuxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.call.name())?;
        let errno = match self.cause {
            Cause::Errno(errno) => errno,
            Cause::NotRegular => return f.write_str("Not a regular file"),
            Cause::Foreign(name) => return write!(f, "{name} may be another host's file system"),
        };
        let number = errno.raw_os_error();
        match text(errno) {
            Some(text) => write!(f, "{text} (os error {number})"),
            None => write!(f, "os error {number}"),
        }
    }
}

impl core::error::Error for LinuxError {}

/// The usual texts (errno(3)), since without `std` nobody else has them.
fn text(errno: Errno) -> Option<&'static str> {
    Some(match errno {
        Errno::PERM => "Operation not permitted",
        Errno::NOENT => "No such file or directory",
        Errno::INTR => "Interrupted system call",
        Errno::IO => "Input/output error",
        Errno::NXIO => "No such device or address",
        Errno::BADF => "Bad file descriptor",
        Errno::AGAIN => "Resource temporarily unavailable",
        Errno::NOMEM => "Cannot allocate memory",
        Errno::ACCESS => "Permission denied",
        Errno::FAULT => "Bad address",
        Errno::BUSY => "Device or resource busy",
        Errno::EXIST => "File exists",
        Errno::NODEV => "No such device",
        Errno::NOTDIR => "Not a directory",
        Errno::ISDIR => "Is a directory",
        Errno::INVAL => "Invalid argument",
        Errno::NFILE => "Too many open files in system",
        Errno::MFILE => "Too many open files",
        Errno::TXTBSY => "Text file busy",
        Errno::FBIG => "File too large",
        Errno::NOSPC => "No space left on device",
        Errno::ROFS => "Read-only file system",
        Errno::NOLCK => "No locks available",
        Errno::NOSYS => "Function not implemented",
        Errno::LOOP => "Too many levels of symbolic links",
        Errno::OVERFLOW => "Value too large for defined data type",
        Errno::OPNOTSUPP => "Operation not supported",
        Errno::STALE => "Stale file handle",
        Errno::DQUOT => "Disk quota exceeded",
        _ => return None,
    })
}
