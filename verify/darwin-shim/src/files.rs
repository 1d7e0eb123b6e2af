//! Files: the commands of `fcntl(2)`, `statfs(2)` and `minherit(2)`.

use std::ffi::{c_char, c_int, c_void};

use crate::{fail, listed};

const REFUSES: &str = "CHRONICLE_SHIM_REFUSES";

/// `fstore_t` of sys/fcntl.h.
#[repr(C)]
struct Store {
    flags: u32,
    position_mode: c_int,
    offset: i64,
    length: i64,
    bytes_allocated: i64,
}

/// # Safety
/// With `F_PREALLOCATE` the argument points to an `fstore_t`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chronicle_shim_fcntl(
    file: c_int,
    command: c_int,
    argument: *mut c_void,
) -> c_int {
    let name = match command {
        42 => "F_PREALLOCATE",
        51 => "F_FULLFSYNC",
        85 => "F_BARRIERFSYNC",
        _ => return fail(libc::EINVAL),
    };
    if listed(REFUSES, name) {
        return fail(libc::ENOTTY);
    }
    if command != 42 {
        // SAFETY: takes a number.
        return unsafe { libc::fsync(file) };
    }
    // SAFETY: the caller's promise.
    let store = unsafe { &mut *argument.cast::<Store>() };
    // F_PEOFPOSMODE, which takes no offset, and F_ALLOCATEALL.
    if (store.position_mode, store.offset, store.flags) != (3, 0, 4) || store.length < 0 {
        return fail(libc::EINVAL);
    }
    // SAFETY: a structure of integers, for all of which zero is a value.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: writes one such structure.
    if unsafe { libc::fstat(file, &raw mut stat) } != 0 {
        return -1;
    }
    // Behind the last byte that has space: holes before it stay.
    let end = stat.st_size.max(stat.st_blocks * 512);
    // SAFETY: takes numbers.
    match unsafe { libc::fallocate(file, libc::FALLOC_FL_KEEP_SIZE, end, store.length) } {
        0 => {
            store.bytes_allocated = store.length;
            0
        }
        failed => failed,
    }
}

/// `struct statfs` of sys/mount.h.
#[repr(C)]
pub struct FileSystem {
    before: [u8; 64],
    flags: u32,
    subkind: u32,
    kind_name: [u8; 16],
    behind: [u8; 2080],
}

const _: () = assert!(size_of::<FileSystem>() == 2168);

/// # Safety
/// The answer points to a `struct statfs`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chronicle_shim_fstatfs(file: c_int, answer: *mut FileSystem) -> c_int {
    // SAFETY: a structure of integers, for all of which zero is a value.
    let mut stat: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: writes one such structure.
    if unsafe { libc::fstatfs(file, &raw mut stat) } != 0 {
        return -1;
    }
    // SAFETY: the caller's promise.
    unsafe { translate(&stat, answer) }
}

/// # Safety
/// The path ends with a zero, and the answer points to a `struct statfs`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chronicle_shim_statfs(
    path: *const c_char,
    answer: *mut FileSystem,
) -> c_int {
    // SAFETY: a structure of integers, for all of which zero is a value.
    let mut stat: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the caller's promise; writes one such structure.
    if unsafe { libc::statfs(path, &raw mut stat) } != 0 {
        return -1;
    }
    // SAFETY: the caller's promise.
    unsafe { translate(&stat, answer) }
}

unsafe fn translate(stat: &libc::statfs, answer: *mut FileSystem) -> c_int {
    const MNT_LOCAL: u32 = 0x1000;
    let (name, local): (&[u8], _) = match stat.f_type {
        libc::NFS_SUPER_MAGIC => (b"nfs", 0),
        libc::FUSE_SUPER_MAGIC => (b"macfuse", MNT_LOCAL),
        libc::TMPFS_MAGIC => (b"tmpfs", MNT_LOCAL),
        _ => (b"apfs", MNT_LOCAL),
    };
    let mut kind_name = [0; 16];
    for (to, from) in kind_name.iter_mut().zip(name) {
        *to = *from;
    }
    // SAFETY: the caller's promise.
    unsafe {
        *answer =
            FileSystem { before: [0; 64], flags: local, subkind: 0, kind_name, behind: [0; 2080] };
    }
    0
}

/// # Safety
/// The pages are a mapping of the caller's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minherit(
    address: *mut c_void,
    length: usize,
    inheritance: c_int,
) -> c_int {
    // VM_INHERIT_NONE
    if inheritance != 2 {
        return fail(libc::EINVAL);
    }
    // SAFETY: the caller's promise; nothing changes in this process.
    unsafe { libc::madvise(address, length, libc::MADV_DONTFORK) }
}
