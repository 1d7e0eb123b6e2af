//! Locks that can only be looked at by taking one, and files of makers that are gone.
#![cfg(any(target_os = "macos", chronicle_darwin_shim))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;
use std::thread;

use chronicle_platform_macos::MacosPlatform;
use chronicle_sync::format::Holder;
use chronicle_sync::{Clock, LockState, Object, Platform, Stage, Storage};

fn platform(directory: &Path) -> MacosPlatform {
    MacosPlatform::open(&CString::new(directory.as_os_str().as_bytes()).unwrap()).unwrap()
}

#[test]
fn looking_at_a_lock_keeps_nobody_from_taking_it() {
    let directory = tempfile::tempdir().unwrap();
    let storage = platform(directory.path());
    let storage = storage.storage();
    drop(storage.lock(&Object::WriterLock).unwrap());
    thread::scope(|scope| {
        let locker = scope.spawn(|| {
            for _ in 0..300 {
                drop(storage.lock(&Object::WriterLock).unwrap());
            }
        });
        while !locker.is_finished() {
            storage.lock_state(&Object::WriterLock).unwrap();
        }
    });
}

#[test]
fn the_holder_is_written_down_with_the_time_at_which_it_started() {
    let directory = tempfile::tempdir().unwrap();
    let platform = platform(directory.path());
    let guard = platform.storage().lock(&Object::WriterLock).unwrap();
    platform.storage().inscribe(&guard, 7).unwrap();
    let LockState::Held(Some(holder)) = platform.storage().lock_state(&Object::WriterLock).unwrap()
    else {
        unreachable!("nobody holds it")
    };
    let Holder { pid, start_time, boot, epoch } = holder;
    assert_eq!((pid, boot, epoch), (std::process::id(), platform.clock().boot(), 7));
    assert_ne!(start_time, 0);
}

#[test]
fn files_of_makers_that_are_gone_are_swept_and_no_others() {
    let directory = tempfile::tempdir().unwrap();
    let platform = platform(directory.path());
    let mut child = Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    let dead = format!("000000000.q.{:08x}00000000.tmp", child.id());
    // The number of a living process that started at another time.
    let reused =
        |started: u16| format!("000000001.q.{:08x}{started:04x}0000.tmp", std::process::id());
    let stage = Stage { length: 4096, reserved: 4096, group_readable: false };
    let staged = platform.storage().stage(&Object::Control, &stage).unwrap();
    let others = ["000000002.q.0000.tmp", "notes.00000000ffffffff.tmp"].map(str::to_owned);
    for name in [dead, reused(0), reused(1)].iter().chain(&others) {
        std::fs::write(directory.path().join(name), "").unwrap();
    }
    platform.storage().sweep();
    let mut left: Vec<_> = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with("control.meta."))
        .collect();
    left.sort();
    assert_eq!(left, others);
    drop(platform.storage().publish(staged).unwrap());
}
