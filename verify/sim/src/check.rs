//! The oracle: opens what a crash left with the shipping code, and holds it against what is known.

use chronicle_core::{Error, Position, TailOptions, Tailer, apply_retention, create, verify};
use chronicle_format::{CHECKPOINT_SLOTS, Checkpoint, SegmentId};
use chronicle_sync::{Object, ObjectKind, Platform, Storage};

use crate::facts::{Commit, Entry, Facts, Mark};
use crate::platform::SimPlatform;
use crate::workload::{Setup, SimAppender, create_options, named_reader, open};
use crate::world::SimError;

/// Why the machine stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// A process was killed: every store is there.
    Killed,
    /// Power was lost.
    PowerLoss,
    /// Power was lost, and a sector is not what was written to it.
    Rot,
}

/// What was found, beyond that no promise was broken.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Records that had been acknowledged and were not there: none of them was durable.
    pub lost: u64,
    /// Readers whose position was refused although the record before it was there.
    pub diverged: u64,
    /// Damage that was told.
    pub refused: u64,
    /// States of a medium that had lied.
    pub behind_lies: u64,
    /// Those of them in which the open said that something was missing.
    pub lies_told: u64,
}

impl std::str::FromStr for Stop {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = [Self::Killed, Self::PowerLoss, Self::Rot];
        let stop = known.into_iter().find(|stop| format!("{stop:?}") == text);
        stop.ok_or_else(|| format!("{text} is not Killed, PowerLoss or Rot"))
    }
}

type Failure = Error<SimError>;

pub(crate) struct Check<'a> {
    pub(crate) platform: &'a SimPlatform,
    pub(crate) facts: &'a Facts,
    pub(crate) mark: &'a Mark,
    stop: Stop,
    /// There was no queue, so another one was made.
    pub(crate) another: bool,
    pub(crate) tally: Tally,
}

/// Recovers the queue of a machine that has just been booted, and checks it against what is known.
///
/// # Errors
/// Which promise was broken, in words.
pub(crate) fn check(
    platform: &SimPlatform,
    setup: &Setup,
    facts: &Facts,
    mark: &Mark,
    stop: Stop,
) -> Result<Tally, String> {
    let mut check = Check { platform, facts, mark, stop, another: false, tally: Tally::default() };
    if mark.lied && stop == Stop::PowerLoss {
        return check.behind_a_lie();
    }
    let reader_is_there = platform.has_reader();
    // Whoever comes before the writer begins where the log begins too.
    let early = begins(platform);
    let mut appender = match open(platform) {
        Ok(appender) => appender,
        Err(Error::NoQueue) if !mark.created => {
            check.another = true;
            let options = create_options(setup)?;
            create(platform, &options)
                .map_err(|error| format!("A3: the queue cannot be made anew: {error}"))?;
            open(platform).map_err(|error| format!("A3: the new queue does not open: {error}"))?
        }
        Err(Error::Poisoned) if mark.may_be_poisoned && stop == Stop::Killed => {
            return Ok(check.tally);
        }
        Err(_) if stop == Stop::Rot => {
            check.tally.refused += 1;
            return Ok(check.tally);
        }
        Err(error) => return Err(format!("A3: the queue does not open: {error}")),
    };
    if appender.next_seq() < mark.durable_seq {
        let (next, durable) = (appender.next_seq(), mark.durable_seq);
        return Err(format!("A12: durable records were cut: {next} is next of {durable}"));
    }
    let Some(mut records) = check.read_all()? else { return Ok(check.tally) };
    check.compare(&records, appender.next_seq())?;
    if let (Ok(early), Ok(late)) = (&early, begins(platform))
        && *early != late
        && stop != Stop::Rot
    {
        return Err(format!(
            "A3: the log began at {early:?} before recovery, and at {late:?} behind"
        ));
    }
    if let Err(error) = early
        && mark.created
        && stop != Stop::Rot
    {
        return Err(format!("A3: the queue cannot be read before it is recovered: {error}"));
    }
    check.go_on(&mut appender, &mut records)?;
    check.leftovers(&records)?;
    if stop != Stop::Rot {
        check.reader(&records, appender.next_seq(), reader_is_there)?;
        let mut fault = None;
        let found = verify(&platform, |error| fault = fault.take().or(Some(error)));
        found.map_err(|error| format!("A3: the queue cannot be verified: {error}"))?;
        if let Some(fault) = fault {
            return Err(format!("A3: recovery left a fault: {fault}"));
        }
    }
    Ok(check.tally)
}

/// Everything that a fresh reader gets, with the epoch of each record.
pub(crate) fn read_all(platform: &SimPlatform) -> (Vec<(Entry, Vec<u8>)>, Option<Failure>) {
    let mut records = Vec::new();
    let mut reader = match Tailer::open(platform, &TailOptions::default()) {
        Ok(reader) => reader,
        Err(error) => return (records, Some(error)),
    };
    loop {
        let (seq, payload) = match reader.next() {
            Ok(Some(message)) => (message.seq, message.payload.to_vec()),
            Ok(None) => return (records, None),
            Err(error) => return (records, Some(error)),
        };
        let entry = Entry { seq, epoch: reader.position().epoch, length: payload.len() };
        records.push((entry, payload));
    }
}

/// The place of the oldest record.
fn begins(platform: &SimPlatform) -> Result<Position, Failure> {
    Tailer::open(platform, &TailOptions::default()).map(|reader| reader.position())
}

/// Whether there are files of segments before the one that the log begins with.
fn has_leftovers(platform: &SimPlatform) -> bool {
    let slot = |at: usize| {
        let mut bytes = [0; Checkpoint::SIZE];
        platform.storage().copy_out(&Object::Checkpoint, at as u64, &mut bytes).ok()?;
        Checkpoint::decode(&bytes).ok()
    };
    let newest = CHECKPOINT_SLOTS.into_iter().filter_map(slot).max_by_key(|slot| slot.generation);
    let mut lowest = SegmentId::LAST;
    let visit = |object| {
        if let Object::Segment(id) = object {
            lowest = lowest.min(id);
        }
    };
    let listed = platform.storage().visit(ObjectKind::Segments, visit);
    listed.is_ok() && newest.is_some_and(|newest| lowest < newest.first)
}

impl Check<'_> {
    /// What is left of removed segments goes, and the log does not change by that.
    fn leftovers(&self, records: &[Entry]) -> Result<(), String> {
        if self.stop == Stop::Rot || !has_leftovers(self.platform) {
            return Ok(());
        }
        let removed = apply_retention(&self.platform, |_| true);
        removed.map_err(|error| format!("A3: leftovers cannot be removed: {error}"))?;
        if has_leftovers(self.platform) {
            return Err("A3: leftovers stay".to_owned());
        }
        let (found, error) = read_all(self.platform);
        if let Some(error) = error {
            return Err(format!("A3: behind the removal the queue cannot be read: {error}"));
        }
        let same =
            found.iter().rev().zip(records.iter().rev()).all(|((entry, _), known)| entry == known);
        if same { Ok(()) } else { Err("A3: the removal of leftovers changed the log".to_owned()) }
    }

    /// All records; `None` if rot stopped the reading, which is an answer.
    fn read_all(&mut self) -> Result<Option<Vec<Entry>>, String> {
        let (records, error) = read_all(self.platform);
        let mut entries = Vec::new();
        for (entry, payload) in records {
            if payload != entry.payload() {
                return Err(format!("A1: {entry:?} has a payload that was never appended"));
            }
            if entries.last().is_some_and(|last: &Entry| last.seq + 1 != entry.seq) {
                return Err(format!("A3: {entry:?} does not follow {:?}", entries.last()));
            }
            if entries.last().is_some_and(|last: &Entry| last.epoch > entry.epoch) {
                return Err(format!("A3: {entry:?} is of an older life than {:?}", entries.last()));
            }
            entries.push(entry);
        }
        match error {
            Some(_) if self.stop == Stop::Rot => {
                for entry in &entries {
                    self.is_known(entry)?;
                }
                self.tally.refused += 1;
                Ok(None)
            }
            Some(error) => Err(format!("A3: the recovered queue cannot be read: {error}")),
            None => Ok(Some(entries)),
        }
    }

    fn is_known(&self, entry: &Entry) -> Result<(), String> {
        let acked = self
            .facts
            .log
            .get(entry.seq as usize)
            .filter(|known| *known == entry && (entry.seq as usize) < self.mark.acked);
        if acked.is_some() || self.mark.in_flight == Some(*entry) {
            return Ok(());
        }
        // A recovery that was cut off, or whose own records were lost, decides nothing: what was on the
        // medium before it may be found again.
        let earlier = self.facts.earlier.get(entry.seq as usize);
        if earlier == Some(entry)
            && entry.seq >= self.mark.durable_seq
            && self.stop == Stop::PowerLoss
        {
            return Ok(());
        }
        Err(format!("A1: {entry:?} was never appended"))
    }

    fn compare(&mut self, records: &[Entry], next_seq: u64) -> Result<(), String> {
        for entry in records {
            self.is_known(entry)?;
        }
        let first = records.first().map_or(next_seq, |entry| entry.seq);
        let end = records.last().map_or(next_seq, |entry| entry.seq + 1);
        if end != next_seq {
            return Err(format!("A3: records end at {end}, the writer goes on at {next_seq}"));
        }
        if first > self.mark.removable_before {
            return Err(format!(
                "A3: the oldest record is {first}, and {} was never to be removed",
                self.mark.removable_before
            ));
        }
        let acked = self.mark.acked as u64;
        if self.stop == Stop::Killed && end < acked {
            return Err(format!("A1: {acked} records were acknowledged, {end} are there"));
        }
        if end < self.mark.durable_seq {
            return Err(format!(
                "A3: records before {} were durable, those before {end} are there",
                self.mark.durable_seq
            ));
        }
        self.tally.lost += acked.saturating_sub(end);
        Ok(())
    }

    /// The queue takes records again, and gives them out behind the others.
    pub(crate) fn go_on(
        &mut self,
        appender: &mut SimAppender<'_>,
        records: &mut Vec<Entry>,
    ) -> Result<(), String> {
        let first = records.len();
        for length in [24, 700] {
            let entry = Entry { seq: appender.next_seq(), epoch: appender.epoch(), length };
            let acked = self.facts.log.iter().take(self.mark.acked);
            if !self.another
                && acked
                    .chain(&self.facts.earlier)
                    .chain(&self.mark.in_flight)
                    .any(|known| (known.epoch, known.seq) == (entry.epoch, entry.seq))
            {
                return Err(format!("A4: epoch and number of {entry:?} name two payloads"));
            }
            let seq = match appender.append(0x8000, &entry.payload()) {
                Ok(seq) => seq,
                Err(_) if self.stop == Stop::Rot => {
                    self.tally.refused += 1;
                    return Ok(());
                }
                Err(error) => {
                    return Err(format!("A3: the recovered queue takes no record: {error}"));
                }
            };
            if seq != entry.seq {
                return Err(format!("A3: {entry:?} was acknowledged as {seq}"));
            }
            records.push(entry);
        }
        let (found, error) = read_all(self.platform);
        if let Some(error) = error {
            return match self.stop {
                Stop::Rot => Ok(()),
                _ => Err(format!("A3: behind recovery the queue cannot be read: {error}")),
            };
        }
        let same = found.len() == records.len()
            && found.iter().zip(&*records).skip(first).all(|((entry, payload), appended)| {
                entry == appended && *payload == appended.payload()
            });
        if same { Ok(()) } else { Err("A3: what was appended behind recovery is not there".into()) }
    }

    /// The reader is where it was, or is told that its place is gone.
    fn reader(&mut self, records: &[Entry], next_seq: u64, was_there: bool) -> Result<(), String> {
        let commits = &self.facts.commits[..self.mark.commits];
        let power_was_lost = self.stop == Stop::PowerLoss || self.mark.rebooted;
        if !was_there {
            if self.mark.registered {
                return Err("A4: the reader's name is gone".to_owned());
            }
            return Ok(());
        }
        let first = records.first().map_or(next_seq, |entry| entry.seq);
        let is_on_log = |commit: &Commit| {
            commit.last.is_none_or(|last| records.contains(&last) || last.seq < first)
        };
        let mut reader = match named_reader(self.platform) {
            Ok(reader) => reader,
            Err(Error::Diverged { seq, .. }) if power_was_lost => {
                let known: Vec<&Commit> = commits.iter().filter(|known| known.seq == seq).collect();
                if known.is_empty() {
                    return Err(format!("A4: diverged at {seq}, which was never committed"));
                }
                let needless = known.iter().all(|commit| is_on_log(commit));
                if needless && seq <= self.mark.durable_seq {
                    return Err(format!("A4: diverged at {seq}, and what is before is durable"));
                }
                self.tally.diverged += u64::from(needless);
                return Ok(());
            }
            Err(error) => return Err(format!("A4: the reader does not open: {error}")),
        };
        let Some(position) = reader.committed() else {
            return Err("A4: a named reader has no position".to_owned());
        };
        let known = commits.iter().rev().filter(|commit| commit.seq == position.seq);
        let Some(commit) = known.clone().find(|commit| is_on_log(commit)).or(known.clone().next())
        else {
            return Err(format!("A4: the reader stands at {position:?}, never committed"));
        };
        if !is_on_log(commit) {
            return Err(format!("A4: the reader goes on at {position:?} on another log"));
        }
        if !power_was_lost && commits.last().is_some_and(|last| last.seq != commit.seq) {
            return Err(format!("A1: the reader was set back to {position:?}"));
        }
        let rest = records.iter().filter(|entry| entry.seq >= commit.seq);
        for expected in rest {
            let found = reader.next().map_err(|error| {
                format!("A4: the reader, which resumed at {position:?}, fails: {error}")
            })?;
            let found = found.map(|message| (message.seq, message.payload == expected.payload()));
            if found != Some((expected.seq, true)) {
                return Err(format!("A4: the reader got {found:?} where {expected:?} comes next"));
            }
        }
        match reader.next() {
            Ok(None) => Ok(()),
            other => Err(format!("A4: behind the last record the reader got {other:?}")),
        }
    }
}
