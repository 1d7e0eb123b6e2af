//! What becomes of readers: a position goes to the next place that is there, and a reader of which
//! nothing is known begins again at the oldest message rather than miss one.

use std::path::Path;

use chronicle_core::{Object, Position, ReaderName, ReaderPolicy, SegmentId};
use chronicle_format::layout::reader_slot;
use chronicle_format::{READER_FILE_SIZE, READER_SLOTS, ReaderHeader, ReaderSlot, SEG_DATA_OFFSET};
use chronicle_sync::{ObjectKind, Platform, Storage};

use super::files::{Small, chunk, read_small};
use super::log::LogPlan;
use super::{Remedy, Repair};
use crate::QueueError;
use crate::backend::{Backend, io_error};

/// A reader's file as it is.
pub(super) struct ReaderFile {
    name: ReaderName,
    bytes: Small,
}

/// A reader's file as it is to be; `None` where it stays.
pub(super) struct ReaderPlan {
    pub(super) name: ReaderName,
    pub(super) contents: Option<Vec<u8>>,
}

pub(super) fn read_all(path: &Path, platform: &Backend) -> Result<Vec<ReaderFile>, QueueError> {
    let mut names = Vec::new();
    let visit = |object| {
        if let Object::Reader(name) = object {
            names.push(name);
        }
    };
    let listed = platform.storage().visit(ObjectKind::Readers, visit);
    listed.map_err(|error| QueueError::io(path, "list", io_error(error)))?;
    names.sort_unstable();
    let read = |name: ReaderName| {
        let object = Object::Reader(name.clone());
        let bytes = read_small(path, platform, &object, READER_FILE_SIZE)?;
        Ok(ReaderFile { name, bytes })
    };
    names.into_iter().map(read).collect()
}

impl ReaderFile {
    fn header(&self) -> Option<ReaderHeader> {
        let bytes = self.bytes.bytes();
        let header = ReaderHeader::decode(&chunk(bytes, 0)?).ok()?;
        (bytes.len() as u64 == READER_FILE_SIZE).then_some(header)
    }

    fn slot(&self) -> Option<ReaderSlot> {
        let decoded = |at: usize| ReaderSlot::decode_bytes(&chunk(self.bytes.bytes(), at)?).ok()?;
        READER_SLOTS.into_iter().filter_map(decoded).max_by_key(|slot| slot.generation)
    }
}

/// The queue that most readers belong to.
pub(super) fn common_queue_id(files: &[ReaderFile]) -> Option<u64> {
    let ids: Vec<u64> = files.iter().filter_map(|it| Some(it.header()?.queue_id)).collect();
    ids.iter().copied().max_by_key(|id| ids.iter().filter(|other| *other == id).count())
}

/// Sequence number and epoch of each reader's position.
pub(super) fn positions(files: &[ReaderFile], queue_id: u64) -> Vec<(u64, u32)> {
    let position = |it: &ReaderFile| {
        let slot = it.header().filter(|header| header.queue_id == queue_id).and(it.slot())?;
        Some((slot.next.seq, slot.next.epoch))
    };
    files.iter().filter_map(position).collect()
}

pub(super) fn plan(
    files: &[ReaderFile],
    queue_id: u64,
    log: &LogPlan,
    recovers: bool,
    repairs: &mut Vec<Repair>,
) -> Vec<ReaderPlan> {
    let mut plans = Vec::new();
    for file in files {
        let header = file.header().filter(|header| header.queue_id == queue_id);
        let (slot, reason, remedy) = match (header, file.slot()) {
            (Some(_), Some(slot)) => match moved(&slot, log, recovers) {
                Some(moved) => (moved, "its position is not there any more", Remedy::Moved),
                None => {
                    plans.push(ReaderPlan { name: file.name.clone(), contents: None });
                    continue;
                }
            },
            (Some(_), None) => (oldest(log), "its position is damaged", Remedy::Restarted),
            (None, _) => (oldest(log), "it is damaged, or not of this queue", Remedy::Restarted),
        };
        repairs.push(Repair {
            file: Object::Reader(file.name.clone()).to_string(),
            bytes: None,
            lost: None,
            reason: reason.to_owned(),
            remedy,
        });
        let policy = header.map_or(ReaderPolicy::Durable, |header| header.policy);
        let contents = Some(encode(&ReaderHeader { queue_id, policy }, &slot));
        plans.push(ReaderPlan { name: file.name.clone(), contents });
    }
    plans
}

/// Where a position goes that is not on the log as it will be; `None` if it stays. `recovers` says that
/// the next writer finishes what the last one began, because nothing that it goes by has changed.
fn moved(slot: &ReaderSlot, log: &LogPlan, recovers: bool) -> Option<ReaderSlot> {
    let next = slot.next;
    let at = |position: Position| {
        Some(ReaderSlot {
            generation: slot.generation.wrapping_add(1).max(1),
            next: position,
            last_offset: 0,
            last_timestamp_ns: slot.last_timestamp_ns,
            last_crc: 0,
        })
    };
    let oldest = log.segments.first()?;
    if next.segment < oldest.header.id {
        // What it had not read was removed; it is told.
        return None;
    }
    let Some(segment) = log.segment(next.segment) else {
        // A writer that died in a roll leaves a segment that readers may have come to.
        let is_next = log.end.segment.next().is_ok_and(|behind| behind == next.segment);
        if recovers && is_next && (next.offset, next.seq) == (SEG_DATA_OFFSET, log.end.seq) {
            return None;
        }
        return (next.seq <= log.end.seq).then(|| at(log.end)).flatten();
    };
    let start = Position {
        segment: next.segment,
        offset: SEG_DATA_OFFSET,
        seq: segment.start.first_seq,
        epoch: segment.start.epoch,
    };
    if !segment.has_file {
        return at(start);
    }
    for gap in &segment.gaps {
        let in_gap = |offset: u64| offset >= gap.from && offset < gap.to;
        let before = Position {
            segment: next.segment,
            offset: gap.from,
            seq: gap.first_seq,
            epoch: gap.epoch_before,
        };
        if next.offset == gap.from && next.seq == gap.first_seq {
            return None;
        }
        if in_gap(next.offset) {
            return at(if gap.from == SEG_DATA_OFFSET { start } else { before });
        }
        if in_gap(slot.last_offset) {
            return at(next);
        }
    }
    let end = log.end;
    if next.segment == end.segment && next.offset > end.offset {
        // What was there is a gap now. It is told of what it had not read, and reads no number twice.
        let gap = segment.gaps.last().filter(|gap| gap.to == end.offset)?;
        let before = Position {
            segment: end.segment,
            offset: gap.from,
            seq: gap.first_seq,
            epoch: gap.epoch_before,
        };
        return if next.seq < end.seq { at(before) } else { at(end) };
    }
    None
}

/// The oldest message.
fn oldest(log: &LogPlan) -> ReaderSlot {
    let next = match log.segments.first() {
        Some(first) => Position {
            segment: first.header.id,
            offset: SEG_DATA_OFFSET,
            seq: first.start.first_seq,
            epoch: first.start.epoch,
        },
        None => Position { segment: SegmentId::FIRST, offset: SEG_DATA_OFFSET, seq: 0, epoch: 0 },
    };
    ReaderSlot { generation: 1, next, last_offset: 0, last_timestamp_ns: 0, last_crc: 0 }
}

fn encode(header: &ReaderHeader, slot: &ReaderSlot) -> Vec<u8> {
    let mut bytes = vec![0; READER_FILE_SIZE as usize];
    let mut put = |at: usize, value: &[u8]| {
        if let Some(target) = bytes.get_mut(at..at + value.len()) {
            target.copy_from_slice(value);
        }
    };
    put(0, &header.encode());
    let [even, odd] = READER_SLOTS;
    let at = if slot.generation.is_multiple_of(2) { even } else { odd };
    let words = slot.words();
    for (i, word) in words.iter().enumerate() {
        put(at + 8 * i, &word.to_le_bytes());
    }
    put(at + reader_slot::CRC, &ReaderSlot::crc(&words).to_le_bytes());
    bytes
}
