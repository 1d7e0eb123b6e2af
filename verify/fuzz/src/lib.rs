//! What the fuzz targets share: whole queues on the heap, damage that is done to them, and how a
//! queue is used then.
//!
//! The order in every target is the same: a good queue, edits, checksums made right again or not, and
//! then everything that a program may do with the queue. Whatever comes of that is right, but a panic,
//! an access outside (the address sanitizer), more time than the work needs, or a broken promise.

mod base;
mod crc;
pub mod reference;
mod reseal;
pub mod scribbled;

use arbitrary::Arbitrary;
use chronicle_conformance::memory::Memory;
use chronicle_core::{
    Appender, Inspection, ReaderName, Start, TailOptions, Tailer, WriteOptions, apply_retention,
    plan_retention, verify,
};
use chronicle_sync::Object;

pub use base::{Base, SEGMENT, WIDE_SEGMENT};
pub use reseal::reseal;

/// The type of the records that the fuzzer appends.
pub const TYPE: u16 = 0x8000;

/// The most bytes that an object may get: what is larger is no space.
pub const LARGEST: u64 = 1 << 20;

/// What is done to a queue before it is used.
#[derive(Arbitrary, Debug)]
pub struct Damage {
    /// Which good queue it was.
    pub base: Base,
    /// What is changed.
    pub edits: Vec<Edit>,
    /// Whether checksums are made right again, so that what lies behind them is reached.
    pub reseal: bool,
    /// Whether the queue was last written to in another boot.
    pub reboot: bool,
}

/// One change of one object.
#[derive(Arbitrary, Debug)]
pub struct Edit {
    /// Which object, counted round and round.
    pub object: u8,
    /// Where, counted round and round; in words, where a word is stored.
    pub at: u16,
    /// What.
    pub what: What,
}

/// What is done to an object's bytes.
#[derive(Arbitrary, Debug)]
pub enum What {
    /// A byte is changed.
    Byte(u8),
    /// Half a word is stored.
    Half(u32),
    /// A word is stored.
    Word(u64),
    /// A word counts up or down.
    Add(i8),
    /// Bytes become zero.
    Zero(u16),
    /// Bytes of elsewhere in the object are stored.
    Copy { from: u16, length: u16 },
    /// The object ends here.
    Cut,
    /// The object gets longer.
    Extend(u16),
    /// The object goes.
    Remove,
    /// The object gets the bytes of another one.
    Replace(u8),
}

impl Damage {
    /// The damaged queue. Only objects that `touches` are changed.
    #[must_use]
    pub fn queue(&self, touches: impl Fn(&Object) -> bool) -> Memory {
        let mut objects = self.base.objects();
        for edit in self.edits.iter().take(64) {
            edit.apply(&mut objects, &touches);
        }
        if self.reseal {
            for (object, bytes) in &mut objects {
                reseal(object, bytes);
            }
        }
        let memory = Memory::limited(LARGEST);
        for (object, bytes) in &objects {
            memory.put(object, bytes);
        }
        // The good queue was made in the first boot of another memory.
        if self.reboot {
            memory.reboot();
        }
        memory
    }
}

impl Edit {
    fn apply(&self, objects: &mut Vec<(Object, Vec<u8>)>, touches: impl Fn(&Object) -> bool) {
        let touched: Vec<_> = (0..objects.len()).filter(|i| touches(&objects[*i].0)).collect();
        if touched.is_empty() {
            return;
        }
        let index = touched[self.object as usize % touched.len()];
        if let What::Remove = self.what {
            objects.remove(index);
            return;
        }
        if let What::Replace(other) = self.what {
            objects[index].1 = objects[other as usize % objects.len()].1.clone();
            return;
        }
        let bytes = &mut objects[index].1;
        let size = bytes.len();
        if let What::Extend(more) = self.what {
            bytes.resize((size + more as usize).min(LARGEST as usize), 0);
            return;
        }
        if size < 8 {
            return;
        }
        let at = self.at as usize % size;
        let word = (self.at as usize * 8 % size).min(size - 8) & !7;
        match self.what {
            What::Byte(byte) => bytes[at] ^= byte,
            What::Half(value) => {
                let half = at.min(size - 4) & !3;
                bytes[half..half + 4].copy_from_slice(&value.to_le_bytes());
            }
            What::Word(value) => bytes[word..word + 8].copy_from_slice(&value.to_le_bytes()),
            What::Add(value) => {
                let slot: &mut [u8; 8] = (&mut bytes[word..word + 8]).try_into().expect("8 bytes");
                *slot = u64::from_le_bytes(*slot).wrapping_add_signed(value.into()).to_le_bytes();
            }
            What::Zero(length) => {
                let end = (at + length as usize).min(size);
                bytes[at..end].fill(0);
            }
            What::Copy { from, length } => {
                let from = from as usize % size & !7;
                let length = (length as usize).min(size - from).min(size - word);
                bytes.copy_within(from..from + length, word);
            }
            What::Cut => bytes.truncate(at),
            What::Extend(_) | What::Remove | What::Replace(_) => {}
        }
    }
}

/// Whether it is a segment.
#[must_use]
pub fn is_segment(object: &Object) -> bool {
    matches!(object, Object::Segment(_))
}

/// Reads a queue to its end, from each kind of place, and looks at it from outside. Returns the
/// records from the earliest on, and whether the log ended there without an error.
pub fn read_everything(memory: &Memory) -> (Vec<(u64, Vec<u8>)>, bool) {
    // Each record takes 32 bytes at the least.
    let most = memory.objects().len() as u64 * LARGEST / 32;
    let mut earliest = (Vec::new(), false);
    for start in [
        Start::Earliest,
        Start::Latest,
        Start::Seq(7),
        Start::Seq(u64::MAX),
        Start::Timestamp(1_700_000_000_000_000_000),
        Start::Timestamp(u64::MAX),
    ] {
        for verify in [true, false] {
            let mut options = TailOptions::default();
            (options.start, options.verify) = (start, verify);
            let Ok(mut tailer) = Tailer::open(memory, &options) else { continue };
            let mut records = Vec::new();
            let ended = loop {
                match tailer.next() {
                    Ok(Some(message)) => records.push((message.seq, message.payload.to_vec())),
                    Ok(None) => break true,
                    Err(_) => break false,
                }
                assert!(records.len() as u64 <= most, "more records than bytes");
            };
            // A place that an error left is one to stay at.
            let place = tailer.position();
            assert!(matches!(tailer.next(), Ok(None)) == ended, "a second look says otherwise");
            assert_eq!(tailer.position(), place, "an error moved the reader");
            if start == Start::Earliest && verify {
                earliest = (records, ended);
            }
        }
    }
    for name in ["a", "b"] {
        let mut options = TailOptions::default();
        options.name = Some(ReaderName::new(name).expect("a plain name"));
        if let Ok(mut tailer) = Tailer::open(memory, &options) {
            while let Ok(Some(_)) = tailer.next() {}
            tailer.commit().expect("a name has a place to commit to");
            let _ = tailer.seek_seq(3);
            let _ = tailer.seek_timestamp(1_700_000_000_000_000_500);
            let _ = tailer.next();
        }
    }
    if let Ok(inspection) = Inspection::of(memory) {
        let _ = inspection.readers(memory, |_| {});
    }
    let _ = verify(memory, |_| {});
    let _ = plan_retention(memory, |_| false);
    earliest
}

/// Opens a queue for writing and appends to it, again and again. What was appended must come back,
/// and an open after one that succeeded must succeed.
pub fn write_and_read(memory: &Memory) {
    let mut appended = Vec::new();
    let mut next_seq = None;
    for life in 0..3u8 {
        let mut appender = match Appender::open(memory, WriteOptions::default()) {
            Ok(appender) => appender,
            Err(error) => {
                assert!(next_seq.is_none(), "open after a good one: {error}");
                let again = Appender::open(memory, WriteOptions::default()).err();
                let again = again.map(|error| format!("{error:?}"));
                assert_eq!(again, Some(format!("{error:?}")), "the second open says otherwise");
                return;
            }
        };
        let report = *appender.recovery();
        assert!(
            next_seq.is_none_or(|seq| report.end.seq == seq && report.cut.is_none()),
            "{next_seq:?} is the next number, and the next writer finds {report:?}"
        );
        for number in 0..4u8 {
            let payload = vec![life * 16 + number; number as usize * 37];
            match appender.append(TYPE, &payload) {
                Ok(seq) => appended.push((seq, payload)),
                Err(_) => break,
            }
        }
        next_seq = Some(appender.next_seq());
        let _ = appender.flush();
        let _ = apply_retention(memory, |_| false);
    }
    let Some((first, _)) = appended.first() else { return };
    let mut options = TailOptions::default();
    options.start = Start::Seq(*first);
    // What lies before the checkpoint may be damaged, and a reader may have to pass it.
    let Ok(mut tailer) = Tailer::open(memory, &options) else { return };
    for (seq, payload) in &appended {
        match tailer.next() {
            Ok(Some(message)) => {
                assert_eq!((message.seq, message.payload), (*seq, &payload[..]), "another record");
            }
            Ok(None) => panic!("{seq} was appended and is not there"),
            Err(_) => return,
        }
    }
}
