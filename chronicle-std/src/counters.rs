//! Files in which writers and readers are counted, for whoever wants to look at them from outside.
//!
//! Nothing is stored to a file for a message. A writer and a reader compare a sequence number with the
//! one at which something is due; what is due then is a look at the clock, and every ten milliseconds at
//! most the values are stored, as one, by the thread that they belong to.

mod reader;
mod writer;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use chronicle_format::{
    COUNTERS_FILE_SIZE, COUNTERS_VALUES, CountersHeader, CountersKind, FormatError,
    KEEPER_COUNTERS_VALUES, KeeperCounters, ReaderCounters, WriterCounters,
};
use chronicle_sync::{Clock, Instant, LockState, Region as _, RegionExt as _};

pub(crate) use reader::Counts;
pub(crate) use writer::{CountedWriter, Rest, SharedCounters};

use crate::backend::{SystemClock, SystemGuard, SystemMap, SystemView, allow_size, io_error};
use crate::{FileLock, QueueError};

/// The shortest time between two publications that nothing else asks for.
const INTERVAL: Duration = Duration::from_millis(10);
/// The most messages between two looks at the clock.
const LONGEST_STRIDE: u64 = 256;

/// A file in which one writer or reader is counted, taken for it: locked for as long as this lives.
///
/// The lock is the kernel's, so that it tells whether the process that is counted lives. What a dead
/// process has counted stays in the file until the next one takes it.
#[derive(Debug)]
pub struct CountersFile {
    map: SystemMap,
    kind: CountersKind,
    /// What the values begin with.
    pid: u64,
    process_start: u64,
    starts: u64,
    started_ns: u64,
    lock: FileLock,
}

impl CountersFile {
    /// Takes a file, which is empty or one of counters, and begins anew in it; `None` if another process,
    /// or another open of this one, has it. Open for reading and writing.
    ///
    /// # Errors
    /// The system's, no space among them: nothing is counted then.
    pub fn take(path: &Path, file: File, kind: CountersKind) -> Result<Option<Self>, QueueError> {
        let failed = |error| QueueError::io(path, "take", error);
        allow_size(COUNTERS_FILE_SIZE).map_err(failed)?;
        let copy = file.try_clone().map_err(failed)?;
        let Some(lock) = FileLock::try_acquire(file).map_err(failed)? else { return Ok(None) };
        let mut page = [0; COUNTERS_FILE_SIZE as usize];
        let starts = starts(&copy, &page);
        page.iter_mut().zip(CountersHeader { kind }.encode()).for_each(|(to, byte)| *to = byte);
        // Written and not only mapped: without space this is an error, and a store would be a signal.
        copy.write_all_at(&page, 0).map_err(failed)?;
        copy.set_len(COUNTERS_FILE_SIZE).map_err(failed)?;
        let map = SystemMap::of(OwnedFd::from(copy)).map_err(|error| failed(io_error(error)))?;
        let clock = SystemClock::new();
        let this = SystemGuard::this_process(0, clock.boot());
        Ok(Some(Self {
            map,
            kind,
            pid: this.pid.into(),
            process_start: this.start_time,
            starts: starts.saturating_add(1),
            started_ns: clock.wall_ns(),
            lock,
        }))
    }

    /// Looks at such a file. Changes nothing; open for reading. `None` if it is just being made.
    ///
    /// # Errors
    /// [`QueueError::InvalidFile`], [`QueueError::UnsupportedVersion`]; the system's.
    pub fn look(path: &Path, file: &File) -> Result<Option<CountersReport>, QueueError> {
        let failed = |error| QueueError::io(path, "look at", error);
        let state = FileLock::state(file).map_err(failed)?;
        let alive = matches!(state, LockState::Held(_));
        let view = SystemView::of(file).map_err(|error| failed(io_error(error)))?;
        let (found, expected) = (view.size() as u64, COUNTERS_FILE_SIZE);
        let whole = view.copy_bytes::<{ CountersHeader::SIZE }>(0).filter(|_| found == expected);
        let header = match whole {
            Some(bytes) => CountersHeader::decode(&bytes),
            // Its maker has the lock and will write to it.
            None if alive && found == 0 => return Ok(None),
            None => Err(FormatError::WrongSize { found, expected }),
        };
        let header = match header {
            Ok(header) => header,
            Err(FormatError::UnsupportedVersion { found, supported }) => {
                let file = path.to_owned();
                return Err(QueueError::UnsupportedVersion { file, found, supported });
            }
            Err(source) => return Err(QueueError::InvalidFile { file: path.to_owned(), source }),
        };
        let values = match header.kind {
            CountersKind::Reader => {
                CountersValues::Reader(ReaderCounters::from_words(load(&view, COUNTERS_VALUES)))
            }
            _ => CountersValues::Writer {
                writer: WriterCounters::from_words(load(&view, COUNTERS_VALUES)),
                keeper: KeeperCounters::from_words(load(&view, KEEPER_COUNTERS_VALUES)),
            },
        };
        Ok(Some(CountersReport { alive, values }))
    }
}

/// How often a file was taken so far, if it is one of counters.
fn starts(file: &File, empty: &[u8; COUNTERS_FILE_SIZE as usize]) -> u64 {
    let mut page = *empty;
    let mut word = [0; 8];
    // Number and place of the word are the same in both kinds.
    let at = COUNTERS_VALUES + chronicle_format::layout::writer_counters::STARTS as u64;
    let read = file.read_exact_at(&mut page, 0).and_then(|()| file.read_exact_at(&mut word, at));
    let header = page.first_chunk().and_then(|head| CountersHeader::decode(head).ok());
    if read.is_ok() && header.is_some() { u64::from_le_bytes(word) } else { 0 }
}

/// Values as they were stored together. Where a process died in the middle of that, each is whole and
/// some are older than others.
fn load<const N: usize>(view: &SystemView, generation: u64) -> [u64; N] {
    let first = generation + WriterCounters::FIRST;
    let as_one = view.load_as_one(generation, first).and_then(Result::ok);
    as_one.or_else(|| view.copy_words(first)).unwrap_or([0; N])
}

/// What a file of counters says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CountersReport {
    /// Whether whoever is counted there is still there; if not, the values are the last ones.
    pub alive: bool,
    /// What was counted.
    pub values: CountersValues,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CountersValues {
    /// Of a writer.
    Writer {
        /// By the thread that appends.
        writer: WriterCounters,
        /// By the threads beside it.
        keeper: KeeperCounters,
    },
    /// Of a reader.
    Reader(ReaderCounters),
}

/// When values are published: looks at the clock often enough for that, and no oftener.
#[derive(Debug)]
pub(crate) struct Pace {
    stride: u64,
    looked: Instant,
    published: Instant,
}

impl Pace {
    pub(crate) fn new(now: Instant) -> Self {
        Self { stride: 1, looked: now, published: now }
    }

    /// Takes note of a look at the clock; how many messages later the next one is due: at most twice as many
    /// as the last time, because two messages in a row do not tell yet that many will come.
    pub(crate) fn next_look(&mut self, now: Instant) -> u64 {
        let elapsed = now.since(self.looked).as_nanos().max(1);
        self.looked = now;
        // Two looks for each publication, as messages have come until now.
        let stride = u128::from(self.stride) * (INTERVAL / 2).as_nanos() / elapsed;
        let longest = LONGEST_STRIDE.min(2 * self.stride);
        self.stride = u64::try_from(stride).unwrap_or(longest).clamp(1, longest);
        self.stride
    }

    /// Takes note of a publication.
    pub(crate) fn published(&mut self, now: Instant) {
        self.published = now;
    }

    /// When the next publication may be.
    pub(crate) fn due(&self) -> Instant {
        self.published.after(INTERVAL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages, this many nanoseconds from one to the next: at which of them there is a look at the clock.
    fn looks(apart: impl Iterator<Item = u64>) -> Vec<u64> {
        let mut pace = Pace::new(Instant::from_nanos(0));
        let (mut now, mut due, mut looks) = (0, 0, Vec::new());
        for (message, apart) in apart.enumerate() {
            now += apart;
            if message as u64 >= due {
                looks.push(message as u64);
                due = message as u64 + pace.next_look(Instant::from_nanos(now));
            }
        }
        looks
    }

    #[test]
    fn each_of_rare_messages_is_looked_at_and_one_of_many_frequent_ones() {
        assert_eq!(looks([1_000_000_000; 5].into_iter()), [0, 1, 2, 3, 4]);
        let frequent = looks([100; 10_000].into_iter());
        assert!(frequent.len() < 10_000 / LONGEST_STRIDE as usize + 10, "{}", frequent.len());
        let thousand_a_second = looks([1_000_000; 1000].into_iter()).len();
        assert!((100..400).contains(&thousand_a_second), "{thousand_a_second}");
    }

    #[test]
    fn two_messages_in_a_row_do_not_hide_those_that_come_slowly_after_them() {
        let found = looks([100; 3].into_iter().chain([1_000_000_000; 5]));
        assert_eq!(found, [0, 2, 6, 7]);
    }

    #[test]
    fn messages_that_become_rare_are_looked_at_again_soon() {
        let found = looks([100; 10_000].into_iter().chain([1_000_000_000; 600]));
        let late: Vec<_> = found.iter().filter(|at| **at >= 10_000 + LONGEST_STRIDE).collect();
        assert!(late.len() > 300, "{late:?}");
    }
}
