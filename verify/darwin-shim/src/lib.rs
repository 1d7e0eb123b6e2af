//! Darwin's calls made of Linux ones, for tests of the macOS backend's source on Linux.
//!
//! `chronicle-platform-macos`, built with `cfg(chronicle_darwin_shim)`, calls the functions here by the
//! names that they have on macOS, or by `chronicle_shim_` and that name where Linux has another
//! function of the same name. They take Darwin's numbers and structures, and answer with the error
//! numbers of Linux, which is what the backend is compiled for then. They do what Apple's manual pages
//! and XNU's source say, and are strict: arguments that are not as documented are refused.
//!
//! Two variables of the environment, read at each call, make a system that lacks something:
//!
//! | variable | holds | effect |
//! |---|---|---|
//! | `CHRONICLE_SHIM_WITHOUT` | names of functions | `dlsym` does not find them: an older system |
//! | `CHRONICLE_SHIM_REFUSES` | names of commands of `fcntl` | refused as by a file system that does not know them |
#![cfg(target_os = "linux")]

mod files;
mod kqueue;
mod system;
mod ulock;

use std::ffi::c_int;

/// Whether a list in the environment, parted by commas, has this name.
fn listed(variable: &str, name: &str) -> bool {
    std::env::var(variable).is_ok_and(|list| list.split(',').any(|entry| entry == name))
}

/// Sets the error number of this thread, and returns what a call returns that failed.
fn fail(errno: c_int) -> c_int {
    // SAFETY: takes nothing.
    let variable = unsafe { libc::__errno_location() };
    // SAFETY: the address is that of this thread's variable.
    unsafe { *variable = errno };
    -1
}
