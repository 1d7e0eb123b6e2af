//! Objects as files of a directory, reached through descriptors and never through paths.
//!
//! Unsafe lives here for one promise: a staged file is the region that its mapping is.

use core::mem::MaybeUninit;
use core::ops::Range;
use core::ptr::NonNull;

use chronicle_sync::format::{FileName, ObjectName, READERS_DIRECTORY};
use chronicle_sync::mutation::{Mutant, seeded};
use chronicle_sync::{
    Durability, Error, ErrorKind, LockState, Object, ObjectKind, Region, RegionMut, Stage, Storage,
};
use heapless::String;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, RawDir, RenameFlags, Stat, fchmod, fdatasync, fstat, fsync,
    ftruncate, linkat, mkdirat, openat, renameat_with, statat, unlinkat,
};
use rustix::io::{Errno, fcntl_dupfd_cloexec, pread};

use crate::error::{Call, LinuxError};
use crate::lock::{
    Extent, LinuxGuard, holder, is_locked, process_id, size_is_allowed, try_lock, unlock,
};
use crate::platform::random;
use crate::region::{LinuxMap, LinuxView};
use crate::rescue::rescue;
use crate::space::{provide, provide_in_pieces};

/// How often something is tried again that another process got in the way of. The kernel hands the directory
/// from who makes a file to who waits to read it, so one that sweeps without end gets in the way every other
/// time.
const ATTEMPTS: u32 = 64;

/// `O_NOFOLLOW`: a link is no object. `O_NONBLOCK`: opening a FIFO does not wait for its other end
/// (fifo(7)). `O_NOCTTY`: opening a terminal does not make it this process's.
const OPEN: OFlags =
    OFlags::NOFOLLOW.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

const OWNER: Mode = Mode::RUSR.union(Mode::WUSR);

const SUFFIX: &str = ".tmp";

/// The objects of one queue, as files in a directory.
#[derive(Debug)]
pub struct LinuxStorage {
    directory: OwnedFd,
    boot: u64,
}

impl LinuxStorage {
    pub(crate) fn new(directory: OwnedFd, boot: u64) -> Result<Self, LinuxError> {
        // Opened anew, so that fsync works even if the caller's descriptor is O_PATH, and so that
        // it is not inherited by programs that this one executes.
        Ok(Self { directory: open_directory(directory.as_fd(), ".")?, boot })
    }

    fn directory(&self, name: &ObjectName) -> Result<Directory<'_>, LinuxError> {
        match name.directory {
            None => Ok(Directory::Queue(self.directory.as_fd())),
            Some(inner) => open_directory(self.directory.as_fd(), inner).map(Directory::Inner),
        }
    }

    /// The directory in which an object is staged, which is made if it is not there.
    fn stage_directory(
        &self,
        name: &ObjectName,
        group_readable: bool,
    ) -> Result<OwnedFd, LinuxError> {
        let Some(inner) = name.directory else {
            return Call::Duplicate.make(|| fcntl_dupfd_cloexec(&self.directory, 0));
        };
        let mut mode = Mode::RWXU;
        match Call::MakeDirectory.make(|| mkdirat(&self.directory, inner, mode)) {
            Err(error) if error.is(Errno::EXIST) => open_directory(self.directory.as_fd(), inner),
            Err(error) => Err(error),
            Ok(()) => {
                let made = open_directory(self.directory.as_fd(), inner)?;
                // The bit is inherited from the queue's directory, so that the group is too
                // (inode(7)), and chmod(2) would take it away.
                let inherited = Call::Stat.make(|| fstat(&made))?;
                mode |= Mode::from_raw_mode(inherited.st_mode) & Mode::SGID;
                if group_readable {
                    mode |= Mode::RWXG;
                }
                Call::Chmod.make(|| fchmod(&made, mode))?;
                Ok(made)
            }
        }
    }
}

/// The queue's directory, to be watched.
impl AsFd for LinuxStorage {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

impl Storage for LinuxStorage {
    type Error = LinuxError;
    type View = LinuxView;
    type Map = LinuxMap;
    type Staged = LinuxStaged;
    type Guard = LinuxGuard;

    /// Makes the readers' directory: a group member that registers a reader may write in there and
    /// not beside it.
    fn prepare(&self, group_readable: bool) -> Result<(), LinuxError> {
        let readers = ObjectName { directory: Some(READERS_DIRECTORY), file: FileName::new() };
        self.stage_directory(&readers, group_readable).map(drop)
    }

    fn stage(&self, object: &Object, stage: &Stage) -> Result<LinuxStaged, LinuxError> {
        if stage.reserved > stage.length {
            return Err(Call::Allocate.failed(Errno::INVAL));
        }
        if !size_is_allowed(stage.length) {
            return Err(Call::Truncate.failed(Errno::FBIG));
        }
        let name = object.name();
        let directory = self.stage_directory(&name, stage.group_readable)?;
        let (temporary, file) = Temporary::create(directory, &name.file)?;
        Call::Chmod.make(|| fchmod(&file, mode(object, stage.group_readable)))?;
        Call::Truncate.make(|| ftruncate(&file, stage.length))?;
        let map = LinuxMap::new(file, stage.length)?;
        provide(&map, 0..stage.reserved)?;
        Ok(LinuxStaged { temporary, object: name.file, map })
    }

    const STAGES_IN_PIECES: bool = true;

    fn reserve_staged(
        &self,
        staged: &LinuxStaged,
        reserved: u64,
        wanted: u64,
    ) -> Result<u64, LinuxError> {
        provide_in_pieces(&staged.map, reserved, wanted)
    }

    /// File systems mark space that was allocated and never written, and the first sync of each page has to change that, in
    /// a transaction of the file system. Written with zeros once, it is marked no more.
    fn write_staged(&self, staged: &LinuxStaged, range: Range<u64>) -> Result<(), LinuxError> {
        staged.map.write(range)
    }

    /// `fsync(2)`: unlike `fdatasync(2)`, it covers the file's mode too.
    fn sync_staged(&self, staged: &LinuxStaged) -> Result<(), LinuxError> {
        Call::Sync.make(|| fsync(staged.map.file()))
    }

    fn publish(&self, staged: LinuxStaged) -> Result<LinuxMap, LinuxError> {
        let LinuxStaged { mut temporary, object, map } = staged;
        temporary.publish(&object)?;
        // Nobody asks for this lock once the file has its name, and closing the file releases it.
        let _ = unlock(map.file(), Extent::Staged);
        Ok(map)
    }

    fn open(&self, object: &Object) -> Result<LinuxMap, LinuxError> {
        let name = object.name();
        let directory = self.directory(&name)?;
        let (file, stat) = open_regular(directory.as_fd(), &name.file, OFlags::RDWR)?;
        LinuxMap::new(file, size(&stat))
    }

    fn view(&self, object: &Object) -> Result<LinuxView, LinuxError> {
        let name = object.name();
        let directory = self.directory(&name)?;
        let (file, stat) = open_regular(directory.as_fd(), &name.file, OFlags::RDONLY)?;
        LinuxView::new(file.as_fd(), size(&stat))
    }

    fn copy_out(&self, object: &Object, at: u64, bytes: &mut [u8]) -> Result<usize, LinuxError> {
        let name = object.name();
        let directory = self.directory(&name)?;
        let (file, _) = open_regular(directory.as_fd(), &name.file, OFlags::RDONLY)?;
        let mut copied = 0;
        while let Some(rest) = bytes.get_mut(copied..).filter(|rest| !rest.is_empty()) {
            let from = at.saturating_add(copied as u64);
            // No file is that long, and pread(2) takes such an offset for a negative one.
            if i64::try_from(from).is_err() {
                break;
            }
            match pread(&file, rest, from) {
                Ok(0) => break,
                Ok(count) => copied += count,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Call::Read.failed(errno)),
            }
        }
        Ok(copied)
    }

    fn sync_object(&self, object: &Object) -> Result<(), LinuxError> {
        let name = object.name();
        let directory = self.directory(&name)?;
        let (file, _) = open_regular(directory.as_fd(), &name.file, OFlags::RDONLY)?;
        Call::Sync.make(|| fdatasync(&file))
    }

    fn remove(&self, object: &Object) -> Result<(), LinuxError> {
        let name = object.name();
        unlink(self.directory(&name)?.as_fd(), &name.file)
    }

    fn visit(&self, kind: ObjectKind, mut visit: impl FnMut(Object)) -> Result<(), LinuxError> {
        let queue = self.directory.as_fd();
        match kind {
            // Opened anew, because what has been read of a directory is a property of the open.
            ObjectKind::Segments => each_name(open_directory(queue, ".")?, |_, name| {
                if let Some(id) = Object::segment_named(name) {
                    visit(Object::Segment(id));
                }
            }),
            ObjectKind::Readers => match open_directory(queue, READERS_DIRECTORY) {
                Err(error) if error.is(Errno::NOENT) => Ok(()),
                readers => each_name(readers?, |_, name| {
                    if let Some(reader) = Object::reader_named(name) {
                        visit(Object::Reader(reader));
                    }
                }),
            },
            _ => Err(Call::ReadDirectory.failed(Errno::OPNOTSUPP)),
        }
    }

    fn reserve(&self, map: &LinuxMap, range: Range<u64>) -> Result<(), LinuxError> {
        // A range behind the end would make the file longer than its mapping.
        if range.end > map.size() as u64 {
            return Err(Call::Allocate.failed(Errno::INVAL));
        }
        provide(map, range)
    }

    fn prefault(&self, map: &LinuxMap, range: Range<u64>) {
        map.populate(range);
    }

    /// `msync(2)` of the range, not `fdatasync(2)` of the file: pages that were made ready ahead of the
    /// writer are dirty, and nobody waits for them. Both levels are the same.
    fn sync(
        &self,
        map: &LinuxMap,
        range: Range<u64>,
        _level: Durability,
    ) -> Result<(), LinuxError> {
        map.sync(range)
    }

    fn rescue(
        &self,
        object: &Object,
        map: &LinuxMap,
        range: Range<u64>,
    ) -> Result<bool, LinuxError> {
        let name = object.name();
        rescue(self.directory(&name)?.as_fd(), &name.file, map, range)
    }

    fn sync_names(&self) -> Result<(), LinuxError> {
        match open_directory(self.directory.as_fd(), READERS_DIRECTORY) {
            Err(error) if error.is(Errno::NOENT) => {}
            readers => {
                let readers = readers?;
                Call::Sync.make(|| fsync(&readers))?;
            }
        }
        Call::Sync.make(|| fsync(&self.directory))
    }

    fn sweep(&self) {
        let queue = self.directory.as_fd();
        for (directory, names_object) in [
            (".", queue_object_named as fn(&str) -> bool),
            (READERS_DIRECTORY, |name| Object::reader_named(name).is_some()),
        ] {
            // A nicety: what cannot be read or removed now may be so the next time.
            let Ok(directory) = open_directory(queue, directory) else { continue };
            let _ = each_name(directory, |directory, name| {
                if temporary_of(name).is_some_and(names_object) {
                    sweep_one(directory, name);
                }
            });
        }
    }

    fn lock(&self, object: &Object) -> Result<LinuxGuard, LinuxError> {
        let name = object.name();
        let directory = self.directory(&name)?;
        let created = matches!(object, Object::WriterLock);
        let access = if created { OFlags::RDWR | OFlags::CREATE } else { OFlags::RDWR };
        for _ in 0..ATTEMPTS {
            let (file, opened) = open_regular(directory.as_fd(), &name.file, access)?;
            try_lock(file.as_fd(), Extent::Object)?;
            // Between the open and the lock somebody may have put another file in place of this
            // one; then this lock keeps nobody out.
            let named = Call::Stat
                .make(|| statat(directory.as_fd(), name.file.as_str(), AtFlags::SYMLINK_NOFOLLOW));
            match named {
                Ok(named) if (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino) => {
                    return Ok(LinuxGuard::new(file, created));
                }
                Ok(_) => {}
                Err(error) if created && error.is(Errno::NOENT) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Call::Lock.failed(Errno::AGAIN))
    }

    fn inscribe(&self, guard: &LinuxGuard, epoch: u32) -> Result<(), LinuxError> {
        guard.inscribe(epoch, self.boot)
    }

    fn lock_state(&self, object: &Object) -> Result<LockState, LinuxError> {
        let name = object.name();
        let look = || -> Result<LockState, LinuxError> {
            let directory = self.directory(&name)?;
            let (file, _) = open_regular(directory.as_fd(), &name.file, OFlags::RDONLY)?;
            if !is_locked(file.as_fd(), Extent::Object)? {
                return Ok(LockState::Free);
            }
            let inscribed = matches!(object, Object::WriterLock);
            Ok(LockState::Held(inscribed.then(|| holder(file.as_fd())).flatten()))
        };
        match look() {
            Err(error) if error.is(Errno::NOENT) => Ok(LockState::Free),
            Err(error) if error.kind() == ErrorKind::Denied => Ok(LockState::Unknown),
            state => state,
        }
    }

    fn process_id(&self) -> u32 {
        process_id()
    }
}

/// An object under a temporary name, which is taken away if the value is dropped.
#[derive(Debug)]
pub struct LinuxStaged {
    temporary: Temporary,
    object: FileName,
    map: LinuxMap,
}

// SAFETY: the map is a region and lies unchanged in this value.
unsafe impl Region for LinuxStaged {
    #[inline]
    fn base(&self) -> NonNull<u8> {
        self.map.base()
    }

    #[inline]
    fn size(&self) -> usize {
        self.map.size()
    }
}

// SAFETY: as above, and the map may be written to.
unsafe impl RegionMut for LinuxStaged {}

/// A file's name with a dot, 16 digits and the suffix behind it: 90 characters at most.
type TemporaryName = String<96>;

/// A temporary name in a directory.
#[derive(Debug)]
struct Temporary {
    directory: OwnedFd,
    name: TemporaryName,
    there: bool,
}

impl Temporary {
    /// Makes an empty file next to the name that it is for. It is locked, so that whoever sweeps
    /// sees that somebody is at work on it.
    fn create(directory: OwnedFd, object: &FileName) -> Result<(Self, OwnedFd), LinuxError> {
        let mut last = Call::Open.failed(Errno::EXIST);
        for _ in 0..ATTEMPTS {
            let random = random()?;
            let mut name = TemporaryName::new();
            // The longest one fits.
            let _ = core::fmt::write(&mut name, format_args!("{object}.{random:016x}{SUFFIX}"));
            let flags = OPEN | OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
            let opened = Call::Open.make(|| openat(&directory, name.as_str(), flags, OWNER));
            let file = match opened {
                Ok(file) => file,
                Err(error) if error.is(Errno::EXIST) => {
                    last = error;
                    continue;
                }
                Err(error) => return Err(error),
            };
            // Until the lock is there, the file looks like a dead process's. Once it is, either the
            // name is still there and stays, or a sweep has taken it.
            let alive = try_lock(file.as_fd(), Extent::Staged)
                .and_then(|()| Call::Stat.make(|| fstat(&file)))
                .map(|stat| stat.st_nlink != 0);
            match alive {
                Ok(true) => return Ok((Self { directory, name, there: true }, file)),
                Ok(false) => last = Call::Open.failed(Errno::NOENT),
                Err(error) => {
                    let _ = unlink(directory.as_fd(), &name);
                    if error.kind() != ErrorKind::Locked {
                        return Err(error);
                    }
                    last = error;
                }
            }
        }
        Err(last)
    }

    /// Gives the file its object's name unless the name is taken. Renaming and comparing are one
    /// step: to look first and rename then would replace what came in between.
    fn publish(&mut self, object: &FileName) -> Result<(), LinuxError> {
        let (at, from, to) = (self.directory.as_fd(), self.name.as_str(), object.as_str());
        let flags = if seeded(Mutant::PublishReplaces) {
            RenameFlags::empty()
        } else {
            RenameFlags::NOREPLACE
        };
        let renamed = Call::Rename.make(|| renameat_with(at, from, at, to, flags));
        match renamed {
            // rename(2), RENAME_NOREPLACE: the file system or the kernel does not have it. A link
            // does not replace anything either; the temporary name goes when `self` is dropped.
            Err(error) if error.is(Errno::INVAL) || error.is(Errno::NOSYS) => {
                Call::Link.make(|| linkat(at, from, at, to, AtFlags::empty()))
            }
            Err(error) => Err(error),
            Ok(()) => {
                self.there = false;
                Ok(())
            }
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if self.there {
            // What cannot be removed is left to a sweep.
            let _ = unlink(self.directory.as_fd(), &self.name);
        }
    }
}

/// Where an object's file lies.
enum Directory<'s> {
    Queue(BorrowedFd<'s>),
    Inner(OwnedFd),
}

impl AsFd for Directory<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Queue(directory) => *directory,
            Self::Inner(directory) => directory.as_fd(),
        }
    }
}

fn open_directory(at: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, LinuxError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Call::Open.make(|| openat(at, name, flags, Mode::empty()))
}

fn open_regular(
    at: BorrowedFd<'_>,
    name: &str,
    access: OFlags,
) -> Result<(OwnedFd, Stat), LinuxError> {
    let file = Call::Open.make(|| openat(at, name, OPEN | access, OWNER))?;
    let stat = Call::Stat.make(|| fstat(&file))?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
        Ok((file, stat))
    } else {
        Err(LinuxError::NOT_REGULAR)
    }
}

fn unlink(at: BorrowedFd<'_>, name: &str) -> Result<(), LinuxError> {
    Call::Unlink.make(|| unlinkat(at, name, AtFlags::empty()))
}

/// The size of a regular file, which is never negative.
fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(u64::MAX)
}

/// Who may do what with an object. Its group writes where readers write: their own position, and
/// the flag that someone sleeps.
fn mode(object: &Object, group_readable: bool) -> Mode {
    match object {
        _ if !group_readable => OWNER,
        Object::Notify | Object::Reader(_) => OWNER | Mode::RGRP | Mode::WGRP,
        _ => OWNER | Mode::RGRP,
    }
}

/// Shows the names in a directory that are text, in no order. Names that come or go meanwhile may
/// or may not be among them (`readdir(3)`).
fn each_name(
    directory: OwnedFd,
    mut show: impl FnMut(BorrowedFd<'_>, &str),
) -> Result<(), LinuxError> {
    let mut buffer = [MaybeUninit::uninit(); 8192];
    let mut entries = RawDir::new(&directory, &mut buffer);
    while let Some(entry) = entries.next() {
        match entry {
            Ok(entry) => {
                if let Ok(name) = entry.file_name().to_str() {
                    show(directory.as_fd(), name);
                }
            }
            // getdents(2): the directory itself was removed.
            Err(Errno::NOENT) => break,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(Call::ReadDirectory.failed(errno)),
        }
    }
    Ok(())
}

/// The name that a file with this temporary name is for.
fn temporary_of(name: &str) -> Option<&str> {
    let (object, random) = name.strip_suffix(SUFFIX)?.rsplit_once('.')?;
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    (random.len() == 16 && random.bytes().all(digit)).then_some(object)
}

/// Whether an object in the queue's own directory has this name.
fn queue_object_named(name: &str) -> bool {
    let is = |object: Object| object.name().file == name;
    let index = |digits: &str| digits.len() == 9 && digits.bytes().all(|b| b.is_ascii_digit());
    Object::segment_named(name).is_some()
        || name.strip_suffix(".idx").is_some_and(index)
        || [Object::Control, Object::Notify, Object::Checkpoint, Object::Replicated]
            .into_iter()
            .any(is)
}

/// Takes away a temporary name that nobody is at work on. Having the lock is what makes it safe:
/// whoever has just made the file and not locked it yet sees that it is locked, or gone.
fn sweep_one(at: BorrowedFd<'_>, name: &str) {
    if let Ok((file, _)) = open_regular(at, name, OFlags::RDWR)
        && try_lock(file.as_fd(), Extent::Staged).is_ok()
    {
        let _ = unlink(at, name);
    }
}
