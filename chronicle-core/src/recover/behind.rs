//! Whole records behind the end of the log.

use chronicle_format::{HEADER_SIZE, RecordHeader};
use chronicle_sync::record::{self, Slot};
use chronicle_sync::{Region, RegionExt};

use crate::appender::MOST_STAGED;
use crate::segment::{Geometry, Segment};
use crate::walk::watermark;

/// Whole records behind the end of the log: what a torn write-back left standing, what lies behind
/// damage, or the end of a batch whose writer was killed before it published the first of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Behind {
    pub(super) records: u64,
    /// What they say was durable.
    pub(super) durable_seq: u64,
    /// The record at the end that was stored and not published, if that is what is there.
    unpublished: Option<RecordHeader>,
    /// How many of the records could be of the same batch as that one.
    of_its_batch: u64,
}

impl Behind {
    /// Whether all of this is one batch that was being published: the last record first, so that no
    /// reader saw any.
    pub(super) fn is_one_batch(&self) -> bool {
        self.unpublished.is_some() && self.records == self.of_its_batch
    }

    fn count(&mut self, header: &RecordHeader) {
        self.records += 1;
        self.of_its_batch += u64::from(self.unpublished.is_some_and(|first| {
            let number = header.seq.wrapping_sub(first.seq);
            // A batch is stored under one time stamp.
            RecordHeader { seq: first.seq, ..*header } == first && number < MOST_STAGED as u64
        }));
    }
}

/// Looks for whole records of a segment at every place from `offset` on that a record can have.
///
/// Payloads may imitate headers of long records, so the bytes that are checked in all are bounded;
/// the count is then a lower one.
pub(super) fn records_behind<R: Region>(
    segment: &Segment<R>,
    geometry: &Geometry,
    offset: u64,
    seq: u64,
    until: u64,
) -> Behind {
    let mut behind = Behind::default();
    let Some((checksum, seed)) = segment.sealing(geometry) else { return behind };
    behind.unpublished = unpublished(segment, offset).filter(|header| header.seq == seq);
    let mut offset = offset;
    let mut budget = 2 * until.saturating_sub(offset);
    while offset + HEADER_SIZE <= until && budget > 0 {
        let record = match record::look(&segment.region, offset) {
            Slot::Record(record) if record.end() <= until && record.header().seq >= seq => record,
            _ => {
                offset += HEADER_SIZE;
                continue;
            }
        };
        budget = budget.saturating_sub(record.end() - offset);
        if record.is_intact(&segment.region, checksum, seed) {
            let durable_seq = watermark(&segment.region, &record).unwrap_or(0);
            behind.durable_seq = behind.durable_seq.max(durable_seq);
            behind.count(record.header());
            offset = record.end();
        } else {
            offset += HEADER_SIZE;
        }
    }
    behind
}

/// The header at a place, if its commit word is zero and it is a user's.
fn unpublished<R: Region>(segment: &Segment<R>, offset: u64) -> Option<RecordHeader> {
    let word = |at: u64| segment.region.read_u64(offset + at).map(|word| word.load_relaxed());
    if word(0)? != 0 {
        return None;
    }
    let header = RecordHeader::from_words([word(8)?, word(16)?, word(24)?]);
    header.type_id.is_user().then_some(header)
}
