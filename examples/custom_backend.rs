//! A backend of one's own: a queue inside of one partition, as an appliance has it that gives its
//! messages a piece of flash and nothing else. There are no directories and no names of files below
//! it; objects lie in slots of the same size, and a table in the first slot says which. The threads of
//! the one program that uses the partition wake each other without the kernel's futexes.
//!
//!     cargo run -p chronicle-examples --example custom_backend
//!
//! A backend implements the traits of `chronicle-sync`: what they ask for, and what the queue does when
//! something fails, is in `docs/embedding.md`. This one passes the conformance suite
//! (`examples/tests/conformance.rs`), which is the first thing to run over a backend of one's own.
//!
//! Unsafe lives here because a region is raw memory: a slot of the mapped partition.
#![allow(clippy::disallowed_types, reason = "a park is handed the word that it sleeps on")]

use std::collections::HashSet;
use std::error::Error as StdError;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::num::NonZeroU32;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::Instant as StdInstant;

use chronicle_core::{
    Appender, CreateOptions, Error as QueueError, ReaderName, SegmentSize, TailOptions, Tailer,
    WaitOutcome, WaitStrategy, WriteOptions, create,
};
use chronicle_sync::{
    AtomicU32, Clock, Durability, Error, ErrorKind, Instant, LockState, Object, ObjectKind, Park,
    Platform, ReadU32, Region, RegionExt, RegionMut, RegionMutExt, Stage, Storage, Wake,
};
use memmap2::MmapRaw;

/// Slots of a partition, the table's among them.
const SLOTS: usize = 64;
/// Bytes of a slot: no object is larger.
const SLOT: usize = 64 * 1024;
/// Bytes of the table for each slot. A sector of the medium holds a whole number of them, so that a
/// power loss leaves an entry as it was or as it was to be.
const ENTRY: usize = 128;
/// Bytes of an entry in front of the name: the length of the object.
const LENGTH: usize = 8;

/// What went wrong, as the queue wants to know it.
#[derive(Clone, Copy, Debug)]
pub struct Failed(ErrorKind);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the partition answers {:?}", self.0)
    }
}

impl Error for Failed {
    fn kind(&self) -> ErrorKind {
        self.0
    }
}

/// After a write or a sync that failed nothing is known of what was to be written: that is `Io`, which
/// the queue takes for a failure of the medium.
fn io(error: io::Error) -> Failed {
    Failed(match error.kind() {
        io::ErrorKind::StorageFull => ErrorKind::NoSpace,
        _ => ErrorKind::Io,
    })
}

/// An opened partition. Clones are handles on the same one.
#[derive(Clone)]
pub struct Partition(Arc<Opened>);

struct Opened {
    file: File,
    map: MmapRaw,
    state: Mutex<State>,
    sleepers: Mutex<Vec<Sleeper>>,
    begun: StdInstant,
    boot: u64,
}

struct State {
    /// The table: what is in each slot, if it has a name.
    names: Vec<Option<Named>>,
    /// How many regions of each slot there are.
    regions: Vec<u32>,
    /// Whether the table has changed since it was synced.
    unsynced: bool,
    /// The objects that are locked.
    locks: HashSet<Object>,
}

#[derive(Clone)]
struct Named {
    name: String,
    length: usize,
}

/// A thread that sleeps on the word at an address. Who wakes it takes it out of the list.
struct Sleeper {
    word: usize,
    thread: Thread,
}

impl Partition {
    /// Makes an empty partition. All of its space is written once, so that no store into the mapping
    /// ever needs any.
    pub fn format(path: &Path) -> io::Result<()> {
        let mut file = File::create_new(path)?;
        for _ in 0..SLOTS {
            file.write_all(&[0; SLOT])?;
        }
        file.sync_all()
    }

    /// Opens a partition, which one program does at a time.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let map = MmapRaw::map_raw(&file)?;
        if map.len() != SLOTS * SLOT {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not a partition"));
        }
        let mut names = vec![None];
        for slot in 1..SLOTS {
            let mut entry = [0; ENTRY];
            file.read_exact_at(&mut entry, (slot * ENTRY) as u64)?;
            names.push(decode(&entry));
        }
        let state =
            State { names, regions: vec![0; SLOTS], unsynced: false, locks: HashSet::new() };
        Ok(Self(Arc::new(Opened {
            file,
            map,
            state: Mutex::new(state),
            sleepers: Mutex::default(),
            begun: StdInstant::now(),
            boot: fastrand::u64(1..),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sleepers(&self) -> MutexGuard<'_, Vec<Sleeper>> {
        self.0.sleepers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A region of a slot, which keeps the slot from being used for anything else.
    fn region(&self, state: &mut State, slot: usize, length: usize) -> Slot {
        if let Some(count) = state.regions.get_mut(slot) {
            *count += 1;
        }
        Slot { partition: self.clone(), slot, length }
    }

    fn find(&self, object: &Object) -> Result<Slot, Failed> {
        let name = name_of(object);
        let mut state = self.state();
        let (slot, length) = state.find(&name)?;
        Ok(self.region(&mut state, slot, length))
    }

    /// Writes a slot's entry of the table.
    fn write_entry(
        &self,
        state: &mut State,
        slot: usize,
        named: Option<Named>,
    ) -> Result<(), Failed> {
        let entry = encode(named.as_ref());
        self.0.file.write_all_at(&entry, (slot * ENTRY) as u64).map_err(io)?;
        state.unsynced = true;
        if let Some(known) = state.names.get_mut(slot) {
            *known = named;
        }
        Ok(())
    }

    fn sync_table(&self, state: &mut State) -> Result<(), Failed> {
        self.0.file.sync_data().map_err(io)?;
        state.unsynced = false;
        Ok(())
    }
}

impl State {
    fn find(&self, name: &str) -> Result<(usize, usize), Failed> {
        let mut named = self.names.iter().enumerate();
        named
            .find_map(|(slot, named)| {
                named.as_ref().filter(|named| named.name == name).map(|named| (slot, named.length))
            })
            .ok_or(Failed(ErrorKind::NotFound))
    }

    /// A slot with neither a name nor a region, that of the table aside.
    fn free(&self) -> Result<usize, Failed> {
        (1..SLOTS)
            .find(|slot| {
                matches!(self.names.get(*slot), Some(None)) && self.regions.get(*slot) == Some(&0)
            })
            .ok_or(Failed(ErrorKind::NoSpace))
    }
}

fn name_of(object: &Object) -> String {
    let name = object.name();
    match name.directory {
        Some(directory) => format!("{directory}/{}", name.file),
        None => name.file.to_string(),
    }
}

fn encode(named: Option<&Named>) -> [u8; ENTRY] {
    let mut entry = [0; ENTRY];
    if let Some(Named { name, length }) = named {
        let bytes = (*length as u64).to_le_bytes();
        for (to, from) in entry.iter_mut().zip(bytes.into_iter().chain(name.bytes())) {
            *to = from;
        }
    }
    entry
}

fn decode(entry: &[u8; ENTRY]) -> Option<Named> {
    let (length, name) = entry.split_first_chunk::<LENGTH>()?;
    let name = str::from_utf8(name).ok()?.trim_end_matches('\0');
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    let plausible = !name.is_empty() && length <= SLOT;
    plausible.then(|| Named { name: name.to_owned(), length })
}

/// The bytes of an object.
pub struct Slot {
    partition: Partition,
    slot: usize,
    length: usize,
}

impl Slot {
    /// Where a range of the object lies in the partition.
    fn range(&self, range: &Range<u64>) -> Result<Range<usize>, Failed> {
        if range.start > range.end || range.end > self.length as u64 {
            return Err(Failed(ErrorKind::NoSpace));
        }
        let start = self.slot * SLOT;
        Ok(start + range.start as usize..start + range.end as usize)
    }

    fn sync(&self, range: &Range<u64>) -> Result<(), Failed> {
        let range = self.range(range)?;
        self.partition.0.map.flush_range(range.start, range.len()).map_err(io)
    }

    fn all(&self) -> Range<u64> {
        0..self.length as u64
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(count) = self.partition.state().regions.get_mut(self.slot) {
            *count -= 1;
        }
    }
}

// SAFETY: the mapping lives in the partition that this value keeps, has `SLOTS` slots of which this is
// one, and `length` is at most a slot's. Mappings begin at a page, slots at a multiple of 64 bytes.
unsafe impl Region for Slot {
    fn base(&self) -> NonNull<u8> {
        let start = self.partition.0.map.as_mut_ptr();
        // SAFETY: the slot is one of those that the mapping has.
        let base = unsafe { start.add(self.slot * SLOT) };
        // SAFETY: nothing is mapped at the address zero, where a pointer would be null.
        unsafe { NonNull::new_unchecked(base) }
    }

    fn size(&self) -> usize {
        self.length
    }
}

// SAFETY: the partition is mapped for writing too.
unsafe impl RegionMut for Slot {}

/// A slot that has no name yet. Dropped, it is free again; so it is if the program dies.
pub struct Unnamed {
    slot: Slot,
    name: String,
}

// SAFETY: the region lies unchanged in this value.
unsafe impl Region for Unnamed {
    fn base(&self) -> NonNull<u8> {
        self.slot.base()
    }

    fn size(&self) -> usize {
        self.slot.size()
    }
}

// SAFETY: as above.
unsafe impl RegionMut for Unnamed {}

/// A lock, released when dropped. Nobody but this program opens the partition, so that all locks are
/// in its memory.
pub struct Guard {
    partition: Partition,
    object: Object,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.partition.state().locks.remove(&self.object);
    }
}

impl Storage for Partition {
    type Error = Failed;
    type View = Slot;
    type Map = Slot;
    type Staged = Unnamed;
    type Guard = Guard;

    fn stage(&self, object: &Object, stage: &Stage) -> Result<Unnamed, Failed> {
        let length = usize::try_from(stage.length).ok().filter(|length| *length <= SLOT);
        let length = length.filter(|_| stage.reserved <= stage.length);
        let length = length.ok_or(Failed(ErrorKind::NoSpace))?;
        let mut state = self.state();
        let free = state.free()?;
        // The slot may have had a name that was taken away. Before other bytes come to lie in it the
        // medium has to know, or a power loss leaves the old name with them.
        if state.unsynced {
            self.sync_table(&mut state)?;
        }
        let whole = self.region(&mut state, free, SLOT);
        let slot = self.region(&mut state, free, length);
        drop(state);
        for at in (0..SLOT as u64).step_by(8) {
            whole.store_words(at, &[0]);
        }
        Ok(Unnamed { slot, name: name_of(object) })
    }

    fn sync_staged(&self, staged: &Unnamed) -> Result<(), Failed> {
        staged.slot.sync(&staged.slot.all())
    }

    fn publish(&self, staged: Unnamed) -> Result<Slot, Failed> {
        let Unnamed { slot, name } = staged;
        let mut state = self.state();
        let is_taken = state.find(&name).is_ok();
        let named = Named { name, length: slot.length };
        let named = if is_taken {
            Err(Failed(ErrorKind::AlreadyExists))
        } else {
            self.write_entry(&mut state, slot.slot, Some(named))
        };
        drop(state);
        named.map(|()| slot)
    }

    fn open(&self, object: &Object) -> Result<Slot, Failed> {
        self.find(object)
    }

    fn view(&self, object: &Object) -> Result<Slot, Failed> {
        self.find(object)
    }

    fn copy_out(&self, object: &Object, at: u64, bytes: &mut [u8]) -> Result<usize, Failed> {
        let mut state = self.state();
        let (slot, length) = state.find(&name_of(object))?;
        let whole = self.region(&mut state, slot, SLOT);
        drop(state);
        let mut copied = 0;
        for (byte, at) in bytes.iter_mut().zip(at..length as u64) {
            // Word by word, as others may be storing to it.
            let word = whole.read_u64(at / 8 * 8).map_or(0, |word| word.load_relaxed());
            *byte = (word >> (at % 8 * 8)) as u8;
            copied += 1;
        }
        Ok(copied)
    }

    fn sync_object(&self, object: &Object) -> Result<(), Failed> {
        let slot = self.find(object)?;
        slot.sync(&slot.all())
    }

    fn remove(&self, object: &Object) -> Result<(), Failed> {
        let mut state = self.state();
        let (slot, _) = state.find(&name_of(object))?;
        self.write_entry(&mut state, slot, None)
    }

    fn visit(&self, kind: ObjectKind, visit: impl FnMut(Object)) -> Result<(), Failed> {
        let named = |name: &str| match kind {
            ObjectKind::Segments => Object::segment_named(name).map(Object::Segment),
            ObjectKind::Readers => {
                name.strip_prefix("readers/").and_then(Object::reader_named).map(Object::Reader)
            }
            _ => None,
        };
        // All of them first, because what is visited may be opened on the way.
        let names = self.state().names.clone();
        let objects = names.iter().flatten().filter_map(|entry| named(&entry.name));
        objects.for_each(visit);
        Ok(())
    }

    fn reserve(&self, map: &Slot, range: Range<u64>) -> Result<(), Failed> {
        // All space was written when the partition was made.
        map.range(&range).map(drop)
    }

    fn sync(&self, map: &Slot, range: Range<u64>, _level: Durability) -> Result<(), Failed> {
        map.sync(&range)
    }

    fn sync_names(&self) -> Result<(), Failed> {
        self.sync_table(&mut self.state())
    }

    fn lock(&self, object: &Object) -> Result<Guard, Failed> {
        let mut state = self.state();
        if *object != Object::WriterLock {
            state.find(&name_of(object))?;
        }
        if !state.locks.insert(object.clone()) {
            return Err(Failed(ErrorKind::Locked));
        }
        Ok(Guard { partition: self.clone(), object: object.clone() })
    }

    /// Where many processes share the storage, people want to know which one holds the lock.
    fn inscribe(&self, guard: &Guard, _epoch: u32) -> Result<(), Failed> {
        let is_for_it = guard.object == Object::WriterLock;
        if is_for_it { Ok(()) } else { Err(Failed(ErrorKind::Unsupported)) }
    }

    fn lock_state(&self, object: &Object) -> Result<LockState, Failed> {
        let is_held = self.state().locks.contains(object);
        Ok(if is_held { LockState::Held(None) } else { LockState::Free })
    }

    fn process_id(&self) -> u32 {
        std::process::id()
    }
}

impl Park for Partition {
    type Error = Failed;

    fn wait(&self, word: &AtomicU32, expected: u32, until: Instant) -> Result<Wake, Failed> {
        let this = thread::current();
        {
            // Comparing and going to the list are one step with regard to `wake`, which takes the
            // same lock: whoever has moved the word and then wakes is seen here, or sees the list.
            let mut sleepers = self.sleepers();
            if ReadU32::from(word).load_acquire() != expected {
                return Ok(Wake::Woken);
            }
            sleepers.push(Sleeper { word: address(word), thread: this.clone() });
        }
        loop {
            thread::park_timeout(until.since(self.now()));
            let mut sleepers = self.sleepers();
            let found = sleepers.iter().position(|sleeper| sleeper.thread.id() == this.id());
            let Some(found) = found else { return Ok(Wake::Woken) };
            if self.now() >= until {
                sleepers.remove(found);
                return Ok(Wake::TimedOut);
            }
        }
    }

    fn wake(&self, word: &AtomicU32, at_most: NonZeroU32) -> Result<u32, Failed> {
        let mut left = at_most.get();
        self.sleepers().retain(|sleeper| {
            if left == 0 || sleeper.word != address(word) {
                return true;
            }
            left -= 1;
            sleeper.thread.unpark();
            false
        });
        Ok(at_most.get() - left)
    }
}

/// All regions of a slot show it at the same place, so that a word is known by its address. Where
/// processes map a word at different places it has to be known by object and offset.
fn address(word: &AtomicU32) -> usize {
    std::ptr::from_ref(word).addr()
}

impl Clock for Partition {
    /// Begins anew with each opening, and so does the boot: a queue that was opened before is then
    /// looked through as after a reboot, which takes longer and is always right.
    fn now(&self) -> Instant {
        Instant::from_nanos(
            u64::try_from(self.0.begun.elapsed().as_nanos()).unwrap_or(u64::MAX - 1),
        )
    }

    fn wall_ns(&self) -> u64 {
        let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }

    fn boot(&self) -> u64 {
        self.0.boot
    }
}

impl Platform for Partition {
    type Error = Failed;
    type Storage = Self;
    type Park = Self;
    type Clock = Self;

    fn storage(&self) -> &Self {
        self
    }

    fn park(&self) -> &Self {
        self
    }

    fn clock(&self) -> &Self {
        self
    }

    fn entropy(&self) -> u64 {
        fastrand::u64(..)
    }
}

const TEMPERATURE: u16 = 0x8000;

/// Reads so many messages, and keeps the place behind each.
fn show(partition: Partition, count: u32) -> Result<(), QueueError<Failed>> {
    let mut options = TailOptions::default();
    options.name = ReaderName::new("display").ok();
    let mut reader = Tailer::open(partition, &options)?;
    let mut shown = 0;
    while shown < count {
        if let Some(message) = reader.next()? {
            println!("display: {} {}", message.seq, String::from_utf8_lossy(message.payload));
            reader.commit()?;
            shown += 1;
        } else {
            let outcome = reader.wait(WaitStrategy::Park, Instant::NEVER, None)?;
            assert_eq!(outcome, WaitOutcome::Ready, "nothing else ends a wait without an end");
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn StdError>> {
    let home = tempfile::tempdir()?;
    let path = home.path().join("partition");
    Partition::format(&path)?;

    let partition = Partition::open(&path)?;
    let mut options = CreateOptions::default();
    options.segment_size = SegmentSize::new(SLOT as u64)?;
    create(&partition, &options)?;
    let mut writer = Appender::open(partition.clone(), WriteOptions::default())?;
    let display = thread::spawn({
        let partition = partition.clone();
        move || show(partition, 2)
    });
    for text in ["20 degrees", "21 degrees", "22 degrees"] {
        writer.append(TEMPERATURE, text.as_bytes())?;
    }
    display.join().map_err(|_| "the display panicked")??;
    writer.flush()?;
    println!("durable below {}", writer.durable_seq());
    drop((writer, partition));

    let partition = Partition::open(&path)?;
    let mut writer = Appender::open(partition.clone(), WriteOptions::default())?;
    println!("opened again, epoch {}", writer.epoch());
    writer.append(TEMPERATURE, b"23 degrees")?;
    show(partition, 2)?;
    Ok(())
}
