//! What must be in a queue, whatever the code says: worked out from the script alone.

use chronicle_std::format::{SEG_DATA_OFFSET, record_size};

use crate::canary::Wrong;
use crate::examine::Observed;
use crate::script::{Operation, payload};

/// What is there when everything so far was acknowledged.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) exists: bool,
    pub(crate) segment_size: u64,
    keep_few: bool,
    /// All payloads that were ever appended and are not lost, by sequence number.
    pub(crate) payloads: Vec<Vec<u8>>,
    /// The oldest record that is still there.
    pub(crate) first: u64,
    /// Where the named reader goes on.
    pub(crate) reader: Option<u64>,
    /// How far it has read.
    read: u64,
    /// Records below this were acknowledged as durable.
    durable: u64,
    marked: usize,
    /// A record behind the last one is damaged, which nobody but a writer may mend.
    pub(crate) torn: bool,
}

impl Model {
    pub(crate) fn count(&self) -> u64 {
        self.payloads.len() as u64
    }

    /// What is there when this operation has returned.
    pub(crate) fn after(&self, operation: &Operation) -> Self {
        let mut after = self.clone();
        match *operation {
            Operation::Create { segment_size, keep_few, .. } => {
                after.exists = true;
                after.segment_size = segment_size;
                after.keep_few = keep_few;
            }
            Operation::Open => after.torn = false,
            Operation::Append(length) | Operation::Claim(length) => after.push(length),
            Operation::AppendAll(count, length) => (0..count).for_each(|_| after.push(length)),
            Operation::Flush => after.durable = after.count(),
            Operation::Register => {
                after.read = *after.reader.get_or_insert(self.first);
            }
            Operation::Read(count) => after.read = (after.read + count).min(after.count()),
            Operation::Commit | Operation::Wrong(Wrong::PlaceOverPlace) => {
                after.reader = Some(after.read);
            }
            Operation::Mark(_) => after.marked = after.payloads.len(),
            Operation::Tear => {
                after.payloads.truncate(after.marked);
                after.torn = true;
            }
            Operation::Wrong(wrong) => wrong.appends().into_iter().for_each(|n| after.push(n)),
            Operation::Abort(_)
            | Operation::Prepare
            | Operation::Retain
            | Operation::Close
            | Operation::Reboot
            | Operation::DieInClaim(_) => {}
        }
        after
    }

    /// Whether retention has something to remove: there are more segments than it keeps, and the reader
    /// has passed the first.
    pub(crate) fn is_to_lose_some(&self) -> bool {
        let fits = |payloads: &[Vec<u8>]| payloads.iter().map(Vec::len).sum::<usize>() as u64;
        let read = self.reader.unwrap_or(self.count()) as usize;
        let since = self.payloads.get(self.first as usize..read).unwrap_or_default();
        self.keep_few && fits(since) > 3 * self.segment_size
    }

    fn push(&mut self, length: usize) {
        self.payloads.push(payload(self.count(), length));
    }
}

/// Holds what was found when `operation` was under way against what may be there, which is all of
/// `before` and nothing beyond `after`.
pub(crate) fn judge(
    found: &Observed,
    operation: &Operation,
    before: &Model,
    after: &Model,
) -> Result<(), String> {
    if !found.existed {
        return if before.exists { Err("the queue is not there".to_owned()) } else { Ok(()) };
    }
    let counts = [before.count(), after.count()];
    let in_between = matches!(operation, Operation::AppendAll(_, length)
        if is_between_batches(found, before, *length)
            && (counts[0]..=counts[1]).contains(&found.count));
    if !counts.contains(&found.count) && !in_between {
        return Err(format!("{} records, not one of {counts:?}", found.count));
    }
    // Only retention moves the beginning, and never over what a reader has not read.
    let furthest = match operation {
        Operation::Retain if before.keep_few => before.reader.unwrap_or(before.count()),
        _ => before.first,
    };
    if !(before.first..=furthest).contains(&found.first) {
        let first = before.first;
        return Err(format!("begins at {}, not from {first} to {furthest}", found.first));
    }
    let places = [before.reader.unwrap_or(found.first), after.reader.unwrap_or(found.first)];
    if let Some(place) = found.reader
        && !places.contains(&place)
    {
        return Err(format!("the reader goes on at {place}, not at one of {places:?}"));
    }
    if found.reader.is_none() && before.reader.is_some() {
        return Err("the reader is not registered any more".to_owned());
    }
    if !(before.durable..=found.count).contains(&found.durable) {
        let (from, to) = (before.durable, found.count);
        return Err(format!("durable below {}, not from {from} to {to}", found.durable));
    }
    if found.cut && !before.torn {
        return Err("recovery cut something where nothing was damaged".to_owned());
    }
    Ok(())
}

/// Records appended at once are visible at once, but for where a segment ends.
fn is_between_batches(found: &Observed, model: &Model, length: usize) -> bool {
    let size = u32::try_from(length).map_or(u64::MAX, record_size);
    found.offset == SEG_DATA_OFFSET || found.offset.saturating_add(size) > model.segment_size
}
