//! File systems that other hosts may share, or that a process of this host provides.
//!
//! What a queue rests on is one page cache: stores to a mapping are seen by every process at once, in
//! their order, and a lock that one process holds is held for all. Between hosts neither is so, and a
//! server in user space promises neither.

use rustix::fd::BorrowedFd;
use rustix::fs::fstatfs;
use rustix::io::Errno;

use crate::error::{Call, LinuxError};

/// The numbers by which the kernel names them: statfs(2), and for the ones marked `linux/magic.h`
/// and `linux/gfs2_ondisk.h` these headers of Linux.
const FOREIGN: &[(u32, &str)] = &[
    (0x0000_6969, "NFS"),
    (0x0000_517b, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB2"),
    (0x0102_1997, "9p"),
    // virtiofs has the same number: it is FUSE with the host of a virtual machine as the server
    // (`fuse_sb_defaults` in fs/fuse/inode.c of Linux).
    (0x6573_5546, "FUSE or virtiofs"),
    (0x5346_414f, "AFS"),
    // linux/magic.h
    (0x6b41_4653, "AFS"),
    (0x7375_7245, "Coda"),
    (0x0000_564c, "NCP"),
    (0x7461_636f, "OCFS2"),
    // linux/magic.h
    (0x00c3_6400, "Ceph"),
    // linux/gfs2_ondisk.h
    (0x0116_1970, "GFS2"),
];

/// Refuses a directory on one of them.
pub(crate) fn check(directory: BorrowedFd<'_>) -> Result<(), LinuxError> {
    let number = match Call::StatFileSystem.make(|| fstatfs(directory)) {
        // The type differs from one architecture to the next, and may have a sign; the numbers have
        // 32 bits (statfs(2)).
        Ok(stat) => stat.f_type as u32,
        // A sandbox that forbids the question says nothing about the answer.
        Err(error) if error.is(Errno::NOSYS) || error.is(Errno::PERM) => return Ok(()),
        Err(error) => return Err(error),
    };
    match FOREIGN.iter().find(|(foreign, _)| *foreign == number) {
        Some((_, name)) => Err(LinuxError::foreign(name)),
        None => Ok(()),
    }
}
