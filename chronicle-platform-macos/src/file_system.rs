//! File systems that other hosts may share, or that a process of this host provides.
//!
//! What a queue rests on is one page cache: stores to a mapping are seen by every process at once, in
//! their order, and a lock that one process holds is held for all. Between hosts neither is so, and a
//! server in user space promises neither.

use core::ffi::CStr;

use rustix::fd::BorrowedFd;
use rustix::io::Errno;

use crate::darwin::{FileSystem, file_system_at, file_system_of};
use crate::error::{Call, MacosError};

/// The names by which the system knows them (`f_fstypename` of statfs(2), the names that mount(8)
/// takes), and what people call them. A name at the end of which a star stands begins so.
const FOREIGN: &[(&str, &str)] = &[
    ("nfs", "NFS"),
    ("smbfs", "SMB"),
    ("afpfs", "AFP"),
    ("webdav", "WebDAV"),
    ("ftp", "FTP"),
    ("virtiofs", "virtiofs"),
    ("AppleVirtIOFS", "virtiofs"),
    // Xsan: one disk, mounted by several hosts at once.
    ("acfs", "Xsan"),
    ("macfuse*", "FUSE"),
    ("osxfuse*", "FUSE"),
    ("fuse*", "FUSE"),
];

/// Refuses a directory on one of them.
pub(crate) fn check(directory: BorrowedFd<'_>) -> Result<(), MacosError> {
    judge(Call::StatFileSystem.make(|| file_system_of(directory)))
}

/// Refuses a path on one of them, which need not be readable.
pub(crate) fn check_path(path: &CStr) -> Result<(), MacosError> {
    judge(Call::StatFileSystem.make(|| file_system_at(path)))
}

fn judge(answer: Result<FileSystem, MacosError>) -> Result<(), MacosError> {
    let file_system = match answer {
        Ok(file_system) => file_system,
        // A sandbox that forbids the question says nothing about the answer.
        Err(error) if error.is(Errno::NOSYS) || error.is(Errno::PERM) => return Ok(()),
        Err(error) => return Err(error),
    };
    match foreign(file_system.name(), file_system.is_local()) {
        Some(name) => Err(MacosError::foreign(name)),
        None => Ok(()),
    }
}

/// What people call a file system that is refused.
fn foreign(name: &[u8], is_local: bool) -> Option<&'static str> {
    let known = FOREIGN.iter().find(|(known, _)| match known.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning.as_bytes()),
        None => name == known.as_bytes(),
    });
    match known {
        Some((_, name)) => Some(name),
        // MNT_LOCAL, "file system is stored locally" (sys/mount.h), is missing.
        None if !is_local => Some("a network file system"),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::foreign;

    #[test]
    fn what_is_not_local_or_served_by_a_process_is_refused() {
        assert_eq!(foreign(b"apfs", true), None);
        assert_eq!(foreign(b"hfs", true), None);
        assert_eq!(foreign(b"nfs", false), Some("NFS"));
        assert_eq!(foreign(b"macfuse_loop", true), Some("FUSE"));
        assert_eq!(foreign(b"nfs4", true), None);
        assert_eq!(foreign(b"something", false), Some("a network file system"));
    }
}
