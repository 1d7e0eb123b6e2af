//! Locks and what their holders write down.

use chronicle_sync::{ErrorKind, LockState, Object, Storage};

use crate::Harness;
use crate::bench::{Bench, done, fails, reader, segment};
use crate::report::{Verdict, ensure};

const LOCK: Object = Object::WriterLock;

pub(crate) fn a_lock_excludes_until_it_is_dropped<H: Harness>(harness: &H) -> Verdict {
    let bench = Bench::new(harness);
    let state = done("look at the lock", bench.storage().lock_state(&LOCK))?;
    ensure!(state == LockState::Free, "before anybody locked it, it is {state:?}");
    for _ in 0..3 {
        let guard = done("lock", bench.storage().lock(&LOCK))?;
        fails("locking again", ErrorKind::Locked, bench.storage().lock(&LOCK))?;
        fails("locking by another handle", ErrorKind::Locked, bench.other().lock(&LOCK))?;
        for storage in [bench.storage(), bench.other()] {
            let state = done("look at the lock", storage.lock_state(&LOCK))?;
            ensure!(state != LockState::Free, "while it is held, it is {state:?}");
        }
        drop(guard);
        let state = done("look at the lock", bench.other().lock_state(&LOCK))?;
        ensure!(
            matches!(state, LockState::Free | LockState::Unknown),
            "after its guard was dropped, it is {state:?}"
        );
    }
    // By the other handle too: a lock is the storage's and not a handle's.
    let guard = done("lock", bench.other().lock(&LOCK))?;
    fails("locking by another handle", ErrorKind::Locked, bench.storage().lock(&LOCK))?;
    drop(guard);
    Ok(())
}

pub(crate) fn locks_of_different_objects_are_independent<H: Harness>(harness: &H) -> Verdict {
    let bench = Bench::new(harness);
    let objects = [reader("a")?, reader("b")?, segment(0), Object::Control];
    for object in &objects {
        drop(bench.make(object, 4096)?);
    }
    let mut guards = vec![done("lock", bench.storage().lock(&LOCK))?];
    for object in &objects {
        guards.push(done("lock another object", bench.storage().lock(object))?);
        fails("locking again", ErrorKind::Locked, bench.other().lock(object))?;
    }
    // From here on only the last one is still held.
    guards.drain(..objects.len());
    for object in objects.iter().take(objects.len() - 1) {
        drop(done("lock what was released", bench.other().lock(object))?);
    }
    fails("locking again", ErrorKind::Locked, bench.other().lock(&Object::Control))
}

pub(crate) fn only_the_writers_lock_is_made_by_locking<H: Harness>(harness: &H) -> Verdict {
    let bench = Bench::new(harness);
    for object in [segment(0), reader("a")?, Object::Control] {
        let result = bench.storage().lock(&object);
        fails("locking what is not there", ErrorKind::NotFound, result)?;
        let state = done("look at the lock", bench.storage().lock_state(&object))?;
        ensure!(state == LockState::Free, "the lock of what is not there is {state:?}");
        fails("opening", ErrorKind::NotFound, bench.storage().open(&object))?;
    }
    done("lock", bench.storage().lock(&LOCK)).map(drop)
}

pub(crate) fn the_holder_is_told_as_far_as_it_is_known<H: Harness>(harness: &H) -> Verdict {
    let bench = Bench::new(harness);
    let guard = done("lock", bench.storage().lock(&LOCK))?;
    for epoch in [u32::MAX, 1] {
        done("inscribe", bench.storage().inscribe(&guard, epoch))?;
        match done("look at the lock", bench.other().lock_state(&LOCK))? {
            LockState::Free => ensure!(false, "the lock is free though it is held"),
            LockState::Held(Some(holder)) => {
                ensure!(holder.epoch == epoch, "epoch {epoch} is told as {}", holder.epoch);
                let pid = bench.storage().process_id();
                ensure!(holder.pid == pid, "process {pid} is told as {}", holder.pid);
            }
            LockState::Held(None) | LockState::Unknown => {}
        }
        fails("locking", ErrorKind::Locked, bench.other().lock(&LOCK))?;
    }
    Ok(())
}

pub(crate) fn nothing_is_inscribed_into_other_objects<H: Harness>(harness: &H) -> Verdict {
    let bench = Bench::new(harness);
    let object = reader("a")?;
    drop(bench.make(&object, 4096)?);
    let guard = done("lock", bench.storage().lock(&object))?;
    fails("inscribing", ErrorKind::Unsupported, bench.storage().inscribe(&guard, 1))?;
    fails("locking", ErrorKind::Locked, bench.other().lock(&object))?;
    let mut bytes = [0; 64];
    done("copy out", bench.storage().copy_out(&object, 0, &mut bytes))?;
    ensure!(bytes == [0; 64], "the object's bytes changed");
    Ok(())
}
