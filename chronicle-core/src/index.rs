//! The sparse index of a segment: where every so many bytes a record begins.
//!
//! A hint like any other: whoever uses an entry looks whether its record is there, and an index that
//! is missing or damaged costs time and nothing else. So nothing here is ever an error of an append
//! or of an open.

use chronicle_format::{
    IndexEntry, IndexHeader, Object, Position, SEG_DATA_OFFSET, Seal, SegmentId,
};
use chronicle_sync::record::{self, Slot};
use chronicle_sync::{
    Checksum, Error as _, ErrorKind, Platform, Region, RegionExt, RegionMut, RegionMutExt, Stage,
    Storage,
};

use crate::recover::RecoveryReport;
use crate::segment::{Geometry, Segment, open_segment, view_segment};
use crate::walk::step;

const HEADER: u64 = IndexHeader::SIZE as u64;
const ENTRY: u64 = IndexEntry::SIZE as u64;
/// Somebody else may make an index, or one may have to be removed, before there is one to use.
const TRIES: u32 = 4;

type Map<P> = <<P as Platform>::Storage as Storage>::Map;

/// An index whose head was checked against its segment.
pub(crate) struct Index<R> {
    region: R,
    header: IndexHeader,
    entries: u64,
    crc: Checksum,
}

impl<R: Region> Index<R> {
    fn check<S>(region: R, segment: &Segment<S>, geometry: &Geometry) -> Option<Self> {
        let header = IndexHeader::decode(&region.copy_bytes(0)?).ok()?;
        let whole = header.file_size(geometry.size) == region.size() as u64;
        let entries = header.entries(geometry.size);
        let index = Self { region, header, entries, crc: geometry.crc };
        (whole && index.is_of(segment)).then_some(index)
    }

    /// Whether it belongs to the segment, and to this life of it.
    pub(crate) fn is_of<S>(&self, segment: &Segment<S>) -> bool {
        (self.header.segment, self.header.salt) == (segment.id, segment.salt())
    }

    fn entry(&self, slot: u64) -> Option<IndexEntry> {
        if slot >= self.entries {
            return None;
        }
        let bytes = self.region.copy_bytes(HEADER + slot * ENTRY)?;
        let update = |state, bytes: &[u8]| self.crc.update(state, bytes);
        IndexEntry::decode_with(&bytes, self.header.salt, update)
    }

    /// The slot of the last entry for which `is_before` holds, where it holds for the first ones.
    /// Slots without a whole entry are passed over.
    fn last_where(&self, is_before: impl Fn(&IndexEntry) -> bool) -> Option<u64> {
        let mut found = None;
        // Invariant: it holds for every whole entry below `low` and for none from `high` on.
        let (mut low, mut high) = (0, self.entries);
        while low < high {
            let middle = low + (high - low) / 2;
            let whole = (low..=middle).rev().find_map(|slot| Some((slot, self.entry(slot)?)));
            match whole {
                Some((slot, entry)) if !is_before(&entry) => high = slot,
                Some((slot, _)) => {
                    found = Some(slot);
                    low = middle + 1;
                }
                None => low = middle + 1,
            }
        }
        found
    }

    /// The last record of the segment that has an entry for which `is_before` holds, and that is
    /// really there.
    pub(crate) fn landing<S: Region>(
        &self,
        segment: &Segment<S>,
        geometry: &Geometry,
        is_before: impl Fn(&IndexEntry) -> bool,
    ) -> Option<Position> {
        let last = self.last_where(&is_before)?;
        let entry = (0..=last).rev().find_map(|slot| {
            self.entry(slot).filter(|entry| is_before(entry) && is_there(segment, geometry, entry))
        })?;
        let IndexEntry { seq, offset, epoch, .. } = entry;
        Some(Position { segment: segment.id, offset, seq, epoch })
    }
}

/// Whether the record of an entry is there, whole, and a part of the log.
fn is_there<S: Region>(segment: &Segment<S>, geometry: &Geometry, entry: &IndexEntry) -> bool {
    let end = match segment.seal::<()>() {
        Ok(Seal::At(end)) => end,
        Ok(Seal::Open) => geometry.size.bytes(),
        Err(_) => return false,
    };
    let Slot::Record(record) = record::look(&segment.region, entry.offset) else { return false };
    let header = record.header();
    header.type_id.is_user()
        && (header.seq, header.epoch) == (entry.seq, entry.epoch)
        && record.end() <= end
        && segment
            .sealing(geometry)
            .is_none_or(|(checksum, seed)| record.is_intact(&segment.region, checksum, seed))
}

/// The index of a segment, to look things up; `None` if there is none that can be used.
pub(crate) fn view_index<P: Platform, S: Region>(
    platform: &P,
    segment: &Segment<S>,
    geometry: &Geometry,
) -> Option<Index<<P::Storage as Storage>::View>> {
    let region = platform.storage().view(&Object::Index(segment.id)).ok()?;
    Index::check(region, segment, geometry)
}

/// What to do where the index of another segment, or none at all, has the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Foreign {
    /// Put the new one in its place: only for the writer.
    Replace,
    /// Do without an index.
    Keep,
}

/// Makes the index of a segment, or opens the one that is there; `None` if there is no space for it,
/// or if the segment is no larger than a stride.
pub(crate) fn open_or_make_index<P: Platform, S>(
    platform: &P,
    segment: &Segment<S>,
    geometry: &Geometry,
    foreign: Foreign,
) -> Option<Index<Map<P>>> {
    let storage = platform.storage();
    let object = Object::Index(segment.id);
    let header = IndexHeader::new(segment.id, segment.salt(), geometry.size)?;
    let length = header.file_size(geometry.size);
    let stage = Stage { length, reserved: length, group_readable: geometry.group_readable };
    for _ in 0..TRIES {
        match storage.open(&object) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let staged = storage.stage(&object, &stage).ok()?;
                staged.store_bytes(0, &header.encode())?;
                match storage.publish(staged) {
                    Ok(region) => {
                        storage.prefault(&region, 0..length);
                        return Index::check(region, segment, geometry);
                    }
                    // Somebody who prepares segments was faster.
                    Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                    Err(_) => return None,
                }
            }
            Err(_) => {}
            Ok(region) => {
                let index = Index::check(region, segment, geometry);
                if let Some(index) = index.filter(|index| index.header == header) {
                    // Reserved again: the file may be a copy with holes in place of zeros.
                    storage.reserve(&index.region, 0..length).ok()?;
                    return Some(index);
                }
            }
        }
        // Left over from another life of this id, or damaged.
        if foreign == Foreign::Keep {
            return None;
        }
        storage.remove(&object).ok()?;
    }
    None
}

/// Removes the index of a segment: before the segment, so that no index is left without one.
pub(crate) fn remove_index<P: Platform>(platform: &P, segment: SegmentId) {
    // One that cannot be removed does no harm: it carries the salt of its segment.
    let _ = platform.storage().remove(&Object::Index(segment));
}

/// The writer's side of an index.
pub(crate) struct IndexWriter<M> {
    index: Index<M>,
    /// Entries that are there.
    used: u64,
    /// The next entry is for the first user record from this offset on.
    due: u64,
    /// Whether entries were seen in it that do not count.
    has_remains: bool,
}

impl<M: RegionMut> IndexWriter<M> {
    /// The index of a segment without records, to be [begun](Self::begin). Stores nothing: whoever prepares a segment
    /// does not know whether the queue is still its writer's.
    pub(crate) fn new(index: Index<M>) -> Self {
        let due = index.header.next_multiple(0);
        // As good as always it is empty, and nobody looks at all of it.
        let has_remains = index.region.copy_bytes(HEADER) != Some([0; IndexEntry::SIZE]);
        Self { index, used: 0, due, has_remains }
    }

    /// Makes it empty.
    #[inline(always)]
    pub(crate) fn begin(&mut self) {
        if self.has_remains {
            self.clear_rest();
        }
    }

    /// From which offset on a record gets an entry.
    pub(crate) fn due(&self) -> u64 {
        self.due
    }

    /// The same, once a record at `offset` has one.
    pub(crate) fn due_behind(&self, offset: u64) -> u64 {
        self.index.header.next_multiple(offset)
    }

    /// Stores the entry of the record at the entry's offset: a few stores.
    pub(crate) fn push(&mut self, entry: &IndexEntry) {
        if self.used < self.index.entries {
            let Index { region, header, crc, .. } = &self.index;
            let bytes = entry.encode_with(header.salt, |state, bytes| crc.update(state, bytes));
            let _ = region.store_bytes(HEADER + self.used * ENTRY, &bytes);
            self.used += 1;
        }
        self.due = self.index.header.next_multiple(entry.offset);
    }

    /// Goes on in an index whose segment has records up to `end`: makes the entries that are missing,
    /// and clears what lies behind. With `keep`, those that are right are kept; else all are made.
    fn go_on<S: Region>(
        &mut self,
        segment: &Segment<S>,
        geometry: &Geometry,
        end: u64,
        keep: bool,
    ) {
        let Ok(start) = segment.started::<()>() else { return };
        let mut last = IndexEntry {
            seq: start.first_seq,
            offset: SEG_DATA_OFFSET,
            time_floor_ns: start.time_floor_ns,
            epoch: start.epoch,
        };
        while keep && let Some(entry) = self.index.entry(self.used) {
            let follows = entry.offset >= self.due
                && entry.offset < end
                && entry.seq >= last.seq
                && entry.time_floor_ns >= last.time_floor_ns;
            if !follows || !is_there(segment, geometry, &entry) {
                break;
            }
            self.used += 1;
            self.due = self.index.header.next_multiple(entry.offset);
            last = entry;
        }
        let sealing = segment.sealing(geometry);
        while last.offset < end {
            let Slot::Record(record) = record::look(&segment.region, last.offset) else { break };
            let entry = last;
            let stepped = step(&segment.region, sealing, &record, &mut last.seq, &mut last.epoch);
            let Ok(is_user) = stepped else { break };
            if is_user && entry.offset >= self.due {
                self.push(&entry);
            }
            last.offset = record.end();
            last.time_floor_ns = last.time_floor_ns.max(record.header().timestamp_ns);
        }
        self.clear_rest();
    }

    /// Clears every entry behind the last one that counts.
    fn clear_rest(&mut self) {
        for at in (HEADER + self.used * ENTRY..self.index.region.size() as u64).step_by(8) {
            if self.index.region.read_u64(at).is_some_and(|word| word.load_relaxed() != 0) {
                let _ = self.index.region.store_words(at, &[0]);
            }
        }
    }
}

/// Goes on in the index of a segment with records up to `end`, making it if need be.
fn resume_index<P: Platform, S: Region>(
    platform: &P,
    segment: &Segment<S>,
    geometry: &Geometry,
    end: u64,
    keep: bool,
) -> Option<IndexWriter<Map<P>>> {
    let index = open_or_make_index(platform, segment, geometry, Foreign::Replace)?;
    let due = index.header.next_multiple(0);
    let mut writer = IndexWriter { index, used: 0, due, has_remains: false };
    writer.go_on(segment, geometry, end, keep);
    Some(writer)
}

/// Goes on in the index of the segment in which the log ends, and makes those of the segments whole
/// that recovery walked through before it.
pub(crate) fn resume_indexes<P: Platform, S: Region>(
    platform: &P,
    geometry: &Geometry,
    segment: &Segment<S>,
    report: &RecoveryReport,
) -> Option<IndexWriter<Map<P>>> {
    let mut id = segment.id;
    for _ in 1..report.segments_checked {
        id = id.previous()?;
        let _ = rebuild_index(platform, id, geometry, true);
    }
    resume_index(platform, segment, geometry, report.end.offset, true)
}

/// Makes the index of a sealed segment whole from its records; whether it has one then. With `keep`,
/// the leading entries that are right are kept.
pub(crate) fn rebuild_index<P: Platform>(
    platform: &P,
    id: SegmentId,
    geometry: &Geometry,
    keep: bool,
) -> crate::Result<bool, P> {
    let segment = open_segment(platform, id, geometry)?;
    match segment.seal()? {
        Seal::At(end) => {
            let made = resume_index(platform, &segment, geometry, end, keep).is_some();
            // Removed meanwhile, so that nobody else removes what was made.
            let gone = view_segment(platform, id, geometry)
                .is_err_and(|error| error.kind() == Some(ErrorKind::NotFound));
            if gone {
                remove_index(platform, id);
            }
            Ok(made && !gone)
        }
        Seal::Open => Ok(false),
    }
}

/// Makes the index of a sealed segment anew, in a queue that has no writer just now; whether the
/// segment has one then. Only for the process that holds the writer's lock.
///
/// # Errors
/// If there is no such segment, or it cannot be opened.
pub fn repair_index<P: Platform>(platform: &P, id: SegmentId) -> crate::Result<bool, P> {
    let geometry = Geometry::of(&crate::control::view_control(platform)?);
    rebuild_index(platform, id, &geometry, false)
}
