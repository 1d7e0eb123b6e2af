//! Syncs, and what they are good for.

use chronicle_sync::{
    Clock, Durability, ErrorKind, LockState, Object, Platform, RegionExt, RegionMutExt, Storage,
};

use crate::bench::{Bench, done, fails, reader, segment, stage, there};
use crate::report::{Verdict, ensure};
use crate::{Harness, PowerLoss};

const LENGTH: u64 = 8192;
const LEVELS: [Durability; 2] = [Durability::Ordered, Durability::Durable];

pub(crate) fn syncs_of_what_is_there_succeed<H: Harness>(harness: &H) -> Verdict {
    let bench = Bench::new(harness);
    for object in [Object::Control, segment(0), reader("a")?] {
        let staged = done("stage", bench.storage().stage(&object, &stage(LENGTH)))?;
        done("sync what is staged", bench.storage().sync_staged(&staged))?;
        let map = done("publish", bench.storage().publish(staged))?;
        done("sync by name", bench.other().sync_object(&object))?;
        for level in LEVELS {
            for range in [0..LENGTH, 0..0, 8..16, 4000..5000, LENGTH - 8..LENGTH] {
                let what = format!("sync {range:?} of {object}");
                done(&what, bench.storage().sync(&map, range, level))?;
            }
        }
    }
    Ok(())
}

pub(crate) fn names_can_be_synced_at_any_time<H: Harness>(harness: &H) -> Verdict {
    let bench = Bench::new(harness);
    done("sync the names of nothing", bench.storage().sync_names())?;
    drop(bench.make(&segment(0), LENGTH)?);
    done("sync names", bench.storage().sync_names())?;
    drop(bench.make(&reader("a")?, LENGTH)?);
    done("sync names", bench.other().sync_names())?;
    done("remove", bench.storage().remove(&segment(0)))?;
    done("sync names", bench.storage().sync_names())
}

pub(crate) fn a_removed_object_that_is_open_can_be_synced<H: Harness>(harness: &H) -> Verdict {
    let bench = Bench::new(harness);
    let map = bench.make(&segment(0), LENGTH)?;
    done("remove", bench.storage().remove(&segment(0)))?;
    there("a word", map.store_words(0, &[1]))?;
    let synced = bench.storage().sync(&map, 0..LENGTH, Durability::Durable);
    done("sync what was removed", synced)?;
    fails("syncing it by name", ErrorKind::NotFound, bench.storage().sync_object(&segment(0)))
}

pub(crate) fn syncing_changes_nothing<H: Harness>(harness: &H) -> Verdict {
    let bench = Bench::new(harness);
    let map = bench.make(&segment(0), LENGTH)?;
    there("words", map.store_words(4088, &[1, 2]))?;
    done("sync", bench.storage().sync(&map, 0..LENGTH, Durability::Durable))?;
    done("sync names", bench.storage().sync_names())?;
    there("a word", map.store_words(4104, &[3]))?;
    done("sync", bench.storage().sync(&map, 0..LENGTH, Durability::Ordered))?;
    let view = done("view", bench.other().view(&segment(0)))?;
    let words = view.copy_words(4080);
    ensure!(words == Some([0, 1, 2, 3]), "after syncs the words are {words:?}");
    Ok(())
}

pub(crate) fn what_was_synced_survives<H: PowerLoss>(harness: &H) -> Verdict {
    // The last words of an object too, of one whose size is no multiple of anything.
    for (length, at) in [(LENGTH, 4088), (LENGTH, LENGTH - 16), (4096 + 96, 4096 + 80)] {
        let bench = Bench::new(harness);
        let map = bench.make(&segment(0), length)?;
        drop(bench.make(&segment(1), LENGTH)?);
        there("words", map.store_words(at, &[1, 2]))?;
        done("sync", bench.storage().sync(&map, at..at + 16, Durability::Durable))?;
        done("sync by name", bench.storage().sync_object(&segment(1)))?;
        done("sync names", bench.storage().sync_names())?;
        drop(map);
        let after = after_power_loss(harness, bench);
        let view = done("view what was synced", after.storage().view(&segment(0)))?;
        let words = view.copy_words(at);
        ensure!(words == Some([1, 2]), "synced at {at} were [1, 2], and there is {words:?}");
        let other = done("view what was never stored to", after.storage().view(&segment(1)))?;
        let zeros = (0..LENGTH).step_by(8).all(|at| other.copy_words(at) == Some([0]));
        ensure!(zeros, "an object shows bytes that nobody stored");
    }
    Ok(())
}

pub(crate) fn a_name_never_leads_to_unwritten_bytes<H: PowerLoss>(harness: &H) -> Verdict {
    for names_synced in [false, true] {
        let bench = Bench::new(harness);
        let staged = done("stage", bench.storage().stage(&segment(0), &stage(LENGTH)))?;
        there("words", staged.store_words(4088, &[1, 2]))?;
        done("sync what is staged", bench.storage().sync_staged(&staged))?;
        drop(done("publish", bench.storage().publish(staged))?);
        if names_synced {
            done("sync names", bench.storage().sync_names())?;
        }
        let after = after_power_loss(harness, bench);
        match after.storage().view(&segment(0)) {
            Ok(view) => {
                let words = view.copy_words(4088);
                ensure!(words == Some([1, 2]), "synced were [1, 2], and there is {words:?}");
            }
            // A name that was not synced may be there or not.
            Err(error) => ensure!(!names_synced, "the name was synced and leads nowhere: {error}"),
        }
    }
    Ok(())
}

pub(crate) fn an_object_synced_by_name_survives<H: PowerLoss>(harness: &H) -> Verdict {
    let bench = Bench::new(harness);
    let map = bench.make(&reader("a")?, LENGTH)?;
    done("sync names", bench.storage().sync_names())?;
    there("words", map.store_words(512, &[5]))?;
    done("sync by name", bench.other().sync_object(&reader("a")?))?;
    drop(map);
    let after = after_power_loss(harness, bench);
    let view = done("view what was synced", after.storage().view(&reader("a")?))?;
    ensure!(view.copy_words(512) == Some([5]), "what was synced by name is gone");
    Ok(())
}

pub(crate) fn a_synced_removal_stays_one<H: PowerLoss>(harness: &H) -> Verdict {
    let bench = Bench::new(harness);
    drop(bench.make(&segment(0), LENGTH)?);
    done("sync names", bench.storage().sync_names())?;
    done("remove", bench.storage().remove(&segment(0)))?;
    done("sync names", bench.storage().sync_names())?;
    let after = after_power_loss(harness, bench);
    let view = after.storage().view(&segment(0));
    fails("viewing what was removed", ErrorKind::NotFound, view)
}

pub(crate) fn a_power_loss_ends_locks_and_the_boot<H: PowerLoss>(harness: &H) -> Verdict {
    let bench = Bench::new(harness);
    let boot = bench.one.clock().boot();
    let guard = done("lock", bench.storage().lock(&Object::WriterLock))?;
    harness.lose_power(&bench.place);
    let anew = harness.open(&bench.place);
    let state = done("look at the lock", anew.storage().lock_state(&Object::WriterLock))?;
    ensure!(state == LockState::Free, "after a power loss the lock is {state:?}");
    let other = anew.clock().boot();
    ensure!(other != boot && other != 0, "boot {boot:#x} is followed by {other:#x}");
    let held = done("lock", anew.storage().lock(&Object::WriterLock))?;
    // Of a process of the boot before: its end must not take anybody's lock.
    drop(guard);
    let again = anew.storage().lock(&Object::WriterLock);
    fails("locking what another one holds", ErrorKind::Locked, again)?;
    drop(held);
    Ok(())
}

/// Ends all handles and loses power.
fn after_power_loss<H: PowerLoss>(harness: &H, bench: Bench<H>) -> Bench<H> {
    let Bench { one, other, place } = bench;
    drop((one, other));
    harness.lose_power(&place);
    Bench { one: harness.open(&place), other: harness.open(&place), place }
}
