//! The system calls that the product makes, and how each may fail (section 2 of the manual, ERRORS).

use libc::user_regs_struct as Registers;

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// It does nothing and returns this error.
    Error(i32),
    /// It transfers one byte and says so, where more was asked for.
    Short,
}

/// A kind of call.
#[derive(Debug)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) number: i64,
    /// Whether a call with these arguments is one. Others of the same number are left alone.
    is_one: fn(&Registers) -> bool,
    pub(crate) ways: &'static [What],
}

impl Kind {
    pub(crate) fn matches(&self, registers: &Registers) -> bool {
        registers.orig_rax == self.number.cast_unsigned() && (self.is_one)(registers)
    }
}

const fn any(_: &Registers) -> bool {
    true
}

fn may_make(registers: &Registers) -> bool {
    registers.rdx as i32 & libc::O_CREAT != 0
}

fn only_opens(registers: &Registers) -> bool {
    !may_make(registers)
}

/// Not the heap's and not a thread's stack: without these the standard library aborts, as it says.
fn of_a_file(registers: &Registers) -> bool {
    registers.r8 as i32 >= 0
}

fn not_of_standard_error(registers: &Registers) -> bool {
    registers.rdi != 2
}

const fn command(registers: &Registers) -> i32 {
    registers.rsi as i32
}

fn sets_lock(registers: &Registers) -> bool {
    command(registers) == libc::F_OFD_SETLK
}

fn asks_for_lock(registers: &Registers) -> bool {
    command(registers) == libc::F_OFD_GETLK
}

fn duplicates(registers: &Registers) -> bool {
    command(registers) == libc::F_DUPFD_CLOEXEC
}

/// The queue's own sleepers: shared, and with the monotonic clock. Threads of this process wait for
/// each other in other ways, and the C library aborts where these fail.
fn sleeps(registers: &Registers) -> bool {
    command(registers) == libc::FUTEX_WAIT_BITSET
}

fn wakes(registers: &Registers) -> bool {
    command(registers) == libc::FUTEX_WAKE
}

use What::{Error, Short};

macro_rules! kinds {
    ($($name:literal $number:ident $is_one:ident: $($way:ident)*;)*) => {
        &[$(Kind {
            name: $name,
            number: libc::$number,
            is_one: $is_one,
            ways: &[$(way!($way)),*],
        }),*]
    };
}

macro_rules! way {
    (SHORT) => {
        Short
    };
    ($errno:ident) => {
        Error(libc::$errno)
    };
}

/// All of them.
pub(crate) const KINDS: &[Kind] = kinds! {
    "open" SYS_open any: EMFILE ENFILE EACCES ENOMEM EIO EINTR;
    "openat" SYS_openat only_opens: EMFILE ENFILE EACCES ENOMEM EIO EINTR;
    "openat O_CREAT" SYS_openat may_make: EMFILE ENFILE EACCES ENOMEM EIO EINTR ENOSPC EDQUOT EROFS;
    "fstat" SYS_fstat any: EIO ENOMEM EOVERFLOW;
    "newfstatat" SYS_newfstatat any: EIO ENOMEM EACCES;
    "statx" SYS_statx any: EIO ENOMEM EACCES;
    "fstatfs" SYS_fstatfs any: EIO EINTR ENOMEM ENOSYS;
    "getcwd" SYS_getcwd any: ENOMEM EACCES;
    "mkdir" SYS_mkdir any: ENOSPC EDQUOT EROFS EACCES EIO ENOMEM;
    "mkdirat" SYS_mkdirat any: ENOSPC EDQUOT EROFS EACCES EIO ENOMEM;
    "chmod" SYS_chmod any: EIO EROFS EPERM;
    "fchmod" SYS_fchmod any: EIO EROFS EPERM;
    "ftruncate" SYS_ftruncate any: EIO ENOSPC EDQUOT EFBIG EINTR EROFS;
    "fallocate" SYS_fallocate any: ENOSPC EDQUOT EIO EINTR EFBIG EOPNOTSUPP ENOSYS;
    "mmap" SYS_mmap of_a_file: ENOMEM EAGAIN ENFILE EACCES ENODEV;
    "munmap" SYS_munmap any: ENOMEM;
    "madvise" SYS_madvise any: EAGAIN ENOMEM EINVAL EIO EFAULT;
    "msync" SYS_msync any: EIO ENOSPC EDQUOT ENOMEM EBUSY EINTR;
    "sync_file_range" SYS_sync_file_range any: EIO ENOSPC ENOMEM ESPIPE;
    "fsync" SYS_fsync any: EIO ENOSPC EDQUOT EROFS EINTR EINVAL;
    "fdatasync" SYS_fdatasync any: EIO ENOSPC EDQUOT EROFS EINTR EINVAL;
    "renameat2" SYS_renameat2 any: ENOSPC EDQUOT EIO EROFS EACCES ENOMEM EINVAL ENOSYS;
    "rename" SYS_rename any: ENOSPC EDQUOT EIO EROFS EACCES ENOMEM;
    "linkat" SYS_linkat any: ENOSPC EDQUOT EIO EROFS EPERM EMLINK EXDEV;
    "unlink" SYS_unlink any: EIO EROFS EACCES EBUSY ENOMEM;
    "unlinkat" SYS_unlinkat any: EIO EROFS EACCES EBUSY ENOMEM;
    "getdents64" SYS_getdents64 any: EIO ENOMEM EINTR;
    "fcntl F_OFD_SETLK" SYS_fcntl sets_lock: ENOLCK EAGAIN EACCES EIO EINTR EINVAL;
    "fcntl F_OFD_GETLK" SYS_fcntl asks_for_lock: ENOLCK EIO EINTR EINVAL;
    "fcntl F_DUPFD_CLOEXEC" SYS_fcntl duplicates: EMFILE ENOMEM;
    "read" SYS_read any: EIO ENOMEM EINTR SHORT;
    "pread64" SYS_pread64 any: EIO ENOMEM EINTR SHORT;
    "write" SYS_write not_of_standard_error: EIO ENOSPC EINTR EPIPE SHORT;
    "pwrite64" SYS_pwrite64 any: EIO ENOSPC EDQUOT EFBIG EINTR SHORT;
    "copy_file_range" SYS_copy_file_range any: EIO ENOSPC EDQUOT EXDEV EOPNOTSUPP EINTR;
    "futex wait" SYS_futex sleeps: EINTR EAGAIN ETIMEDOUT ENOMEM EFAULT;
    "futex wake" SYS_futex wakes: EFAULT ENOSYS ENOMEM;
    "futex_waitv" SYS_futex_waitv any: EINTR EAGAIN ETIMEDOUT ENOMEM ENOSYS EPERM;
    "membarrier" SYS_membarrier any: ENOSYS EPERM EINVAL ENOMEM;
    "eventfd2" SYS_eventfd2 any: EMFILE ENFILE ENOMEM ENODEV;
    "inotify_init1" SYS_inotify_init1 any: EMFILE ENFILE ENOMEM;
    "inotify_add_watch" SYS_inotify_add_watch any: ENOSPC ENOMEM EACCES EIO;
    "ppoll" SYS_ppoll any: EINTR ENOMEM;
    "clone3" SYS_clone3 any: EAGAIN ENOMEM EPERM ENOSYS;
    "getrandom" SYS_getrandom any: EINTR ENOSYS EPERM;
    "prlimit64" SYS_prlimit64 any: EPERM ENOSYS;
    "ioctl" SYS_ioctl any: EIO ENOTTY ENOMEM;
};

/// The name of an error.
pub(crate) fn name(way: What) -> String {
    match way {
        Short => "short".to_owned(),
        Error(number) => format!("{:?}", nix::errno::Errno::from_raw(number)),
    }
}
