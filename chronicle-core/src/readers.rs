//! Named readers: their position files and who holds them.

use chronicle_format::layout::reader;
use chronicle_format::{
    FormatError, Object, Position, READER_FILE_SIZE, READER_SLOTS, ReaderHeader, ReaderName,
    ReaderPolicy, ReaderSlot,
};
use chronicle_sync::mutation::{Mutant, seeded};
use chronicle_sync::record::Record;
use chronicle_sync::{
    Checksum, Durability, Error as _, ErrorKind, Platform, Region, RegionExt, RegionMutExt, Stage,
    Storage, slots,
};

use crate::Result;
use crate::control::decode;
use crate::error::{Error, Operation};

/// A reader's name, held: nobody else can read under it until this is dropped.
pub struct Registration<P: Platform> {
    name: ReaderName,
    region: <P::Storage as Storage>::Map,
    slot: ReaderSlot,
    checksum: Checksum,
    _lock: <P::Storage as Storage>::Guard,
}

/// The last record that a position has behind it, in its own segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LastRead {
    pub(crate) offset: u64,
    pub(crate) crc: u32,
    pub(crate) timestamp_ns: u64,
}

impl LastRead {
    #[inline(always)]
    pub(crate) fn of(record: &Record) -> Self {
        let timestamp_ns = record.header().timestamp_ns;
        Self { offset: record.offset(), crc: record.crc(), timestamp_ns }
    }
}

impl<P: Platform> Registration<P> {
    /// Takes a name, and says whether it is new: then it is registered at `begin`.
    pub(crate) fn open(
        platform: &P,
        name: &ReaderName,
        policy: ReaderPolicy,
        queue_id: u64,
        group_readable: bool,
        begin: impl FnOnce() -> Result<(Position, Option<LastRead>), P>,
    ) -> Result<(Self, bool), P> {
        let object = Object::Reader(name.clone());
        let storage = platform.storage();
        let mut is_new = false;
        let region = match storage.open(&object) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let header = ReaderHeader { queue_id, policy };
                is_new = true;
                register(platform, &object, &header, group_readable, begin()?)?
            }
            other => other.map_err(Error::platform(object.clone(), Operation::Open))?,
        };
        let lock = match storage.lock(&object) {
            Ok(lock) => lock,
            Err(error) if error.kind() == ErrorKind::Locked => {
                let pid = region.read_u32(reader::HOLDER_PID as u64);
                let pid = pid.map_or(0, |pid| pid.load_relaxed());
                return Err(Error::ReaderAlreadyActive { name: name.clone(), pid });
            }
            Err(error) => return Err(Error::platform(object, Operation::Lock)(error)),
        };
        check(&region, queue_id, &object)?;
        let slot = load(&region, &object)?;
        let checksum = Checksum::detect();
        Ok((Self { name: name.clone(), region, slot, checksum, _lock: lock }, is_new))
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &ReaderName {
        &self.name
    }

    /// Writes down which process holds the name, for people: once it is sure that it can read.
    pub(crate) fn inscribe(&self, process_id: u32) {
        self.region.publish_u32(reader::HOLDER_PID as u64, process_id);
    }

    /// The position that was committed last, or at which the reader was registered.
    #[must_use]
    pub fn committed(&self) -> Position {
        self.slot.next
    }

    pub(crate) fn last_read(&self) -> Option<LastRead> {
        let ReaderSlot { last_offset, last_crc, last_timestamp_ns, .. } = self.slot;
        (last_offset != 0).then_some(LastRead {
            offset: last_offset,
            crc: last_crc,
            timestamp_ns: last_timestamp_ns,
        })
    }

    /// Brings the committed position to the medium.
    pub(crate) fn sync(&self, platform: &P) -> Result<(), P> {
        platform
            .storage()
            .sync(&self.region, 0..READER_FILE_SIZE, Durability::Durable)
            .map_err(Error::platform(Object::Reader(self.name.clone()), Operation::Sync))
    }

    /// Stores a position: a few stores, valid after the death of this process at any of them.
    pub(crate) fn commit(&mut self, next: Position, last: Option<LastRead>) {
        let generation = self.slot.generation.wrapping_add(1).max(1);
        let last = last.unwrap_or(LastRead {
            offset: 0,
            crc: 0,
            timestamp_ns: self.slot.last_timestamp_ns,
        });
        self.slot = ReaderSlot {
            generation,
            next,
            last_offset: last.offset,
            last_timestamp_ns: last.timestamp_ns,
            last_crc: last.crc,
        };
        // The file's size was checked, so the slots lie inside.
        let _ = slots::store_in(&self.region, READER_SLOTS, &self.slot, self.checksum);
    }
}

/// Removes a reader that nobody holds.
///
/// # Errors
/// [`Error::ReaderAlreadyActive`]; the platform's, `NotFound` if there is no such reader.
pub fn remove_reader<P: Platform>(platform: &P, name: &ReaderName) -> Result<(), P> {
    let object = Object::Reader(name.clone());
    let storage = platform.storage();
    let _lock = match storage.lock(&object) {
        Ok(lock) => lock,
        Err(error) if error.kind() == ErrorKind::Locked => {
            return Err(Error::ReaderAlreadyActive { name: name.clone(), pid: 0 });
        }
        Err(error) => return Err(Error::platform(object, Operation::Lock)(error)),
    };
    storage.remove(&object).map_err(Error::platform(object, Operation::Remove))
}

/// Makes a reader's file, whole with its first position; another process may be first.
fn register<P: Platform>(
    platform: &P,
    object: &Object,
    header: &ReaderHeader,
    group_readable: bool,
    (next, last): (Position, Option<LastRead>),
) -> Result<<P::Storage as Storage>::Map, P> {
    let storage = platform.storage();
    let stage = Stage { length: READER_FILE_SIZE, reserved: READER_FILE_SIZE, group_readable };
    let created = || Error::platform(object.clone(), Operation::Create);
    let staged = storage.stage(object, &stage).map_err(created())?;
    staged.store_bytes(0, &header.encode());
    let slot = ReaderSlot {
        generation: 1,
        next,
        last_offset: last.map_or(0, |last| last.offset),
        last_timestamp_ns: last.map_or(0, |last| last.timestamp_ns),
        last_crc: last.map_or(0, |last| last.crc),
    };
    let _ = slots::store_in(&staged, READER_SLOTS, &slot, Checksum::portable());
    let synced = storage.sync_staged(&staged);
    synced.map_err(Error::platform(object.clone(), Operation::Sync))?;
    let region = match storage.publish(staged) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            storage.open(object).map_err(Error::platform(object.clone(), Operation::Open))
        }
        other => other.map_err(created()),
    }?;
    // A name that a power loss takes back would begin anew, at another place, and nobody would know.
    let synced = if seeded(Mutant::ReaderNameNotSynced) { Ok(()) } else { storage.sync_names() };
    synced.map_err(|error| {
        // The next try is to find no name, or it would not sync it.
        let _ = storage.remove(object);
        Error::platform(object.clone(), Operation::Sync)(error)
    })?;
    Ok(region)
}

/// Checks that a file is a reader's of this queue.
pub(crate) fn check<R: Region, E>(
    region: &R,
    queue_id: u64,
    object: &Object,
) -> core::result::Result<ReaderHeader, Error<E>> {
    let header = decode(region, READER_FILE_SIZE, ReaderHeader::decode)
        .map_err(Error::format(object.clone()))?;
    if header.queue_id != queue_id {
        let source = FormatError::ForeignQueue { found: header.queue_id };
        return Err(Error::Format { object: object.clone(), source });
    }
    Ok(header)
}

/// The newest position of a reader's file.
pub(crate) fn load<R: Region, E>(
    region: &R,
    object: &Object,
) -> core::result::Result<ReaderSlot, Error<E>> {
    // The first position is there before the file has its name, so there is always one.
    slots::load_from(region, READER_SLOTS).ok().flatten().ok_or_else(|| Error::Format {
        object: object.clone(),
        source: FormatError::BadChecksum { at: READER_SLOTS[0] },
    })
}
