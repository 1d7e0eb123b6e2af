//! The declarations of Darwin's C library and kernel that are used here.
//!
//! Each has its source beside it, and each constant and structure is held against the one that the
//! crate `libc` has for macOS, where there is one.

use core::ffi::{c_char, c_int, c_void};
use core::mem::offset_of;

/// sys/fcntl.h
pub(super) const F_PREALLOCATE: c_int = 42;
/// sys/fcntl.h: "fsync + ask the drive to flush to the media"
pub(super) const F_FULLFSYNC: c_int = 51;
/// sys/fcntl.h: "fsync + issue barrier to drive"
pub(super) const F_BARRIERFSYNC: c_int = 85;
/// sys/fcntl.h: "allocate all requested space or no space at all"
pub(super) const F_ALLOCATEALL: u32 = 4;
/// sys/fcntl.h: from the physical end of the file
pub(super) const F_PEOFPOSMODE: c_int = 3;
/// sys/mount.h
pub(super) const MNT_LOCAL: u32 = 0x1000;
/// mach/vm_inherit.h
pub(super) const VM_INHERIT_NONE: c_int = 2;
/// sys/proc_info.h
pub(super) const PROC_PIDTBSDINFO: c_int = 3;
/// time.h
pub(super) const CLOCK_UPTIME_RAW: c_int = 8;
/// sys/event.h
pub(super) const EVFILT_VNODE: i16 = -4;
/// sys/event.h
pub(super) const EV_ADD: u16 = 0x1;
/// sys/event.h
pub(super) const EV_CLEAR: u16 = 0x20;
/// sys/event.h: the file was unlinked
pub(super) const NOTE_DELETE: u32 = 0x1;
/// sys/event.h: for a directory, a name in it came or went
pub(super) const NOTE_WRITE: u32 = 0x2;
/// sys/event.h: a directory in it came or went
pub(super) const NOTE_LINK: u32 = 0x10;
/// sys/event.h
pub(super) const NOTE_RENAME: u32 = 0x20;
/// bsd/sys/ulock.h of XNU
pub(super) const UL_COMPARE_AND_WAIT_SHARED: u32 = 3;
/// bsd/sys/ulock.h of XNU
pub(super) const ULF_WAKE_ALL: u32 = 0x100;
/// bsd/sys/ulock.h of XNU: an error is returned as its negative number
pub(super) const ULF_NO_ERRNO: u32 = 0x0100_0000;
/// os/os_sync_wait_on_address.h; the flag of a wake-up has the same value
pub(super) const OS_SYNC_SHARED: u32 = 1;
/// os/clock.h
pub(super) const OS_CLOCK_MACH_ABSOLUTE_TIME: u32 = 32;
/// dlfcn.h
pub(super) const RTLD_DEFAULT: *mut c_void = -2isize as *mut c_void;

/// `fstore_t` of sys/fcntl.h.
#[repr(C)]
pub(super) struct Store {
    pub(super) flags: u32,
    pub(super) position_mode: c_int,
    pub(super) offset: i64,
    pub(super) length: i64,
    pub(super) bytes_allocated: i64,
}

/// `struct statfs` of sys/mount.h, with inodes of 64 bits.
#[repr(C)]
pub(crate) struct FileSystem {
    pub(super) sizes: [u32; 2],
    pub(super) counts: [u64; 5],
    pub(super) id: [i32; 2],
    pub(super) owner: u32,
    pub(super) kind: u32,
    pub(super) flags: u32,
    pub(super) subkind: u32,
    pub(super) kind_name: [u8; 16],
    pub(super) mounted_on: [u8; 1024],
    pub(super) mounted_from: [u8; 1024],
    pub(super) more_flags: u32,
    pub(super) reserved: [u32; 7],
}

/// `struct kevent` of sys/event.h.
#[repr(C)]
pub(super) struct Event {
    pub(super) ident: usize,
    pub(super) filter: i16,
    pub(super) flags: u16,
    pub(super) filter_flags: u32,
    pub(super) data: isize,
    pub(super) user_data: *mut c_void,
}

/// `struct proc_bsdinfo` of sys/proc_info.h.
#[repr(C)]
pub(super) struct ProcessInfo {
    pub(super) numbers: [u32; 12],
    pub(super) command: [u8; 16],
    pub(super) name: [u8; 32],
    pub(super) more_numbers: [u32; 6],
    pub(super) start_seconds: u64,
    pub(super) start_microseconds: u64,
}

const _: () = {
    assert!(size_of::<Store>() == 32 && offset_of!(Store, length) == 16);
    assert!(size_of::<FileSystem>() == 2168);
    assert!(offset_of!(FileSystem, flags) == 64 && offset_of!(FileSystem, kind_name) == 72);
    assert!(size_of::<ProcessInfo>() == 136 && offset_of!(ProcessInfo, start_seconds) == 120);
    assert!(cfg!(not(target_pointer_width = "64")) || size_of::<Event>() == 32);
};

#[cfg(target_os = "macos")]
const _: () = {
    assert!(size_of::<Store>() == size_of::<libc::fstore_t>());
    assert!(offset_of!(Store, length) == offset_of!(libc::fstore_t, fst_length));
    assert!(size_of::<FileSystem>() == size_of::<libc::statfs>());
    assert!(offset_of!(FileSystem, flags) == offset_of!(libc::statfs, f_flags));
    assert!(offset_of!(FileSystem, kind_name) == offset_of!(libc::statfs, f_fstypename));
    assert!(size_of::<Event>() == size_of::<libc::kevent>());
    assert!(offset_of!(Event, filter) == offset_of!(libc::kevent, filter));
    assert!(offset_of!(Event, filter_flags) == offset_of!(libc::kevent, fflags));
    assert!(size_of::<ProcessInfo>() == size_of::<libc::proc_bsdinfo>());
    let start = offset_of!(libc::proc_bsdinfo, pbi_start_tvsec);
    assert!(offset_of!(ProcessInfo, start_seconds) == start);
    assert!(F_PREALLOCATE == libc::F_PREALLOCATE && F_ALLOCATEALL == libc::F_ALLOCATEALL);
    assert!(F_FULLFSYNC == libc::F_FULLFSYNC && F_BARRIERFSYNC == libc::F_BARRIERFSYNC);
    assert!(F_PEOFPOSMODE == libc::F_PEOFPOSMODE);
    assert!(MNT_LOCAL == libc::MNT_LOCAL.cast_unsigned());
    assert!(VM_INHERIT_NONE == libc::VM_INHERIT_NONE);
    assert!(PROC_PIDTBSDINFO == libc::PROC_PIDTBSDINFO);
    assert!(CLOCK_UPTIME_RAW.cast_unsigned() == libc::CLOCK_UPTIME_RAW);
    assert!(EVFILT_VNODE == libc::EVFILT_VNODE);
    assert!(EV_ADD == libc::EV_ADD && EV_CLEAR == libc::EV_CLEAR);
    assert!(NOTE_DELETE == libc::NOTE_DELETE && NOTE_WRITE == libc::NOTE_WRITE);
    assert!(NOTE_LINK == libc::NOTE_LINK && NOTE_RENAME == libc::NOTE_RENAME);
    assert!(OS_SYNC_SHARED == libc::OS_SYNC_WAIT_ON_ADDRESS_SHARED);
    assert!(OS_SYNC_SHARED == libc::OS_SYNC_WAKE_BY_ADDRESS_SHARED);
    assert!(OS_CLOCK_MACH_ABSOLUTE_TIME == libc::OS_CLOCK_MACH_ABSOLUTE_TIME);
};

// Under the names of the shim where Linux has other calls of the same name.
unsafe extern "C" {
    /// unistd.h of the system: where the C library keeps this thread's error number (`errno`).
    pub(super) fn __error() -> *mut c_int;

    /// fcntl(2). Variadic, which on arm64 is another way to pass arguments (Apple, "Writing ARM64
    /// code for Apple platforms", "Update code that passes arguments to variadic functions").
    #[cfg(not(chronicle_darwin_shim))]
    pub(super) fn fcntl(file: c_int, command: c_int, ...) -> c_int;
    #[cfg(chronicle_darwin_shim)]
    #[link_name = "chronicle_shim_fcntl"]
    pub(super) fn fcntl(file: c_int, command: c_int, argument: *mut c_void) -> c_int;

    /// statfs(2)
    #[cfg_attr(all(target_os = "macos", target_arch = "x86_64"), link_name = "fstatfs$INODE64")]
    #[cfg_attr(chronicle_darwin_shim, link_name = "chronicle_shim_fstatfs")]
    pub(super) fn fstatfs(file: c_int, answer: *mut FileSystem) -> c_int;

    /// statfs(2)
    #[cfg_attr(all(target_os = "macos", target_arch = "x86_64"), link_name = "statfs$INODE64")]
    #[cfg_attr(chronicle_darwin_shim, link_name = "chronicle_shim_statfs")]
    pub(super) fn statfs(path: *const c_char, answer: *mut FileSystem) -> c_int;

    /// dlsym(3)
    #[cfg_attr(chronicle_darwin_shim, link_name = "chronicle_shim_dlsym")]
    pub(super) fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;

    /// minherit(2)
    pub(super) fn minherit(address: *mut c_void, length: usize, inheritance: c_int) -> c_int;

    /// clock_gettime_nsec_np(3), since macOS 10.12
    pub(super) safe fn clock_gettime_nsec_np(clock: c_int) -> u64;

    /// sysctl(3)
    pub(super) fn sysctlbyname(
        name: *const c_char,
        old: *mut c_void,
        old_length: *mut usize,
        new: *mut c_void,
        new_length: usize,
    ) -> c_int;

    /// libproc.h of the system
    pub(super) fn proc_pidinfo(
        process: c_int,
        flavor: c_int,
        argument: u64,
        buffer: *mut c_void,
        length: c_int,
    ) -> c_int;

    /// kqueue(2)
    pub(super) safe fn kqueue() -> c_int;

    /// kqueue(2)
    pub(super) fn kevent(
        queue: c_int,
        changes: *const Event,
        changes_length: c_int,
        events: *mut Event,
        events_length: c_int,
        timeout: *const libc::timespec,
    ) -> c_int;

    /// bsd/sys/ulock.h of XNU, since macOS 10.12; the time-out is in microseconds, 0 is for ever
    pub(super) fn __ulock_wait(
        operation: u32,
        address: *mut c_void,
        value: u64,
        timeout_us: u32,
    ) -> c_int;

    /// bsd/sys/ulock.h of XNU, since macOS 10.12
    pub(super) fn __ulock_wake(operation: u32, address: *mut c_void, value: u64) -> c_int;
}

/// `__ulock_wait2` of bsd/sys/ulock.h of XNU, since macOS 11; the time-out is in nanoseconds, 0 is for
/// ever.
pub(super) type UlockWait2 = unsafe extern "C" fn(u32, *mut c_void, u64, u64, u64) -> c_int;

/// `os_sync_wait_on_address_with_timeout(3)`: address, value, size, flags, clock, nanoseconds.
pub(super) type OsWait = unsafe extern "C" fn(*mut c_void, u64, usize, u32, u32, u64) -> c_int;

/// `os_sync_wake_by_address_any(3)` and `os_sync_wake_by_address_all(3)`: address, size, flags.
pub(super) type OsWake = unsafe extern "C" fn(*mut c_void, usize, u32) -> c_int;
