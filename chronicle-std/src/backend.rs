//! The one place that knows both the queue and an operating system.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::QueueError;

#[cfg(target_os = "linux")]
pub(crate) use chronicle_platform_linux::{
    LinuxClock as SystemClock, LinuxError as PlatformError, LinuxPark as SystemPark,
    LinuxPlatform as Backend, LinuxWatch as DirectoryWatch,
};

#[cfg(not(target_os = "linux"))]
compile_error!(
    "chronicle-std has a backend for Linux; others implement the traits of chronicle-sync"
);

/// The backend for the queue in an existing directory.
pub(crate) fn open(path: &Path) -> Result<Backend, QueueError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => QueueError::NotFound { path: path.to_owned() },
        io::ErrorKind::NotADirectory => QueueError::NotADirectory { path: path.to_owned() },
        _ => QueueError::io(path, "open", source),
    };
    let name = CString::new(path.as_os_str().as_bytes())
        .map_err(|_| failed(io::Error::from(io::ErrorKind::InvalidInput)))?;
    Backend::open(&name).map_err(|error| failed(io_error(error)))
}

pub(crate) fn io_error(error: PlatformError) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::other(error.to_string()),
    }
}
