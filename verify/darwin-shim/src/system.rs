//! Clock, boot, processes and error numbers.

use std::ffi::{CStr, c_char, c_int, c_void};

use crate::fail;

#[unsafe(no_mangle)]
pub extern "C" fn __error() -> *mut c_int {
    // SAFETY: takes nothing.
    unsafe { libc::__errno_location() }
}

#[unsafe(no_mangle)]
pub extern "C" fn clock_gettime_nsec_np(clock: c_int) -> u64 {
    // CLOCK_UPTIME_RAW
    if clock != 8 {
        fail(libc::EINVAL);
        return 0;
    }
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one such structure.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}

/// # Safety
/// The name ends with a zero, and `old` has room for `*old_length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sysctlbyname(
    name: *const c_char,
    old: *mut c_void,
    old_length: *mut usize,
    new: *mut c_void,
    _new_length: usize,
) -> c_int {
    // SAFETY: the caller's promise.
    let name = unsafe { CStr::from_ptr(name) };
    if name != c"kern.bootsessionuuid" || !new.is_null() {
        return fail(libc::ENOENT);
    }
    let Ok(text) = std::fs::read_to_string("/proc/sys/kernel/random/boot_id") else {
        return fail(libc::EPERM);
    };
    // With the zero at its end, as the kernel gives it.
    let text = format!("{}\0", text.trim().to_uppercase());
    // SAFETY: the caller's promise.
    let room = unsafe { *old_length };
    if room < text.len() {
        return fail(libc::ENOMEM);
    }
    // SAFETY: there is room for so many bytes.
    unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), old.cast(), text.len()) };
    // SAFETY: the caller's promise.
    unsafe { *old_length = text.len() };
    0
}

/// `struct proc_bsdinfo` of sys/proc_info.h.
#[repr(C)]
struct ProcessInfo {
    before: [u8; 120],
    start_seconds: u64,
    start_microseconds: u64,
}

/// # Safety
/// The buffer has `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn proc_pidinfo(
    process: c_int,
    flavor: c_int,
    _argument: u64,
    buffer: *mut c_void,
    length: c_int,
) -> c_int {
    const SIZE: c_int = size_of::<ProcessInfo>() as c_int;
    // PROC_PIDTBSDINFO
    if flavor != 3 || length < SIZE {
        fail(libc::EINVAL);
        return 0;
    }
    // 0 if it fails, as libproc has it. A process that has ended and was not waited for is none.
    let none = || {
        fail(libc::ESRCH);
        0
    };
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{process}/stat")) else {
        return none();
    };
    if stat.rsplit(')').next().is_some_and(|fields| fields.starts_with(" Z")) {
        return none();
    }
    // Field 22 of proc_pid_stat(5), behind the program's name in brackets, which is field 2.
    let ticks = stat
        .rsplit(')')
        .next()
        .and_then(|fields| fields.split_ascii_whitespace().nth(22 - 3)?.parse::<u64>().ok())
        .unwrap_or(0);
    // Since the boot and not since 1970: enough to tell processes apart.
    let info = ProcessInfo {
        before: [0; 120],
        start_seconds: ticks / 100,
        start_microseconds: ticks % 100 * 10_000,
    };
    // SAFETY: the buffer has room for it.
    unsafe { buffer.cast::<ProcessInfo>().write_unaligned(info) };
    SIZE
}
