//! What every backend of a Chronicle queue has to do.
//!
//! A backend implements the traits of `chronicle-sync`. Whoever writes one says in a [`Harness`] how
//! its storage is made and opened, and calls one line for each level that the backend claims:
//!
//! ```
//! use chronicle_conformance::memory::{Memory, MemoryHarness};
//!
//! chronicle_conformance::memory_level(&MemoryHarness).assert_passed();
//! ```
//!
//! | level | asks for | shows |
//! |---|---|---|
//! | [`memory_level`] | a [`Harness`] | objects, names, bytes, space, locks, time, numbers: one thread |
//! | [`thread_level`] | that its values may go to other threads | races for names and locks, sleeping and waking |
//! | [`process_level`] | [`Processes`] | the same between processes, and what their death leaves |
//! | [`durable_level`] | a [`Harness`] | that syncs of what is there succeed |
//! | [`power_loss_level`] | [`PowerLoss`] | that what was synced survives, which only a simulated medium can show |
//! | [`watch_level`] | [`Watches`] | hints about names |
//!
//! A backend in static memory claims the first, and the second where its machine has threads
//! (`tests/static_memory.rs`). Each check is named by a sentence and carries the clause that it rests on. What a suite cannot see: that a sync which
//! reports success did nothing, unless power can be lost; a wrong answer of the wall clock; that a
//! region is unmapped too early, unless the run is under a sanitizer.
//!
//! A backend that never returns from a wait hangs its suite: run it under a time limit.

mod bench;
pub mod durable;
pub mod locks;
pub mod memory;
pub mod names;
pub mod processes;
pub mod regions;
mod report;
pub mod threads;
pub mod waiting;
pub mod watching;

use std::ffi::{OsStr, OsString};
use std::time::Duration;

use chronicle_sync::{Platform, Storage, Watch};

pub use processes::run_child;
pub use report::{Check, Outcome, Report};

/// How a backend's storage is made and opened.
pub trait Harness {
    /// The backend.
    type Platform: Platform;
    /// Storage for one queue: a directory, a piece of memory. Gone when dropped.
    type Place;

    /// Storage of its own, with nothing in it.
    fn place(&self) -> Self::Place;

    /// A handle on the storage. Several handles on one place share its objects, as processes do.
    fn open(&self, place: &Self::Place) -> Self::Platform;

    /// How long something may take that ought to happen at once, on a machine that is busy.
    fn patience(&self) -> Duration {
        Duration::from_secs(20)
    }
}

/// A backend whose storage other processes can open.
pub trait Processes: Harness {
    /// What another process needs to know to open the place.
    fn address(&self, place: &Self::Place) -> OsString;

    /// Opens the place at an address, in another process.
    fn open_address(&self, address: &OsStr) -> Self::Platform;
}

/// A backend of which power can be taken away.
pub trait PowerLoss: Harness {
    /// Loses whatever was not brought to the medium, ends all locks, and begins another boot. The
    /// handles and regions of before are not used any more.
    fn lose_power(&self, place: &Self::Place);
}

/// A backend that gives hints about names.
pub trait Watches: Harness {
    /// The watch.
    type Watch: Watch;

    /// Watches the names of a storage from now on.
    fn watch(&self, platform: &Self::Platform) -> Self::Watch;
}

macro_rules! suite {
    ($level:literal, $harness:expr, $($check:path: $clause:literal,)+) => {{
        let mut report = Report::new($level);
        $(report.run(stringify!($check), $clause, || $check($harness));)+
        report
    }};
}

/// Runs the checks that need one process and one thread.
pub fn memory_level<H: Harness>(harness: &H) -> Report {
    suite! { "memory", harness,
        names::every_kind_of_object_can_be_made: "Storage: the objects of one queue",
        names::what_is_not_there_is_not_found: "Storage: NotFound",
        names::a_staged_object_is_invisible_until_it_is_published: "Storage::Staged: no name yet",
        names::a_staged_object_that_is_dropped_is_gone: "Storage::Staged: gone when dropped",
        names::publishing_replaces_nothing: "Storage::publish: without replacing anything",
        names::a_removed_object_stays_for_whoever_has_it_open: "Storage::remove",
        names::a_name_that_was_removed_can_be_given_again: "Storage::remove, publish",
        names::visits_show_each_object_of_a_kind_once: "Storage::visit",
        names::objects_can_be_opened_during_a_visit: "Storage::visit",
        names::sweeping_takes_nothing_that_is_alive: "Storage::sweep",
        names::preparing_twice_changes_nothing: "Storage::prepare",
        regions::a_staged_object_is_zeroed: "Storage::Staged: zeroed",
        regions::regions_have_the_size_that_was_asked_for: "Region::size, Storage::open, view",
        regions::regions_are_aligned_and_stay_where_they_are: "Region: base",
        regions::what_was_stored_before_publishing_is_there: "Storage::publish",
        regions::all_regions_of_an_object_show_the_same_bytes: "Storage::open, view",
        regions::objects_do_not_share_bytes: "Region",
        regions::copying_out_gives_what_is_there_and_no_more: "Storage::copy_out",
        regions::reserving_keeps_bytes_and_stays_inside: "Storage::reserve",
        regions::reserving_more_than_there_is_is_refused: "Storage::stage, reserve",
        regions::prefaulting_is_only_a_hint: "Storage::prefault",
        locks::a_lock_excludes_until_it_is_dropped: "Storage::lock",
        locks::locks_of_different_objects_are_independent: "Storage::lock",
        locks::only_the_writers_lock_is_made_by_locking: "Storage::lock",
        locks::the_holder_is_told_as_far_as_it_is_known: "Storage::inscribe, lock_state",
        locks::nothing_is_inscribed_into_other_objects: "Storage::inscribe",
        waiting::a_word_that_has_moved_is_not_slept_on: "Park::wait: while word holds expected",
        waiting::a_wait_does_not_time_out_early_and_ends: "Park::wait: at most until",
        waiting::a_view_can_be_slept_on: "Park::wait: a page mapped read-only",
        waiting::nobody_is_woken_where_nobody_sleeps: "Park::wake: how many there were",
        waiting::an_asymmetric_barrier_can_be_made: "Park::enlist, heavy_barrier",
        waiting::time_does_not_run_backwards: "Clock::now",
        waiting::all_handles_are_in_the_same_boot: "Clock::boot",
        waiting::numbers_differ: "Platform::entropy",
    }
}

/// Runs the checks that need threads: waking, and races for names and locks.
pub fn thread_level<H>(harness: &H) -> Report
where
    H: Harness<Place: Sync, Platform: Sync> + Sync,
{
    suite! { "threads", harness,
        threads::a_sleeper_is_woken_through_another_region: "Park: across different mappings",
        threads::at_most_so_many_are_woken: "Park::wake: at most so many",
        threads::one_call_wakes_everybody: "Park::wake: at most so many",
        threads::only_sleepers_on_the_word_are_woken: "Park::wake: sleepers on word",
        threads::no_wake_is_lost_over_many_rounds: "Park::wait: comparison and sleep are one step",
        threads::a_store_is_seen_with_what_came_before_it: "RegionMut",
        threads::one_of_many_publishers_wins: "Storage::publish: in one step",
        threads::one_of_many_lockers_wins: "Storage::lock",
        threads::sweeping_disturbs_nobody: "Storage::sweep: of dead processes",
    }
}

/// Runs the checks between processes. `child` is the name of the ignored test in the same binary that
/// calls [`run_child`]; [`process_level_tests`] writes both.
pub fn process_level<H: Processes>(harness: &H, child: &str) -> Report {
    let harness = &processes::Parent { harness, child };
    suite! { "process", harness,
        processes::bytes_are_shared_with_other_processes: "Region: other processes",
        processes::a_lock_keeps_other_processes_out_until_its_holder_is_killed: "Storage::Guard: the end of the process",
        processes::a_sleeping_process_is_woken_by_another: "Park: across processes",
        processes::what_a_killed_process_published_stays: "Storage::publish",
        processes::what_a_killed_process_staged_is_swept: "Storage::sweep",
        processes::clock_and_boot_are_the_same_in_all_processes: "Clock",
        processes::numbers_differ_between_processes: "Platform::entropy",
    }
}

/// Runs the checks of syncs, as far as they can be checked while power stays.
pub fn durable_level<H: Harness>(harness: &H) -> Report {
    suite! { "durable", harness,
        durable::syncs_of_what_is_there_succeed: "Storage::sync, sync_staged, sync_object",
        durable::names_can_be_synced_at_any_time: "Storage::sync_names",
        durable::a_removed_object_that_is_open_can_be_synced: "Storage::remove, sync",
        durable::syncing_changes_nothing: "Storage::sync",
    }
}

/// Runs the checks of what survives a power loss.
pub fn power_loss_level<H: PowerLoss>(harness: &H) -> Report {
    suite! { "power-loss", harness,
        durable::what_was_synced_survives: "Storage::sync, sync_names",
        durable::a_name_never_leads_to_unwritten_bytes: "Storage::sync_staged",
        durable::an_object_synced_by_name_survives: "Storage::sync_object",
        durable::a_synced_removal_stays_one: "Storage::sync_names",
        durable::a_power_loss_ends_locks_and_the_boot: "Storage::Guard, Clock::boot",
    }
}

/// Runs the checks of hints about names.
pub fn watch_level<H: Watches>(harness: &H) -> Report {
    suite! { "watch", harness,
        watching::names_that_come_and_go_wake: "Watch::wait",
        watching::a_quiet_watch_times_out_and_not_early: "Watch::wait: at most until",
    }
}

/// The storage of a platform.
type StorageOf<P> = <P as Platform>::Storage;
/// Bytes that may be stored to.
type MapOf<P> = <StorageOf<P> as Storage>::Map;

/// Writes the tests of [`process_level`] for a harness: the suite, and the ignored test that its
/// child processes run.
///
/// ```ignore
/// chronicle_conformance::process_level_tests!(LinuxHarness);
/// ```
#[macro_export]
macro_rules! process_level_tests {
    ($harness:expr) => {
        #[test]
        fn process_level() {
            $crate::process_level(&$harness, "process_of_the_suite").assert_passed();
        }

        #[test]
        #[ignore = "the suite runs it as a process of its own"]
        fn process_of_the_suite() {
            $crate::run_child(&$harness);
        }
    };
}
