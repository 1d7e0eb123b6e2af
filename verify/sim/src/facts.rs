//! What is known about a queue from outside: what was appended, acknowledged, made durable, read.

/// A user record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub(crate) seq: u64,
    pub(crate) epoch: u32,
    pub(crate) length: usize,
}

impl Entry {
    /// The payload, which tells the record from every other one.
    pub(crate) fn payload(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.length);
        let head = self.seq.to_le_bytes().into_iter().chain(self.epoch.to_le_bytes());
        bytes.extend(head.take(self.length));
        let mut state = (self.seq << 32 | u64::from(self.epoch)) ^ self.length as u64;
        while bytes.len() < self.length {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            bytes.push((state >> 56) as u8);
        }
        bytes
    }
}

/// A position that a reader committed, or was registered at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Sequence number of the next record.
    pub(crate) seq: u64,
    /// The record that was read last, if one was.
    pub(crate) last: Option<Entry>,
}

/// What was known at one moment. Whatever is recorded later does not count then.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// The call that makes the queue has returned.
    pub(crate) created: bool,
    /// Records whose append has returned: so many of the log's first ones.
    pub(crate) acked: usize,
    /// The record whose append has begun and not returned.
    pub(crate) in_flight: Option<Entry>,
    /// Records before this one were flushed.
    pub(crate) durable_seq: u64,
    /// Records before this one may have been removed by retention.
    pub(crate) removable_before: u64,
    /// So many of the positions that the reader committed, the registered one included.
    pub(crate) commits: usize,
    /// The call that registers the reader has returned.
    pub(crate) registered: bool,
    /// The machine was booted in between: positions may be those of any commit.
    pub(crate) rebooted: bool,
    /// Where syncs lie: records before this one may be said to be durable somewhere, because a flush of
    /// them has begun.
    pub(crate) claimed_seq: u64,
    /// A sync said that it was done and was not.
    pub(crate) lied: bool,
    /// A sync fails in this run, so that the queue may be poisoned.
    pub(crate) may_be_poisoned: bool,
}

/// Everything that happened in one run.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Acknowledged user records; the index is the sequence number.
    pub(crate) log: Vec<Entry>,
    pub(crate) commits: Vec<Commit>,
    /// Records of an earlier life of the machine, of which the log may have lost some.
    pub(crate) earlier: Vec<Entry>,
}
