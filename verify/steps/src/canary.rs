//! Writers that are wrong on purpose, on the raw files: each must be found out, or the rest of this
//! program shows nothing.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use chronicle_std::format::{HEADER_SIZE, Object, READER_SLOTS, ReaderSlot, SegmentId};

use crate::script::payload;
use crate::writer::{BEGINS, ENDS, Hands, READER, TYPE, mark, told};

/// Something that no writer or reader may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// Publishes a record before it stores it.
    CommitFirst,
    /// Publishes a record when its header is there and its payload is not.
    CommitBeforePayload,
    /// Acknowledges a record that it has not appended.
    AcknowledgeEarly,
    /// Stores a reader's new place over the only one that is valid.
    PlaceOverPlace,
    /// Removes a segment that a reader has not read.
    RemoveUnread,
    /// Leaves a file that nobody tidies away.
    LeaveFile,
}

impl Wrong {
    pub(crate) const ALL: [Self; 6] = [
        Self::CommitFirst,
        Self::CommitBeforePayload,
        Self::AcknowledgeEarly,
        Self::PlaceOverPlace,
        Self::RemoveUnread,
        Self::LeaveFile,
    ];

    /// How it is written in a script.
    pub(crate) fn number(self) -> u64 {
        self as u64
    }

    pub(crate) fn numbered(number: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|wrong| wrong.number() == number)
    }

    /// Bytes of the record that is appended wrongly, or not; `None` if it is not about a record.
    pub(crate) fn appends(self) -> Option<usize> {
        match self {
            Self::CommitFirst | Self::CommitBeforePayload | Self::AcknowledgeEarly => Some(100),
            _ => None,
        }
    }

    /// Does it. The files are first as they were before, and at the end as they should be, so that it
    /// is the order of steps that is wrong and not their result.
    pub(crate) fn commit(self, hands: &mut Hands<'_>) -> Result<(), String> {
        match self {
            Self::CommitFirst => append_in_order(hands, &[(0, 8), (8, 132)]),
            Self::CommitBeforePayload => append_in_order(hands, &[(8, 32), (0, 8), (32, 132)]),
            Self::AcknowledgeEarly => append_in_order(hands, &[]),
            Self::PlaceOverPlace => place_over_place(hands),
            Self::RemoveUnread => remove_unread(hands),
            Self::LeaveFile => leave_file(hands),
        }
    }
}

fn open(path: PathBuf) -> Result<File, String> {
    OpenOptions::new().read(true).write(true).open(path).map_err(told)
}

fn bytes_at(file: &File, at: u64, length: usize) -> Result<Vec<u8>, String> {
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, at).map_err(told)?;
    Ok(bytes)
}

/// Appends a record as it should be, takes its bytes out again while nobody looks, and stores them in
/// these pieces, each from an offset to another.
fn append_in_order(hands: &mut Hands<'_>, pieces: &[(usize, usize)]) -> Result<(), String> {
    let (seq, length) = (hands.writer()?.next_seq(), 100);
    let place = hands.writer()?.position();
    let file = open(hands.queue.join(Object::Segment(place.segment).to_string()))?;
    hands.writer()?.append(TYPE, &payload(seq, length)).map_err(told)?;
    let record = bytes_at(&file, place.offset, HEADER_SIZE as usize + length)?;
    file.write_all_at(&vec![0; record.len()], place.offset).map_err(told)?;
    mark(BEGINS)?;
    for (from, to) in pieces {
        let piece = record.get(*from..*to).unwrap_or_default();
        file.write_all_at(piece, place.offset + *from as u64).map_err(told)?;
    }
    mark(ENDS)
}

/// Commits as it should be, puts the file back, and stores the new words over the newest slot.
fn place_over_place(hands: &mut Hands<'_>) -> Result<(), String> {
    let file = open(hands.queue.join("readers").join(format!("{READER}.meta")))?;
    let size = ReaderSlot::WORDS * 8;
    let slots = || -> Result<Vec<Vec<u8>>, String> {
        READER_SLOTS.iter().map(|at| bytes_at(&file, *at as u64, size)).collect()
    };
    let before = slots()?;
    hands.reader()?.commit().map_err(told)?;
    let after = slots()?;
    let changed = usize::from(before.first() == after.first());
    let (newer, older) = (READER_SLOTS.get(changed), READER_SLOTS.get(1 - changed));
    let (Some(newer), Some(newest_before)) = (newer, older) else {
        return Err("there are two slots".to_owned());
    };
    let old = before.get(changed).ok_or("two slots")?;
    let words = after.get(changed).ok_or("two slots")?;
    file.write_all_at(old, *newer as u64).map_err(told)?;
    mark(BEGINS)?;
    for (word, bytes) in words.chunks(8).enumerate() {
        file.write_all_at(bytes, (*newest_before + word * 8) as u64).map_err(told)?;
    }
    mark(ENDS)
}

fn remove_unread(hands: &mut Hands<'_>) -> Result<(), String> {
    mark(BEGINS)?;
    let segment = Object::Segment(SegmentId::FIRST).to_string();
    fs::remove_file(hands.queue.join(segment)).map_err(told)?;
    mark(ENDS)
}

fn leave_file(hands: &mut Hands<'_>) -> Result<(), String> {
    mark(BEGINS)?;
    fs::write(hands.queue.join("000000009.q.rest.tmp"), b"").map_err(told)?;
    mark(ENDS)
}
