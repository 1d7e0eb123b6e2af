//! Objects get their names in one step, and nothing is replaced or left behind.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::os::unix::fs::MetadataExt;

use chronicle_sync::RegionMutExt;
use chronicle_sync::{Error, ErrorKind, Object, ObjectKind, Region, RegionExt, Stage, Storage};
use support::{Queue, make, platform, reader, segment, stage, with_failing};

#[test]
fn an_object_is_invisible_until_it_is_published() {
    let queue = Queue::new();
    let staged = queue.storage().stage(&segment(0), &stage(8192)).unwrap();
    assert_eq!(queue.storage().open(&segment(0)).unwrap_err().kind(), ErrorKind::NotFound);
    staged.store_words(0, &[7]).unwrap();
    let base = staged.base();
    let map = queue.storage().publish(staged).unwrap();
    assert_eq!((map.base(), map.size()), (base, 8192));
    assert_eq!(queue.storage().view(&segment(0)).unwrap().copy_words(0), Some([7, 0]));
    assert_eq!(queue.names(), ["000000000.q"]);
}

#[test]
fn an_object_that_is_dropped_before_it_is_published_leaves_nothing() {
    let queue = Queue::new();
    drop(queue.storage().stage(&segment(0), &stage(8192)).unwrap());
    drop(queue.storage().stage(&reader("a"), &stage(8192)).unwrap());
    assert_eq!(queue.names(), ["readers"]);
    assert!(support::names(&queue.path("readers")).is_empty());
}

fn the_name_is_not_replaced(queue: &Queue) {
    let first = queue.make(&segment(3), 4096);
    first.store_words(0, &[1]).unwrap();
    let second = queue.storage().stage(&segment(3), &stage(4096)).unwrap();
    second.store_words(0, &[2]).unwrap();
    let error = queue.storage().publish(second).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}");
    assert_eq!(queue.storage().view(&segment(3)).unwrap().copy_words(0), Some([1]));
    assert_eq!(queue.names(), ["000000003.q"]);
}

#[test]
fn publishing_never_replaces_and_the_loser_leaves_nothing() {
    the_name_is_not_replaced(&Queue::new());
}

#[test]
fn without_renameat2_publishing_links_and_still_never_replaces() {
    for errno in [libc::EINVAL, libc::ENOSYS] {
        let queue = Queue::new();
        with_failing(libc::SYS_renameat2, errno, || the_name_is_not_replaced(&queue));
        assert_eq!(queue.path("000000003.q").metadata().unwrap().nlink(), 1);
    }
}

#[test]
fn one_of_many_publishers_of_a_name_wins() {
    let queue = Queue::new();
    let won: usize = std::thread::scope(|scope| {
        let publishers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let storage = queue.storage();
                    let staged = storage.stage(&segment(0), &stage(4096)).unwrap();
                    usize::from(storage.publish(staged).is_ok())
                })
            })
            .collect();
        publishers.into_iter().map(|publisher| publisher.join().unwrap()).sum()
    });
    assert_eq!(won, 1);
    assert_eq!(queue.names(), ["000000000.q"]);
}

#[test]
fn a_published_object_can_be_locked_at_once() {
    let queue = Queue::new();
    let _map = queue.make(&reader("a"), 4096);
    queue.storage().lock(&reader("a")).unwrap();
}

#[test]
fn visits_show_what_has_an_objects_name() {
    let queue = Queue::new();
    let visited = |kind| {
        let mut names = Vec::new();
        let visit = |object: Object| names.push(object.to_string());
        queue.storage().visit(kind, visit).unwrap();
        names.sort();
        names
    };
    assert!(visited(ObjectKind::Readers).is_empty());
    let mut expected = Vec::new();
    for id in 0..300 {
        queue.make(&segment(id), 0);
        expected.push(segment(id).to_string());
    }
    queue.make(&Object::Control, 0);
    queue.make(&reader("a"), 0);
    queue.make(&reader("b"), 0);
    for other in ["1.q", "000000001.q.tmp", "readers/a.b.meta", "readers/000000001.q", "x.meta"] {
        std::fs::write(queue.path(other), "").unwrap();
    }
    assert_eq!(visited(ObjectKind::Segments), expected);
    assert_eq!(visited(ObjectKind::Segments), expected, "a second time");
    assert_eq!(visited(ObjectKind::Readers), ["readers/a.meta", "readers/b.meta"]);
}

#[test]
fn a_removed_object_stays_for_whoever_has_it_open() {
    let queue = Queue::new();
    let map = queue.make(&segment(0), 4096);
    let view = queue.storage().view(&segment(0)).unwrap();
    queue.storage().remove(&segment(0)).unwrap();
    assert_eq!(queue.storage().remove(&segment(0)).unwrap_err().kind(), ErrorKind::NotFound);
    map.store_words(0, &[5]).unwrap();
    assert_eq!(view.copy_words(0), Some([5]));
    queue.storage().sync(&map, 0..8, chronicle_sync::Durability::Durable).unwrap();
}

#[test]
fn names_are_synced_with_and_without_readers() {
    let queue = Queue::new();
    queue.storage().sync_names().unwrap();
    queue.make(&reader("a"), 4096);
    queue.storage().sync_names().unwrap();
}

#[test]
fn a_failed_sync_is_an_error() {
    let queue = Queue::new();
    let map = queue.make(&segment(0), 4096);
    let sync = || queue.storage().sync(&map, 0..4096, chronicle_sync::Durability::Ordered);
    let error = with_failing(libc::SYS_msync, libc::EIO, sync).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert_eq!(error.to_string(), "msync: Input/output error (os error 5)");
    // Not `Exhausted`, which would say that nothing has happened and that another try is as good.
    let error = with_failing(libc::SYS_msync, libc::ENOMEM, sync).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    let staged = queue.storage().stage(&segment(1), &stage(4096)).unwrap();
    queue.storage().sync_staged(&staged).unwrap();
    let sync = || queue.storage().sync_staged(&staged);
    assert_eq!(with_failing(libc::SYS_fsync, libc::EIO, sync).unwrap_err().kind(), ErrorKind::Io);
    let sync = || queue.storage().sync_names();
    let error = with_failing(libc::SYS_fsync, libc::EIO, sync).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
}

#[test]
fn staging_with_impossible_sizes_is_an_error_and_leaves_nothing() {
    let queue = Queue::new();
    for (length, reserved) in [(u64::MAX, 0), (i64::MAX as u64, 0), (4096, 8192)] {
        let stage = Stage { length, reserved, group_readable: false };
        let error = queue.storage().stage(&segment(0), &stage).unwrap_err();
        eprintln!("{length} bytes: {error}");
    }
    assert!(queue.names().is_empty());
}

#[test]
fn a_directory_is_needed() {
    let queue = Queue::new();
    queue.make(&segment(0), 0);
    let path = queue.path("000000000.q");
    let flags = rustix::fs::OFlags::RDONLY;
    let file = rustix::fs::open(path.to_str().unwrap(), flags, rustix::fs::Mode::empty());
    let error = chronicle_platform_linux::LinuxPlatform::new(file.unwrap()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotRegular);
    assert_eq!(error.to_string(), "openat: Not a directory (os error 20)");
}

#[test]
fn what_is_mapped_can_be_used_from_any_thread() {
    fn any_thread<T: Send + Sync>(_: &T) {}
    let queue = Queue::new();
    any_thread(&queue.platform);
    any_thread(&queue.storage().stage(&segment(1), &stage(0)).unwrap());
    any_thread(&make(queue.storage(), &segment(0), 0));
    any_thread(&queue.storage().view(&segment(0)).unwrap());
    any_thread(&queue.storage().lock(&Object::WriterLock).unwrap());
    any_thread(&platform(queue.directory.path()).watch().unwrap());
}
