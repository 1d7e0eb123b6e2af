//! The rules by which records follow each other: the same for readers, for a recovering writer and for
//! whoever checks or repairs a queue.

use chronicle_format::{
    EpochRecord, Position, RecordHeader, SEG_DATA_OFFSET, SegmentStart, TypeId, WatermarkRecord,
};
use chronicle_sync::Region;
use chronicle_sync::lease;
use chronicle_sync::mutation::{Mutant, seeded};
use chronicle_sync::record::{self, Record, Sealing, Slot};

use crate::error::Fault;
use crate::segment::{Geometry, Segment};

/// The longest payload of the queue's own records whose payload means something, in bytes.
const LONGEST_INTERNAL: usize = EpochRecord::SIZE;
const _: () = assert!(WatermarkRecord::SIZE <= LONGEST_INTERNAL);

/// What a walk through a segment's records keeps track of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor {
    pub(crate) offset: u64,
    pub(crate) seq: u64,
    pub(crate) epoch: u32,
    pub(crate) time_max_ns: u64,
    /// What the records themselves say was durable.
    pub(crate) durable_seq: u64,
    pub(crate) records: u64,
    /// Users' records of which only a gap is left.
    pub(crate) lost: u64,
}

impl Cursor {
    /// At a place that is a record boundary. Time stamps and the watermark from before are not known.
    pub(crate) fn at(place: &Position) -> Self {
        Self {
            offset: place.offset,
            seq: place.seq,
            epoch: place.epoch,
            time_max_ns: 0,
            durable_seq: 0,
            records: 0,
            lost: 0,
        }
    }

    /// At the first record of a segment.
    pub(crate) fn at_start(start: &SegmentStart) -> Self {
        Self {
            offset: SEG_DATA_OFFSET,
            seq: start.first_seq,
            epoch: start.epoch,
            time_max_ns: start.time_floor_ns,
            durable_seq: 0,
            records: 0,
            lost: 0,
        }
    }
}

/// Checks a record against what must come next, and moves `seq` and `epoch` over it. Returns whether
/// it is a user's.
///
/// The same rules hold for a reader and for a recovering writer.
#[inline(always)]
pub(crate) fn step<R: Region>(
    region: &R,
    sealing: Sealing,
    record: &Record,
    seq: &mut u64,
    epoch: &mut u32,
) -> core::result::Result<bool, Fault> {
    let header = record.header();
    if !is_intact(region, sealing, record) {
        return Err(Fault::Checksum);
    }
    if header.seq != *seq || header.type_id == TypeId::GAP {
        return step_over_gap(record, seq, epoch);
    }
    let outlived = Fault::Epoch { found: header.epoch, expected: *epoch };
    if header.type_id == TypeId::EPOCH {
        let mut copy = [0; EpochRecord::SIZE];
        let payload = record.copy_payload(region, &mut copy).and_then(EpochRecord::decode);
        let payload = payload.ok_or(Fault::Internal)?;
        if payload.epoch != header.epoch || payload.next_seq != *seq {
            return Err(Fault::Internal);
        }
        *epoch = lease::behind(*epoch, header.epoch, true).ok_or(outlived)?;
        return Ok(false);
    }
    lease::behind(*epoch, header.epoch, false).ok_or(outlived)?;
    if header.type_id.is_user() {
        // There is no number behind the last one.
        *seq = seq.checked_add(1).ok_or(Fault::Seq { found: header.seq })?;
        return Ok(true);
    }
    if header.type_id == TypeId::WATERMARK && watermark(region, record).is_none() {
        return Err(Fault::Internal);
    }
    if header.type_id.get() == 0 { Err(Fault::Internal) } else { Ok(false) }
}

/// Whether a record's checksum is right, where there are checksums.
#[inline(always)]
pub(crate) fn is_intact<R: Region>(region: &R, sealing: Sealing, record: &Record) -> bool {
    match sealing {
        Some((checksum, seed)) => record.is_intact(region, checksum, seed),
        None => true,
    }
}

/// Whether [`step`] would find an intact record with this header to be a user's, and what it moves no
/// more than the next number.
#[inline(always)]
pub(crate) fn follows_simply(header: &RecordHeader, seq: u64, epoch: u32) -> bool {
    header.type_id.is_user() && header.seq == seq && header.epoch == epoch
}

/// What a record of the queue's own says was durable when it was appended: it cannot be more than
/// there was.
pub(crate) fn watermark<R: Region>(region: &R, record: &Record) -> Option<u64> {
    let mut copy = [0; LONGEST_INTERNAL];
    let payload = record.copy_payload(region, &mut copy)?;
    let durable_seq = match record.header().type_id {
        TypeId::EPOCH => EpochRecord::decode(payload)?.durable_seq,
        TypeId::WATERMARK => WatermarkRecord::decode(payload)?.durable_seq,
        _ => return None,
    };
    (durable_seq <= record.header().seq).then_some(durable_seq)
}

/// Moves over a record that stands in place of lost ones; whatever else has not the next sequence
/// number is not part of the log.
#[cold]
fn step_over_gap(
    record: &Record,
    seq: &mut u64,
    epoch: &mut u32,
) -> core::result::Result<bool, Fault> {
    let header = record.header();
    if header.type_id != TypeId::GAP || header.seq < *seq {
        return Err(Fault::Seq { found: header.seq });
    }
    if header.epoch < *epoch {
        return Err(Fault::Epoch { found: header.epoch, expected: *epoch });
    }
    (*seq, *epoch) = (header.seq, header.epoch);
    Ok(false)
}

/// Walks over whole records until there is none, or one is bad.
pub(crate) fn walk<R: Region>(
    segment: &Segment<R>,
    geometry: &Geometry,
    cursor: &mut Cursor,
    until: u64,
) -> Option<Fault> {
    let sealing = if seeded(Mutant::RecoveryUnchecked) { None } else { segment.sealing(geometry) };
    while cursor.offset < until {
        let record = match record::look(&segment.region, cursor.offset) {
            Slot::Empty => return None,
            Slot::TooLong { length } => return Some(Fault::Length { found: length }),
            Slot::Record(record) if record.end() > until => {
                return Some(Fault::Length { found: record.length() });
            }
            Slot::Record(record) => record,
        };
        let expected = cursor.seq;
        if let Err(fault) =
            step(&segment.region, sealing, &record, &mut cursor.seq, &mut cursor.epoch)
        {
            return Some(fault);
        }
        cursor.records += 1;
        cursor.lost += record.header().seq - expected;
        cursor.offset = record.end();
        if !record.header().type_id.is_user() {
            let durable_seq = watermark(&segment.region, &record).unwrap_or(0);
            cursor.durable_seq = cursor.durable_seq.max(durable_seq);
        }
        cursor.time_max_ns = cursor.time_max_ns.max(record.header().timestamp_ns);
    }
    None
}
