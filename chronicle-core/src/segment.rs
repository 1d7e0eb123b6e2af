//! Segment files: opening them with every field checked, and making the next one.

use chronicle_format::layout::segment;
use chronicle_format::{
    CrcState, FormatError, Object, SEG_DATA_OFFSET, Seal, SegmentHeader, SegmentId, SegmentSize,
    SegmentStart,
};
use chronicle_sync::mutation::{Mutant, seeded};
use chronicle_sync::record::{self, Sealing};
use chronicle_sync::{
    Checksum, ErrorKind, ObjectKind, Platform, ReadU64, Region, RegionExt, RegionMut, RegionMutExt,
    Stage, Storage,
};

use crate::Result;
use crate::checkpoint::first_segment;
use crate::control::{Control, decode};
use crate::error::{Damage, Error, Fault, Operation};

/// What all segments of a queue have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Geometry {
    pub(crate) size: SegmentSize,
    /// Whether records carry a checksum.
    pub(crate) checksums: bool,
    /// How checksums are computed. Found out once: asking a processor what it has takes microseconds in a
    /// virtual machine.
    pub(crate) crc: Checksum,
    pub(crate) group_readable: bool,
    pub(crate) queue_id: u64,
}

impl Geometry {
    pub(crate) fn of<R: Region>(control: &Control<R>) -> Self {
        Self {
            size: control.segment_size(),
            checksums: control.checksums(),
            crc: Checksum::detect(),
            group_readable: control.group_readable(),
            queue_id: control.queue_id(),
        }
    }

    /// How records of a segment with this salt are checksummed.
    pub(crate) fn sealing(&self, salt: u32) -> Sealing {
        let salt = if seeded(Mutant::ChecksumUnsalted) { 1 } else { salt };
        // As `record_seed`, by the faster way.
        self.checksums.then(|| (self.crc, self.crc.update(CrcState::NEW, &salt.to_le_bytes())))
    }
}

/// A segment whose header was checked against its name and its queue.
pub(crate) struct Segment<R> {
    pub(crate) region: R,
    pub(crate) id: SegmentId,
    header: SegmentHeader,
}

impl<R> Segment<R> {
    /// The same segment, with something else made of its region.
    pub(crate) fn with<T>(self, region: impl FnOnce(R) -> T) -> Segment<T> {
        Segment { region: region(self.region), id: self.id, header: self.header }
    }

    pub(crate) fn object(&self) -> Object {
        Object::Segment(self.id)
    }

    /// Random, and different for every life of a segment's id.
    pub(crate) fn salt(&self) -> u32 {
        self.header.salt
    }

    /// What every record's checksum begins with.
    pub(crate) fn sealing(&self, geometry: &Geometry) -> Sealing {
        geometry.sealing(self.header.salt)
    }

    /// What the checksum of the segment's start begins with.
    pub(crate) fn start_seed(&self, crc: Checksum) -> CrcState {
        self.header.start_seed(|state, bytes| crc.update(state, bytes))
    }
}

impl<R: Region> Segment<R> {
    pub(crate) fn check<E>(
        region: R,
        id: SegmentId,
        geometry: &Geometry,
    ) -> core::result::Result<Self, Error<E>> {
        let object = Object::Segment(id);
        let header = decode(&region, geometry.size.bytes(), SegmentHeader::decode)
            .map_err(Error::format(object.clone()))?;
        let differs = |at: usize, value: u64| Error::Format {
            object: object.clone(),
            source: FormatError::OutOfRange { at, value },
        };
        if header.id != id {
            return Err(differs(segment::SEGMENT_ID, header.id.get().into()));
        }
        if header.segment_size != geometry.size {
            return Err(differs(segment::SEGMENT_SIZE, header.segment_size.bytes()));
        }
        if header.checksums != geometry.checksums {
            return Err(differs(segment::FLAGS, header.checksums.into()));
        }
        Ok(Self { region, id, header })
    }

    /// The segment's start; `None` if no writer has started it.
    pub(crate) fn start<E>(&self) -> core::result::Result<Option<SegmentStart>, Error<E>> {
        let bytes = self.region.copy_bytes(0).unwrap_or([0; SegmentHeader::SIZE]);
        SegmentStart::decode(&bytes).map_err(Error::format(self.object()))
    }

    /// The start of a segment into which records lead.
    pub(crate) fn started<E>(&self) -> core::result::Result<SegmentStart, Error<E>> {
        self.start()?.ok_or(Error::Damaged(Damage {
            segment: self.id,
            offset: SEG_DATA_OFFSET,
            seq: 0,
            fault: Fault::NotStarted,
        }))
    }

    #[inline(always)]
    pub(crate) fn seal_word(&self) -> Option<ReadU64<'_>> {
        self.region.read_u64(segment::SEAL as u64)
    }

    pub(crate) fn seal<E>(&self) -> core::result::Result<Seal, Error<E>> {
        let bits = self.seal_word().map_or(0, ReadU64::load_acquire);
        Seal::from_bits(bits, self.header.segment_size).map_err(Error::format(self.object()))
    }

    /// Whether there is at least one record.
    pub(crate) fn has_records(&self) -> bool {
        record::is_committed(&self.region, SEG_DATA_OFFSET)
    }
}

impl<R: RegionMut> Segment<R> {
    /// Writes who starts the segment and where. Only while no record leads into it. `seed` is the header's
    /// [part](Self::start_seed) of the checksum.
    #[inline(always)]
    pub(crate) fn begin(&self, start: &SegmentStart, seed: CrcState, crc: Checksum) {
        let words =
            start.words_behind(seed, |state, words, last| crc.words_and_half(state, words, last));
        self.region.store_words(segment::FIRST_SEQ as u64, &words);
    }

    /// Seals the segment behind its last record.
    pub(crate) fn seal_at(&self, end: u64) {
        if let Some(word) = self.region.word_u64(segment::SEAL as u64) {
            chronicle_sync::seal::seal(word, end);
        }
    }

    /// Takes a seal away: only recovery does, where records before the seal were lost.
    pub(crate) fn unseal(&self) {
        self.region.publish_u64(segment::SEAL as u64, Seal::Open.bits());
    }
}

/// Opens a segment for reading.
pub(crate) fn view_segment<P: Platform>(
    platform: &P,
    id: SegmentId,
    geometry: &Geometry,
) -> Result<Segment<<P::Storage as Storage>::View>, P> {
    opened(platform.storage().view(&Object::Segment(id)), id, geometry)
}

/// Opens a segment for writing.
pub(crate) fn open_segment<P: Platform>(
    platform: &P,
    id: SegmentId,
    geometry: &Geometry,
) -> Result<Segment<<P::Storage as Storage>::Map>, P> {
    opened(platform.storage().open(&Object::Segment(id)), id, geometry)
}

fn opened<R: Region, E>(
    region: core::result::Result<R, E>,
    id: SegmentId,
    geometry: &Geometry,
) -> core::result::Result<Segment<R>, Error<E>> {
    let region = region.map_err(Error::platform(Object::Segment(id), Operation::Open))?;
    Segment::check(region, id, geometry)
}

/// Makes a segment without a name and without a start, with `reserved` bytes of real space.
pub(crate) fn stage_segment<P: Platform>(
    platform: &P,
    id: SegmentId,
    geometry: &Geometry,
    reserved: u64,
) -> Result<(<P::Storage as Storage>::Staged, SegmentHeader), P> {
    let object = Object::Segment(id);
    let header = SegmentHeader {
        id,
        segment_size: geometry.size,
        checksums: geometry.checksums,
        salt: salt(platform),
    };
    let stage =
        Stage { length: geometry.size.bytes(), reserved, group_readable: geometry.group_readable };
    let staged = platform.storage().stage(&object, &stage);
    let staged = staged.map_err(Error::platform(object, Operation::Create))?;
    staged.store_bytes(0, &header.encode());
    Ok((staged, header))
}

/// Gives a staged segment its name, without ever replacing one.
pub(crate) fn publish_segment<P: Platform>(
    platform: &P,
    id: SegmentId,
    header: SegmentHeader,
    staged: <P::Storage as Storage>::Staged,
) -> Result<Segment<<P::Storage as Storage>::Map>, P> {
    let region = platform.storage().publish(staged);
    let region = region.map_err(Error::platform(Object::Segment(id), Operation::Create))?;
    Ok(Segment { region, id, header })
}

/// Makes a segment that is started with `start` before it gets its name.
fn create_segment<P: Platform>(
    platform: &P,
    id: SegmentId,
    geometry: &Geometry,
    reserved: u64,
    start: &SegmentStart,
) -> Result<Segment<<P::Storage as Storage>::Map>, P> {
    let (staged, header) = stage_segment(platform, id, geometry, reserved)?;
    if seeded(Mutant::NextNamedUnstarted) {
        let segment = publish_segment(platform, id, header, staged)?;
        segment.begin(start, segment.start_seed(geometry.crc), geometry.crc);
        return Ok(segment);
    }
    staged.store_words(segment::FIRST_SEQ as u64, &start.words(&header));
    publish_segment(platform, id, header, staged)
}

/// Makes the first segment of a queue, which is on the medium before it gets its name: without
/// `control.meta` beside it, a name that leads to no head looks like damage.
pub(crate) fn create_first_segment<P: Platform>(
    platform: &P,
    geometry: &Geometry,
    reserved: u64,
) -> Result<(), P> {
    let id = SegmentId::FIRST;
    let start = SegmentStart { first_seq: 0, time_floor_ns: 0, epoch: 0 };
    let (staged, header) = stage_segment(platform, id, geometry, reserved)?;
    staged.store_words(segment::FIRST_SEQ as u64, &start.words(&header));
    if !seeded(Mutant::FirstSegmentNotSynced) {
        let synced = platform.storage().sync_staged(&staged);
        synced.map_err(Error::platform(Object::Segment(id), Operation::Sync))?;
    }
    publish_segment(platform, id, header, staged).map(drop)
}

/// The next segment, started with `start`: one that a predecessor prepared and nobody has entered,
/// or a new one. Never truncates and never replaces.
pub(crate) fn open_or_create_segment<P: Platform>(
    platform: &P,
    id: SegmentId,
    geometry: &Geometry,
    reserved: u64,
    start: &SegmentStart,
) -> Result<Segment<<P::Storage as Storage>::Map>, P> {
    match create_segment(platform, id, geometry, reserved, start) {
        Err(error) if error.kind() == Some(ErrorKind::AlreadyExists) => {
            let segment = open_segment(platform, id, geometry)?;
            if segment.has_records() {
                // Nobody appends to a segment before its predecessor is sealed, so these records are
                // not this queue's next ones. Overwriting them is not for an append to decide.
                let seq = start.first_seq;
                let fault = Fault::Internal;
                return Err(Error::Damaged(Damage {
                    segment: id,
                    offset: SEG_DATA_OFFSET,
                    seq,
                    fault,
                }));
            }
            platform
                .storage()
                .reserve(&segment.region, 0..reserved)
                .map_err(Error::platform(Object::Segment(id), Operation::Reserve))?;
            segment.begin(start, segment.start_seed(geometry.crc), geometry.crc);
            Ok(segment)
        }
        other => other,
    }
}

/// The lowest and the highest segment of the log; `None` if there is none. Files before its beginning
/// are not among them: they are what is left of removed segments, and may hold anything.
pub(crate) fn log_range<P: Platform>(
    platform: &P,
    geometry: &Geometry,
) -> Result<Option<(SegmentId, SegmentId)>, P> {
    segment_range_from(platform, first_segment(platform, geometry.queue_id))
}

/// The lowest and the highest segment of which there is a file; `None` if there is none.
pub(crate) fn segment_range<P: Platform>(
    platform: &P,
) -> Result<Option<(SegmentId, SegmentId)>, P> {
    segment_range_from(platform, SegmentId::FIRST)
}

/// The same of those from `first` on.
pub(crate) fn segment_range_from<P: Platform>(
    platform: &P,
    first: SegmentId,
) -> Result<Option<(SegmentId, SegmentId)>, P> {
    let mut range: Option<(SegmentId, SegmentId)> = None;
    let visit = |object| {
        if let Object::Segment(id) = object
            && id >= first
        {
            range = Some(range.map_or((id, id), |(low, high)| (low.min(id), high.max(id))));
        }
    };
    platform
        .storage()
        .visit(ObjectKind::Segments, visit)
        .map_err(Error::platform(Object::Segment(SegmentId::FIRST), Operation::List))?;
    Ok(range)
}

/// Whether a directory without `control.meta` holds records of a queue all the same.
pub(crate) fn has_records<P: Platform>(platform: &P) -> Result<bool, P> {
    match segment_range(platform)? {
        None => Ok(false),
        Some((low, high)) if low != high || low != SegmentId::FIRST => Ok(true),
        Some((first, _)) => {
            // A creation that was cut off leaves the first segment, empty. Anything else in its
            // place is not ours to judge, so it counts as records.
            let region = platform
                .storage()
                .view(&Object::Segment(first))
                .map_err(Error::platform(Object::Segment(first), Operation::Open))?;
            let bytes = region.copy_bytes(0).unwrap_or([0; SegmentHeader::SIZE]);
            let whole = SegmentHeader::decode(&bytes).is_ok_and(|header| header.id == first);
            Ok(!whole || record::is_committed(&region, SEG_DATA_OFFSET))
        }
    }
}

fn salt<P: Platform>(platform: &P) -> u32 {
    let random = platform.entropy();
    let folded = random as u32 ^ (random >> 32) as u32;
    // 0 would mean "no salt".
    if folded == 0 { 1 } else { folded }
}
