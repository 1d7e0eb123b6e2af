//! Sleeping on a shared word: bsd/kern/sys_ulock.c of XNU over `futex(2)`.

#![allow(clippy::disallowed_types, reason = "a count of the shim's own")]

use std::ffi::{c_char, c_int, c_void};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::{fail, listed};

const UL_COMPARE_AND_WAIT_SHARED: u32 = 3;
const ULF_WAKE_ALL: u32 = 0x100;
const ULF_NO_ERRNO: u32 = 0x0100_0000;
const SHARED: u32 = 1;
const MACH_ABSOLUTE_TIME: u32 = 32;

/// One wait in so many finds its page gone, as in kernels that are built for tests
/// (`ull_simulate_copyin_fault`).
const FAULT_ONCE_IN: u32 = 73;

static WAITS: AtomicU32 = AtomicU32::new(0);

/// The number of an error as the flag in the operation asks for it.
fn failed(operation: u32, errno: c_int) -> c_int {
    if operation & ULF_NO_ERRNO != 0 { -errno } else { fail(errno) }
}

fn last_errno() -> c_int {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

fn futex(word: *mut c_void, operation: c_int, value: u32, timeout: *const libc::timespec) -> i64 {
    // SAFETY: the kernel checks the address of the word, which the caller names; the time-out is a
    // structure of the caller's, or null.
    unsafe { libc::syscall(libc::SYS_futex, word, operation, value, timeout) }
}

/// # Safety
/// As the call of the kernel, which checks the address itself.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __ulock_wait(
    operation: u32,
    word: *mut c_void,
    value: u64,
    timeout_us: u32,
) -> c_int {
    wait(operation, word, value, u64::from(timeout_us) * 1000)
}

unsafe extern "C" fn ulock_wait2(
    operation: u32,
    word: *mut c_void,
    value: u64,
    timeout_ns: u64,
    value2: u64,
) -> c_int {
    if value2 != 0 {
        return failed(operation, libc::EINVAL);
    }
    wait(operation, word, value, timeout_ns)
}

fn wait(operation: u32, word: *mut c_void, value: u64, timeout_ns: u64) -> c_int {
    if operation & !ULF_NO_ERRNO != UL_COMPARE_AND_WAIT_SHARED || !word.addr().is_multiple_of(4) {
        return failed(operation, libc::EINVAL);
    }
    // ORDER: only a count.
    if WAITS.fetch_add(1, Ordering::Relaxed) % FAULT_ONCE_IN == FAULT_ONCE_IN - 1 {
        return failed(operation, libc::EFAULT);
    }
    // The whole of it is compared (`value != args->value`).
    let Ok(value) = u32::try_from(value) else { return 0 };
    let timeout = libc::timespec {
        tv_sec: (timeout_ns / 1_000_000_000).cast_signed(),
        tv_nsec: (timeout_ns % 1_000_000_000).cast_signed(),
    };
    let timeout = if timeout_ns == 0 { std::ptr::null() } else { &raw const timeout };
    match futex(word, libc::FUTEX_WAIT, value, timeout) {
        0 => 0,
        _ if last_errno() == libc::EAGAIN => 0,
        _ => failed(operation, last_errno()),
    }
}

/// # Safety
/// As the call of the kernel, which checks the address itself.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __ulock_wake(operation: u32, word: *mut c_void, _value: u64) -> c_int {
    if operation & !(ULF_NO_ERRNO | ULF_WAKE_ALL) != UL_COMPARE_AND_WAIT_SHARED {
        return failed(operation, libc::EINVAL);
    }
    let at_most = if operation & ULF_WAKE_ALL != 0 { i32::MAX.cast_unsigned() } else { 1 };
    match futex(word, libc::FUTEX_WAKE, at_most, std::ptr::null()) {
        0 => failed(operation, libc::ENOENT),
        // How many there were, XNU does not say.
        1.. => 0,
        _ => failed(operation, last_errno()),
    }
}

unsafe extern "C" fn os_sync_wait_on_address_with_timeout(
    word: *mut c_void,
    value: u64,
    size: usize,
    flags: u32,
    clock: u32,
    timeout_ns: u64,
) -> c_int {
    if size != 4 || flags != SHARED || clock != MACH_ABSOLUTE_TIME || timeout_ns == 0 {
        return fail(libc::EINVAL);
    }
    wait(UL_COMPARE_AND_WAIT_SHARED, word, value, timeout_ns)
}

unsafe extern "C" fn os_sync_wake_by_address_any(
    word: *mut c_void,
    size: usize,
    flags: u32,
) -> c_int {
    os_sync_wake(word, size, flags, 0)
}

unsafe extern "C" fn os_sync_wake_by_address_all(
    word: *mut c_void,
    size: usize,
    flags: u32,
) -> c_int {
    os_sync_wake(word, size, flags, ULF_WAKE_ALL)
}

fn os_sync_wake(word: *mut c_void, size: usize, flags: u32, operation: u32) -> c_int {
    if size != 4 || flags != SHARED {
        return fail(libc::EINVAL);
    }
    // SAFETY: the kernel checks the address.
    unsafe { __ulock_wake(UL_COMPARE_AND_WAIT_SHARED | operation, word, 0) }
}

/// # Safety
/// The name ends with a zero.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chronicle_shim_dlsym(
    library: *mut c_void,
    name: *const c_char,
) -> *mut c_void {
    // SAFETY: the caller's promise.
    let name = unsafe { std::ffi::CStr::from_ptr(name) }.to_str().unwrap_or_default();
    // RTLD_DEFAULT
    if library.addr().cast_signed() != -2 || listed("CHRONICLE_SHIM_WITHOUT", name) {
        return std::ptr::null_mut();
    }
    match name {
        "os_sync_wait_on_address_with_timeout" => {
            os_sync_wait_on_address_with_timeout as *mut c_void
        }
        "os_sync_wake_by_address_any" => os_sync_wake_by_address_any as *mut c_void,
        "os_sync_wake_by_address_all" => os_sync_wake_by_address_all as *mut c_void,
        "__ulock_wait2" => ulock_wait2 as *mut c_void,
        _ => std::ptr::null_mut(),
    }
}
