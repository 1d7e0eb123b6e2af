//! Objects as files of a directory, reached through descriptors and never through paths.
//!
//! Unsafe lives here for one promise: a staged file is the region that its mapping is.

use core::ops::Range;
use core::ptr::NonNull;

use chronicle_sync::format::{FileName, ObjectName, READERS_DIRECTORY};
use chronicle_sync::{
    Durability, Error, ErrorKind, LockState, Object, ObjectKind, Region, RegionMut, Stage, Storage,
};
use heapless::String;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, RenameFlags, Stat, fchmod, fstat, fsync, linkat, mkdirat,
    openat, renameat_with, statat, unlinkat,
};
use rustix::io::{self, Errno, fcntl_dupfd_cloexec, pread};

use crate::clock::{OFFSET_BASIS, hash};
use crate::darwin::{Names, barrier_sync, full_sync, start_time};
use crate::error::{Call, MacosError};
use crate::lock::{MacosGuard, holder, is_locked, process_id, size_is_allowed, try_lock};
use crate::platform::random;
use crate::region::{MacosMap, MacosView};
use crate::rescue::rescue;
use crate::space::{extend, fill};

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
pub struct MacosStorage {
    directory: OwnedFd,
    boot: u64,
}

impl MacosStorage {
    pub(crate) fn new(directory: OwnedFd, boot: u64) -> Result<Self, MacosError> {
        // Opened anew, so that it is not inherited by programs that this one executes.
        Ok(Self { directory: open_directory(directory.as_fd(), ".")?, boot })
    }

    fn directory(&self, name: &ObjectName) -> Result<Directory<'_>, MacosError> {
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
    ) -> Result<OwnedFd, MacosError> {
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
impl AsFd for MacosStorage {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

impl Storage for MacosStorage {
    type Error = MacosError;
    type View = MacosView;
    type Map = MacosMap;
    type Staged = MacosStaged;
    type Guard = MacosGuard;

    /// Makes the readers' directory: a group member that registers a reader may write in there and
    /// not beside it.
    fn prepare(&self, group_readable: bool) -> Result<(), MacosError> {
        let readers = ObjectName { directory: Some(READERS_DIRECTORY), file: FileName::new() };
        self.stage_directory(&readers, group_readable).map(drop)
    }

    fn stage(&self, object: &Object, stage: &Stage) -> Result<MacosStaged, MacosError> {
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
        // Before there is a mapping: a store to a page for which there is no space may be lost.
        extend(file.as_fd(), stage.length, stage.reserved)?;
        let map = MacosMap::new(file, stage.length)?;
        Ok(MacosStaged { temporary, object: name.file, map })
    }

    /// A barrier: the name reaches the medium behind the bytes, by a sync that is for names or for
    /// anything else on this drive.
    fn sync_staged(&self, staged: &MacosStaged) -> Result<(), MacosError> {
        staged.map.write_back(0..u64::MAX)?;
        order(staged.map.file())
    }

    fn publish(&self, staged: MacosStaged) -> Result<MacosMap, MacosError> {
        let MacosStaged { mut temporary, object, map } = staged;
        temporary.publish(&object)?;
        Ok(map)
    }

    fn open(&self, object: &Object) -> Result<MacosMap, MacosError> {
        let name = object.name();
        let directory = self.directory(&name)?;
        let (file, stat) = open_regular(directory.as_fd(), &name.file, OFlags::RDWR)?;
        MacosMap::new(file, size(&stat))
    }

    fn view(&self, object: &Object) -> Result<MacosView, MacosError> {
        let name = object.name();
        let directory = self.directory(&name)?;
        let (file, stat) = open_regular(directory.as_fd(), &name.file, OFlags::RDONLY)?;
        MacosView::new(file.as_fd(), size(&stat))
    }

    fn copy_out(&self, object: &Object, at: u64, bytes: &mut [u8]) -> Result<usize, MacosError> {
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

    fn sync_object(&self, object: &Object) -> Result<(), MacosError> {
        let name = object.name();
        let directory = self.directory(&name)?;
        let (file, stat) = open_regular(directory.as_fd(), &name.file, OFlags::RDONLY)?;
        // What others stored to their mappings of the file is found through one of this process's;
        // fsync(2) is not said to look for it. No byte of it is read, so that it may be truncated.
        MacosView::new(file.as_fd(), size(&stat))?.write_back()?;
        bring_to_medium(file.as_fd())
    }

    fn remove(&self, object: &Object) -> Result<(), MacosError> {
        let name = object.name();
        unlink(self.directory(&name)?.as_fd(), &name.file)
    }

    fn visit(&self, kind: ObjectKind, mut visit: impl FnMut(Object)) -> Result<(), MacosError> {
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

    /// Writes what is there over itself: holes are written as zeros, which gives them space.
    fn reserve(&self, map: &MacosMap, range: Range<u64>) -> Result<(), MacosError> {
        // A range behind the end would make the file longer than its mapping.
        if range.end > map.size() as u64 {
            return Err(Call::Allocate.failed(Errno::INVAL));
        }
        fill(map.file(), range)
    }

    fn prefault(&self, map: &MacosMap, range: Range<u64>) {
        map.populate(range);
    }

    /// `msync(2)` of the range, then what the level asks for of the file: pages that were made ready
    /// ahead of the writer are not dirty here, so that it has little more to do.
    fn sync(&self, map: &MacosMap, range: Range<u64>, level: Durability) -> Result<(), MacosError> {
        map.write_back(range)?;
        match level {
            Durability::Ordered => order(map.file()),
            _ => bring_to_medium(map.file()),
        }
    }

    fn rescue(
        &self,
        _object: &Object,
        map: &MacosMap,
        range: Range<u64>,
    ) -> Result<bool, MacosError> {
        rescue(map, range)
    }

    fn sync_names(&self) -> Result<(), MacosError> {
        match open_directory(self.directory.as_fd(), READERS_DIRECTORY) {
            Err(error) if error.is(Errno::NOENT) => {}
            readers => {
                // The sync behind it is for the whole drive.
                order(readers?.as_fd())?;
            }
        }
        bring_to_medium(self.directory.as_fd())
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
                if let Some((object, maker)) = temporary_of(name)
                    && names_object(object)
                    && !maker.lives()
                {
                    let _ = unlink(directory, name);
                }
            });
        }
    }

    fn lock(&self, object: &Object) -> Result<MacosGuard, MacosError> {
        let name = object.name();
        let directory = self.directory(&name)?;
        let created = matches!(object, Object::WriterLock);
        let access = if created { OFlags::RDWR | OFlags::CREATE } else { OFlags::RDWR };
        for _ in 0..ATTEMPTS {
            let (file, opened) = open_regular(directory.as_fd(), &name.file, access)?;
            try_lock(file.as_fd())?;
            // Between the open and the lock somebody may have put another file in place of this
            // one; then this lock keeps nobody out.
            let named = Call::Stat
                .make(|| statat(directory.as_fd(), name.file.as_str(), AtFlags::SYMLINK_NOFOLLOW));
            match named {
                Ok(named) if (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino) => {
                    return Ok(MacosGuard::new(file, created));
                }
                Ok(_) => {}
                Err(error) if created && error.is(Errno::NOENT) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Call::Lock.failed(Errno::AGAIN))
    }

    fn inscribe(&self, guard: &MacosGuard, epoch: u32) -> Result<(), MacosError> {
        guard.inscribe(epoch, self.boot)
    }

    fn lock_state(&self, object: &Object) -> Result<LockState, MacosError> {
        let name = object.name();
        let look = || -> Result<LockState, MacosError> {
            let directory = self.directory(&name)?;
            let (file, _) = open_regular(directory.as_fd(), &name.file, OFlags::RDONLY)?;
            if !is_locked(file.as_fd())? {
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
pub struct MacosStaged {
    temporary: Temporary,
    object: FileName,
    map: MacosMap,
}

// SAFETY: the map is a region and lies unchanged in this value.
unsafe impl Region for MacosStaged {
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
unsafe impl RegionMut for MacosStaged {}

/// A file's name with a dot, 16 digits and the suffix behind it: 90 characters at most.
type TemporaryName = String<96>;

/// The process that made a temporary file, as the file's name says it. All processes of a system
/// have numbers of their own here, which is why no lock is needed for this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Maker {
    process: u32,
    /// When it started, shortened, to tell a process apart from one that got its number later.
    started: u16,
}

impl Maker {
    fn this() -> Self {
        let process = process_id();
        Self { process, started: started(process).unwrap_or(0) }
    }

    /// A number that says who, and is another one each time as far as it can be.
    fn number(self, random: u64) -> u64 {
        u64::from(self.process) << 32 | u64::from(self.started) << 16 | random & 0xffff
    }

    /// Whether the process is still there, or may be.
    fn lives(self) -> bool {
        match started(self.process) {
            Ok(started) => started == self.started,
            // There is no such process; any other error says nothing, so the file stays.
            Err(errno) => errno != Errno::SRCH,
        }
    }
}

/// When a process started, shortened.
fn started(process: u32) -> io::Result<u16> {
    let time = start_time(process)?;
    Ok((hash(OFFSET_BASIS, &time.to_le_bytes()) >> 48) as u16)
}

/// A temporary name in a directory.
#[derive(Debug)]
struct Temporary {
    directory: OwnedFd,
    name: TemporaryName,
    there: bool,
}

impl Temporary {
    /// Makes an empty file next to the name that it is for. Its own name says which process is at
    /// work on it.
    fn create(directory: OwnedFd, object: &FileName) -> Result<(Self, OwnedFd), MacosError> {
        let maker = Maker::this();
        let mut last = Call::Open.failed(Errno::EXIST);
        for _ in 0..ATTEMPTS {
            let number = maker.number(random()?);
            let mut name = TemporaryName::new();
            // The longest one fits.
            let _ = core::fmt::write(&mut name, format_args!("{object}.{number:016x}{SUFFIX}"));
            let flags = OPEN | OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
            match Call::Open.make(|| openat(&directory, name.as_str(), flags, OWNER)) {
                Ok(file) => return Ok((Self { directory, name, there: true }, file)),
                Err(error) if error.is(Errno::EXIST) => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    /// Gives the file its object's name unless the name is taken. Renaming and comparing are one
    /// step: to look first and rename then would replace what came in between.
    fn publish(&mut self, object: &FileName) -> Result<(), MacosError> {
        let (at, from, to) = (self.directory.as_fd(), self.name.as_str(), object.as_str());
        let renamed = Call::Rename.make(|| renameat_with(at, from, at, to, RenameFlags::NOREPLACE));
        match renamed {
            // rename(2), RENAME_EXCL: the file system does not have it. A link does not replace
            // anything either; the temporary name goes when `self` is dropped.
            Err(error) if error.is_refusal() => {
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

fn open_directory(at: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, MacosError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Call::Open.make(|| openat(at, name, flags, Mode::empty()))
}

fn open_regular(
    at: BorrowedFd<'_>,
    name: &str,
    access: OFlags,
) -> Result<(OwnedFd, Stat), MacosError> {
    let file = Call::Open.make(|| openat(at, name, OPEN | access, OWNER))?;
    let stat = Call::Stat.make(|| fstat(&file))?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
        Ok((file, stat))
    } else {
        Err(MacosError::NOT_REGULAR)
    }
}

fn unlink(at: BorrowedFd<'_>, name: &str) -> Result<(), MacosError> {
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

/// Has the drive write the file to its medium. Where a file system does not know the command, it is
/// left to fsync(2), which does not reach behind the drive's cache: nothing does, there.
fn bring_to_medium(file: BorrowedFd<'_>) -> Result<(), MacosError> {
    match Call::FullSync.make(|| full_sync(file)) {
        Err(error) if error.is_refusal() => Call::Sync.make(|| fsync(file)),
        done => done,
    }
}

/// Has the drive write the file before what is written later.
fn order(file: BorrowedFd<'_>) -> Result<(), MacosError> {
    match Call::BarrierSync.make(|| barrier_sync(file)) {
        Err(error) if error.is_refusal() => bring_to_medium(file),
        done => done,
    }
}

/// Shows the names in a directory that are text, in no order. Names that come or go meanwhile may
/// or may not be among them (`readdir(3)`).
fn each_name(
    directory: OwnedFd,
    mut show: impl FnMut(BorrowedFd<'_>, &str),
) -> Result<(), MacosError> {
    let failed = |errno| Call::ReadDirectory.failed(errno);
    let beside = Call::Duplicate.make(|| fcntl_dupfd_cloexec(&directory, 0))?;
    let mut names = Names::new(directory).map_err(failed)?;
    loop {
        match names.next() {
            Some(Ok(name)) => {
                if let Ok(name) = name.to_str() {
                    show(beside.as_fd(), name);
                }
            }
            // The directory itself was removed.
            Some(Err(Errno::NOENT)) | None => break,
            Some(Err(Errno::INTR)) => {}
            Some(Err(errno)) => return Err(failed(errno)),
        }
    }
    Ok(())
}

/// The name that a file with this temporary name is for, and who made the file.
fn temporary_of(name: &str) -> Option<(&str, Maker)> {
    let (object, number) = name.strip_suffix(SUFFIX)?.rsplit_once('.')?;
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if number.len() != 16 || !number.bytes().all(digit) {
        return None;
    }
    let number = u64::from_str_radix(number, 16).ok()?;
    Some((object, Maker { process: (number >> 32) as u32, started: (number >> 16) as u16 }))
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
