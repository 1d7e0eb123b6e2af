//! Locks between processes, and what their holders write down.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use chronicle_sync::format::Holder;
use chronicle_sync::{Clock, Error, ErrorKind, LockState, Object, Platform, RegionExt, Storage};
use support::{
    Process, Queue, given_directory, platform, reader, segment, tell, until_told, with_failing,
};

const LOCK: Object = Object::WriterLock;

#[test]
#[ignore = "other tests run it as a process of its own"]
fn process_that_holds_the_lock() {
    let Some(directory) = given_directory() else { return };
    let platform = platform(&directory);
    let guard = platform.storage().lock(&LOCK).unwrap();
    platform.storage().inscribe(&guard, 77).unwrap();
    tell(&directory, "locked");
    until_told(&directory, "never");
}

#[test]
fn a_process_keeps_others_out_until_it_is_killed() {
    let queue = Queue::new();
    let mut process = Process::run("process_that_holds_the_lock", queue.directory.path());
    until_told(queue.directory.path(), "locked");
    let error = queue.storage().lock(&LOCK).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked, "{error}");
    assert_eq!(error.to_string(), "fcntl: Resource temporarily unavailable (os error 11)");
    let LockState::Held(Some(holder)) = queue.storage().lock_state(&LOCK).unwrap() else {
        panic!("not held by anybody known")
    };
    assert_ne!(holder.pid, queue.storage().process_id());
    assert_eq!((holder.epoch, holder.boot), (77, queue.platform.clock().boot()));
    process.kill();
    assert_eq!(queue.storage().lock_state(&LOCK), Ok(LockState::Free));
    queue.storage().lock(&LOCK).unwrap();
}

#[test]
fn a_lock_excludes_within_a_process_until_it_is_dropped() {
    let queue = Queue::new();
    let guard = queue.storage().lock(&LOCK).unwrap();
    assert_eq!(queue.storage().lock(&LOCK).unwrap_err().kind(), ErrorKind::Locked);
    // The older kind of lock would end with the first close of any open of the file.
    drop(std::fs::read(queue.path("writer.lock")).unwrap());
    drop(queue.storage().view(&LOCK).unwrap());
    assert_eq!(queue.storage().lock_state(&LOCK), Ok(LockState::Held(None)));
    drop(guard);
    queue.storage().lock(&LOCK).unwrap();
    assert!(queue.path("writer.lock").exists());
}

#[test]
fn other_objects_are_locked_only_if_they_are_there() {
    let queue = Queue::new();
    for object in [segment(0), reader("a")] {
        assert_eq!(queue.storage().lock(&object).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(queue.storage().lock_state(&object), Ok(LockState::Free));
        queue.make(&object, 4096);
        let _guard = queue.storage().lock(&object).unwrap();
        assert_eq!(queue.storage().lock(&object).unwrap_err().kind(), ErrorKind::Locked);
        assert_eq!(queue.storage().lock_state(&object), Ok(LockState::Held(None)));
    }
    assert!(!queue.path("writer.lock").exists());
}

#[test]
fn the_holder_is_written_down_as_this_process() {
    let queue = Queue::new();
    let guard = queue.storage().lock(&LOCK).unwrap();
    std::fs::write(queue.path("writer.lock"), "x".repeat(200)).unwrap();
    for epoch in [u32::MAX, 1] {
        queue.storage().inscribe(&guard, epoch).unwrap();
        let text = std::fs::read_to_string(queue.path("writer.lock")).unwrap();
        let boot = queue.platform.clock().boot();
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        // The name of a test's program has no blanks.
        let start_time = stat.split(' ').nth(21).unwrap().parse().unwrap();
        let holder = Holder { pid: std::process::id(), start_time, boot, epoch };
        assert_eq!(text, holder.encode().as_str());
        assert_eq!(queue.storage().lock_state(&LOCK), Ok(LockState::Held(Some(holder))));
    }
}

#[test]
fn a_longer_line_before_does_not_show_through() {
    let queue = Queue::new();
    let _guard = queue.storage().lock(&LOCK).unwrap();
    let new = "pid=1 start_time=2 boot=0000000000000003 epoch=4\n";
    std::fs::write(queue.path("writer.lock"), format!("{new}epoch=99\n")).unwrap();
    let holder = Holder { pid: 1, start_time: 2, boot: 3, epoch: 4 };
    assert_eq!(queue.storage().lock_state(&LOCK), Ok(LockState::Held(Some(holder))));
    std::fs::write(queue.path("writer.lock"), [0xff; 500]).unwrap();
    assert_eq!(queue.storage().lock_state(&LOCK), Ok(LockState::Held(None)));
}

#[test]
fn nothing_is_written_into_an_object_with_bytes_of_its_own() {
    let queue = Queue::new();
    let map = queue.make(&reader("a"), 4096);
    let guard = queue.storage().lock(&reader("a")).unwrap();
    let error = queue.storage().inscribe(&guard, 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(map.copy_words(0), Some([0]));
}

#[test]
fn having_no_right_to_look_is_no_error() {
    let queue = Queue::new();
    let _guard = queue.storage().lock(&LOCK).unwrap();
    let look = || queue.storage().lock_state(&LOCK);
    assert_eq!(with_failing(libc::SYS_openat, libc::EACCES, look), Ok(LockState::Unknown));
}

#[test]
fn locking_goes_on_while_the_file_is_replaced_again_and_again() {
    let queue = Queue::new();
    std::thread::scope(|scope| {
        let replaced = scope.spawn(|| {
            for _ in 0..2000 {
                std::fs::write(queue.path("new"), "").unwrap();
                std::fs::rename(queue.path("new"), queue.path("writer.lock")).unwrap();
            }
        });
        while !replaced.is_finished() {
            match queue.storage().lock(&LOCK) {
                Ok(_) => {}
                Err(error) => assert_eq!(error.kind(), ErrorKind::Locked, "{error}"),
            }
        }
    });
    let _guard = queue.storage().lock(&LOCK).unwrap();
    assert_eq!(queue.storage().lock_state(&LOCK), Ok(LockState::Held(None)));
}

#[test]
fn a_lock_on_a_file_without_a_name_is_none() {
    let queue = Queue::new();
    queue.make(&reader("a"), 4096);
    // As if the name had been taken away between the open and the lock.
    for (object, kind) in [(LOCK, ErrorKind::Locked), (reader("a"), ErrorKind::NotFound)] {
        let lock = || queue.storage().lock(&object).map(drop);
        let error = with_failing(libc::SYS_newfstatat, libc::ENOENT, lock).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        queue.storage().lock(&object).unwrap();
    }
}

/// Runs something in a forked child that then waits to be killed.
struct Forked(libc::pid_t);

impl Forked {
    fn new(act: impl FnOnce()) -> Self {
        // SAFETY: the child allocates nothing, takes no lock and returns from no function of the
        // parent's: it does `act` and waits.
        let child = unsafe { libc::fork() };
        assert!(child >= 0);
        if child == 0 {
            act();
            loop {
                // SAFETY: waits for a signal.
                unsafe { libc::pause() };
            }
        }
        Self(child)
    }
}

impl Drop for Forked {
    fn drop(&mut self) {
        // SAFETY: takes numbers; the child is this process's and was not waited for.
        unsafe { libc::kill(self.0, libc::SIGKILL) };
        // SAFETY: as above; the status is not asked for.
        unsafe { libc::waitpid(self.0, core::ptr::null_mut(), 0) };
    }
}

#[test]
fn a_lock_that_is_let_go_is_free_though_a_child_was_just_forked() {
    let queue = Queue::new();
    let guard = queue.storage().lock(&Object::WriterLock).unwrap();
    let _child = Forked::new(|| {});
    drop(guard);
    queue.storage().lock(&Object::WriterLock).unwrap();
}

#[test]
fn a_forked_child_does_not_let_its_parents_lock_go() {
    let queue = Queue::new();
    let mut guard = Some(queue.storage().lock(&Object::WriterLock).unwrap());
    let done = queue.make(&segment(0), 4096);
    let child = Forked::new(|| {
        drop(guard.take());
        queue.storage().remove(&segment(0)).unwrap();
    });
    support::until("the child lets go", || queue.names() == ["writer.lock"]);
    let state = queue.storage().lock_state(&Object::WriterLock).unwrap();
    assert!(matches!(state, LockState::Held(_)), "{state:?}");
    drop((child, guard, done));
}
