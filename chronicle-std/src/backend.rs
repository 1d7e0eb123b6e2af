//! The one place that knows both the queue and an operating system.

use std::ffi::{CStr, CString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::QueueError;

#[cfg(all(target_os = "linux", not(chronicle_darwin_shim)))]
pub(crate) use chronicle_platform_linux::{
    LinuxClock as SystemClock, LinuxError as PlatformError, LinuxGuard as SystemGuard,
    LinuxMap as SystemMap, LinuxPark as SystemPark, LinuxPlatform as Backend,
    LinuxView as SystemView, LinuxWatch as SystemWatch,
};

// Under the flag, the macOS backend's source on Linux: a test (`cargo xtask platforms`).
#[cfg(any(target_os = "macos", chronicle_darwin_shim))]
pub(crate) use chronicle_platform_macos::{
    MacosClock as SystemClock, MacosError as PlatformError, MacosGuard as SystemGuard,
    MacosMap as SystemMap, MacosPark as SystemPark, MacosPlatform as Backend,
    MacosView as SystemView, MacosWatch as SystemWatch,
};

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
compile_error!(
    "chronicle-std has backends for Linux and macOS; others implement the traits of chronicle-sync"
);

/// The backend for the queue in an existing directory, for whoever takes the queue as it finds it.
pub(crate) fn open(path: &Path) -> Result<Backend, QueueError> {
    open_by(path, Backend::open_on_any_file_system)
}

/// The backend for a writer or a reader, which is refused on a file system that other hosts may share
/// unless `any_file_system` says that it does not matter.
pub(crate) fn open_local(path: &Path, any_file_system: bool) -> Result<Backend, QueueError> {
    if any_file_system { open(path) } else { open_by(path, Backend::open) }
}

/// Refuses a directory below which a queue is to be made and that is on such a file system.
pub(crate) fn check_file_system(path: &Path) -> Result<(), QueueError> {
    match Backend::check_file_system(&c_string(path)?) {
        Err(error) if error.foreign_file_system().is_some() => Err(failed(path, error)),
        // Whatever else is wrong with the directory is said when the queue is made in it.
        _ => Ok(()),
    }
}

/// Refuses a length beyond the process's limit: the kernel would not only refuse it but raise a signal that
/// ends the process (`setrlimit(2)`).
pub(crate) fn allow_size(length: u64) -> io::Result<()> {
    if Backend::size_is_allowed(length) {
        return Ok(());
    }
    let reason = "this process may not make files so large (RLIMIT_FSIZE)";
    Err(io::Error::new(io::ErrorKind::FileTooLarge, reason))
}

fn open_by(
    path: &Path,
    open: impl FnOnce(&CStr) -> Result<Backend, PlatformError>,
) -> Result<Backend, QueueError> {
    open(&c_string(path)?).map_err(|error| failed(path, error))
}

fn c_string(path: &Path) -> Result<CString, QueueError> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| QueueError::io(path, "open", io::Error::from(io::ErrorKind::InvalidInput)))
}

fn failed(path: &Path, error: PlatformError) -> QueueError {
    let path = path.to_owned();
    if let Some(file_system) = error.foreign_file_system() {
        return QueueError::ForeignFileSystem { path, file_system };
    }
    let source = io_error(error);
    match source.kind() {
        io::ErrorKind::NotFound => QueueError::NotFound { path },
        io::ErrorKind::NotADirectory => QueueError::NotADirectory { path },
        _ => QueueError::io(&path, "open", source),
    }
}

pub(crate) fn io_error(error: PlatformError) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::other(error.to_string()),
    }
}
