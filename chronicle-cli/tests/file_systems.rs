//! What a user is told about a queue on a file system that other hosts may share.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::ffi::OsStr;
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, INodeNo,
    ReplyAttr, ReplyEntry, Request,
};
use tempfile::TempDir;

/// A FUSE file system with nothing in it, in a directory of its own; `None` and a word about it where
/// there is no FUSE.
fn nothing_by_fuse() -> Option<(TempDir, BackgroundSession)> {
    let directory = tempfile::tempdir().unwrap();
    match fuser::spawn_mount(Nothing, directory.path(), &Config::default()) {
        Ok(session) => Some((directory, session)),
        Err(error) => {
            println!("SKIPPED: no FUSE here (root and fusermount3 are needed): {error}");
            None
        }
    }
}

struct Nothing;

impl Filesystem for Nothing {
    fn getattr(&self, _: &Request, node: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let attributes = FileAttr {
            ino: node,
            size: 0,
            blocks: 0,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: FileType::Directory,
            perm: 0o700,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        };
        reply.attr(&Duration::ZERO, &attributes);
    }

    fn lookup(&self, _: &Request, _: INodeNo, _: &OsStr, reply: ReplyEntry) {
        reply.error(Errno::ENOENT);
    }
}

#[test]
fn a_file_system_of_another_host_is_refused_with_the_option_that_forces_it() {
    let Some((directory, _session)) = nothing_by_fuse() else { return };
    for command in ["create", "append", "tail"] {
        for forced in [false, true] {
            let mut program = Command::new(env!("CARGO_BIN_EXE_chron-cli"));
            program.arg(command).arg(directory.path());
            program.args(forced.then_some("--any-file-system"));
            let output = program.output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            // It cannot work here even if it is forced, but for another reason.
            assert_eq!(output.status.code(), Some(2), "{command}: {said}");
            assert_eq!(said.contains("--any-file-system"), !forced, "{command}: {said}");
        }
    }
}
