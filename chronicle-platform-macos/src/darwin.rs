//! What Darwin has and no library declares in a form that can be used here, behind safe functions.
//!
//! Unsafe lives here to call the C library, whose functions `abi.rs` declares. What both systems have,
//! or `rustix` does right on this one, is not here.

#![allow(
    clippy::disallowed_types,
    reason = "the seam hands shared words over under chronicle-sync's name of the atomic"
)]

mod abi;

use core::ffi::{CStr, c_char, c_int, c_void};
use core::mem::transmute;
use core::ptr::{NonNull, null, null_mut};

use chronicle_sync::AtomicU32;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use rustix::io::{self, Errno};

use abi::{
    __error, __ulock_wait, __ulock_wake, CLOCK_UPTIME_RAW, EV_ADD, EV_CLEAR, EVFILT_VNODE, Event,
    F_ALLOCATEALL, F_BARRIERFSYNC, F_FULLFSYNC, F_PEOFPOSMODE, F_PREALLOCATE, MNT_LOCAL,
    NOTE_DELETE, NOTE_LINK, NOTE_RENAME, NOTE_WRITE, OS_CLOCK_MACH_ABSOLUTE_TIME, OS_SYNC_SHARED,
    OsWait, OsWake, PROC_PIDTBSDINFO, ProcessInfo, RTLD_DEFAULT, Store, UL_COMPARE_AND_WAIT_SHARED,
    ULF_NO_ERRNO, ULF_WAKE_ALL, UlockWait2, VM_INHERIT_NONE, clock_gettime_nsec_np, dlsym, fcntl,
    fstatfs, kevent, kqueue, minherit, proc_pidinfo, statfs, sysctlbyname,
};

pub(crate) use abi::FileSystem;

/// How this system sleeps on a shared word.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sleep {
    /// macOS 14.4 and newer
    OsSync { wait: OsWait, wake_one: OsWake, wake_all: OsWake },
    /// macOS 11 and newer
    Ulock2(UlockWait2),
    /// Older ones
    Ulock,
}

impl Sleep {
    /// The newest means that the system's libraries have. Looked up when the program runs: one that
    /// was linked with them would not start on a system that is older.
    pub(crate) fn find() -> Self {
        let wait = symbol(c"os_sync_wait_on_address_with_timeout");
        let wake_one = symbol(c"os_sync_wake_by_address_any");
        let wake_all = symbol(c"os_sync_wake_by_address_all");
        if let (Some(wait), Some(wake_one), Some(wake_all)) = (wait, wake_one, wake_all) {
            return Self::OsSync {
                // SAFETY: the function that has this name has this type (the header above).
                wait: unsafe { transmute::<NonNull<c_void>, OsWait>(wait) },
                // SAFETY: as above.
                wake_one: unsafe { transmute::<NonNull<c_void>, OsWake>(wake_one) },
                // SAFETY: as above.
                wake_all: unsafe { transmute::<NonNull<c_void>, OsWake>(wake_all) },
            };
        }
        match symbol(c"__ulock_wait2") {
            // SAFETY: the function that has this name has this type (the header above).
            Some(wait) => Self::Ulock2(unsafe { transmute::<NonNull<c_void>, UlockWait2>(wait) }),
            None => Self::Ulock,
        }
    }

    /// Sleeps while the word holds `expected`, at most `nanos`, which are not 0.
    ///
    /// # Errors
    /// `TIMEDOUT`, `INTR`, `FAULT` if the word's page is not in memory, and others.
    pub(crate) fn wait(self, word: &AtomicU32, expected: u32, nanos: u64) -> io::Result<()> {
        let (address, value) = (word.as_ptr().cast::<c_void>(), u64::from(expected));
        let done = match self {
            Self::OsSync { wait, .. } => {
                let clock = OS_CLOCK_MACH_ABSOLUTE_TIME;
                // SAFETY: the address is that of a word of this size and alignment, which stays while
                // it is borrowed; the call reads it as one atomic word and stores nothing.
                unsafe { wait(address, value, size_of::<u32>(), OS_SYNC_SHARED, clock, nanos) }
            }
            Self::Ulock2(wait) => {
                // SAFETY: as above.
                unsafe { wait(UL_COMPARE_AND_WAIT_SHARED, address, value, nanos, 0) }
            }
            Self::Ulock => {
                // Rounded up, so that the end is not missed by a fraction again and again.
                let micros = u32::try_from(nanos.div_ceil(1000)).unwrap_or(u32::MAX);
                // SAFETY: as above.
                unsafe { __ulock_wait(UL_COMPARE_AND_WAIT_SHARED, address, value, micros) }
            }
        };
        succeeded(done)
    }

    /// Wakes a sleeper.
    ///
    /// # Errors
    /// `NOENT` if nobody sleeps, and others.
    pub(crate) fn wake_one(self, word: &AtomicU32) -> io::Result<()> {
        let address = word.as_ptr().cast::<c_void>();
        let Self::OsSync { wake_one, .. } = self else { return ulock_wake(address, 0) };
        // SAFETY: the address only names a word; the call does not access it.
        succeeded(unsafe { wake_one(address, size_of::<u32>(), OS_SYNC_SHARED) })
    }

    /// Wakes all sleepers.
    ///
    /// # Errors
    /// As [`wake_one`](Self::wake_one).
    pub(crate) fn wake_all(self, word: &AtomicU32) -> io::Result<()> {
        let address = word.as_ptr().cast::<c_void>();
        let Self::OsSync { wake_all, .. } = self else { return ulock_wake(address, ULF_WAKE_ALL) };
        // SAFETY: the address only names a word; the call does not access it.
        succeeded(unsafe { wake_all(address, size_of::<u32>(), OS_SYNC_SHARED) })
    }
}

fn ulock_wake(address: *mut c_void, flags: u32) -> io::Result<()> {
    let operation = UL_COMPARE_AND_WAIT_SHARED | ULF_NO_ERRNO | flags;
    // SAFETY: the address only names a word; the call does not access it.
    match unsafe { __ulock_wake(operation, address, 0) } {
        done if done < 0 => Err(Errno::from_raw_os_error(-done)),
        _ => Ok(()),
    }
}

/// A function of the libraries that the program has loaded.
fn symbol(name: &CStr) -> Option<NonNull<c_void>> {
    // SAFETY: the name ends with a zero, and the call keeps nothing of it.
    NonNull::new(unsafe { dlsym(RTLD_DEFAULT, name.as_ptr()) })
}

/// Asks the drive for what a file needs to have it on the medium, the drive's own cache included.
pub(crate) fn full_sync(file: BorrowedFd<'_>) -> io::Result<()> {
    control(file, F_FULLFSYNC, null_mut())
}

/// Brings a file to the drive in such a way that nothing that is brought there later overtakes it.
pub(crate) fn barrier_sync(file: BorrowedFd<'_>) -> io::Result<()> {
    control(file, F_BARRIERFSYNC, null_mut())
}

/// Provides so many bytes behind the last one that the file has space for, or none.
pub(crate) fn preallocate(file: BorrowedFd<'_>, length: u64) -> io::Result<()> {
    let mut store = Store {
        flags: F_ALLOCATEALL,
        position_mode: F_PEOFPOSMODE,
        offset: 0,
        length: i64::try_from(length).map_err(|_| Errno::FBIG)?,
        bytes_allocated: 0,
    };
    control(file, F_PREALLOCATE, (&raw mut store).cast())
}

/// Calls fcntl(2) with a command of this file: two take nothing, and `F_PREALLOCATE` takes a `Store`.
fn control(file: BorrowedFd<'_>, command: c_int, argument: *mut c_void) -> io::Result<()> {
    // SAFETY: the descriptor is open while it is borrowed, and the argument is what the command reads
    // and writes: a `Store` of the caller's, or nothing.
    succeeded(unsafe { fcntl(file.as_raw_fd(), command, argument) })
}

/// Keeps pages from being there in a forked child. `false` if the system refuses.
///
/// # Safety
/// The pages are a mapping of the caller's.
pub(crate) unsafe fn do_not_inherit(address: *mut c_void, length: usize) -> bool {
    // SAFETY: changes nothing about the pages in this process, and they are the caller's.
    unsafe { minherit(address, length, VM_INHERIT_NONE) == 0 }
}

impl FileSystem {
    const EMPTY: Self = Self {
        sizes: [0; 2],
        counts: [0; 5],
        id: [0; 2],
        owner: 0,
        kind: 0,
        flags: 0,
        subkind: 0,
        kind_name: [0; 16],
        mounted_on: [0; 1024],
        mounted_from: [0; 1024],
        more_flags: 0,
        reserved: [0; 7],
    };

    /// Name of the kind of file system, such as `apfs`.
    pub(crate) fn name(&self) -> &[u8] {
        self.kind_name.split(|byte| *byte == 0).next().unwrap_or_default()
    }

    /// Whether its medium is this machine's.
    pub(crate) fn is_local(&self) -> bool {
        self.flags & MNT_LOCAL != 0
    }
}

/// The file system of an open file.
pub(crate) fn file_system_of(file: BorrowedFd<'_>) -> io::Result<FileSystem> {
    let mut answer = FileSystem::EMPTY;
    // SAFETY: the descriptor is open while it is borrowed, and the call writes one such structure.
    succeeded(unsafe { fstatfs(file.as_raw_fd(), &raw mut answer) })?;
    Ok(answer)
}

/// The file system at a path.
pub(crate) fn file_system_at(path: &CStr) -> io::Result<FileSystem> {
    let mut answer = FileSystem::EMPTY;
    // SAFETY: the path ends with a zero, and the call writes one such structure.
    succeeded(unsafe { statfs(path.as_ptr(), &raw mut answer) })?;
    Ok(answer)
}

/// Nanoseconds that the machine was awake since it started; the same for all processes.
#[inline]
pub(crate) fn uptime() -> u64 {
    clock_gettime_nsec_np(CLOCK_UPTIME_RAW)
}

/// The text by which this start of the kernel is known.
pub(crate) fn boot_session(buffer: &mut [u8; 64]) -> Option<&[u8]> {
    let mut length = buffer.len();
    // SAFETY: the name ends with a zero, and the call writes at most `length` bytes to the buffer.
    let done = unsafe {
        sysctlbyname(
            c"kern.bootsessionuuid".as_ptr(),
            buffer.as_mut_ptr().cast(),
            &raw mut length,
            null_mut(),
            0,
        )
    };
    let text = buffer.get(..length)?.split(|byte| *byte == 0).next()?;
    (done == 0 && !text.is_empty()).then_some(text)
}

/// When a process started, in microseconds since 1970.
///
/// # Errors
/// `SRCH` if there is no such process or it has ended, `PERM` if it is another user's.
pub(crate) fn start_time(process: u32) -> io::Result<u64> {
    let mut info = ProcessInfo {
        numbers: [0; 12],
        command: [0; 16],
        name: [0; 32],
        more_numbers: [0; 6],
        start_seconds: 0,
        start_microseconds: 0,
    };
    let process = c_int::try_from(process).map_err(|_| Errno::SRCH)?;
    let buffer = (&raw mut info).cast();
    let length = size_of::<ProcessInfo>() as c_int;
    // SAFETY: the call writes at most `length` bytes to the structure, which has that many.
    let written = unsafe { proc_pidinfo(process, PROC_PIDTBSDINFO, 0, buffer, length) };
    // It returns 0 and not -1 if it fails (libproc.c of the system's C library).
    if written < length {
        return Err(if written <= 0 { last_errno() } else { Errno::IO });
    }
    Ok(info.start_seconds.saturating_mul(1_000_000).saturating_add(info.start_microseconds))
}

/// Fills a buffer with random bytes (getentropy(2), since macOS 10.12).
pub(crate) fn random(bytes: &mut [u8; 8]) -> io::Result<()> {
    // SAFETY: the call writes so many bytes, which the buffer has.
    succeeded(unsafe { libc::getentropy(bytes.as_mut_ptr().cast(), bytes.len()) })
}

/// A queue of the kernel's in which changes of one directory's names are noted.
pub(crate) fn watch(directory: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let queue = kqueue();
    succeeded(queue)?;
    // SAFETY: the descriptor was just made, and nobody else has it.
    let queue = unsafe { OwnedFd::from_raw_fd(queue) };
    // Not inherited by a forked child anyway (kqueue(2)), but by a program that this one becomes.
    io::fcntl_setfd(&queue, io::FdFlags::CLOEXEC)?;
    note_changes(queue.as_fd(), directory)?;
    Ok(queue)
}

fn note_changes(queue: BorrowedFd<'_>, directory: BorrowedFd<'_>) -> io::Result<()> {
    let change = Event {
        // A descriptor that is open is not negative.
        ident: usize::try_from(directory.as_raw_fd()).map_err(|_| Errno::BADF)?,
        filter: EVFILT_VNODE,
        flags: EV_ADD | EV_CLEAR,
        filter_flags: NOTE_WRITE | NOTE_LINK | NOTE_DELETE | NOTE_RENAME,
        data: 0,
        user_data: null_mut(),
    };
    // SAFETY: one change is read, and no event is asked for.
    succeeded(unsafe { kevent(queue.as_raw_fd(), &raw const change, 1, null_mut(), 0, null()) })
}

/// Waits until a change is noted, at most `nanos`: whether there was one. It is noted no more then.
pub(crate) fn changed(queue: BorrowedFd<'_>, nanos: u64) -> io::Result<bool> {
    let mut event =
        Event { ident: 0, filter: 0, flags: 0, filter_flags: 0, data: 0, user_data: null_mut() };
    let timeout = libc::timespec {
        tv_sec: (nanos / 1_000_000_000).cast_signed(),
        tv_nsec: (nanos % 1_000_000_000).cast_signed(),
    };
    // SAFETY: no change is read, and at most one event is written, for which there is room.
    let count =
        unsafe { kevent(queue.as_raw_fd(), null(), 0, &raw mut event, 1, &raw const timeout) };
    succeeded(count)?;
    Ok(count > 0)
}

/// The names in a directory (readdir(3)). There is no call for this without the C library's own
/// memory.
pub(crate) struct Names {
    stream: NonNull<libc::DIR>,
}

impl Names {
    pub(crate) fn new(directory: OwnedFd) -> io::Result<Self> {
        // SAFETY: takes the descriptor over, unless it fails.
        let stream = unsafe { libc::fdopendir(directory.as_raw_fd()) };
        let Some(stream) = NonNull::new(stream) else { return Err(last_errno()) };
        let _ = directory.into_raw_fd();
        Ok(Self { stream })
    }

    /// The next name, in no order; `None` at the end.
    pub(crate) fn next(&mut self) -> Option<io::Result<&CStr>> {
        // It does not tell the end from an error by what it returns.
        set_errno(0);
        // SAFETY: the stream is open, and this is the only reference to it.
        let entry = unsafe { libc::readdir(self.stream.as_ptr()) };
        if entry.is_null() {
            return (errno() != 0).then(|| Err(last_errno()));
        }
        // SAFETY: the entry is the stream's until the next call. The name's address is taken without a
        // reference to the field, which may reach behind what was allocated.
        let name = unsafe { &raw const (*entry).d_name };
        // SAFETY: the name ends with a zero, and stays while `self` is borrowed.
        Some(Ok(unsafe { CStr::from_ptr(name.cast::<c_char>()) }))
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        // SAFETY: the stream is open, and nobody uses it behind this.
        let _ = unsafe { libc::closedir(self.stream.as_ptr()) };
    }
}

/// What a call says that returns -1 if it failed.
fn succeeded(done: c_int) -> io::Result<()> {
    if done < 0 { Err(last_errno()) } else { Ok(()) }
}

fn last_errno() -> Errno {
    Errno::from_raw_os_error(errno())
}

fn errno() -> c_int {
    // SAFETY: takes nothing and returns the address of this thread's variable.
    let errno = unsafe { __error() };
    // SAFETY: the variable lives as long as the thread and only this thread uses it.
    unsafe { *errno }
}

fn set_errno(number: c_int) {
    // SAFETY: takes nothing and returns the address of this thread's variable.
    let errno = unsafe { __error() };
    // SAFETY: the variable lives as long as the thread and only this thread uses it.
    unsafe { *errno = number };
}
