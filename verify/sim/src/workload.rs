//! What processes do to a queue before the machine stops, and what is known of it from outside.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::str::FromStr;

use chronicle_core::{
    Appender, CreateOptions, Error, NoSupply, ReaderName, RetentionPolicy, SegmentSize,
    TailOptions, Tailer, WriteOptions, apply_retention, create,
};
use chronicle_format::{CommitWord, HEADER_SIZE, RecordFlags, RecordHeader, TypeId, record_seed};
use chronicle_sync::{Clock, Object, Platform};

use crate::crash::NameOrder;
use crate::facts::{Commit, Entry, Facts};
use crate::history::{History, Space};
use crate::platform::{SimPlatform, SimProbe};
use crate::world::{Death, Faults, SimError};

/// The name under which the one named reader reads.
pub(crate) const READER: &str = "risk";
/// The type of all user records.
const TYPE: u16 = 0x8000;
/// How often what a fault got in the way of is tried again.
const TRIES: u32 = 3;

/// The machine and the queue on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    /// Size of every segment in bytes.
    pub segment_size: u64,
    /// Bytes that the medium writes whole or not at all: 64, 512 or 4096.
    pub sector: usize,
    /// How names survive.
    pub names: NameOrder,
    /// What space holds that was allocated and not written back yet.
    pub space: Space,
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = match self.names {
            NameOrder::Ordered => "ordered",
            NameOrder::Free => "free",
        };
        write!(f, "{}/{}/{names}", self.segment_size, self.sector)?;
        if self.space == Space::Recycled { f.write_str("/recycled") } else { Ok(()) }
    }
}

impl FromStr for Setup {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unknown = || format!("{text} is not SEGMENT/SECTOR/ordered or free[/recycled]");
        let parts: Vec<&str> = text.split('/').collect();
        let (parts, space) = match &parts[..] {
            [parts @ .., "recycled"] => (parts, Space::Recycled),
            parts => (parts, Space::Zero),
        };
        let [segment_size, sector, names] = parts[..] else { return Err(unknown()) };
        let names = match names {
            "ordered" => NameOrder::Ordered,
            "free" => NameOrder::Free,
            _ => return Err(unknown()),
        };
        let sector: usize = sector.parse().map_err(|_| unknown())?;
        if ![64, 512, 4096].contains(&sector) {
            return Err(unknown());
        }
        let segment_size = segment_size.parse().map_err(|_| unknown())?;
        Ok(Self { segment_size, sector, names, space })
    }
}

macro_rules! ops {
    ($($(#[$doc:meta])* $name:ident = $letter:literal,)*) => {
        /// One operation.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Op {
            $($(#[$doc])* $name,)*
        }

        impl Op {
            /// All operations.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            fn letter(self) -> char {
                match self {
                    $(Self::$name => $letter,)*
                }
            }
        }
    };
}

ops! {
    /// Append 20 bytes.
    Small = 's',
    /// Append a third of a segment.
    Large = 'l',
    /// Append what reaches just across the next page.
    Straddle = 'p',
    /// Append what fills the segment to its last byte.
    Exact = 'x',
    /// Append what no segment holds.
    TooBig = 'b',
    /// Claim 600 bytes, fill them with what looks like records, and give the claim up.
    Abort = 'a',
    /// Claim 100 bytes and commit them.
    Claim = 'c',
    /// Flush.
    Flush = 'f',
    /// Append what does not fit the segment, so that the writer rolls.
    Roll = 'o',
    /// Read one record as the named reader, and commit.
    ReadOne = 'r',
    /// Read everything as the named reader, and commit.
    ReadAll = 't',
    /// Remove what readers have passed.
    Retain = 'd',
    /// Prepare the next segment.
    Prepare = 'e',
    /// Seek to the middle.
    Seek = 'z',
    /// Close and open the queue as its writer.
    Reopen = 'n',
    /// Kill the writer and open the queue anew.
    Kill = 'k',
}

/// What is done, and what goes wrong meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// The machine and the queue.
    pub setup: Setup,
    /// What is done, in order.
    pub ops: Vec<Op>,
    /// In the operation with this index, the process dies at the call of the seam with that number.
    pub die: Option<(usize, u32)>,
    /// What the storage does wrong.
    pub faults: Faults,
}

impl Workload {
    /// Operations on a machine without faults.
    #[must_use]
    pub fn new(setup: Setup, ops: &[Op]) -> Self {
        Self { setup, ops: ops.to_vec(), die: None, faults: Faults::default() }
    }

    /// Reads operations as [`Display`](fmt::Display) writes them.
    ///
    /// # Errors
    /// The letter that is none.
    pub fn ops(text: &str) -> Result<Vec<Op>, String> {
        let op = |letter| Op::ALL.iter().copied().find(|op| op.letter() == letter);
        text.chars().map(|letter| op(letter).ok_or(format!("no operation {letter}"))).collect()
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ops: String = self.ops.iter().map(|op| op.letter()).collect();
        write!(f, "--setup {} --ops {ops}", self.setup)?;
        if let Some((op, call)) = self.die {
            write!(f, " --die {op}:{call}")?;
        }
        if let Some(sync) = self.faults.fail_sync {
            write!(f, " --fail-sync {sync}")?;
        }
        if let Some(honest) = self.faults.lies_after {
            write!(f, " --lies-after {honest}")?;
        }
        if self.faults.lying_sync {
            write!(f, " --lying-sync")?;
        }
        if self.faults.lying_names {
            write!(f, " --lying-names")?;
        }
        Ok(())
    }
}

/// What a run left behind.
pub struct Run {
    /// What was stored when.
    pub history: History,
    pub(crate) facts: Facts,
    /// Calls of the seam in each operation.
    pub calls: Vec<u32>,
    /// Syncs from the beginning on.
    pub syncs: u32,
    /// The first point of the last operation.
    pub(crate) last_op: usize,
}

pub(crate) type SimAppender<'w> = Appender<&'w SimPlatform, SimProbe>;
type Failure = Error<SimError>;

/// How the queue is made in every run.
pub(crate) fn create_options(setup: &Setup) -> Result<CreateOptions, String> {
    let mut options = CreateOptions::default();
    options.segment_size = SegmentSize::new(setup.segment_size).map_err(|why| why.to_string())?;
    options.retention =
        RetentionPolicy { max_bytes: None, max_segments: Some(1), ..RetentionPolicy::KEEP_ALL };
    Ok(options)
}

pub(crate) fn open(platform: &SimPlatform) -> Result<SimAppender<'_>, Failure> {
    let mut options = WriteOptions::default();
    options.step = 4096;
    Appender::open_with(platform, options, platform.probe(), NoSupply)
}

pub(crate) fn named_reader(platform: &SimPlatform) -> Result<Tailer<&SimPlatform>, Failure> {
    let mut options = TailOptions::default();
    options.name = ReaderName::new(READER).ok();
    Tailer::open(platform, &options)
}

/// Runs a workload on an empty machine.
///
/// # Errors
/// In words, if the queue already breaks a promise while everything works.
pub fn run(workload: &Workload, seed: u64) -> Result<Run, String> {
    let platform = SimPlatform::new(seed);
    platform.world.record(workload.setup.sector, workload.setup.space);
    platform.world.set_faults(workload.faults);
    let mut session = Session {
        platform: &platform,
        appender: None,
        reader: None,
        last_read: None,
        facts: Facts::default(),
        poisoned: false,
        may_be_poisoned: false,
    };
    let mut calls = Vec::new();
    let mut last_op = 0;
    let may_be_poisoned = workload.faults.fail_sync.is_some();
    platform.world.mark(|mark| mark.may_be_poisoned = may_be_poisoned);
    session.may_be_poisoned = may_be_poisoned;
    session.begin(&workload.setup)?;
    platform.world.begin_lying();
    for (index, op) in workload.ops.iter().enumerate() {
        if session.poisoned {
            break;
        }
        last_op = platform.world.points();
        let before = platform.world.steps();
        if let Some((doomed, call)) = workload.die
            && doomed == index
        {
            platform.world.doom(call);
        }
        match catch_unwind(AssertUnwindSafe(|| session.act(*op))) {
            Ok(outcome) => {
                platform.world.spare();
                outcome.map_err(|why| format!("in operation {index} ({op:?}): {why}"))?;
            }
            Err(payload) if payload.is::<Death>() => session.bury()?,
            Err(payload) => resume_unwind(payload),
        }
        calls.push(platform.world.steps() - before);
        platform.world.observe();
    }
    let facts = session.facts.clone();
    let syncs = platform.world.syncs();
    // The last point is that of the running queue: what its destructors store comes behind.
    let history = platform.world.take_history().ok_or("nothing was recorded")?;
    drop(session);
    Ok(Run { history, facts, calls, syncs, last_op })
}

struct Session<'w> {
    platform: &'w SimPlatform,
    appender: Option<SimAppender<'w>>,
    reader: Option<Tailer<&'w SimPlatform>>,
    last_read: Option<Entry>,
    facts: Facts,
    poisoned: bool,
    may_be_poisoned: bool,
}

/// Whether the simulated storage said no, as opposed to the queue.
fn is_fault(error: &Failure) -> bool {
    matches!(error, Error::Platform { source: SimError::Kind(chronicle_sync::ErrorKind::Io), .. })
}

fn retry<T>(mut call: impl FnMut() -> Result<T, Failure>) -> Result<T, String> {
    let mut tries = 0;
    loop {
        match call() {
            Err(error) if is_fault(&error) && tries < TRIES => tries += 1,
            other => return other.map_err(|error| error.to_string()),
        }
    }
}

impl<'w> Session<'w> {
    fn begin(&mut self, setup: &Setup) -> Result<(), String> {
        let options = create_options(setup)?;
        let platform = self.platform;
        let mut failed = false;
        let made = retry(|| match create(platform, &options) {
            // It was made, and its name may not be on the medium: the first flush sees to that.
            Err(Error::AlreadyExists) if failed => Ok(false),
            other => {
                failed = other.is_err();
                other.map(|()| true)
            }
        });
        let durable = made.map_err(|why| format!("create: {why}"))?;
        platform.world.mark(|mark| mark.created = durable);
        self.open()
    }

    /// Opens the queue as its writer, and finds out what became of the record in flight.
    fn open(&mut self) -> Result<(), String> {
        let platform = self.platform;
        let opened = retry(|| match open(platform) {
            Err(Error::Poisoned) if self.may_be_poisoned => Ok(None),
            other => other.map(Some),
        });
        let Some(appender) = opened.map_err(|why| format!("open: {why}"))? else {
            // The sync that failed was one of closing, or of this recovery.
            self.poison();
            return Ok(());
        };
        let mut acked = self.facts.log.len();
        platform.world.mark(|mark| {
            if let Some(entry) = mark.in_flight.take()
                && appender.next_seq() == entry.seq + 1
            {
                self.facts.log.push(entry);
            }
            acked = self.facts.log.len();
            mark.acked = acked;
        });
        if appender.next_seq() != acked as u64 {
            return Err(format!("{acked} records before, next is {}", appender.next_seq()));
        }
        self.appender = Some(appender);
        Ok(())
    }

    /// A sync has failed: nobody writes to this queue before the next boot.
    fn poison(&mut self) {
        self.poisoned = true;
    }

    /// After the death of the process: what it held is gone, and another one opens the queue.
    fn bury(&mut self) -> Result<(), String> {
        self.platform.world.kill((self.appender.take(), self.reader.take()));
        self.last_read = None;
        self.open()
    }

    fn appender(&mut self) -> Result<&mut SimAppender<'w>, String> {
        self.appender.as_mut().ok_or_else(|| "there is no writer".to_owned())
    }

    fn act(&mut self, op: Op) -> Result<(), String> {
        let size = self.appender()?.segment_size().bytes();
        let largest = size - 96;
        let offset = self.appender()?.position().offset;
        let left = size - offset;
        let exact = left.checked_sub(HEADER_SIZE).unwrap_or(20);
        let page = if size > 4096 { 4096 } else { 512 };
        let across = (offset + HEADER_SIZE).next_multiple_of(page) - offset;
        match op {
            Op::Small => self.append(if self.is_next_fast() { 48 } else { 20 }),
            Op::Large => self.append(size / 3),
            Op::Straddle => self.append(across.min(largest)),
            Op::Exact => self.append(exact.min(largest)),
            Op::Roll => self.append((exact + 1).min(largest)),
            Op::TooBig => match self.appender()?.append(TYPE, &vec![0; largest as usize + 1]) {
                Err(Error::PayloadTooLarge { .. }) => Ok(()),
                other => Err(format!("a payload that no segment holds gave {other:?}")),
            },
            Op::Abort => self.claim(600, false),
            Op::Claim => self.claim(100, true),
            Op::Flush => self.flush(),
            Op::ReadOne => self.read(1),
            Op::ReadAll => self.read(usize::MAX),
            Op::Retain => self.retain(),
            Op::Prepare => {
                let appender = self.appender()?;
                retry(|| appender.prepare_next())
            }
            Op::Seek => self.seek(),
            Op::Reopen => {
                self.appender = None;
                self.open()
            }
            Op::Kill => {
                self.platform.world.kill(self.appender.take());
                self.open()
            }
        }
    }

    fn begin_entry(&mut self, length: u64) -> Result<Entry, String> {
        let seq = self.facts.log.len() as u64;
        let epoch = self.appender()?.epoch();
        let entry = Entry { seq, epoch, length: length as usize };
        self.platform.world.mark(|mark| mark.in_flight = Some(entry));
        Ok(entry)
    }

    fn acknowledge(&mut self, entry: Entry, seq: Result<u64, Failure>) -> Result<(), String> {
        let seq = seq.map_err(|error| error.to_string())?;
        if seq != entry.seq {
            return Err(format!("acknowledged as {seq} and not as {}", entry.seq));
        }
        self.facts.log.push(entry);
        let acked = self.facts.log.len();
        self.platform.world.mark(|mark| (mark.in_flight, mark.acked) = (None, acked));
        Ok(())
    }

    fn append(&mut self, length: u64) -> Result<(), String> {
        let entry = self.begin_entry(length)?;
        // The simulated clock has no counter, so a record that takes no call has its time from elsewhere.
        let time = self.is_next_fast().then(|| self.platform.clock().wall_ns());
        let (appender, payload) = (self.appender()?, entry.payload());
        let seq = match time {
            Some(time) => appender.append_at(TYPE, time, &payload),
            None => appender.append(TYPE, &payload),
        };
        self.acknowledge(entry, seq)
    }

    /// Whether the next record goes the way of those that take no call, if it is short.
    fn is_next_fast(&self) -> bool {
        self.facts.log.len() % 2 == 1
    }

    fn claim(&mut self, length: u64, commit: bool) -> Result<(), String> {
        if commit {
            let entry = self.begin_entry(length)?;
            let seq = self.appender()?.claim(length as usize).and_then(|mut claim| {
                claim.copy_from_slice(&entry.payload());
                claim.commit(TYPE)
            });
            return self.acknowledge(entry, seq);
        }
        let next = self.facts.log.len() as u64;
        let epoch = self.appender()?.epoch();
        let claim = self.appender()?.claim(length as usize);
        let mut claim = claim.map_err(|error| error.to_string())?;
        for (slot, bytes) in claim.chunks_exact_mut(HEADER_SIZE as usize).enumerate() {
            bytes.copy_from_slice(&forged_record(next + slot as u64 % 3, epoch));
        }
        drop(claim);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), String> {
        self.platform.world.claim_durable(self.facts.log.len() as u64);
        match self.appender()?.flush() {
            Ok(()) => {
                let durable = self.facts.log.len() as u64;
                self.platform.world.mark(|mark| {
                    mark.durable_seq = durable;
                    mark.created = true;
                });
                Ok(())
            }
            Err(error) if is_fault(&error) => {
                self.poison();
                let again = self.appender()?.append(TYPE, b"after");
                if !matches!(again, Err(Error::Poisoned)) {
                    return Err(format!("an append behind a failed sync gave {again:?}"));
                }
                let again = self.appender()?.flush();
                if !matches!(again, Err(Error::Poisoned)) {
                    return Err(format!("a flush behind a failed sync gave {again:?}"));
                }
                self.appender = None;
                match open(self.platform) {
                    Err(Error::Poisoned) => Ok(()),
                    Err(error) => Err(format!("a poisoned queue gave {error}")),
                    Ok(_) => Err("a poisoned queue was opened in the same boot".to_owned()),
                }
            }
            Err(error) => Err(error.to_string()),
        }
    }

    fn read(&mut self, count: usize) -> Result<(), String> {
        let platform = self.platform;
        if self.reader.is_none() {
            if self.facts.commits.is_empty() {
                // Where the reader begins, if this registers it.
                let seq = self.oldest()?;
                self.commit_fact(seq);
            }
            self.reader = Some(retry(|| named_reader(platform))?);
            platform.world.mark(|mark| mark.registered = true);
            self.last_read = self.facts.commits.last().and_then(|commit| commit.last);
        }
        let Some(reader) = self.reader.as_mut() else { return Ok(()) };
        for _ in 0..count {
            let next = reader.next().map_err(|error| error.to_string())?;
            let Some(message) = next else { break };
            let known = self.facts.log.get(message.seq as usize);
            let known = known.filter(|entry| entry.payload() == message.payload);
            let Some(entry) = known else {
                return Err(format!("record {} was read and never appended", message.seq));
            };
            self.last_read = Some(*entry);
        }
        reader.commit().map_err(|error| error.to_string())?;
        let seq = reader.position().seq;
        self.commit_fact(seq);
        Ok(())
    }

    fn commit_fact(&mut self, seq: u64) {
        self.facts.commits.push(Commit { seq, last: self.last_read });
        let commits = self.facts.commits.len();
        self.platform.world.mark(|mark| mark.commits = commits);
    }

    /// Sequence number of the oldest record that is there.
    fn oldest(&self) -> Result<u64, String> {
        let mut passive = Tailer::open(self.platform, &TailOptions::default())
            .map_err(|error| error.to_string())?;
        let oldest = passive.next().map_err(|error| error.to_string())?;
        Ok(oldest.map_or(self.facts.log.len() as u64, |message| message.seq))
    }

    fn retain(&mut self) -> Result<(), String> {
        let platform = self.platform;
        // Noted first: from the first removal on, nothing before the reader's place need be there.
        // A process that died while it registered the reader may have left none.
        let last = self.facts.commits.last().filter(|_| platform.has_reader());
        let passed = last.map(|commit| commit.seq);
        let passed = passed.unwrap_or(self.facts.log.len() as u64);
        platform.world.mark(|mark| mark.removable_before = mark.removable_before.max(passed));
        match apply_retention(&platform, |_| false) {
            Ok(_) => Ok(()),
            Err(error) if is_fault(&error) => {
                self.poison();
                match self.appender()?.flush() {
                    Err(Error::Poisoned) => Ok(()),
                    other => Err(format!("a flush behind a failed sync of another gave {other:?}")),
                }
            }
            Err(error) => Err(error.to_string()),
        }
    }

    fn seek(&mut self) -> Result<(), String> {
        let mut passive = Tailer::open(self.platform, &TailOptions::default())
            .map_err(|error| error.to_string())?;
        let middle = (self.oldest()? + self.facts.log.len() as u64) / 2;
        passive.seek_seq(middle).map_err(|error| error.to_string())?;
        let found = passive.next().map_err(|error| error.to_string())?.map(|message| message.seq);
        let wanted = (middle < self.facts.log.len() as u64).then_some(middle);
        if found == wanted { Ok(()) } else { Err(format!("sought {wanted:?}, found {found:?}")) }
    }
}

impl SimPlatform {
    /// Whether the named reader has its name.
    pub(crate) fn has_reader(&self) -> bool {
        let reader = ReaderName::new(READER).map(Object::Reader);
        reader.is_ok_and(|reader| self.world.find(&reader).is_some())
    }
}

/// A header that is right in all but its checksum, whose salt nobody outside knows.
fn forged_record(seq: u64, epoch: u32) -> [u8; HEADER_SIZE as usize] {
    let header = RecordHeader {
        type_id: TypeId::DEFAULT,
        flags: RecordFlags::empty(),
        epoch,
        seq,
        timestamp_ns: 1,
    };
    let mut bytes = header.checksummed_bytes(0);
    let crc = header.crc(record_seed(1), &[]);
    if let Some(word) = CommitWord::new(0, crc) {
        bytes[..8].copy_from_slice(&word.bits().to_le_bytes());
    }
    bytes
}
