//! What can still be read of a segment that is damaged: every whole record, and what is missing
//! between them.
//!
//! Works on bytes alone and changes none. It is for a repair, which knows more than one segment and
//! decides what becomes of them.

use chronicle_format::{
    EpochRecord, HEADER_SIZE, RecordHeader, SEG_DATA_OFFSET, SegmentStart, TypeId, record_seed,
};
use chronicle_sync::record::{self, Record, Sealing, Slot};
use chronicle_sync::{Checksum, Region};

use crate::error::Fault;
use crate::walk::{step, watermark};

/// What is known of a segment beforehand.
#[derive(Clone, Copy, Debug)]
pub struct SalvageBounds {
    /// The segment's salt; `None` in a queue without checksums. Such a queue has no mark of a whole
    /// record, so nothing behind damage is found in it.
    pub salt: Option<u32>,
    /// Where and how its records begin.
    pub start: SegmentStart,
    /// The offset at which its records end, or up to which they may be looked for.
    pub until: u64,
    /// Whether records are known to reach up to that offset.
    pub sealed: bool,
    /// Sequence number at which the next segment begins: what is left out before it is missing.
    pub next_seq: Option<u64>,
    /// No record has this sequence number or a higher one.
    pub seq_limit: u64,
}

/// A stretch of bytes that is no part of the log any more, as the record that a repair puts there
/// says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SalvageGap {
    /// Offset of the first byte.
    pub from: u64,
    /// Offset behind the last byte.
    pub to: u64,
    /// Sequence number that was expected here: of the first user record that is missing, if one is.
    pub first_seq: u64,
    /// Sequence number of the next user record that is there, or will be.
    pub next_seq: u64,
    /// Epoch in force before it.
    pub epoch_before: u32,
    /// Epoch in force behind it.
    pub epoch: u32,
    /// The highest time stamp before it.
    pub time_max_ns: u64,
    /// What was found at its first byte; `None` where whole records end and later ones are missing.
    pub fault: Option<Fault>,
}

/// What a segment holds once its gaps are filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Salvaged {
    /// Offset behind the last record.
    pub end: u64,
    /// Sequence number of the next user record.
    pub seq: u64,
    /// Epoch in force there.
    pub epoch: u32,
    /// The highest time stamp up to there.
    pub time_max_ns: u64,
    /// Records that are whole, the queue's own included.
    pub records: u64,
    /// What the records say was durable.
    pub durable_seq: u64,
    /// What was found at the end of a segment that is not sealed, where it is not empty: the log is
    /// cut there.
    pub torn: Option<Fault>,
}

/// Reads a segment from its start, finds the next whole record behind each damage, and shows what
/// lies in between, in ascending order.
pub fn salvage<R: Region>(
    region: &R,
    bounds: &SalvageBounds,
    mut show: impl FnMut(SalvageGap),
) -> Salvaged {
    let reading = Reading::new(region, bounds);
    let start = &bounds.start;
    let mut at = Salvaged {
        end: SEG_DATA_OFFSET,
        seq: start.first_seq,
        epoch: start.epoch,
        time_max_ns: start.time_floor_ns,
        records: 0,
        durable_seq: 0,
        torn: None,
    };
    let mut last = at;
    loop {
        let fault = reading.read_on(&mut at, &mut last);
        if at.end >= bounds.until {
            break;
        }
        let gap = SalvageGap {
            from: at.end,
            to: bounds.until,
            first_seq: at.seq,
            next_seq: at.seq,
            epoch_before: at.epoch,
            epoch: at.epoch,
            time_max_ns: at.time_max_ns,
            fault: Some(fault.unwrap_or(Fault::Hole)),
        };
        if let Some(found) = reading.next_whole(&at) {
            let (next_seq, epoch) = reading.before(&found, &at);
            let gap = SalvageGap { to: found.offset(), next_seq, epoch, ..gap };
            show(gap);
            (at.end, at.seq, at.epoch) = (gap.to, next_seq, epoch);
        } else if bounds.sealed {
            let next_seq = bounds.next_seq.unwrap_or(at.seq).max(at.seq);
            let fault = fault.unwrap_or(Fault::Missing { sealed_at: bounds.until });
            show(SalvageGap { next_seq, fault: Some(fault), ..gap });
            (at.end, at.seq) = (bounds.until, next_seq);
        } else {
            at.torn = fault;
            break;
        }
    }
    if let Some(next_seq) = bounds.next_seq.filter(|next_seq| *next_seq > at.seq) {
        // Nothing is damaged here, and yet there is more to come before the next segment.
        let fits = at.end + HEADER_SIZE <= region_end(region, bounds);
        let from = if fits { at } else { last };
        let to = if fits { at.end + HEADER_SIZE } else { at.end };
        show(SalvageGap {
            from: from.end,
            to,
            first_seq: from.seq,
            next_seq,
            epoch_before: from.epoch,
            epoch: at.epoch,
            time_max_ns: from.time_max_ns,
            fault: None,
        });
        (at.end, at.seq) = (to, next_seq);
    }
    at
}

/// The start that a segment's first whole record speaks for; `None` if there is no such record.
pub fn guess_start<R: Region>(region: &R, salt: Option<u32>, until: u64) -> Option<SegmentStart> {
    let start = SegmentStart { first_seq: 0, time_floor_ns: 0, epoch: 0 };
    let bounds =
        SalvageBounds { salt, start, until, sealed: false, next_seq: None, seq_limit: u64::MAX };
    let reading = Reading::new(region, &bounds);
    let found = reading.whole_from(SEG_DATA_OFFSET, None)?;
    let header = found.header();
    let epoch = match reading.epoch_record(&found) {
        Some(payload) => payload.previous_epoch,
        None => header.epoch,
    };
    Some(SegmentStart { first_seq: header.seq, time_floor_ns: 0, epoch })
}

/// How far records can lie: a file that is too short is made as long as it should be.
fn region_end<R: Region>(region: &R, bounds: &SalvageBounds) -> u64 {
    (region.size() as u64).max(bounds.until)
}

struct Reading<'r, R> {
    region: &'r R,
    sealing: Sealing,
    until: u64,
    seq_limit: u64,
}

impl<'r, R: Region> Reading<'r, R> {
    fn new(region: &'r R, bounds: &SalvageBounds) -> Self {
        Self {
            region,
            sealing: bounds.salt.map(|salt| (Checksum::detect(), record_seed(salt))),
            until: bounds.until,
            seq_limit: bounds.next_seq.unwrap_or(u64::MAX).min(bounds.seq_limit),
        }
    }

    /// Reads whole records as they must follow each other, and keeps the place before the last one.
    fn read_on(&self, at: &mut Salvaged, last: &mut Salvaged) -> Option<Fault> {
        while at.end < self.until {
            let record = match record::look(self.region, at.end) {
                Slot::Empty => return None,
                Slot::TooLong { length } => return Some(Fault::Length { found: length }),
                Slot::Record(record) if record.end() > self.until => {
                    return Some(Fault::Length { found: record.length() });
                }
                Slot::Record(record) => record,
            };
            let (mut seq, mut epoch) = (at.seq, at.epoch);
            match step(self.region, self.sealing, &record, &mut seq, &mut epoch) {
                Err(fault) => return Some(fault),
                Ok(_) if seq > self.seq_limit => return Some(Fault::Seq { found: at.seq }),
                Ok(_) => {}
            }
            *last = *at;
            (at.end, at.seq, at.epoch) = (record.end(), seq, epoch);
            at.records += 1;
            at.time_max_ns = at.time_max_ns.max(record.header().timestamp_ns);
            at.durable_seq = at.durable_seq.max(watermark(self.region, &record).unwrap_or(0));
        }
        None
    }

    /// The next whole record behind damage.
    fn next_whole(&self, at: &Salvaged) -> Option<Record> {
        self.whole_from(at.end + HEADER_SIZE, Some(at))
    }

    /// The first whole record from an offset on that can follow what was read: neither its number
    /// nor its epoch is lower, and its number is no higher than there is room for between. Payloads
    /// may imitate headers of long records, so the bytes that are checked in all are bounded.
    fn whole_from(&self, from: u64, behind: Option<&Salvaged>) -> Option<Record> {
        let (checksum, seed) = self.sealing?;
        let mut budget = (self.until - SEG_DATA_OFFSET.min(self.until)).saturating_mul(16);
        let mut offset = from;
        while offset + HEADER_SIZE <= self.until && budget > 0 {
            if let Slot::Record(record) = record::look(self.region, offset) {
                let RecordHeader { seq, epoch, type_id, .. } = *record.header();
                let fits = behind.is_none_or(|at| {
                    let most = at.seq.saturating_add((offset - at.end) / HEADER_SIZE);
                    seq >= at.seq && (seq <= most || type_id == TypeId::GAP) && epoch >= at.epoch
                });
                if fits && seq <= self.seq_limit && record.end() <= self.until {
                    budget = budget.saturating_sub(record.end() - offset);
                    if record.is_intact(self.region, checksum, seed) {
                        return Some(record);
                    }
                }
            }
            offset += HEADER_SIZE;
        }
        None
    }

    fn epoch_record(&self, record: &Record) -> Option<EpochRecord> {
        if record.header().type_id != TypeId::EPOCH {
            return None;
        }
        let mut copy = [0; EpochRecord::SIZE];
        record.copy_payload(self.region, &mut copy).and_then(EpochRecord::decode)
    }

    /// Sequence number and epoch in force before a record that was found behind damage.
    fn before(&self, found: &Record, at: &Salvaged) -> (u64, u32) {
        let header = found.header();
        if header.type_id == TypeId::GAP {
            // What it stands for is missing together with what was found damaged now.
            return (at.seq, at.epoch);
        }
        let epoch = match self.epoch_record(found) {
            Some(payload) => payload.previous_epoch.min(header.epoch.saturating_sub(1)),
            None => header.epoch,
        };
        (header.seq, epoch.max(at.epoch))
    }
}
