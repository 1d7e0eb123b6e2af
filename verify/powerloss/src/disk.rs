//! A disk of ours: one file in a FUSE file system, kept in memory, that records every write and
//! every flush in order, and that fails, is late and lies on demand.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, Generation,
    INodeNo, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyWrite,
    Request, TimeOrNow, WriteFlags,
};

/// Name of the one file.
pub(crate) const IMAGE: &str = "disk.img";
const IMAGE_NODE: INodeNo = INodeNo(2);
/// Attributes never change, but the size has to be asked for anew.
const TTL: Duration = Duration::ZERO;

/// Something that happened to the disk.
pub(crate) enum Event {
    Write {
        at: usize,
        bytes: Vec<u8>,
    },
    /// Everything before is on the medium.
    Flush,
}

#[derive(Default)]
struct State {
    image: Vec<u8>,
    log: Vec<Event>,
    written: u64,
    trouble: Trouble,
    failed: u32,
}

/// What is wrong with the disk from now on.
#[derive(Clone, Copy, Default)]
pub(crate) struct Trouble {
    /// So many writes fail.
    pub(crate) failing_writes: u32,
    /// So many flushes fail.
    pub(crate) failing_flushes: u32,
    /// Every write and every flush fails.
    pub(crate) dead: bool,
    /// The next write or flush takes so much longer.
    pub(crate) stuck: Option<Duration>,
    /// Flushes say that they are done, and nothing is.
    pub(crate) lies: bool,
}

/// The disk, shared between the file system and whoever watches it.
#[derive(Clone, Default)]
pub(crate) struct Disk(Arc<Mutex<State>>);

impl Disk {
    pub(crate) fn new(size: usize) -> Self {
        Self(Arc::new(Mutex::new(State { image: vec![0; size], ..State::default() })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing is ever half done behind this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many events there have been.
    pub(crate) fn events(&self) -> usize {
        self.state().log.len()
    }

    /// Bytes that reached the disk, and flushes.
    pub(crate) fn traffic(&self) -> (u64, usize) {
        let state = self.state();
        let flushes = state.log.iter().filter(|event| matches!(event, Event::Flush)).count();
        (state.written, flushes)
    }

    /// From now on this is wrong with it, and nothing else.
    pub(crate) fn make(&self, trouble: Trouble) {
        self.state().trouble = trouble;
    }

    /// How many writes and flushes have failed, were late or were lies.
    pub(crate) fn troubles(&self) -> u32 {
        self.state().failed
    }

    /// Waits for as long as the disk is stuck. Nobody else waits for it meanwhile but who has to.
    fn get_stuck(&self) {
        let stuck = {
            let mut state = self.state();
            let stuck = state.trouble.stuck.take();
            state.failed += u32::from(stuck.is_some());
            stuck
        };
        if let Some(time) = stuck {
            thread::sleep(time);
        }
    }

    /// Takes the record out: the disk is not used any more.
    pub(crate) fn take_log(&self) -> (usize, Vec<Event>) {
        let mut state = self.state();
        (state.image.len(), std::mem::take(&mut state.log))
    }

    /// Shows the disk as a file in `directory`.
    pub(crate) fn mount(&self, directory: &Path) -> io::Result<BackgroundSession> {
        fuser::spawn_mount(FileSystem(self.clone()), directory, &Config::default())
    }
}

struct FileSystem(Disk);

fn attributes(node: INodeNo, size: u64) -> FileAttr {
    let is_image = node == IMAGE_NODE;
    FileAttr {
        ino: node,
        size,
        blocks: size / 512,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: if is_image { FileType::RegularFile } else { FileType::Directory },
        perm: if is_image { 0o600 } else { 0o700 },
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

impl FileSystem {
    fn attributes(&self, node: INodeNo) -> FileAttr {
        let size = self.0.state().image.len() as u64;
        attributes(node, if node == IMAGE_NODE { size } else { 0 })
    }
}

impl Filesystem for FileSystem {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if name == IMAGE {
            reply.entry(&TTL, &self.attributes(IMAGE_NODE), Generation(0));
        } else {
            reply.error(Errno::ENOENT);
        }
    }

    fn getattr(&self, _: &Request, node: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&TTL, &self.attributes(node));
    }

    fn setattr(
        &self,
        _: &Request,
        node: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<std::time::SystemTime>,
        _: Option<FileHandle>,
        _: Option<std::time::SystemTime>,
        _: Option<std::time::SystemTime>,
        _: Option<std::time::SystemTime>,
        _: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        reply.attr(&TTL, &self.attributes(node));
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let state = self.0.state();
        let start = (offset as usize).min(state.image.len());
        let end = (start + size as usize).min(state.image.len());
        reply.data(state.image.get(start..end).unwrap_or_default());
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        self.0.get_stuck();
        let mut state = self.0.state();
        if state.trouble.dead || state.trouble.failing_writes > 0 {
            state.trouble.failing_writes = state.trouble.failing_writes.saturating_sub(1);
            state.failed += 1;
            return reply.error(Errno::EIO);
        }
        let at = offset as usize;
        match state.image.get_mut(at..at + data.len()) {
            Some(place) => place.copy_from_slice(data),
            None => return reply.error(Errno::ENOSPC),
        }
        state.written += data.len() as u64;
        state.log.push(Event::Write { at, bytes: data.to_vec() });
        reply.written(data.len() as u32);
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    /// The loop driver turns a flush of the device into this.
    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.0.get_stuck();
        let mut state = self.0.state();
        if state.trouble.dead || state.trouble.failing_flushes > 0 {
            state.trouble.failing_flushes = state.trouble.failing_flushes.saturating_sub(1);
            state.failed += 1;
            return reply.error(Errno::EIO);
        }
        if state.trouble.lies {
            state.failed += 1;
        } else {
            state.log.push(Event::Flush);
        }
        reply.ok();
    }
}
