//! Objects and their names.

use chronicle_sync::{ErrorKind, Object, ObjectKind, Region, RegionExt, RegionMutExt, Storage};

use crate::Harness;
use crate::bench::{Bench, done, fails, make, publish, reader, segment, segment_id, stage, there};
use crate::report::{Stop, Verdict, ensure};

const LENGTH: u64 = 4096;

pub(crate) fn every_kind_of_object_can_be_made<H: Harness>(harness: &H) -> Verdict {
    let objects = [
        Object::Control,
        Object::Notify,
        Object::Checkpoint,
        Object::Replicated,
        segment(0),
        segment(999_999_999),
        Object::Index(segment_id(7)),
        reader("a")?,
        reader(&"x".repeat(64))?,
    ];
    for object in objects {
        let bench = Bench::new(harness);
        drop(bench.make(&object, LENGTH)?);
        let view = done("view", bench.other().view(&object))?;
        ensure!(view.size() as u64 == LENGTH, "{object} has {} bytes", view.size());
    }
    Ok(())
}

pub(crate) fn what_is_not_there_is_not_found<H: Harness>(harness: &H) -> Verdict {
    let bench = Bench::new(harness);
    let storage = bench.storage();
    drop(bench.make(&segment(1), LENGTH)?);
    for object in [segment(0), Object::Index(segment_id(1)), reader("a")?, Object::Control] {
        fails("opening", ErrorKind::NotFound, storage.open(&object))?;
        fails("viewing", ErrorKind::NotFound, storage.view(&object))?;
        fails("copying out", ErrorKind::NotFound, storage.copy_out(&object, 0, &mut [0; 8]))?;
        fails("syncing", ErrorKind::NotFound, storage.sync_object(&object))?;
        fails("removing", ErrorKind::NotFound, storage.remove(&object))?;
    }
    Ok(())
}

pub(crate) fn a_staged_object_is_invisible_until_it_is_published<H: Harness>(
    harness: &H,
) -> Verdict {
    let bench = Bench::new(harness);
    let staged = done("stage", bench.storage().stage(&segment(0), &stage(LENGTH)))?;
    for storage in [bench.storage(), bench.other()] {
        fails("opening what is staged", ErrorKind::NotFound, storage.open(&segment(0)))?;
        fails("viewing what is staged", ErrorKind::NotFound, storage.view(&segment(0)))?;
        let names = visited(storage, ObjectKind::Segments)?;
        ensure!(names.is_empty(), "a visit shows what is only staged: {names:?}");
    }
    let map = done("publish", bench.storage().publish(staged))?;
    ensure!(map.size() as u64 == LENGTH, "it has {} bytes after publishing", map.size());
    drop(done("view", bench.other().view(&segment(0)))?);
    Ok(())
}

pub(crate) fn a_staged_object_that_is_dropped_is_gone<H: Harness>(harness: &H) -> Verdict {
    let bench = Bench::new(harness);
    // More often than a small backend has room for, so that what is not given back shows.
    for _ in 0..100 {
        let staged = done("stage", bench.storage().stage(&segment(0), &stage(LENGTH)))?;
        drop(staged);
    }
    fails("opening", ErrorKind::NotFound, bench.storage().open(&segment(0)))?;
    let names = visited(bench.storage(), ObjectKind::Segments)?;
    ensure!(names.is_empty(), "a visit shows {names:?}");
    bench.make(&segment(0), LENGTH).map(drop)
}

pub(crate) fn publishing_replaces_nothing<H: Harness>(harness: &H) -> Verdict {
    let bench = Bench::new(harness);
    let first = bench.make(&segment(3), LENGTH)?;
    there("the first word", first.store_words(0, &[1]))?;
    let second = done("stage", bench.other().stage(&segment(3), &stage(LENGTH)))?;
    there("the first word", second.store_words(0, &[2]))?;
    let result = bench.other().publish(second);
    fails("publishing a name that is taken", ErrorKind::AlreadyExists, result)?;
    let view = done("view", bench.other().view(&segment(3)))?;
    ensure!(view.copy_words(0) == Some([1]), "the object was replaced");
    there("the first word", first.store_words(0, &[3]))?;
    ensure!(view.copy_words(0) == Some([3]), "the name leads to another object than before");
    Ok(())
}

pub(crate) fn a_removed_object_stays_for_whoever_has_it_open<H: Harness>(harness: &H) -> Verdict {
    let bench = Bench::new(harness);
    let map = bench.make(&segment(0), LENGTH)?;
    let view = done("view", bench.other().view(&segment(0)))?;
    done("remove", bench.storage().remove(&segment(0)))?;
    fails("removing again", ErrorKind::NotFound, bench.storage().remove(&segment(0)))?;
    fails("opening it", ErrorKind::NotFound, bench.other().open(&segment(0)))?;
    there("a word", map.store_words(LENGTH - 8, &[5]))?;
    ensure!(view.copy_words(LENGTH - 8) == Some([5]), "a view of a removed object is cut off");
    Ok(())
}

pub(crate) fn a_name_that_was_removed_can_be_given_again<H: Harness>(harness: &H) -> Verdict {
    let bench = Bench::new(harness);
    let old = bench.make(&segment(0), LENGTH)?;
    there("a word", old.store_words(0, &[1]))?;
    done("remove", bench.storage().remove(&segment(0)))?;
    let new = bench.make(&segment(0), LENGTH)?;
    ensure!(new.copy_words(0) == Some([0]), "the new object holds bytes of the old one");
    there("a word", new.store_words(8, &[2]))?;
    ensure!(old.copy_words(0) == Some([1, 0]), "the old object shows bytes of the new one");
    Ok(())
}

pub(crate) fn visits_show_each_object_of_a_kind_once<H: Harness>(harness: &H) -> Verdict {
    let bench = Bench::new(harness);
    let storage = bench.storage();
    for kind in [ObjectKind::Segments, ObjectKind::Readers] {
        let names = visited(storage, kind)?;
        ensure!(names.is_empty(), "{kind:?} of an empty queue: {names:?}");
    }
    for id in [0, 1, 5] {
        drop(bench.make(&segment(id), LENGTH)?);
    }
    drop(bench.make(&Object::Index(segment_id(1)), LENGTH)?);
    drop(bench.make(&Object::Control, LENGTH)?);
    drop(bench.make(&reader("a")?, LENGTH)?);
    drop(bench.make(&reader("b-2")?, LENGTH)?);
    drop(done("lock", storage.lock(&Object::WriterLock))?);
    let segments = [segment(0), segment(1), segment(5)].map(|object| object.to_string());
    for storage in [storage, bench.other()] {
        let names = visited(storage, ObjectKind::Segments)?;
        ensure!(names == segments, "a visit of segments shows {names:?}");
        let names = visited(storage, ObjectKind::Readers)?;
        let readers = [reader("a")?.to_string(), reader("b-2")?.to_string()];
        ensure!(names == readers, "a visit of readers shows {names:?}");
    }
    done("remove", storage.remove(&segment(1)))?;
    let names = visited(bench.other(), ObjectKind::Segments)?;
    ensure!(names.len() == 2, "after a removal a visit shows {names:?}");
    Ok(())
}

pub(crate) fn objects_can_be_opened_during_a_visit<H: Harness>(harness: &H) -> Verdict {
    let bench = Bench::new(harness);
    for id in 0..3 {
        drop(bench.make(&segment(id), LENGTH)?);
    }
    let mut opened = Ok(0);
    let visit = |object: Object| {
        let more = bench.storage().open(&object).and_then(|_| bench.storage().view(&object));
        opened = match (&opened, more) {
            (Ok(count), Ok(_)) => Ok(count + 1),
            (Ok(_), Err(error)) => Err(Stop::Failed(format!("open during a visit: {error}"))),
            (Err(stop), _) => Err(stop.clone()),
        };
    };
    done("visit", bench.storage().visit(ObjectKind::Segments, visit))?;
    let opened = opened?;
    ensure!(opened == 3, "{opened} of 3 objects were shown");
    Ok(())
}

pub(crate) fn sweeping_takes_nothing_that_is_alive<H: Harness>(harness: &H) -> Verdict {
    let bench = Bench::new(harness);
    bench.storage().sweep();
    drop(bench.make(&segment(0), LENGTH)?);
    let staged = done("stage", bench.storage().stage(&segment(1), &stage(LENGTH)))?;
    let guard = done("lock", bench.storage().lock(&Object::WriterLock))?;
    bench.other().sweep();
    drop(done("publish after a sweep", bench.storage().publish(staged))?);
    let names = visited(bench.other(), ObjectKind::Segments)?;
    ensure!(names.len() == 2, "after a sweep a visit shows {names:?}");
    fails("locking", ErrorKind::Locked, bench.other().lock(&Object::WriterLock))?;
    drop(guard);
    Ok(())
}

pub(crate) fn preparing_twice_changes_nothing<H: Harness>(harness: &H) -> Verdict {
    let bench = Bench::new(harness);
    done("prepare", bench.storage().prepare(false))?;
    drop(bench.make(&reader("a")?, LENGTH)?);
    done("prepare again", bench.other().prepare(false))?;
    let taken = publish(bench.storage(), &reader("a")?, LENGTH)?;
    fails("publishing a name that is taken", ErrorKind::AlreadyExists, taken)?;
    make(bench.other(), &reader("b")?, LENGTH).map(drop)
}

/// The names that a visit shows, sorted.
pub(crate) fn visited<S: Storage>(storage: &S, kind: ObjectKind) -> Result<Vec<String>, Stop> {
    let mut names = Vec::new();
    done("visit", storage.visit(kind, |object| names.push(object.to_string())))?;
    names.sort();
    Ok(names)
}
