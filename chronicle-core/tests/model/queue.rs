//! What a queue should hold, as a plain list, beside the queue itself.

use std::collections::BTreeMap;
use std::fs;

use chronicle_core::{
    Appender, CreateOptions, Error, Inspection, ReaderName, RetentionPolicy, SegmentSize, Start,
    TailOptions, Tailer, Visibility, WriteOptions, apply_retention, create, remove_reader, verify,
};
use chronicle_format::record_size;

use crate::support::clock::{SetClock, Timed};
use crate::support::{Home, TYPE};

/// Segments that the queue keeps when it is asked to remove some.
const KEPT: u64 = 2;

/// How large a payload is.
#[derive(Clone, Copy, Debug)]
pub enum Size {
    Small(u32),
    EighthsOfSegment(u32),
    /// So that the record ends so many slots before the end of the segment, if there is room.
    ExactFitLess(u32),
    Largest,
}

/// A record above the durable watermark, and what is done to it.
#[derive(Clone, Copy, Debug)]
pub struct Damage {
    pub record: u16,
    pub bit: u16,
    /// Everything from there on to the end of its segment is zero, as if it had not been written.
    pub torn: bool,
}

#[derive(Clone, Debug)]
pub enum Command {
    Append {
        size: Size,
        count: u32,
    },
    AppendAll(Vec<u32>),
    AppendTooLarge,
    Claim {
        size: Size,
        commit: bool,
    },
    Flush,
    PrepareNext,
    /// Closes the writer and opens another.
    Reopen,
    /// The writer dies without doing anything more.
    Kill,
    /// The writer dies with the system, and some of what was not durable is lost.
    Reboot(Damage),
    /// The writer dies, and something above the watermark in its segment rots.
    DamageOpenSegment(Damage),
    /// A named reader is opened, reads so many records and commits.
    Read {
        name: u8,
        count: u32,
    },
    RemoveReader(u8),
    Retain,
    SeekSeq(u16),
    SeekTime(u16),
    /// The next record is stamped so much later than the last one.
    Clock(i64),
    Check,
}

#[derive(Clone, Debug)]
struct Record {
    payload: Vec<u8>,
    segment: u32,
    offset: u64,
    timestamp_ns: u64,
}

struct Reader {
    committed: u64,
    /// It has read records that a power loss took.
    lost: bool,
}

pub struct Model {
    home: Home,
    segment_size: u64,
    clock: SetClock,
    now: u64,
    step: i64,
    writer: Option<Appender<Timed>>,
    /// Every record from the first of the queue on, also those that were removed.
    records: Vec<Record>,
    /// Records below this were removed.
    oldest: u64,
    durable: u64,
    readers: BTreeMap<u8, Reader>,
    /// Payloads that were made, so that no two are the same.
    made: u64,
}

fn name(reader: u8) -> ReaderName {
    ReaderName::new(&format!("reader-{reader}")).unwrap()
}

impl Model {
    pub fn new(segment_size: u64) -> Self {
        let home = Home::in_memory();
        let mut options = CreateOptions::default();
        options.segment_size = SegmentSize::new(segment_size).unwrap();
        options.retention = RetentionPolicy::KEEP_ALL;
        options.retention.max_segments = Some(KEPT);
        create(&home.platform(), &options).unwrap();
        let clock = Timed::new(home.platform()).set_clock();
        let mut model = Self {
            home,
            segment_size,
            clock,
            now: 0,
            step: 1,
            writer: None,
            records: Vec::new(),
            oldest: 0,
            durable: 0,
            readers: BTreeMap::new(),
            made: 0,
        };
        model.open();
        model
    }

    pub fn execute(&mut self, command: &Command) {
        match command {
            Command::Append { size, count } => {
                for _ in 0..*count {
                    self.append(*size);
                }
            }
            Command::AppendAll(lengths) => self.append_all(lengths),
            Command::AppendTooLarge => self.append_too_large(),
            Command::Claim { size, commit } => self.claim(*size, *commit),
            Command::Flush => self.flush(),
            Command::PrepareNext => self.writer().prepare_next().unwrap(),
            Command::Reopen => {
                self.writer = None;
                self.open();
            }
            Command::Kill => {
                self.kill();
                self.open();
            }
            Command::Reboot(damage) => {
                self.kill();
                self.damage(*damage, false);
                self.home.forget_boot();
                self.open();
            }
            Command::DamageOpenSegment(damage) => {
                self.kill();
                self.damage(*damage, true);
                self.open();
            }
            Command::Read { name, count } => self.read(*name, *count),
            Command::RemoveReader(reader) => {
                if self.readers.remove(reader).is_some() {
                    remove_reader(&self.home.platform(), &name(*reader)).unwrap();
                }
            }
            Command::Retain => self.retain(),
            Command::SeekSeq(at) => self.seek_seq(*at),
            Command::SeekTime(at) => self.seek_time(*at),
            Command::Clock(step) => self.step = *step,
            Command::Check => self.check(),
        }
    }

    fn writer(&mut self) -> &mut Appender<Timed> {
        self.writer.as_mut().unwrap()
    }

    fn end(&self) -> u64 {
        self.records.len() as u64
    }

    fn open(&mut self) {
        let platform = Timed::new(self.home.platform());
        self.clock = platform.set_clock();
        self.clock.set(self.now);
        let mut options = WriteOptions::default();
        options.step = 4096;
        let writer = Appender::open(platform, options).unwrap();
        assert_eq!(writer.next_seq(), self.end());
        assert_eq!(writer.recovery().durable_seq, self.durable);
        assert_eq!(writer.durable_seq(), self.durable);
        self.writer = Some(writer);
    }

    /// The writer dies: what it does when it closes is undone.
    fn kill(&mut self) {
        let files = |home: &Home| -> Vec<_> {
            let entries = fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().path());
            entries.filter(|path| path.is_file()).collect()
        };
        let saved: Vec<_> =
            files(&self.home).into_iter().map(|path| (fs::read(&path).unwrap(), path)).collect();
        self.writer = None;
        for (bytes, path) in saved {
            fs::write(path, bytes).unwrap();
        }
    }

    /// Damages a record above the durable watermark: it and all behind it are lost.
    fn damage(&mut self, damage: Damage, in_open_segment: bool) {
        let last = self.records.last().map_or(0, |record| record.segment);
        let first = self.durable.max(self.oldest) as usize;
        let candidates: Vec<usize> = (first..self.records.len())
            .filter(|seq| !in_open_segment || self.is_in_open_segment(*seq, last))
            .collect();
        let Some(seq) = candidates.get(damage.record as usize % candidates.len().max(1)).copied()
        else {
            return;
        };
        let record = &self.records[seq];
        let file = format!("{:09}.q", record.segment);
        if damage.torn {
            let rest = (self.segment_size - record.offset) as usize;
            self.home.write_at(&file, record.offset, &vec![0; rest]);
        } else {
            // Not in the bytes that fill the payload up, which nobody looks at.
            let bit = u64::from(damage.bit) % ((32 + record.payload.len() as u64) * 8);
            let at = record.offset + bit / 8;
            let byte = self.home.read_at(&file, at, 1)[0];
            self.home.write_at(&file, at, &[byte ^ (1 << (bit % 8))]);
        }
        self.records.truncate(seq);
        for reader in self.readers.values_mut() {
            reader.lost |= reader.committed > seq as u64;
        }
        // As if the clock stood at the newest time that is left: what was stamped later is gone.
        self.now = self.records.iter().map(|record| record.timestamp_ns).max().unwrap_or(0);
    }

    /// Whether recovery in the same boot looks at this record: only at those in the newest segment.
    fn is_in_open_segment(&self, seq: usize, last: u32) -> bool {
        let next = format!("{:09}.q", last + 1);
        // A segment behind the newest record may have been entered already.
        self.records[seq].segment == last && !self.home.file(&next).exists()
    }

    fn length(&mut self, size: Size) -> usize {
        let largest = self.segment_size - 96;
        let length = match size {
            Size::Small(length) => u64::from(length),
            Size::EighthsOfSegment(eighths) => self.segment_size / 8 * u64::from(eighths),
            Size::Largest => largest,
            Size::ExactFitLess(slots) => {
                let left = self.segment_size - self.writer().position().offset;
                left.saturating_sub(32 * (1 + u64::from(slots)))
            }
        };
        length.min(largest) as usize
    }

    fn payload(&mut self, length: usize) -> Vec<u8> {
        self.made += 1;
        let mut payload = vec![self.made as u8; length];
        let stamp = self.made.to_le_bytes();
        payload.iter_mut().zip(stamp).for_each(|(byte, stamp)| *byte = stamp);
        payload
    }

    fn tick(&mut self) {
        self.now = self.now.saturating_add_signed(self.step).max(1);
        self.clock.set(self.now);
    }

    /// Takes note of a record that has just been appended.
    fn appended(&mut self, payload: Vec<u8>, behind: u64) {
        let position = self.writer().position();
        let offset = position.offset - behind - record_size(payload.len() as u32);
        let segment = position.segment.get();
        self.records.push(Record { payload, segment, offset, timestamp_ns: self.now });
    }

    fn append(&mut self, size: Size) {
        let length = self.length(size);
        let payload = self.payload(length);
        self.tick();
        let seq = self.writer().append(TYPE, &payload).unwrap();
        assert_eq!(seq, self.end());
        self.appended(payload, 0);
    }

    fn append_all(&mut self, lengths: &[u32]) {
        let payloads: Vec<_> =
            lengths.iter().map(|length| self.payload(*length as usize)).collect();
        self.tick();
        let slices = payloads.iter().map(Vec::as_slice);
        let before = self.end();
        let next = self.writer().append_all(TYPE, slices).unwrap();
        assert_eq!(next, before + payloads.len() as u64);
        // Where each one went shows when it is read.
        let mut tailer = self.tailer(Start::Seq(before));
        for payload in payloads {
            let message = tailer.next().unwrap().unwrap();
            assert!(message.payload == payload);
            let position = tailer.position();
            let offset = position.offset - record_size(payload.len() as u32);
            let (segment, timestamp_ns) = (position.segment.get(), self.now);
            self.records.push(Record { payload, segment, offset, timestamp_ns });
        }
    }

    fn append_too_large(&mut self) {
        let length = self.segment_size as usize - 95;
        let before = self.writer().position();
        let refused = self.writer().append(TYPE, &vec![0; length]);
        assert!(matches!(refused, Err(Error::PayloadTooLarge { .. })));
        assert_eq!(self.writer().position(), before);
    }

    fn claim(&mut self, size: Size, commit: bool) {
        let length = self.length(size);
        let payload = self.payload(length);
        if commit {
            self.tick();
        }
        let mut claim = self.writer().claim(length).unwrap();
        claim.copy_from_slice(&payload);
        if commit {
            claim.commit(TYPE).unwrap();
            self.appended(payload, 0);
        } else {
            claim.abort();
        }
    }

    fn flush(&mut self) {
        self.writer().flush().unwrap();
        self.durable = self.end();
    }

    fn tailer(&self, start: Start) -> Tailer<Timed> {
        self.try_tailer(start).unwrap()
    }

    fn try_tailer(&self, start: Start) -> chronicle_core::Result<Tailer<Timed>, Timed> {
        let mut options = TailOptions::default();
        options.start = start;
        Tailer::open(Timed::new(self.home.platform()), &options)
    }

    fn read(&mut self, reader: u8, count: u32) {
        let mut options = TailOptions::default();
        options.name = Some(name(reader));
        let opened = Tailer::open(Timed::new(self.home.platform()), &options);
        let known = self.readers.get(&reader);
        let from = known.map_or(self.oldest, |known| known.committed);
        if known.is_some_and(|known| known.lost) {
            assert!(matches!(opened.map(drop), Err(Error::Diverged { seq, .. }) if seq == from));
            remove_reader(&self.home.platform(), &name(reader)).unwrap();
            self.readers.remove(&reader);
            return;
        }
        let mut tailer = opened.unwrap();
        let mut next = from;
        for _ in 0..count {
            let message = tailer.next().unwrap();
            let expected = self.records.get(next as usize);
            assert!(
                message.map(|message| (message.seq, message.payload))
                    == expected.map(|record| (next, record.payload.as_slice())),
                "reader {reader} at {next}"
            );
            if expected.is_none() {
                break;
            }
            next += 1;
        }
        tailer.commit().unwrap();
        self.readers.insert(reader, Reader { committed: next, lost: false });
    }

    fn retain(&mut self) {
        let report = apply_retention(&self.home.platform(), |_| false).unwrap();
        let oldest = self.tailer(Start::Earliest).position().seq;
        assert!(oldest >= self.oldest && (report.removed > 0 || oldest == self.oldest));
        for (reader, Reader { committed, lost }) in &self.readers {
            let held = *lost || oldest <= *committed;
            assert!(held, "reader {reader} at {committed}, {oldest} is the oldest");
        }
        self.oldest = oldest;
    }

    /// A sequence number around the records that are there.
    fn around(&self, at: u16) -> u64 {
        u64::from(at) % (self.end() + 4)
    }

    fn seek_seq(&mut self, at: u16) {
        let seq = self.around(at);
        let mut tailer = self.tailer(Start::Earliest);
        let sought = tailer.seek_seq(seq);
        if seq < self.oldest {
            assert_eq!(sought.unwrap_err(), Error::FellBehind { oldest: self.oldest });
            return;
        }
        let expected = self.records.get(seq as usize);
        assert_eq!(sought.unwrap().found, expected.is_some());
        let message = tailer.next().unwrap();
        assert!(
            message.map(|message| (message.seq, message.payload))
                == expected.map(|record| (seq, record.payload.as_slice()))
        );
        if seq < self.end() && seq > self.oldest {
            assert_eq!(tailer.seek_back(1).map(|sought| sought.found), Ok(true));
            assert_eq!(tailer.next().unwrap().map(|message| message.seq), Some(seq));
        }
    }

    fn seek_time(&mut self, at: u16) {
        let times = self.records.iter().map(|record| record.timestamp_ns);
        let Some(highest) = times.clone().max() else { return };
        let ns = u64::from(at) % (highest + 3);
        let mut so_far = 0;
        let expected = times.map(|time| {
            so_far = time.max(so_far);
            so_far
        });
        let expected = expected.into_iter().position(|reached| reached >= ns);
        let mut tailer = self.tailer(Start::Earliest);
        let sought = tailer.seek_timestamp(ns);
        match expected.map(|seq| seq as u64) {
            Some(seq) if seq < self.oldest => {
                assert_eq!(sought.unwrap_err(), Error::FellBehind { oldest: self.oldest });
            }
            expected => {
                assert_eq!(sought.unwrap().found, expected.is_some(), "{ns} in {highest}");
                assert_eq!(tailer.next().unwrap().map(|message| message.seq), expected);
            }
        }
    }

    /// Everybody finds what the list holds.
    pub fn check(&mut self) {
        let mut tailer = self.tailer(Start::Earliest);
        let mut durable = TailOptions::default();
        durable.visibility = Visibility::Durable;
        let mut durable = Tailer::open(Timed::new(self.home.platform()), &durable).unwrap();
        for (seq, record) in (0..).zip(&self.records).skip(self.oldest as usize) {
            let message = tailer.next().unwrap().unwrap();
            assert_eq!((message.seq, message.timestamp_ns), (seq, record.timestamp_ns));
            assert!(message.payload == record.payload, "payload of {seq}");
            let given = durable.next().unwrap().map(|message| message.seq);
            assert_eq!(given, (seq < self.durable).then_some(seq));
        }
        assert!(tailer.next().unwrap().is_none());
        let inspection = Inspection::of(&self.home.platform()).unwrap();
        assert_eq!(inspection.head.position, self.writer().position());
        assert_eq!(inspection.durable_seq, self.durable);
        assert_eq!(inspection.oldest.seq, self.oldest);
        let latest = self.tailer(Start::Latest).position().seq;
        assert_eq!(latest, self.end());
        let mut faults = Vec::new();
        verify(&self.home.platform(), |fault| faults.push(fault)).unwrap();
        assert!(faults.is_empty(), "{faults:?}");
    }
}
