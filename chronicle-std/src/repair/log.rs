//! What becomes of each segment.

use std::path::Path;

use chronicle_core::{
    Fault, Object, Position, SalvageBounds, SalvageGap, Salvaged, SegmentId, guess_start, salvage,
};
use chronicle_format::layout::segment;
use chronicle_format::{
    Frontier, HEADER_SIZE, IndexEntry, IndexHeader, SEG_DATA_OFFSET, Seal, SegmentHeader,
    SegmentStart,
};
use chronicle_sync::{Error as _, ErrorKind, Platform, Region, RegionExt, Storage};

use super::examine::{Geometry, whole_header};
use super::{Remedy, Repair, segment_file};
use crate::QueueError;
use crate::backend::{Backend, io_error};

/// Segments in a row that may be missing. What lies further behind is a stray file.
const MOST_MISSING: u32 = 1024;

type View = <<Backend as Platform>::Storage as Storage>::View;

/// What the rest of the queue says about its log.
pub(super) struct Wanted {
    /// Records below this were durable.
    pub(super) durable_seq: u64,
    /// Positions of readers: sequence number and epoch.
    pub(super) read: Vec<(u64, u32)>,
    /// How far the open segment has space for certain.
    pub(super) frontier: Option<Frontier>,
}

/// A segment as it is to be.
pub(super) struct SegmentPlan {
    pub(super) header: SegmentHeader,
    pub(super) start: SegmentStart,
    pub(super) seal: Seal,
    /// Offset behind the last record.
    pub(super) end: u64,
    pub(super) gaps: Vec<SalvageGap>,
    /// Whether its records are those of the file that has its name.
    pub(super) has_file: bool,
    /// Whether it differs from that file.
    pub(super) is_changed: bool,
    pub(super) index: IndexState,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum IndexState {
    /// Whole, or the writer sees to it.
    Fine,
    /// Made anew once the segment is right.
    Rebuild,
}

pub(super) struct LogPlan {
    pub(super) segments: Vec<SegmentPlan>,
    /// Segments whose files are taken out of the queue and not replaced.
    pub(super) removed: Vec<SegmentId>,
    /// The place behind the last record.
    pub(super) end: Position,
}

impl LogPlan {
    /// Whether any record is at another place than before, or gone.
    pub(super) fn is_changed(&self) -> bool {
        self.segments.iter().any(|segment| segment.is_changed)
    }

    pub(super) fn segment(&self, id: SegmentId) -> Option<&SegmentPlan> {
        self.segments.iter().find(|segment| segment.header.id == id)
    }
}

/// What a file says of itself.
struct Facts {
    id: SegmentId,
    /// `None` if nothing can be read of it.
    header: Option<SegmentHeader>,
    start: Option<SegmentStart>,
    seal: Option<Seal>,
    has_records: bool,
    has_right_size: bool,
    header_is_whole: bool,
    start_is_whole: bool,
}

/// The geometry that most segments agree on.
pub(super) fn common_geometry(
    path: &Path,
    platform: &Backend,
    segments: &[SegmentId],
) -> Result<Option<Geometry>, QueueError> {
    let mut counted: Vec<(Geometry, u32)> = Vec::new();
    for id in segments {
        let Some(region) = view(path, platform, &Object::Segment(*id))? else { continue };
        let Some(header) = region.copy_bytes(0).and_then(|head| whole_header(&head)) else {
            continue;
        };
        let geometry = Geometry { size: header.segment_size, checksums: header.checksums };
        match counted.iter_mut().find(|(known, _)| *known == geometry) {
            Some((_, count)) => *count += 1,
            None => counted.push((geometry, 1)),
        }
    }
    Ok(counted.into_iter().max_by_key(|(_, count)| *count).map(|(geometry, _)| geometry))
}

/// A file for reading; `None` if it is not there or no plain file.
fn view(path: &Path, platform: &Backend, object: &Object) -> Result<Option<View>, QueueError> {
    match platform.storage().view(object) {
        Ok(region) => Ok(Some(region)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotRegular) => {
            Ok(None)
        }
        Err(error) => Err(QueueError::io(&path.join(object.to_string()), "read", io_error(error))),
    }
}

struct Planner<'p> {
    path: &'p Path,
    platform: &'p Backend,
    geometry: Geometry,
    wanted: &'p Wanted,
    repairs: &'p mut Vec<Repair>,
    segments: Vec<SegmentPlan>,
    removed: Vec<SegmentId>,
    /// The place behind the last segment so far, and the highest time stamp before it.
    at: Option<(u64, u32, u64)>,
}

pub(super) fn plan(
    path: &Path,
    platform: &Backend,
    ids: &[SegmentId],
    geometry: Geometry,
    wanted: &Wanted,
    repairs: &mut Vec<Repair>,
) -> Result<LogPlan, QueueError> {
    let (segments, removed) = (Vec::new(), Vec::new());
    let mut planner =
        Planner { path, platform, geometry, wanted, repairs, segments, removed, at: None };
    let mut facts = Vec::new();
    let mut stray = false;
    let mut before: Option<SegmentId> = None;
    for id in ids {
        stray |= before.is_some_and(|before| id.get() - before.get() > MOST_MISSING);
        if stray {
            planner.remove(*id, "it is far from the other segments");
            continue;
        }
        before = Some(*id);
        facts.push(planner.look_at(*id)?);
    }
    planner.cut_off_what_was_not_entered(&mut facts);
    planner.plan_all(&facts)?;
    let end = planner.plan_end()?;
    Ok(LogPlan { segments: planner.segments, removed: planner.removed, end })
}

impl Planner<'_> {
    fn look_at(&self, id: SegmentId) -> Result<Facts, QueueError> {
        let mut facts = Facts {
            id,
            header: None,
            start: None,
            seal: None,
            has_records: false,
            has_right_size: false,
            header_is_whole: false,
            start_is_whole: false,
        };
        let size = self.geometry.size;
        let Some(region) = view(self.path, self.platform, &Object::Segment(id))? else {
            return Ok(facts);
        };
        facts.has_right_size = region.size() as u64 == size.bytes();
        let Some(mut head) = region.copy_bytes::<{ SegmentHeader::SIZE }>(0) else {
            return Ok(facts);
        };
        let seal = region.read_u64(segment::SEAL as u64).map_or(0, |word| word.load_acquire());
        facts.seal = Seal::from_bits(seal, size).ok();
        let until = self.readable_end(id, facts.seal, region.size() as u64);
        let expected = |salt| SegmentHeader {
            id,
            segment_size: size,
            checksums: self.geometry.checksums,
            salt,
        };
        let stored_salt =
            region.read_u32(segment::SALT as u64).map_or(0, |word| word.load_relaxed());
        facts.header_is_whole = whole_header(&head) == Some(expected(stored_salt));
        // A salt under which any record is whole is the right one, wherever it was found.
        let salts = [Some(stored_salt), self.salt_of_index(id)?];
        let salts = if facts.header_is_whole { [Some(stored_salt), None] } else { salts };
        let mut guess = None;
        for salt in salts.into_iter().flatten().filter(|salt| *salt != 0) {
            guess = guess_start(&region, self.geometry.checksums.then_some(salt), until);
            if facts.header_is_whole || guess.is_some() || !self.geometry.checksums {
                facts.header = Some(expected(salt));
                break;
            }
        }
        let Some(header) = facts.header else { return Ok(facts) };
        // The start's checksum covers the header as it was.
        if let Some((front, _)) = head.split_at_mut_checked(segment::FIRST_SEQ)
            && let Some(right) = header.encode().get(..segment::FIRST_SEQ)
        {
            front.copy_from_slice(right);
        }
        let start = SegmentStart::decode(&head);
        facts.start_is_whole = start.is_ok();
        facts.start = start.unwrap_or(None).or(guess);
        facts.has_records = guess.is_some()
            || !self.geometry.checksums
                && chronicle_sync::record::is_committed(&region, SEG_DATA_OFFSET);
        Ok(facts)
    }

    /// The salt that the index of a segment repeats.
    fn salt_of_index(&self, id: SegmentId) -> Result<Option<u32>, QueueError> {
        let index = view(self.path, self.platform, &Object::Index(id))?;
        let header = index.and_then(|index| IndexHeader::decode(&index.copy_bytes(0)?).ok());
        Ok(header.filter(|header| header.segment == id).map(|header| header.salt))
    }

    /// How far records of a segment may lie.
    fn readable_end(&self, id: SegmentId, seal: Option<Seal>, file_size: u64) -> u64 {
        let end = match (seal, self.wanted.frontier) {
            (Some(Seal::At(end)), _) => end,
            (_, Some(frontier)) if frontier.segment == id => frontier.bytes,
            _ => self.geometry.size.bytes(),
        };
        end.min(file_size)
    }

    /// Leaves out what lies behind the last segment that the log has come to: prepared segments, and
    /// what cannot be told from them.
    fn cut_off_what_was_not_entered(&mut self, facts: &mut Vec<Facts>) {
        while let [.., before, last] = facts.as_slice() {
            let follows = matches!(before.seal, Some(Seal::At(_)))
                && last.start.is_some()
                && before.id.next().is_ok_and(|next| next == last.id);
            if last.has_records || follows {
                break;
            }
            let (id, is_whole) = (last.id, last.header_is_whole && last.has_right_size);
            facts.pop();
            if !is_whole {
                self.remove(id, "its head is damaged, and it holds no record");
            }
        }
    }

    fn remove(&mut self, id: SegmentId, reason: &str) {
        self.removed.push(id);
        self.repairs.push(Repair {
            file: segment_file(id),
            bytes: None,
            lost: None,
            reason: reason.to_owned(),
            remedy: Remedy::Removed,
        });
    }

    fn plan_all(&mut self, facts: &[Facts]) -> Result<(), QueueError> {
        let mut rest = facts;
        while let Some((here, later)) = rest.split_first() {
            rest = later;
            let next = later.iter().find_map(|later| Some((later, later.start?)));
            if here.id == SegmentId::FIRST && self.at.is_none() {
                self.at = Some((0, 0, 0));
            }
            self.make_missing(here.id, here.start.map_or(0, |start| start.first_seq))?;
            match (here.header, here.start) {
                (Some(header), Some(start)) => self.mend(here, header, start, next)?,
                _ if self.at.is_none() => {
                    // Where the log begins is not known before the first segment that can be read.
                    self.remove(here.id, "nothing of it can be read, and it is the oldest one");
                }
                _ => {
                    let next_seq = next.map_or(0, |(_, start)| start.first_seq);
                    self.make(here.id, next_seq, "nothing of it can be read")?;
                }
            }
        }
        Ok(())
    }

    /// Makes the segments that are missing before this one.
    fn make_missing(&mut self, before: SegmentId, next_seq: u64) -> Result<(), QueueError> {
        while let Some(last) = self.segments.last().map(|segment| segment.header.id) {
            let id = self.id_behind(last)?;
            if id >= before {
                break;
            }
            self.make(id, next_seq, "it is not there")?;
        }
        Ok(())
    }

    fn id_behind(&self, id: SegmentId) -> Result<SegmentId, QueueError> {
        id.next().map_err(|source| QueueError::InvalidFile {
            file: self.path.join(segment_file(id)),
            source,
        })
    }

    /// Plans a segment that says what is missing, in place of one that cannot be read.
    fn make(&mut self, id: SegmentId, next_seq: u64, reason: &str) -> Result<(), QueueError> {
        let (seq, epoch, time) = self.at.unwrap_or_default();
        let lost = (next_seq > seq).then_some((seq, next_seq));
        self.repairs.push(Repair {
            file: segment_file(id),
            bytes: None,
            lost,
            reason: reason.to_owned(),
            remedy: Remedy::Replaced,
        });
        let mut made = self.new_segment(id);
        made.seal = Seal::At(SEG_DATA_OFFSET);
        made.index = IndexState::Rebuild;
        if lost.is_some() {
            made.end = SEG_DATA_OFFSET + HEADER_SIZE;
            made.seal = Seal::At(made.end);
            made.gaps.push(gap_at(SEG_DATA_OFFSET, (seq, epoch, time), next_seq));
            self.at = Some((next_seq, epoch, time));
        }
        self.segments.push(made);
        Ok(())
    }

    /// An open segment without records, where the log is.
    fn new_segment(&self, id: SegmentId) -> SegmentPlan {
        let (first_seq, epoch, time_floor_ns) = self.at.unwrap_or_default();
        let random = self.platform.entropy();
        let salt = (random as u32 ^ (random >> 32) as u32).max(1);
        let Geometry { size, checksums } = self.geometry;
        SegmentPlan {
            header: SegmentHeader { id, segment_size: size, checksums, salt },
            start: SegmentStart { first_seq, time_floor_ns, epoch },
            seal: Seal::Open,
            end: SEG_DATA_OFFSET,
            gaps: Vec::new(),
            has_file: false,
            is_changed: true,
            index: IndexState::Fine,
        }
    }

    /// Plans a segment of which something can be read.
    fn mend(
        &mut self,
        facts: &Facts,
        header: SegmentHeader,
        start: SegmentStart,
        next: Option<(&Facts, SegmentStart)>,
    ) -> Result<(), QueueError> {
        let object = Object::Segment(facts.id);
        let Some(region) = view(self.path, self.platform, &object)? else { return Ok(()) };
        let start = match self.at {
            Some((first_seq, epoch, time_floor_ns)) if !facts.start_is_whole => {
                SegmentStart { first_seq, epoch, time_floor_ns }
            }
            _ => start,
        };
        let size = self.geometry.size.bytes();
        let file_size = region.size() as u64;
        let (sealed, until) = match facts.seal {
            Some(Seal::At(end)) => (true, end),
            seal => (false, self.readable_end(facts.id, seal, size)),
        };
        let follows = next.filter(|(next, _)| {
            next.start_is_whole && facts.id.next().is_ok_and(|behind| behind == next.id)
        });
        let bounds = SalvageBounds {
            salt: header.checksums.then_some(header.salt),
            start,
            until,
            sealed,
            next_seq: follows.map(|(_, start)| start.first_seq),
            seq_limit: next.map_or(u64::MAX, |(_, start)| start.first_seq),
        };
        let read = |bounds: &SalvageBounds| {
            let mut gaps = Vec::new();
            let salvaged = salvage(&region, bounds, |gap| gaps.push(gap));
            (salvaged, gaps)
        };
        let (mut salvaged, mut gaps) = read(&bounds);
        if sealed && gaps.last().is_some_and(|gap| gap.to >= until && gap.next_seq > gap.first_seq)
        {
            // The seal may be before the end that the next segment speaks of, and records behind it.
            let until = self.readable_end(facts.id, None, size);
            let unsealed = read(&SalvageBounds { sealed: false, until, ..bounds });
            if unsealed.0.records > salvaged.records {
                (salvaged, gaps) = unsealed;
            }
        }
        self.report(facts, &gaps, &salvaged, until);
        let Salvaged { end, seq, epoch, time_max_ns, torn, .. } = salvaged;
        let seal = if sealed || next.is_some() { Seal::At(end) } else { Seal::Open };
        let seal_is_right = facts.seal == Some(seal);
        let head_is_right = facts.header_is_whole && facts.start_is_whole && facts.has_right_size;
        if !head_is_right || !seal_is_right {
            let reason = match () {
                () if !facts.header_is_whole => "its header is damaged".to_owned(),
                () if !facts.start_is_whole => "its start is damaged".to_owned(),
                () if !facts.has_right_size => format!("it has {file_size} bytes and not {size}"),
                () => "its seal is not at the end of its records".to_owned(),
            };
            self.repairs.push(Repair {
                file: segment_file(facts.id),
                bytes: None,
                lost: None,
                reason,
                remedy: Remedy::Mended,
            });
        }
        let is_changed = !gaps.is_empty() || torn.is_some() || !head_is_right || !seal_is_right;
        let mut planned = SegmentPlan {
            header,
            start,
            seal,
            end,
            gaps,
            has_file: true,
            is_changed,
            index: IndexState::Fine,
        };
        planned.index = self.judge_index(&planned)?;
        self.segments.push(planned);
        self.at = Some((seq, epoch, time_max_ns));
        Ok(())
    }

    fn report(&mut self, facts: &Facts, gaps: &[SalvageGap], salvaged: &Salvaged, until: u64) {
        for gap in gaps {
            self.repairs.push(Repair {
                file: segment_file(facts.id),
                bytes: Some((gap.from, gap.to)),
                lost: (gap.next_seq > gap.first_seq).then_some((gap.first_seq, gap.next_seq)),
                reason: reason(gap.fault),
                remedy: Remedy::Gap,
            });
        }
        if let Some(fault) = salvaged.torn {
            self.repairs.push(Repair {
                file: segment_file(facts.id),
                bytes: Some((salvaged.end, until)),
                lost: None,
                reason: reason(Some(fault)),
                remedy: Remedy::Cut,
            });
        }
    }

    /// Whether the index of a sealed segment is there and whole, as far as its own bytes tell.
    fn judge_index(&mut self, planned: &SegmentPlan) -> Result<IndexState, QueueError> {
        let SegmentHeader { id, segment_size, salt, .. } = planned.header;
        let Some(expected) = IndexHeader::new(id, salt, segment_size) else {
            return Ok(IndexState::Fine);
        };
        let object = Object::Index(id);
        let fault = match view(self.path, self.platform, &object)? {
            None => Some("it is not there, which makes seeks slow"),
            Some(index) => {
                let header = index.copy_bytes(0).map(|bytes| IndexHeader::decode(&bytes));
                let entry = |at: usize| {
                    let bytes: [u8; IndexEntry::SIZE] = index.copy_bytes(at as u64)?;
                    (bytes == [0; IndexEntry::SIZE] || IndexEntry::decode(&bytes, salt).is_some())
                        .then_some(())
                };
                let is_ours = matches!(header, Some(Ok(header)) if header == expected)
                    && index.size() as u64 == expected.file_size(segment_size);
                let mut entries = (IndexHeader::SIZE..index.size()).step_by(IndexEntry::SIZE);
                match () {
                    () if !is_ours => Some("it is damaged, or not of this segment"),
                    () if entries.any(|at| entry(at).is_none()) => Some("entries are damaged"),
                    () if !planned.gaps.is_empty() => Some("its segment has changed"),
                    () => None,
                }
            }
        };
        // That of the segment that is being written to is the next writer's.
        let Some(reason) = fault.filter(|_| planned.seal != Seal::Open) else {
            return Ok(IndexState::Fine);
        };
        self.repairs.push(Repair {
            file: object.to_string(),
            bytes: None,
            lost: None,
            reason: reason.to_owned(),
            remedy: Remedy::Rebuilt,
        });
        Ok(IndexState::Rebuild)
    }

    /// The end of the log: an open segment, behind everything that anybody has relied on.
    fn plan_end(&mut self) -> Result<Position, QueueError> {
        let size = self.geometry.size.bytes();
        let (seq, epoch, time) = self.at.unwrap_or_default();
        let most = seq.saturating_add(u64::from(MOST_MISSING) * (size / HEADER_SIZE));
        let read = self.wanted.read.iter().filter(|(_, read_in)| *read_in >= epoch);
        let relied_on = read.map(|(seq, _)| *seq).chain([self.wanted.durable_seq]);
        // A number that is out of all proportion is damage itself.
        let next_seq = relied_on.filter(|seq| *seq <= most).max().unwrap_or(0);
        let needs_gap = next_seq > seq;
        let last = self.segments.last_mut();
        let Some(last) = last else {
            return Err(QueueError::from_core(self.path, chronicle_core::Error::ControlMissing));
        };
        let has_room =
            last.seal == Seal::Open && (!needs_gap || last.end + 2 * HEADER_SIZE <= size);
        if !has_room {
            if last.seal == Seal::Open {
                last.is_changed = true;
                last.index = IndexState::Rebuild;
            }
            last.seal = Seal::At(last.end);
            let id = last.header.id;
            let id = self.id_behind(id)?;
            let next = self.new_segment(id);
            self.segments.push(next);
        }
        let Some(last) = self.segments.last_mut() else {
            return Err(QueueError::from_core(self.path, chronicle_core::Error::ControlMissing));
        };
        if needs_gap {
            let gap = gap_at(last.end, (seq, epoch, time), next_seq);
            self.repairs.push(Repair {
                file: segment_file(last.header.id),
                bytes: Some((gap.from, gap.to)),
                lost: Some((seq, next_seq)),
                reason: "messages are not there that were durable, or that a reader has read"
                    .to_owned(),
                remedy: Remedy::Gap,
            });
            last.end = gap.to;
            last.is_changed = true;
            last.gaps.push(gap);
            self.at = Some((next_seq, epoch, time));
        } else if !has_room {
            self.repairs.push(Repair {
                file: segment_file(last.header.id),
                bytes: None,
                lost: None,
                reason: "it is not there, though the one before it is full".to_owned(),
                remedy: Remedy::Replaced,
            });
        }
        let (seq, epoch, _) = self.at.unwrap_or_default();
        Ok(Position { segment: last.header.id, offset: last.end, seq, epoch })
    }
}

/// A gap of the smallest size, where records end.
fn gap_at(
    from: u64,
    (first_seq, epoch, time_max_ns): (u64, u32, u64),
    next_seq: u64,
) -> SalvageGap {
    SalvageGap {
        from,
        to: from + HEADER_SIZE,
        first_seq,
        next_seq,
        epoch_before: epoch,
        epoch,
        time_max_ns,
        fault: None,
    }
}

fn reason(fault: Option<Fault>) -> String {
    match fault {
        Some(fault) => fault.to_string(),
        None => "messages are missing between it and the next segment".to_owned(),
    }
}
