//! Doing what a plan says.
//!
//! In place, every file that goes is first kept in the quarantine, and only then replaced by one that
//! is whole and on the medium, in one step. The control file comes last. So whenever a repair is cut
//! off, each file is the old one or the new one, and the next repair goes on.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use chronicle_core::{Object, SalvageGap, repair_index};
use chronicle_format::layout::{control, segment};
use chronicle_format::{
    AGE_SAMPLES, AGE_SAMPLES_OFFSET, AgeClock, AgeSample, CHECKPOINT_FILE_SIZE, CHECKPOINT_SLOTS,
    CONTROL_FILE_SIZE, Checkpoint, CommitWord, ControlFlags, HEADER_SIZE, NOTIFY_FILE_SIZE,
    NotifyHeader, READERS_DIRECTORY, RecordFlags, RecordHeader, RetentionPolicy, SEG_DATA_OFFSET,
    TypeId, record_seed,
};
use chronicle_sync::{Platform, Storage};

use super::examine::Plan;
use super::log::{IndexState, SegmentPlan};
use crate::QueueError;
use crate::backend::{self, Backend, io_error};

/// Records are copied in pieces of this size, and a gap has no larger records.
const PIECE: u64 = 1 << 20;

/// Repairs the queue itself.
pub(super) fn in_place(
    plan: &Plan,
    path: &Path,
    platform: &Backend,
    quarantine: &Path,
) -> Result<(), QueueError> {
    let failed = |error| QueueError::io(path, "repair", error);
    let work = Work { plan, path, platform, quarantine };
    work.make_quarantine().map_err(|error| QueueError::io(quarantine, "create", error))?;
    work.keep_all().map_err(|error| QueueError::io(quarantine, "write to", error))?;
    work.replace_segments().map_err(failed)?;
    work.replace_rest().map_err(failed)?;
    rebuild_indexes(plan, path, platform)
}

/// Makes a repaired copy.
pub(super) fn into_copy(plan: &Plan, source: &Path, target: &Path) -> Result<(), QueueError> {
    let failed = |error| QueueError::io(target, "write to", error);
    make_target(plan, target)?;
    let platform = backend::open(target)?;
    platform.storage().prepare(is_group_readable(plan)).map_err(|error| failed(io_error(error)))?;
    copy_all(plan, source, target).map_err(failed)?;
    rebuild_indexes(plan, target, &platform)
}

fn is_group_readable(plan: &Plan) -> bool {
    plan.header.flags.contains(ControlFlags::GROUP_READABLE)
}

fn make_target(plan: &Plan, target: &Path) -> Result<(), QueueError> {
    let failed = |error| QueueError::io(target, "create", error);
    let mode = if is_group_readable(plan) { 0o750 } else { 0o700 };
    match DirBuilder::new().mode(mode).create(target) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if let Some(entry) = fs::read_dir(target).map_err(failed)?.next() {
                let entry = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
                return Err(QueueError::NotEmpty { path: target.to_owned(), entry });
            }
        }
        Err(error) => return Err(failed(error)),
    }
    Ok(())
}

fn copy_all(plan: &Plan, source: &Path, target: &Path) -> io::Result<()> {
    for segment in &plan.log.segments {
        let object = Object::Segment(segment.header.id);
        let file = object.to_string();
        let old = segment.has_file.then(|| source.join(&file));
        write_segment(&target.join(file), mode(plan, &object), segment, old.as_deref())?;
        let index = Object::Index(segment.header.id);
        let from = source.join(index.to_string());
        if segment.index == IndexState::Fine && segment.has_file && from.is_file() {
            let bytes = fs::read(from)?;
            write_file(&target.join(index.to_string()), mode(plan, &index), &bytes)?;
        }
    }
    for reader in &plan.readers {
        let object = Object::Reader(reader.name.clone());
        let bytes = match &reader.contents {
            Some(contents) => contents.clone(),
            None => fs::read(source.join(object.to_string()))?,
        };
        write_file(&target.join(object.to_string()), mode(plan, &object), &bytes)?;
    }
    if plan.keeps_replicated {
        let object = Object::Replicated;
        let bytes = fs::read(source.join(object.to_string()))?;
        write_file(&target.join(object.to_string()), mode(plan, &object), &bytes)?;
    }
    for (object, bytes) in [(Object::Notify, notify()), (Object::Checkpoint, checkpoint(plan))] {
        write_file(&target.join(object.to_string()), mode(plan, &object), &bytes)?;
    }
    sync_directories(target)?;
    let file = target.join(Object::Control.to_string());
    write_file(&file, mode(plan, &Object::Control), &control(plan))?;
    sync_directories(target)
}

struct Work<'w> {
    plan: &'w Plan,
    path: &'w Path,
    platform: &'w Backend,
    quarantine: &'w Path,
}

impl Work<'_> {
    /// A directory that only its owner can look into, and that holds nothing yet.
    fn make_quarantine(&self) -> io::Result<()> {
        let made = DirBuilder::new().mode(0o700).create(self.quarantine);
        if made.is_err() && fs::read_dir(self.quarantine)?.next().is_some() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "it is not empty"));
        }
        Ok(())
    }

    /// Files that are replaced or taken out.
    fn outgoing(&self) -> Vec<Object> {
        let plan = self.plan;
        let mut objects = Vec::new();
        for segment in &plan.log.segments {
            if segment.is_changed {
                objects.push(Object::Segment(segment.header.id));
            }
            if segment.index == IndexState::Rebuild {
                objects.push(Object::Index(segment.header.id));
            }
        }
        objects.extend(plan.log.removed.iter().copied().map(Object::Segment));
        objects.extend(plan.log.removed.iter().copied().map(Object::Index));
        let changed = plan.readers.iter().filter(|reader| reader.contents.is_some());
        objects.extend(changed.map(|reader| Object::Reader(reader.name.clone())));
        for (object, goes) in [
            (Object::Replicated, plan.removes_replicated),
            (Object::Notify, plan.rebuild_notify),
            (Object::Checkpoint, plan.rebuild_checkpoint),
            (Object::Control, plan.rebuild_control),
        ] {
            if goes {
                objects.push(object);
            }
        }
        objects
    }

    /// Keeps everything that goes, and a list of why, before anything is changed.
    fn keep_all(&self) -> io::Result<()> {
        for object in self.outgoing() {
            self.keep(&object)?;
        }
        let mut list = String::new();
        for repair in self.plan.repairs() {
            list += &format!("{}: {}", repair.file, repair.reason);
            if let Some((from, to)) = repair.bytes {
                list += &format!("; bytes {from} to {to}");
            }
            if let Some((first, next)) = repair.lost {
                list += &format!("; messages {first} to {} are lost", next - 1);
            }
            list.push('\n');
        }
        write_file(&self.quarantine.join("repairs.txt"), 0o600, list.as_bytes())?;
        File::open(self.quarantine)?.sync_all()
    }

    fn keep(&self, object: &Object) -> io::Result<()> {
        let from = self.path.join(object.to_string());
        let to = self.quarantine.join(object.to_string());
        match fs::symlink_metadata(&from) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
            // What is no plain file says nothing, and has to make way.
            Ok(metadata) if !metadata.is_file() => {
                make_parent(&to)?;
                return fs::rename(&from, &to);
            }
            Ok(_) => make_parent(&to)?,
        }
        // A second name keeps the old bytes without copying them; segments are replaced as a whole
        // and never written to. Another file system needs a copy.
        let is_segment = matches!(object, Object::Segment(_) | Object::Index(_));
        if !is_segment || fs::hard_link(&from, &to).is_err() {
            copy_file(&from, &to)?;
        }
        Ok(())
    }

    fn replace_segments(&self) -> io::Result<()> {
        let removed = self.plan.log.removed.iter();
        let rebuilt = self.plan.log.segments.iter();
        let rebuilt = rebuilt.filter(|it| it.index == IndexState::Rebuild);
        let indexes = rebuilt.map(|it| it.header.id).chain(removed.clone().copied());
        for object in indexes.map(Object::Index).chain(removed.copied().map(Object::Segment)) {
            match fs::remove_file(self.path.join(object.to_string())) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        for segment in &self.plan.log.segments {
            let object = Object::Segment(segment.header.id);
            let file = self.path.join(object.to_string());
            if segment.is_changed {
                let old = segment.has_file.then_some(file.as_path());
                let temporary = self.temporary(&file);
                write_segment(&temporary, mode(self.plan, &object), segment, old)?;
                fs::rename(&temporary, &file)?;
            } else if self.plan.rebuild_checkpoint {
                // The new checkpoint says that all of the log is durable.
                File::open(&file)?.sync_data()?;
            }
        }
        sync_directories(self.path)
    }

    fn replace_rest(&self) -> io::Result<()> {
        let plan = self.plan;
        for reader in &plan.readers {
            if let Some(contents) = &reader.contents {
                self.replace(&Object::Reader(reader.name.clone()), contents)?;
            }
        }
        if plan.removes_replicated {
            match fs::remove_file(self.path.join(Object::Replicated.to_string())) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        if plan.rebuild_notify {
            self.replace(&Object::Notify, &notify())?;
        }
        if plan.rebuild_checkpoint {
            self.replace(&Object::Checkpoint, &checkpoint(plan))?;
        }
        sync_directories(self.path)?;
        if plan.rebuild_control {
            self.replace(&Object::Control, &control(plan))?;
        }
        sync_directories(self.path)
    }

    fn replace(&self, object: &Object, bytes: &[u8]) -> io::Result<()> {
        let file = self.path.join(object.to_string());
        let temporary = self.temporary(&file);
        write_file(&temporary, mode(self.plan, object), bytes)?;
        fs::rename(&temporary, &file)
    }

    /// A name beside a file that the next writer takes for a dead process's.
    fn temporary(&self, file: &Path) -> PathBuf {
        let mut name = file.as_os_str().to_owned();
        name.push(format!(".{:016x}.tmp", self.platform.entropy()));
        name.into()
    }
}

fn make_parent(file: &Path) -> io::Result<()> {
    match file.parent() {
        Some(parent) => fs::create_dir_all(parent),
        None => Ok(()),
    }
}

fn rebuild_indexes(plan: &Plan, path: &Path, platform: &Backend) -> Result<(), QueueError> {
    for segment in plan.log.segments.iter().filter(|it| it.index == IndexState::Rebuild) {
        repair_index(&platform, segment.header.id)
            .map_err(|error| QueueError::from_core(path, error))?;
    }
    Ok(())
}

fn mode(plan: &Plan, object: &Object) -> u32 {
    match object {
        _ if !is_group_readable(plan) => 0o600,
        Object::Notify | Object::Reader(_) => 0o660,
        _ => 0o640,
    }
}

/// Makes a file that will have this length.
fn create(file: &Path, mode: u32, length: u64) -> io::Result<File> {
    backend::allow_size(length)?;
    let created = OpenOptions::new().write(true).create_new(true).mode(mode).open(file)?;
    // Whatever the umask took away.
    created.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))?;
    Ok(created)
}

/// Makes a file that is on the medium when this returns.
fn write_file(file: &Path, mode: u32, bytes: &[u8]) -> io::Result<()> {
    let mut created = create(file, mode, bytes.len() as u64)?;
    created.write_all(bytes)?;
    created.sync_all()
}

/// Makes a copy that is on the medium when this returns. `fs::copy` asks for more than there is, and
/// asking for a byte behind the limit on the size of files is a signal.
fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    let old = File::open(from)?;
    let metadata = old.metadata()?;
    let new = create(to, metadata.mode() & 0o777, metadata.len())?;
    copy_range(&old, &new, 0, metadata.len())?;
    new.sync_all()
}

fn sync_directories(queue: &Path) -> io::Result<()> {
    let readers = queue.join(READERS_DIRECTORY);
    if readers.is_dir() {
        File::open(readers)?.sync_all()?;
    }
    File::open(queue)?.sync_all()
}

/// Writes a segment as it is to be, with the records of the old file.
fn write_segment(file: &Path, mode: u32, plan: &SegmentPlan, old: Option<&Path>) -> io::Result<()> {
    let size = plan.header.segment_size.bytes();
    let created = create(file, mode, size)?;
    created.set_len(size)?;
    let mut head = plan.header.encode();
    let [seq, time, epoch] = plan.start.words(&plan.header);
    for (at, word) in [
        (segment::FIRST_SEQ, seq),
        (segment::TIME_FLOOR_NS, time),
        (segment::EPOCH, epoch),
        (segment::SEAL, plan.seal.bits()),
    ] {
        put(&mut head, at, &word.to_le_bytes());
    }
    created.write_all_at(&head, 0)?;
    if let Some(old) = old {
        let old = File::open(old)?;
        let mut from = SEG_DATA_OFFSET;
        for gap in &plan.gaps {
            copy_range(&old, &created, from, gap.from)?;
            from = gap.to;
        }
        copy_range(&old, &created, from, plan.end)?;
    }
    for gap in &plan.gaps {
        write_gap(&created, plan, gap)?;
    }
    created.sync_all()
}

fn copy_range(old: &File, new: &File, from: u64, to: u64) -> io::Result<()> {
    let mut buffer = vec![0; PIECE as usize];
    let mut at = from;
    while at < to {
        let length = (to - at).min(PIECE) as usize;
        let (piece, _) = buffer.split_at_mut(length);
        old.read_exact_at(piece, at)?;
        new.write_all_at(piece, at)?;
        at += length as u64;
    }
    Ok(())
}

/// Puts a gap over exactly its bytes: one record, or several where it is long.
fn write_gap(file: &File, plan: &SegmentPlan, gap: &SalvageGap) -> io::Result<()> {
    let header = RecordHeader {
        type_id: TypeId::GAP,
        flags: RecordFlags::empty(),
        epoch: gap.epoch,
        seq: gap.next_seq,
        timestamp_ns: gap.time_max_ns,
    };
    let mut at = gap.from;
    while at < gap.to {
        let size = (gap.to - at).min(PIECE);
        let payload = vec![0; (size - HEADER_SIZE) as usize];
        let crc = match plan.header.checksums {
            true => header.crc(record_seed(plan.header.salt), &payload),
            false => 0,
        };
        let word = CommitWord::new(payload.len() as u32, crc).map_or(0, CommitWord::bits);
        let mut bytes = Vec::with_capacity(size as usize);
        for word in [word].into_iter().chain(header.words()) {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.extend_from_slice(&payload);
        file.write_all_at(&bytes, at)?;
        at += size;
    }
    Ok(())
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(target) = bytes.get_mut(at..at + value.len()) {
        target.copy_from_slice(value);
    }
}

fn notify() -> Vec<u8> {
    let mut bytes = vec![0; NOTIFY_FILE_SIZE as usize];
    put(&mut bytes, 0, &NotifyHeader.encode());
    bytes
}

/// Everything is durable: all of it was synced.
fn checkpoint(plan: &Plan) -> Vec<u8> {
    let mut bytes = vec![0; CHECKPOINT_FILE_SIZE as usize];
    let generation = plan.checkpoint_generation + 1;
    let [even, odd] = CHECKPOINT_SLOTS;
    let at = if generation.is_multiple_of(2) { even } else { odd };
    let (queue_id, durable) = (plan.header.queue_id, plan.end());
    let first = plan.log.segments.first().map_or(durable.segment, |segment| segment.header.id);
    let slot = Checkpoint { generation, queue_id, durable, first };
    put(&mut bytes, at, &slot.encode());
    bytes
}

/// A control file of no boot, so that the next writer takes nothing in it for true but what lasts.
fn control(plan: &Plan) -> Vec<u8> {
    let mut bytes = vec![0; CONTROL_FILE_SIZE as usize];
    put(&mut bytes, 0, &plan.header.encode());
    put(&mut bytes, RetentionPolicy::OFFSET, &plan.retention.encode());
    put(&mut bytes, control::EPOCH, &plan.epoch.to_le_bytes());
    let end = plan.end();
    for (at, word) in [
        (control::CURRENT_SEGMENT, u64::from(end.segment.get())),
        (control::WRITE_OFFSET, end.offset),
        (control::WRITE_SEQ, end.seq),
        (control::HINT_EPOCH, u64::from(end.epoch)),
        (control::DURABLE_SEQ, end.seq),
        (control::DURABLE_COMPLEMENT, !end.seq),
        (
            control::SEGMENT_FLOOR,
            plan.log.segments.first().map_or(0, |it| it.header.id.get().into()),
        ),
    ] {
        put(&mut bytes, at, &word.to_le_bytes());
    }
    if let Some(old) = &plan.old_control {
        for (at, length) in [
            (AgeClock::OFFSET, AgeClock::SIZE),
            (AGE_SAMPLES_OFFSET, AGE_SAMPLES * AgeSample::SIZE),
        ] {
            if let Some(words) = old.get(at..at + length) {
                put(&mut bytes, at, words);
            }
        }
    }
    bytes
}
