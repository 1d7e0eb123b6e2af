//! Runs workloads, stops the machine at every moment, and checks what is left.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use chronicle_sync::Object;

use crate::check::{Stop, Tally, check, read_all};
use crate::crash::{Choice, Crash};
use crate::facts::{Entry, Facts, Mark};
use crate::failure::{Failure, Second};
use crate::history::{History, Point};
use crate::platform::SimPlatform;
use crate::select::{Limits, each_choice};
use crate::workload::{Run, Setup, Workload, open, run};

/// The boot in which workloads run; each loss of power begins the next one.
pub(crate) const FIRST_BOOT: u64 = 1;
/// Of so many distinct states, one is recovered under watch and power is lost once more meanwhile.
const NESTED_ONE_IN: u64 = 64;
/// Sectors that rot, one at a time, at each moment at which everything is durable.
const ROTS: u32 = 24;

/// What was done and found.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    /// Workloads that were run.
    pub workloads: u64,
    /// Moments at which the machine was stopped.
    pub points: u64,
    /// States of the medium that were enumerated.
    pub raw: u64,
    /// Distinct ones among them, each recovered and checked.
    pub distinct: u64,
    /// Of both, those behind a loss of power during a recovery: enumerated.
    pub second_raw: u64,
    /// And distinct.
    pub second_distinct: u64,
    /// Processes killed.
    pub killed: u64,
    /// Sectors that rotted.
    pub rotten: u64,
    /// Records that were acknowledged, not durable, and lost.
    pub lost: u64,
    /// Positions refused although the record before them was there, none of them durable.
    pub diverged: u64,
    /// Rot that was told.
    pub refused: u64,
    /// Distinct states of a medium that had lied about a sync.
    pub behind_lies: u64,
    /// Those of them in which the open said that something was missing.
    pub lies_told: u64,
}

impl Totals {
    fn add(&mut self, tally: Tally) {
        self.lost += tally.lost;
        self.diverged += tally.diverged;
        self.refused += tally.refused;
        self.behind_lies += tally.behind_lies;
        self.lies_told += tally.lies_told;
    }

    /// Adds what another worker did.
    pub fn merge(&mut self, other: &Self) {
        let pairs = [
            (&mut self.workloads, other.workloads),
            (&mut self.points, other.points),
            (&mut self.raw, other.raw),
            (&mut self.distinct, other.distinct),
            (&mut self.second_raw, other.second_raw),
            (&mut self.second_distinct, other.second_distinct),
            (&mut self.killed, other.killed),
            (&mut self.rotten, other.rotten),
            (&mut self.lost, other.lost),
            (&mut self.diverged, other.diverged),
            (&mut self.refused, other.refused),
            (&mut self.behind_lies, other.behind_lies),
            (&mut self.lies_told, other.lies_told),
        ];
        for (mine, others) in pairs {
            *mine += others;
        }
    }
}

/// The states that were seen, by any worker.
pub struct Seen(Vec<Mutex<HashSet<u64>>>);

impl Default for Seen {
    fn default() -> Self {
        Self((0..64).map(|_| Mutex::default()).collect())
    }
}

impl Seen {
    /// Whether the state is new.
    fn insert(&self, key: u64) -> bool {
        let shard = &self.0[(key >> 58) as usize];
        shard.lock().is_ok_and(|mut keys| keys.insert(key))
    }
}

/// Explores workloads one after the other.
pub struct Worker<'s> {
    seen: &'s Seen,
    seed: u64,
    limits: Limits,
    until: Option<Instant>,
    random: fastrand::Rng,
    scratch: SimPlatform,
    /// What was done so far.
    pub totals: Totals,
}

impl<'s> Worker<'s> {
    /// A worker whose machines' random numbers come from `seed`.
    #[must_use]
    pub fn new(seen: &'s Seen, seed: u64) -> Self {
        Self {
            seen,
            seed,
            limits: Limits::BRIEF,
            until: None,
            random: fastrand::Rng::with_seed(seed),
            scratch: SimPlatform::new(seed),
            totals: Totals::default(),
        }
    }

    /// Enumerates as many states of each moment as were ever planned.
    #[must_use]
    pub fn thorough(mut self) -> Self {
        self.limits = Limits::FULL;
        self
    }

    /// Enumerates few states of each moment, for very many workloads.
    #[must_use]
    pub fn quick(mut self) -> Self {
        self.limits = Limits::QUICK;
        self
    }

    /// Stops after so long, even within a workload.
    #[must_use]
    pub fn for_at_most(mut self, time: Duration) -> Self {
        self.until = Instant::now().checked_add(time);
        self
    }

    fn time_is_up(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
    }

    /// Explores a workload: every moment of it, or of its last operation.
    ///
    /// # Errors
    /// The first promise that was found broken.
    pub fn explore(&mut self, workload: &Workload, last_only: bool) -> Result<(), Box<Failure>> {
        let run = match catch_unwind(|| run(workload, self.seed)) {
            Ok(Ok(run)) => run,
            Ok(Err(why)) => return Err(Failure::new(workload, self.seed).because(why).into()),
            Err(_) => {
                let why = "the engine panicked".to_owned();
                return Err(Failure::new(workload, self.seed).because(why).into());
            }
        };
        self.totals.workloads += 1;
        let first = if last_only { run.last_op } else { 0 };
        for index in first..run.history.points.len() {
            if self.time_is_up() {
                break;
            }
            self.totals.points += 1;
            self.explore_point(workload, &run, index).map_err(|mut failure| {
                failure.minimize();
                failure
            })?;
        }
        Ok(())
    }

    fn explore_point(
        &mut self,
        workload: &Workload,
        run: &Run,
        index: usize,
    ) -> Result<(), Box<Failure>> {
        let Run { history, facts, .. } = run;
        let point = &history.points[index];
        let setup = &workload.setup;
        let seed = self.seed;
        let failed = |choice: &Choice, stop: Stop, why: String| {
            Box::new(Failure::new(workload, seed).at(index, stop, choice.clone()).because(why))
        };
        let mut crash = Crash::new(history, point, setup.names);
        let newest = crash.newest();
        self.totals.killed += 1;
        let tally =
            check_state(&self.scratch, setup, &mut crash, facts, &newest, Stop::Killed, FIRST_BOOT)
                .map_err(|why| failed(&newest, Stop::Killed, why))?;
        self.totals.add(tally);

        let salt = mark_key(&point.mark, setup);
        let mut failure = None;
        let mut nested = Vec::new();
        let (seen, totals, scratch) = (self.seen, &mut self.totals, &self.scratch);
        each_choice(&mut crash, self.limits, &mut self.random, |crash, choice| {
            totals.raw += 1;
            let key = crash.hash(choice) ^ salt;
            if !seen.insert(key) {
                return true;
            }
            totals.distinct += 1;
            // Behind a lie little is promised, and no more behind the recovery from it.
            if key.is_multiple_of(NESTED_ONE_IN) && point.mark.created && !point.mark.lied {
                nested.push(choice.clone());
            }
            let stop = Stop::PowerLoss;
            match check_state(scratch, setup, crash, facts, choice, stop, FIRST_BOOT + 1) {
                Ok(tally) => {
                    totals.add(tally);
                    true
                }
                Err(why) => {
                    failure = Some(failed(choice, stop, why));
                    false
                }
            }
        });
        if let Some(failure) = failure {
            return Err(failure);
        }
        for choice in nested {
            self.explore_recovery(setup, &mut crash, facts, &choice).map_err(|(second, why)| {
                let mut failure = failed(&choice, Stop::PowerLoss, why);
                failure.second = Some(second);
                failure
            })?;
        }
        let all_durable = point.mark.durable_seq == point.mark.acked as u64;
        let at_rest = point.mark.acked > 0 && point.mark.in_flight.is_none();
        if all_durable && at_rest && !point.mark.lied {
            for _ in 0..ROTS {
                let rot = self.random.u64(..);
                self.totals.rotten += 1;
                let tally = check_rot(&self.scratch, setup, &mut crash, facts, &newest, rot)
                    .map_err(|why| Box::new(failed(&newest, Stop::Rot, why).with_rot(rot)))?;
                self.totals.add(tally);
            }
        }
        Ok(())
    }

    /// Recovers a state under watch, and loses power once more at every moment of that.
    fn explore_recovery(
        &mut self,
        setup: &Setup,
        crash: &mut Crash<'_>,
        facts: &Facts,
        choice: &Choice,
    ) -> Result<(), (Second, String)> {
        let unclear = |why: String| (Second { point: 0, choice: Choice::new() }, why);
        let Some((history, facts)) =
            record_recovery(&self.scratch, setup, crash, facts, choice).map_err(unclear)?
        else {
            return Ok(());
        };
        for (index, point) in history.points.iter().enumerate() {
            let salt = mark_key(&point.mark, setup) ^ 0x5ec0;
            let mut crash = Crash::new(&history, point, setup.names);
            let mut failure = None;
            let (seen, totals, scratch) = (self.seen, &mut self.totals, &self.scratch);
            let limits = Limits::NESTED;
            let newest = crash.newest();
            let killed = Stop::Killed;
            let boot = FIRST_BOOT + 1;
            check_state(scratch, setup, &mut crash, &facts, &newest, killed, boot).map_err(
                |why| (Second { point: index, choice: newest }, format!("killed: {why}")),
            )?;
            totals.killed += 1;
            each_choice(&mut crash, limits, &mut self.random, |crash, choice| {
                totals.second_raw += 1;
                if !seen.insert(crash.hash(choice) ^ salt) {
                    return true;
                }
                totals.second_distinct += 1;
                let stop = Stop::PowerLoss;
                match check_state(scratch, setup, crash, &facts, choice, stop, FIRST_BOOT + 2) {
                    Ok(tally) => {
                        totals.add(tally);
                        true
                    }
                    Err(why) => {
                        failure = Some((Second { point: index, choice: choice.clone() }, why));
                        false
                    }
                }
            });
            if let Some(failure) = failure {
                return Err(failure);
            }
        }
        Ok(())
    }
}

/// Equal only where the same is promised: a state that was seen under another promise is checked
/// again under this one.
fn mark_key(mark: &Mark, setup: &Setup) -> u64 {
    let promised =
        mark.durable_seq << 20 ^ mark.removable_before << 40 ^ (mark.commits as u64) << 52;
    (promised ^ setup.segment_size << 1 ^ setup.sector as u64)
        .wrapping_add(u64::from(mark.created) + 2 * u64::from(mark.lied))
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Boots a machine from one state, recovers it, and checks it.
pub(crate) fn check_state(
    platform: &SimPlatform,
    setup: &Setup,
    crash: &mut Crash<'_>,
    facts: &Facts,
    choice: &Choice,
    stop: Stop,
    boot: u64,
) -> Result<Tally, String> {
    crash.load(&platform.world, boot, choice);
    // Not the numbers that the run drew.
    platform.world.seed(boot);
    let checked = AssertUnwindSafe(|| check(platform, setup, facts, &crash.point.mark, stop));
    catch_unwind(checked).unwrap_or_else(|_| Err("A8: the engine panicked".to_owned()))
}

/// As [`check_state`], with one sector that is not what was written.
pub(crate) fn check_rot(
    platform: &SimPlatform,
    setup: &Setup,
    crash: &mut Crash<'_>,
    facts: &Facts,
    choice: &Choice,
    rot: u64,
) -> Result<Tally, String> {
    crash.load(&platform.world, FIRST_BOOT + 1, choice);
    platform.world.seed(FIRST_BOOT + 1);
    let mut random = fastrand::Rng::with_seed(rot);
    let files = platform.world.contents();
    let (file, at, sector) = rotten_sector(&files, setup.sector, &mut random);
    platform.world.patch(file, at, &sector);
    let mark = &crash.point.mark;
    let checked = AssertUnwindSafe(|| check(platform, setup, facts, mark, Stop::Rot));
    catch_unwind(checked).unwrap_or_else(|_| Err("A8: the engine panicked".to_owned()))
}

/// One sector, and what it holds now: a flipped bit, zeros, noise, or what was meant for another.
fn rotten_sector(
    files: &[(Object, Vec<u8>)],
    sector: usize,
    random: &mut fastrand::Rng,
) -> (usize, usize, Vec<u8>) {
    let file = random.usize(..files.len());
    let bytes = &files[file].1;
    let pick = |random: &mut fastrand::Rng| random.usize(..bytes.len() / sector) * sector;
    let at = pick(random);
    let mut content = bytes[at..at + sector].to_vec();
    match random.u8(..4) {
        0 => content[random.usize(..sector)] ^= 1 << random.u8(..8),
        1 => content.fill(0),
        2 => content.fill_with(|| random.u8(..)),
        _ => {
            let other = pick(random);
            content.copy_from_slice(&bytes[other..other + sector]);
        }
    }
    (file, at, content)
}

/// Opens a state as a writer, appends, and flushes, all under watch. `None` where the first check has
/// already found that there is nothing to recover.
pub(crate) fn record_recovery(
    platform: &SimPlatform,
    setup: &Setup,
    crash: &mut Crash<'_>,
    facts: &Facts,
    choice: &Choice,
) -> Result<Option<(History, Facts)>, String> {
    let boot = FIRST_BOOT + 1;
    let Point { mark, .. } = crash.point;
    crash.load(&platform.world, boot, choice);
    platform.world.seed(boot);
    let Ok(first) = open(platform) else { return Ok(None) };
    let end = first.next_seq();
    drop(first);
    let (records, _) = read_all(platform);
    let mut facts = facts.clone();
    let from = records.first().map_or(end, |(entry, _)| entry.seq) as usize;
    facts.log.truncate(mark.acked);
    facts.log.extend(mark.in_flight);
    facts.earlier.clone_from(&facts.log);
    facts.log.truncate(from);
    facts.log.extend(records.iter().map(|(entry, _)| *entry));

    crash.load(&platform.world, boot, choice);
    platform.world.seed(boot);
    platform.world.set_faults(crate::world::Faults::default());
    let mut known = Mark { acked: facts.log.len(), in_flight: None, ..mark.clone() };
    known.may_be_poisoned = false;
    known.rebooted = true;
    platform.world.set_mark(known);
    platform.world.record(setup.sector, setup.space);
    let mut appender = open(platform).map_err(|error| error.to_string())?;
    let entry = Entry { seq: appender.next_seq(), epoch: appender.epoch(), length: 20 };
    platform.world.mark(|mark| mark.in_flight = Some(entry));
    appender.append(0x8000, &entry.payload()).map_err(|error| error.to_string())?;
    facts.log.push(entry);
    let acked = facts.log.len();
    platform.world.mark(|mark| (mark.in_flight, mark.acked) = (None, acked));
    platform.world.observe();
    appender.flush().map_err(|error| error.to_string())?;
    platform.world.mark(|mark| mark.durable_seq = acked as u64);
    let history = platform.world.take_history().ok_or("nothing was recorded")?;
    Ok(Some((history, facts)))
}
