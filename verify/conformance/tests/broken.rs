//! Each fault that is put into a backend makes the check fail that is there for it.
//!
//! A sync that does nothing and says that it did cannot be told from one that did, as long as power
//! stays: the last tests show both.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_types, reason = "a park is handed the word that it sleeps on")]

use std::num::NonZeroU32;
use std::ops::Range;
use std::ptr::NonNull;
use std::time::Duration;

use chronicle_conformance::memory::{Memory, MemoryError, MemoryGuard, MemoryRegion, MemoryStaged};
use chronicle_conformance::{
    Harness, PowerLoss, Report, durable_level, memory_level, power_loss_level, thread_level,
};
use chronicle_sync::notify::Barrier;
use chronicle_sync::{
    AtomicU32, Clock, Durability, ErrorKind, Instant, LockState, Object, ObjectKind, Park,
    Platform, Region, RegionMutExt, Stage, Storage, Wake,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    PublishReplaces,
    PublishForgetsBytes,
    StageNotZeroed,
    StageHasAName,
    StageIgnoresReserved,
    ViewTooLong,
    ViewTooShort,
    ViewIsACopy,
    OpenMakes,
    RemoveDoesNothing,
    RemoveWipes,
    ReserveBehindTheEnd,
    ReserveWipes,
    CopyOutFillsUp,
    VisitShowsTwice,
    VisitShowsIndexes,
    LockNotExclusive,
    LockOfAHandle,
    LockStays,
    LockMakesObjects,
    LockOfEverything,
    SweepTakesAll,
    BarrierPromised,
    LockStateAlwaysFree,
    InscribesEpochZero,
    InscribesAnywhere,
    WaitIgnoresTheWord,
    WaitEndsEarly,
    WakeLost,
    WakeTellsNobody,
    WakeWakesAll,
    WakeWakesOne,
    WakeCountsOneAlways,
    TimeRunsBackwards,
    BootZero,
    EntropyRepeats,
    SyncFails,
    SyncSilent,
    SyncStagedSilent,
    SyncNamesSilent,
    SyncObjectSilent,
    PowerLossKeepsLocks,
}

/// A good backend with one fault.
struct Broken {
    good: Memory,
    /// Of this handle alone.
    own: Memory,
    fault: Fault,
}

struct Harnessed(Fault);

impl Harness for Harnessed {
    type Platform = Broken;
    type Place = Memory;

    fn place(&self) -> Memory {
        Memory::durable()
    }

    fn open(&self, place: &Memory) -> Broken {
        Broken { good: place.clone(), own: Memory::new(), fault: self.0 }
    }

    fn patience(&self) -> Duration {
        // As long as it takes on a busy machine, where nothing is to be missing.
        if self.0 == Fault::None { Duration::from_secs(20) } else { Duration::from_millis(300) }
    }
}

impl PowerLoss for Harnessed {
    fn lose_power(&self, place: &Memory) {
        if self.0 != Fault::PowerLossKeepsLocks {
            place.lose_power();
        }
    }
}

/// A region that may lie about its size.
struct View {
    region: MemoryRegion,
    size: usize,
}

// SAFETY: tests read nothing behind the end of the region that is shown, whatever its size says.
unsafe impl Region for View {
    fn base(&self) -> NonNull<u8> {
        self.region.base()
    }

    fn size(&self) -> usize {
        self.size
    }
}

fn wipe(region: &MemoryRegion) {
    for at in (0..region.size() as u64).step_by(8) {
        region.store_words(at, &[0]);
    }
}

impl Broken {
    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    fn locks(&self) -> &Memory {
        if self.is(Fault::LockOfAHandle) { &self.own } else { &self.good }
    }
}

impl Storage for Broken {
    type Error = MemoryError;
    type View = View;
    type Map = MemoryRegion;
    type Staged = MemoryStaged;
    type Guard = MemoryGuard;

    fn stage(&self, object: &Object, stage: &Stage) -> Result<MemoryStaged, MemoryError> {
        let mut stage = *stage;
        if self.is(Fault::StageIgnoresReserved) {
            stage.reserved = stage.reserved.min(stage.length);
        }
        let staged = self.good.stage(object, &stage)?;
        if self.is(Fault::StageNotZeroed) && staged.size() >= 4096 {
            staged.store_words(4088, &[1]);
        }
        if self.is(Fault::StageHasAName) {
            self.good.put(object, &vec![0; staged.size()]);
        }
        Ok(staged)
    }

    fn sync_staged(&self, staged: &MemoryStaged) -> Result<(), MemoryError> {
        if self.is(Fault::SyncStagedSilent) { Ok(()) } else { self.good.sync_staged(staged) }
    }

    fn publish(&self, staged: MemoryStaged) -> Result<MemoryRegion, MemoryError> {
        if self.is(Fault::PublishReplaces) {
            let _ = self.good.remove(staged.object());
        }
        let region = self.good.publish(staged)?;
        if self.is(Fault::PublishForgetsBytes) {
            wipe(&region);
        }
        Ok(region)
    }

    fn open(&self, object: &Object) -> Result<MemoryRegion, MemoryError> {
        if self.is(Fault::OpenMakes) && self.good.get(object).is_none() {
            self.good.put(object, &[0; 4096]);
        }
        self.good.open(object)
    }

    fn view(&self, object: &Object) -> Result<View, MemoryError> {
        if self.is(Fault::ViewIsACopy) {
            self.own.put(object, &self.good.get(object).ok_or(MemoryError(ErrorKind::NotFound))?);
            let region = self.own.view(object)?;
            return Ok(View { size: region.size(), region });
        }
        let region = self.good.view(object)?;
        let size = match self.fault {
            Fault::ViewTooLong => region.size() + 8,
            Fault::ViewTooShort => region.size() / 2,
            _ => region.size(),
        };
        Ok(View { size, region })
    }

    fn copy_out(&self, object: &Object, at: u64, bytes: &mut [u8]) -> Result<usize, MemoryError> {
        let count = self.good.copy_out(object, at, bytes)?;
        if self.is(Fault::CopyOutFillsUp) {
            bytes.iter_mut().skip(count).for_each(|byte| *byte = 0);
            return Ok(bytes.len());
        }
        Ok(count)
    }

    fn sync_object(&self, object: &Object) -> Result<(), MemoryError> {
        if self.is(Fault::SyncObjectSilent) {
            return self.good.view(object).map(drop);
        }
        self.good.sync_object(object)
    }

    fn remove(&self, object: &Object) -> Result<(), MemoryError> {
        match self.fault {
            Fault::RemoveDoesNothing => self.good.view(object).map(drop),
            Fault::RemoveWipes => {
                wipe(&self.good.open(object)?);
                // Whoever has it open is left with other bytes.
                self.good.open(object)?.store_words(0, &[u64::MAX]);
                self.good.remove(object)
            }
            _ => self.good.remove(object),
        }
    }

    fn visit(&self, kind: ObjectKind, mut visit: impl FnMut(Object)) -> Result<(), MemoryError> {
        if self.is(Fault::VisitShowsIndexes) {
            self.good.objects().into_iter().for_each(&mut visit);
            return Ok(());
        }
        if self.is(Fault::VisitShowsTwice) {
            self.good.visit(kind, &mut visit)?;
        }
        self.good.visit(kind, visit)
    }

    fn reserve(&self, map: &MemoryRegion, range: Range<u64>) -> Result<(), MemoryError> {
        match self.fault {
            Fault::ReserveBehindTheEnd => Ok(()),
            Fault::ReserveWipes => {
                wipe(map);
                self.good.reserve(map, range)
            }
            _ => self.good.reserve(map, range),
        }
    }

    fn sync(
        &self,
        map: &MemoryRegion,
        range: Range<u64>,
        level: Durability,
    ) -> Result<(), MemoryError> {
        match self.fault {
            Fault::SyncSilent => Ok(()),
            Fault::SyncFails => Err(MemoryError(ErrorKind::Io)),
            _ => self.good.sync(map, range, level),
        }
    }

    fn sync_names(&self) -> Result<(), MemoryError> {
        if self.is(Fault::SyncNamesSilent) { Ok(()) } else { self.good.sync_names() }
    }

    fn sweep(&self) {
        if self.is(Fault::SweepTakesAll) {
            for object in self.good.objects() {
                let _ = self.good.remove(&object);
            }
        }
    }

    fn lock(&self, object: &Object) -> Result<MemoryGuard, MemoryError> {
        if self.is(Fault::LockOfEverything) {
            return self.good.lock(&Object::WriterLock);
        }
        if self.is(Fault::LockNotExclusive) {
            let own = Memory::new();
            own.put(object, &[]);
            return own.lock(object);
        }
        if self.is(Fault::LockMakesObjects) && self.good.get(object).is_none() {
            self.good.put(object, &[]);
        }
        if self.is(Fault::LockOfAHandle) {
            self.own.put(object, &[]);
        }
        let guard = self.locks().lock(object)?;
        if self.is(Fault::LockStays) {
            std::mem::forget(self.own.lock(&Object::WriterLock));
            std::mem::forget(guard);
            return self.own.lock(object).or_else(|_| {
                let other = Memory::new();
                other.put(object, &[]);
                other.lock(object)
            });
        }
        Ok(guard)
    }

    fn inscribe(&self, guard: &MemoryGuard, epoch: u32) -> Result<(), MemoryError> {
        match self.fault {
            Fault::InscribesEpochZero => self.good.inscribe(guard, 0),
            Fault::InscribesAnywhere => Ok(()),
            _ => self.good.inscribe(guard, epoch),
        }
    }

    fn lock_state(&self, object: &Object) -> Result<LockState, MemoryError> {
        match self.fault {
            Fault::LockStateAlwaysFree => Ok(LockState::Free),
            _ => self.locks().lock_state(object),
        }
    }
}

impl Park for Broken {
    type Error = MemoryError;

    fn wait(&self, word: &AtomicU32, expected: u32, until: Instant) -> Result<Wake, MemoryError> {
        match self.fault {
            Fault::WaitEndsEarly => Ok(Wake::TimedOut),
            Fault::WaitIgnoresTheWord => {
                let seen = word.load(std::sync::atomic::Ordering::SeqCst);
                let _ = expected;
                self.good.wait(word, seen, until)
            }
            _ => self.good.wait(word, expected, until),
        }
    }

    fn wake(&self, word: &AtomicU32, at_most: NonZeroU32) -> Result<u32, MemoryError> {
        match self.fault {
            Fault::WakeLost => Ok(0),
            Fault::WakeTellsNobody => self.good.wake(word, at_most).map(|_| 0),
            Fault::WakeWakesOne => self.good.wake(word, NonZeroU32::MIN),
            Fault::WakeWakesAll => self.good.wake(word, NonZeroU32::MAX),
            Fault::WakeCountsOneAlways => self.good.wake(word, at_most).map(|count| count.max(1)),
            _ => self.good.wake(word, at_most),
        }
    }

    fn enlist(&self) -> Barrier {
        if self.is(Fault::BarrierPromised) { Barrier::Asymmetric } else { Barrier::Full }
    }
}

impl Clock for Broken {
    fn now(&self) -> Instant {
        let now = self.good.now();
        if self.is(Fault::TimeRunsBackwards) {
            // In the small, that is: a clock that ran backwards for good would end no wait.
            return Instant::from_nanos(now.as_nanos() ^ 0xffff);
        }
        now
    }

    fn wall_ns(&self) -> u64 {
        self.good.wall_ns()
    }

    fn boot(&self) -> u64 {
        if self.is(Fault::BootZero) { 0 } else { self.good.boot() }
    }
}

impl Platform for Broken {
    type Error = MemoryError;
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
        if self.is(Fault::EntropyRepeats) { self.own.entropy() } else { self.good.entropy() }
    }
}

fn failures(report: &Report) -> Vec<&'static str> {
    report.failures().map(|check| check.name).collect()
}

#[test]
fn without_a_fault_every_level_passes() {
    let harness = Harnessed(Fault::None);
    memory_level(&harness).assert_passed();
    thread_level(&harness).assert_passed();
    durable_level(&harness).assert_passed();
    power_loss_level(&harness).assert_passed();
}

#[test]
fn one_thread_sees_what_is_wrong_with_names_bytes_locks_and_time() {
    for (fault, check) in [
        (Fault::PublishReplaces, "publishing_replaces_nothing"),
        (Fault::PublishForgetsBytes, "what_was_stored_before_publishing_is_there"),
        (Fault::StageNotZeroed, "a_staged_object_is_zeroed"),
        (Fault::StageHasAName, "a_staged_object_is_invisible_until_it_is_published"),
        (Fault::StageIgnoresReserved, "reserving_more_than_there_is_is_refused"),
        (Fault::ViewTooLong, "regions_have_the_size_that_was_asked_for"),
        (Fault::ViewTooShort, "regions_have_the_size_that_was_asked_for"),
        (Fault::ViewIsACopy, "all_regions_of_an_object_show_the_same_bytes"),
        (Fault::OpenMakes, "what_is_not_there_is_not_found"),
        (Fault::RemoveDoesNothing, "a_removed_object_stays_for_whoever_has_it_open"),
        (Fault::RemoveWipes, "a_name_that_was_removed_can_be_given_again"),
        (Fault::ReserveBehindTheEnd, "reserving_more_than_there_is_is_refused"),
        (Fault::ReserveWipes, "reserving_keeps_bytes_and_stays_inside"),
        (Fault::CopyOutFillsUp, "copying_out_gives_what_is_there_and_no_more"),
        (Fault::VisitShowsTwice, "visits_show_each_object_of_a_kind_once"),
        (Fault::VisitShowsIndexes, "visits_show_each_object_of_a_kind_once"),
        (Fault::LockNotExclusive, "a_lock_excludes_until_it_is_dropped"),
        (Fault::LockOfAHandle, "a_lock_excludes_until_it_is_dropped"),
        (Fault::LockStays, "a_lock_excludes_until_it_is_dropped"),
        (Fault::LockMakesObjects, "only_the_writers_lock_is_made_by_locking"),
        (Fault::LockOfEverything, "locks_of_different_objects_are_independent"),
        (Fault::SweepTakesAll, "sweeping_takes_nothing_that_is_alive"),
        (Fault::BarrierPromised, "an_asymmetric_barrier_can_be_made"),
        (Fault::LockStateAlwaysFree, "the_holder_is_told_as_far_as_it_is_known"),
        (Fault::InscribesEpochZero, "the_holder_is_told_as_far_as_it_is_known"),
        (Fault::InscribesAnywhere, "nothing_is_inscribed_into_other_objects"),
        (Fault::WaitIgnoresTheWord, "a_word_that_has_moved_is_not_slept_on"),
        (Fault::WaitEndsEarly, "a_wait_does_not_time_out_early_and_ends"),
        (Fault::WakeCountsOneAlways, "nobody_is_woken_where_nobody_sleeps"),
        (Fault::TimeRunsBackwards, "time_does_not_run_backwards"),
        (Fault::BootZero, "all_handles_are_in_the_same_boot"),
        (Fault::EntropyRepeats, "numbers_differ"),
    ] {
        let report = memory_level(&Harnessed(fault));
        assert!(failures(&report).contains(&check), "{fault:?} was not seen:\n{report}");
    }
}

#[test]
fn threads_see_what_is_wrong_with_waking_and_races() {
    for (fault, check) in [
        (Fault::WakeLost, "a_sleeper_is_woken_through_another_region"),
        (Fault::WakeLost, "no_wake_is_lost_over_many_rounds"),
        (Fault::WakeTellsNobody, "at_most_so_many_are_woken"),
        (Fault::WakeWakesOne, "one_call_wakes_everybody"),
        (Fault::WakeWakesAll, "at_most_so_many_are_woken"),
        (Fault::WakeCountsOneAlways, "only_sleepers_on_the_word_are_woken"),
        (Fault::PublishReplaces, "one_of_many_publishers_wins"),
        (Fault::LockOfAHandle, "one_of_many_lockers_wins"),
    ] {
        let report = thread_level(&Harnessed(fault));
        assert!(failures(&report).contains(&check), "{fault:?} was not seen:\n{report}");
    }
}

#[test]
fn a_sync_that_fails_is_seen_at_once() {
    let report = durable_level(&Harnessed(Fault::SyncFails));
    assert!(failures(&report).contains(&"syncs_of_what_is_there_succeed"), "{report}");
}

const SILENT: [(Fault, &str); 4] = [
    (Fault::SyncSilent, "what_was_synced_survives"),
    (Fault::SyncStagedSilent, "a_name_never_leads_to_unwritten_bytes"),
    (Fault::SyncNamesSilent, "what_was_synced_survives"),
    (Fault::SyncObjectSilent, "an_object_synced_by_name_survives"),
];

#[test]
fn syncs_that_do_nothing_are_seen_only_where_power_can_be_lost() {
    for (fault, check) in SILENT {
        let harness = Harnessed(fault);
        assert_eq!(failures(&durable_level(&harness)), [""; 0], "{fault:?}: the limit has moved");
        assert_eq!(failures(&memory_level(&harness)), [""; 0], "{fault:?}: the limit has moved");
        let report = power_loss_level(&harness);
        assert!(failures(&report).contains(&check), "{fault:?} was not seen:\n{report}");
    }
}

#[test]
fn a_lock_that_outlives_power_is_seen() {
    let report = power_loss_level(&Harnessed(Fault::PowerLossKeepsLocks));
    assert!(failures(&report).contains(&"a_power_loss_ends_locks_and_the_boot"), "{report}");
}
