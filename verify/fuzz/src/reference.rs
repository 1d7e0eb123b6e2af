//! Where a log ends after a reboot, by `docs/format.md` alone: slow, small, and without a line of the
//! engine's.

use chronicle_conformance::memory::Memory;
use chronicle_sync::Object;

use crate::crc::crc32c;

/// What the scanner makes of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The log ends here: segment, offset, sequence number.
    End { segment: u32, offset: u64, seq: u64 },
    /// It ends before what was durable, or cannot be read as far as that.
    Damaged,
}

struct Log {
    segments: Vec<(u32, Vec<u8>)>,
    size: u64,
    checked: bool,
    epoch: u32,
    seq: u64,
    /// The highest number below which a record said that everything was durable.
    durable: u64,
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().expect("2 bytes"))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
}

/// Scans the records of a queue whose `control.meta`, `notify.meta` and `checkpoint.meta` are good,
/// and which was last written to in another boot. `None` if its checkpoint names no segment.
#[must_use]
pub fn scan(memory: &Memory) -> Option<Verdict> {
    let control = memory.get(&Object::Control)?;
    let checkpoint = memory.get(&Object::Checkpoint)?;
    // The newer of the two slots that are whole.
    let slot = [0, 4096]
        .into_iter()
        .filter(|at| u64_at(&checkpoint, *at) == u64::from_le_bytes(*b"CHRONCKP"))
        .max_by_key(|at| (u64_at(&checkpoint, at + 16), usize::MAX - at))?;
    let durable_place = (u32_at(&checkpoint, slot + 48), u64_at(&checkpoint, slot + 40));
    let first = u32_at(&checkpoint, slot + 56);
    let mut segments: Vec<_> = memory
        .objects()
        .into_iter()
        .filter_map(|object| match &object {
            Object::Segment(id) if id.get() >= first => Some((id.get(), memory.get(&object)?)),
            _ => None,
        })
        .collect();
    segments.sort();
    let oldest = segments.first().map_or(0, |(id, _)| *id);
    let mut log = Log {
        segments,
        size: u64_at(&control, 16),
        checked: u32_at(&control, 12) & 1 == 1,
        epoch: 0,
        seq: 0,
        durable: u64_at(&checkpoint, slot + 32),
    };
    if u64_at(&control, 384) == !u64_at(&control, 392) {
        log.durable = log.durable.max(u64_at(&control, 384));
    }
    Some(log.end(durable_place.0.max(oldest), durable_place))
}

impl Log {
    fn bytes(&self, id: u32) -> Option<&Vec<u8>> {
        self.segments.iter().find(|(other, _)| *other == id).map(|(_, bytes)| bytes)
    }

    /// A segment whose header is right.
    fn segment(&self, id: u32) -> Option<&Vec<u8>> {
        let bytes = self.bytes(id)?;
        let good = bytes.len() as u64 == self.size
            && bytes[..8] == *b"CHRONSEG"
            && u16_at(bytes, 8) == 2
            && u16_at(bytes, 10) == u16::from(self.checked)
            && u32_at(bytes, 12) == id
            && u64_at(bytes, 16) == self.size
            && u32_at(bytes, 24) != 0
            && u32_at(bytes, 28) == crc32c(&[&bytes[..28]]);
        good.then_some(bytes)
    }

    /// `first_seq` and `epoch` of a segment that somebody has started.
    fn start(bytes: &[u8]) -> Option<(u64, u32)> {
        let whole = u32_at(bytes, 52) == crc32c(&[&bytes[..28], &bytes[32..52]]);
        let absent = bytes[32..56].iter().all(|byte| *byte == 0);
        (whole && !absent).then(|| (u64_at(bytes, 32), u32_at(bytes, 48)))
    }

    /// The offset of the seal; 0 in an open segment, `None` if it is out of range.
    fn seal(&self, bytes: &[u8]) -> Option<u64> {
        let seal = u64_at(bytes, 56);
        let offset = seal & !1;
        let right =
            seal & 1 == 1 && offset.is_multiple_of(32) && (64..=self.size).contains(&offset);
        if seal == 0 { Some(0) } else { right.then_some(offset) }
    }

    fn end(&mut self, first: u32, durable_place: (u32, u64)) -> Verdict {
        let mut id = first;
        let Some((seq, epoch)) = self.segment(id).and_then(|bytes| Self::start(bytes)) else {
            return Verdict::Damaged;
        };
        (self.seq, self.epoch) = (seq, epoch);
        loop {
            let bytes = self.segment(id).expect("looked at before").clone();
            let Some(seal) = self.seal(&bytes) else { return Verdict::Damaged };
            let limit = if seal == 0 { self.size } else { seal };
            let (offset, whole) = self.walk(&bytes, limit);
            let whole = whole && (seal == 0 || offset == seal);
            let Some(next) = self.next(id, seal).filter(|_| whole) else {
                return self.judge(id, offset, durable_place);
            };
            id += 1;
            self.epoch = next;
        }
    }

    /// Walks over records; where that ends, and whether it ended at an empty slot or the limit.
    fn walk(&mut self, bytes: &[u8], limit: u64) -> (u64, bool) {
        let mut at = 64;
        while at + 32 <= limit as usize {
            let Some(length) = u32_at(bytes, at).checked_sub(1) else { return (at as u64, true) };
            let end = (at + 32 + length as usize).next_multiple_of(32);
            if end > limit as usize {
                return (at as u64, false);
            }
            if !self.record(&bytes[24..28], &bytes[at..at + 32 + length as usize]) {
                return (at as u64, false);
            }
            at = end;
        }
        (at as u64, true)
    }

    /// Whether a record is the next one; if it is, the log has it.
    fn record(&mut self, salt: &[u8], record: &[u8]) -> bool {
        let (header, payload) = record.split_at(32);
        let crc = crc32c(&[salt, &header[..4], &[0; 4], &header[8..], payload]);
        let (kind, epoch, seq) = (u16_at(header, 8), u32_at(header, 12), u64_at(header, 16));
        if self.checked && crc != u32_at(header, 4) || seq != self.seq {
            return false;
        }
        if kind == 1 {
            let right = payload.len() == 32
                && u32_at(payload, 0) == epoch
                && u64_at(payload, 8) == seq
                && epoch > self.epoch;
            if right {
                self.epoch = epoch;
                self.note(u64_at(payload, 16), seq);
            }
            return right;
        }
        if epoch != self.epoch || kind == 0 {
            return false;
        }
        if kind == 2 {
            let right = payload.len() == 8 && u64_at(payload, 0) <= seq;
            if right {
                self.note(u64_at(payload, 0), seq);
            }
            return right;
        }
        if (0x100..0xffff).contains(&kind) {
            let Some(next) = self.seq.checked_add(1) else { return false };
            self.seq = next;
        }
        true
    }

    fn note(&mut self, durable: u64, seq: u64) {
        if durable <= seq {
            self.durable = self.durable.max(durable);
        }
    }

    /// The epoch with which the log goes on in the segment behind `id`, if it does.
    fn next(&self, id: u32, seal: u64) -> Option<u32> {
        let bytes = self.segment(id + 1)?;
        let (seq, epoch) = Self::start(bytes)?;
        let entered = seal != 0 || u32_at(bytes, 64) != 0;
        (entered && seq == self.seq && epoch >= self.epoch).then_some(epoch)
    }

    /// Whether the log may end at this place. What records behind it say is left to the engine: the
    /// scanner knows less, and then says that the log ends.
    fn judge(&self, segment: u32, offset: u64, durable_place: (u32, u64)) -> Verdict {
        if (segment, offset) < durable_place || self.seq < self.durable {
            return Verdict::Damaged;
        }
        Verdict::End { segment, offset, seq: self.seq }
    }
}
