//! What a crash may leave, promise by promise: every moment of a few workloads, in every way that the
//! limits of an exploration reach. `chronicle-sim explore` does the same for very many workloads.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test reports by panicking")]

use chronicle_sim::{Faults, NameOrder, Op, Seen, Setup, Space, Totals, Worker, Workload};

const JOURNAL: Setup =
    Setup { segment_size: 8192, sector: 512, names: NameOrder::Ordered, space: Space::Zero };
const FREE: Setup =
    Setup { segment_size: 4096, sector: 64, names: NameOrder::Free, space: Space::Zero };
const RECYCLED: Setup =
    Setup { segment_size: 4096, sector: 512, names: NameOrder::Free, space: Space::Recycled };
const PAGES: Setup =
    Setup { segment_size: 8192, sector: 4096, names: NameOrder::Free, space: Space::Zero };

/// Explores every moment of a workload.
fn explore(workload: &Workload) -> Totals {
    let seen = Seen::default();
    let mut worker = Worker::new(&seen, 1).quick();
    if let Err(failure) = worker.explore(workload, false) {
        panic!("{failure}");
    }
    worker.totals
}

fn explore_ops(setup: Setup, ops: &str) -> Totals {
    explore(&Workload::new(setup, &Workload::ops(ops).unwrap()))
}

#[test]
fn a_process_killed_at_any_call_loses_nothing_acknowledged() {
    for ops in ["slpo", "acxn", "oeok"] {
        let ops = Workload::ops(ops).unwrap();
        for call in 0..40 {
            for doomed in 0..ops.len() {
                let mut workload = Workload::new(JOURNAL, &ops);
                workload.die = Some((doomed, call));
                if let Err(why) = chronicle_sim::run(&workload, 1) {
                    panic!("{workload}: {why}");
                }
            }
        }
        assert!(explore(&Workload::new(JOURNAL, &ops)).killed > 10);
    }
}

#[test]
fn a_power_loss_takes_nothing_durable_and_leaves_a_prefix_of_the_rest() {
    let mut second = 0;
    for setup in [JOURNAL, FREE, PAGES] {
        for ops in ["sfpol", "slfpo"] {
            let totals = explore_ops(setup, ops);
            assert!(totals.distinct > 100, "{totals:?}");
            assert!(totals.lost > 0, "nothing that was not flushed was ever lost: {totals:?}");
            second += totals.second_distinct;
        }
    }
    // In some of the states power is lost again while they are recovered from; which ones is chosen by what
    // is in them.
    assert!(second > 0, "power was never lost twice");
}

#[test]
fn a_reader_goes_on_at_its_record_or_is_told_that_its_place_is_gone() {
    for setup in [JOURNAL, FREE] {
        explore_ops(setup, "rsflt");
        explore_ops(setup, "srokt");
    }
}

#[test]
fn a_reader_that_stood_behind_a_lost_epoch_record_goes_on() {
    explore_ops(JOURNAL, "r");
    explore_ops(FREE, "snrk");
}

#[test]
fn a_reader_at_the_start_of_a_lost_segment_goes_on_before_it() {
    explore_ops(JOURNAL, "or");
    explore_ops(PAGES, "sorf");
}

#[test]
fn what_retention_left_opens_although_nothing_was_flushed() {
    for setup in [JOURNAL, FREE, PAGES] {
        explore_ops(setup, "od");
        explore_ops(setup, "toodt");
        // Several go at once, a flush moves the checkpoint, others go, and the writer is another one.
        explore_ops(setup, "ooodof");
        explore_ops(setup, "oodfodk");
        explore_ops(setup, "oodkod");
    }
}

#[test]
fn a_removed_segment_that_comes_back_is_whole() {
    explore_ops(JOURNAL, "xondlf");
}

#[test]
fn a_creation_that_lost_power_is_begun_anew() {
    for setup in [JOURNAL, FREE, PAGES] {
        explore_ops(setup, "");
    }
}

#[test]
fn a_seal_that_comes_back_has_no_record_behind_it() {
    explore_ops(PAGES, "bkoc");
}

#[test]
fn a_queue_whose_maker_died_before_its_name_was_synced_is_whole_or_not_there() {
    // The sixth sync is that of the names behind `control.meta`.
    let mut workload = Workload::new(FREE, &[Op::Small, Op::Flush]);
    workload.faults.fail_sync = Some(5);
    explore(&workload);
}

#[test]
fn a_failed_sync_poisons_the_queue_until_the_next_boot() {
    let seen = Seen::default();
    let mut worker = Worker::new(&seen, 1).quick();
    for ops in ["sfsf", "rodof"] {
        let ops = Workload::ops(ops).unwrap();
        for sync in 0..20 {
            let mut workload = Workload::new(JOURNAL, &ops);
            workload.faults = Faults { fail_sync: Some(sync), ..Faults::default() };
            if let Err(failure) = worker.explore(&workload, false) {
                panic!("{failure}");
            }
        }
    }
}

#[test]
fn a_medium_that_lies_makes_nobody_read_what_was_not_appended_or_with_a_hole() {
    let mut totals = Totals::default();
    for setup in [JOURNAL, FREE, RECYCLED] {
        for ops in ["sfpolf", "rslodtf", "aoefncf"] {
            let ops = Workload::ops(ops).unwrap();
            for honest in [0, 1, 3] {
                let mut workload = Workload::new(setup, &ops);
                workload.faults.lies_after = Some(honest);
                totals.merge(&explore(&workload));
            }
        }
    }
    assert!(totals.lies_told > 100, "{totals:?}");
    assert!(totals.behind_lies > 2 * totals.lies_told, "{totals:?}");
}

#[test]
fn space_that_was_used_before_shows_nothing_of_it() {
    for ops in ["slpo", "sfaclo", "oodtes", "lknok"] {
        explore_ops(RECYCLED, ops);
    }
}

#[test]
fn rot_in_what_was_durable_is_told_and_never_cut() {
    for setup in [JOURNAL, FREE, PAGES] {
        let mut totals = Totals::default();
        for ops in ["slf", "sofolf", "acxf"] {
            totals.merge(&explore_ops(setup, ops));
        }
        assert!(totals.refused > 10 && totals.rotten > totals.refused, "{totals:?}");
    }
}

#[test]
fn equal_seeds_give_equal_explorations() {
    let once = explore_ops(JOURNAL, "solrf");
    let again = explore_ops(JOURNAL, "solrf");
    assert_eq!(format!("{once:?}"), format!("{again:?}"));
}
