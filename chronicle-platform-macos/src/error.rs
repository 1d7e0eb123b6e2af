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
    /// `fstat(2)` and `fstatat(2)`
    Stat,
    /// `statfs(2)` and `fstatfs(2)`
    StatFileSystem,
    /// `fchmod(2)`
    Chmod,
    /// `mkdirat(2)`
    MakeDirectory,
    /// `ftruncate(2)`
    Truncate,
    /// `fcntl(2)` with `F_PREALLOCATE`
    Allocate,
    /// `mmap(2)`
    Map,
    /// `renameatx_np(2)`
    Rename,
    /// `linkat(2)`
    Link,
    /// `unlinkat(2)`
    Unlink,
    /// `fdopendir(3)` and `readdir(3)`
    ReadDirectory,
    /// `msync(2)`
    SyncData,
    /// `fcntl(2)` with `F_FULLFSYNC`
    FullSync,
    /// `fcntl(2)` with `F_BARRIERFSYNC`
    BarrierSync,
    /// `fsync(2)`
    Sync,
    /// `flock(2)`
    Lock,
    /// `fcntl(2)` with `F_DUPFD_CLOEXEC`
    Duplicate,
    /// `pread(2)`
    Read,
    /// `pwrite(2)`
    Write,
    /// `os_sync_wait_on_address_with_timeout(3)`, or `__ulock_wait2` or `__ulock_wait`
    Wait,
    /// `os_sync_wake_by_address_any(3)` and `os_sync_wake_by_address_all(3)`, or `__ulock_wake`
    Wake,
    /// `getentropy(2)`
    Random,
    /// `kqueue(2)`, and `kevent(2)` with a change
    WatchAdd,
    /// `kevent(2)`
    WatchWait,
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
            Self::Allocate => "fcntl F_PREALLOCATE",
            Self::Map => "mmap",
            Self::Rename => "renameatx_np",
            Self::Link => "linkat",
            Self::Unlink => "unlinkat",
            Self::ReadDirectory => "readdir",
            Self::SyncData => "msync",
            Self::FullSync => "fcntl F_FULLFSYNC",
            Self::BarrierSync => "fcntl F_BARRIERFSYNC",
            Self::Sync => "fsync",
            Self::Lock => "flock",
            Self::Duplicate => "fcntl",
            Self::Read => "pread",
            Self::Write => "pwrite",
            Self::Wait => "os_sync_wait_on_address",
            Self::Wake => "os_sync_wake_by_address",
            Self::Random => "getentropy",
            Self::WatchAdd => "kqueue",
            Self::WatchWait => "kevent",
        }
    }

    /// Makes the call, again if a signal interrupted it, and names it in the error.
    pub(crate) fn make<T>(
        self,
        mut attempt: impl FnMut() -> io::Result<T>,
    ) -> Result<T, MacosError> {
        for _ in 0..INTERRUPTIONS {
            match attempt() {
                Err(Errno::INTR) => {}
                done => return done.map_err(|errno| self.failed(errno)),
            }
        }
        Err(self.failed(Errno::INTR))
    }

    pub(crate) const fn failed(self, errno: Errno) -> MacosError {
        MacosError { call: self, cause: Cause::Errno(errno) }
    }
}

/// What went wrong: a system call and why it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MacosError {
    call: Call,
    cause: Cause,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Errno(Errno),
    NotRegular,
    Foreign(&'static str),
}

impl MacosError {
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

    /// Whether the file system says that it does not know what it was asked for. Which number says so
    /// is left to each (`VNOP_IOCTL` and `VNOP_ALLOCATE` of bsd/vfs in XNU).
    pub(crate) fn is_refusal(&self) -> bool {
        [Errno::NOTSUP, Errno::OPNOTSUPP, Errno::NOTTY, Errno::NOSYS, Errno::INVAL]
            .into_iter()
            .any(|refusal| self.is(refusal))
    }
}

impl Error for MacosError {
    fn kind(&self) -> ErrorKind {
        let errno = match self.cause {
            Cause::Errno(errno) => errno,
            Cause::NotRegular => return ErrorKind::NotRegular,
            Cause::Foreign(_) => return ErrorKind::Unsupported,
        };
        match (self.call, errno) {
            (Call::Lock, Errno::WOULDBLOCK) => ErrorKind::Locked,
            // mmap(2): the file system has no mappings. openat(2): a device without a driver.
            (Call::Map, Errno::NODEV) => ErrorKind::Unsupported,
            (Call::Open, Errno::NODEV) => ErrorKind::NotRegular,
            // fsync(2), msync(2): whatever the reason, pages may have been given up by then, so that
            // another try says nothing. The other kinds would say that nothing has happened.
            (
                Call::Sync | Call::SyncData | Call::FullSync | Call::BarrierSync,
                Errno::NOSPC | Errno::DQUOT,
            ) => ErrorKind::NoSpace,
            (Call::Sync | Call::SyncData | Call::FullSync | Call::BarrierSync, _) => ErrorKind::Io,
            (_, Errno::NOENT) => ErrorKind::NotFound,
            (_, Errno::EXIST) => ErrorKind::AlreadyExists,
            (_, Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => ErrorKind::NoSpace,
            (_, Errno::ACCESS | Errno::PERM | Errno::ROFS) => ErrorKind::Denied,
            (_, Errno::LOOP | Errno::ISDIR | Errno::NOTDIR | Errno::NXIO) => ErrorKind::NotRegular,
            (_, Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOLCK) => ErrorKind::Exhausted,
            (_, Errno::IO) => ErrorKind::Io,
            _ if self.is_refusal() && errno != Errno::INVAL => ErrorKind::Unsupported,
            _ => ErrorKind::Other,
        }
    }
}

impl fmt::Display for MacosError {
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

impl core::error::Error for MacosError {}

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
        Errno::STALE => "Stale NFS file handle",
        Errno::DQUOT => "Disk quota exceeded",
        _ => return None,
    })
}
