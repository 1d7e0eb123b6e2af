//! `kqueue(2)` for the names of one directory, over `inotify(7)`.

use std::ffi::{CString, c_int, c_void};

use crate::fail;

const EVFILT_VNODE: i16 = -4;
const EV_ADD: u16 = 0x1;
const EV_CLEAR: u16 = 0x20;
const NOTE_DELETE: u32 = 0x1;
const NOTE_WRITE: u32 = 0x2;

/// `struct kevent` of sys/event.h.
#[repr(C)]
pub struct Event {
    ident: usize,
    filter: i16,
    flags: u16,
    filter_flags: u32,
    data: isize,
    user_data: *mut c_void,
}

#[unsafe(no_mangle)]
pub extern "C" fn kqueue() -> c_int {
    // SAFETY: takes a number.
    unsafe { libc::inotify_init1(libc::IN_NONBLOCK) }
}

/// # Safety
/// The changes and the events are as many as is said, and the time-out is one or null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kevent(
    queue: c_int,
    changes: *const Event,
    changes_length: c_int,
    events: *mut Event,
    events_length: c_int,
    timeout: *const libc::timespec,
) -> c_int {
    let changes = match usize::try_from(changes_length) {
        Ok(0) | Err(_) => &[],
        // SAFETY: the caller's promise.
        Ok(length) => unsafe { std::slice::from_raw_parts(changes, length) },
    };
    for change in changes {
        if change.filter != EVFILT_VNODE || change.flags != EV_ADD | EV_CLEAR {
            return fail(libc::EINVAL);
        }
        if add(queue, change) < 0 {
            return -1;
        }
    }
    if events_length <= 0 {
        return 0;
    }
    let mut poll = libc::pollfd { fd: queue, events: libc::POLLIN, revents: 0 };
    // SAFETY: one structure, and the caller's time-out.
    let ready = unsafe { libc::ppoll(&raw mut poll, 1, timeout, std::ptr::null()) };
    if ready <= 0 {
        return ready;
    }
    // EV_CLEAR: what was noted is forgotten when it is told.
    let mut notices = [0u8; 4096];
    // SAFETY: the buffer has so many bytes.
    while unsafe { libc::read(queue, notices.as_mut_ptr().cast(), notices.len()) } > 0 {}
    // SAFETY: the caller's promise.
    unsafe {
        *events = Event {
            ident: 0,
            filter: EVFILT_VNODE,
            flags: EV_ADD | EV_CLEAR,
            filter_flags: NOTE_WRITE,
            data: 0,
            user_data: std::ptr::null_mut(),
        };
    }
    1
}

fn add(queue: c_int, change: &Event) -> c_int {
    let mut mask = 0;
    if change.filter_flags & NOTE_WRITE != 0 {
        mask |= libc::IN_CREATE | libc::IN_MOVED_TO | libc::IN_MOVED_FROM | libc::IN_DELETE;
    }
    if change.filter_flags & NOTE_DELETE != 0 {
        mask |= libc::IN_DELETE_SELF;
    }
    let Ok(path) = CString::new(format!("/proc/self/fd/{}", change.ident)) else {
        return fail(libc::EINVAL);
    };
    // SAFETY: the path ends with a zero.
    unsafe { libc::inotify_add_watch(queue, path.as_ptr(), mask) }
}
