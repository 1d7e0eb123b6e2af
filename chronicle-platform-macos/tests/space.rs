//! Objects have the space that was asked for, and reserving it keeps their bytes.
#![cfg(any(target_os = "macos", chronicle_darwin_shim))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use chronicle_platform_macos::MacosPlatform;
use chronicle_sync::{Object, Platform, RegionExt, RegionMutExt, Stage, Storage};

const LENGTH: u64 = 1 << 20;
/// Neither a multiple of what is written at a time nor of a page.
const RESERVED: u64 = 200 << 10;

fn platform(directory: &Path) -> MacosPlatform {
    MacosPlatform::open(&CString::new(directory.as_os_str().as_bytes()).unwrap()).unwrap()
}

/// Bytes of an object that have space.
fn space(directory: &Path, object: &Object) -> u64 {
    directory.join(object.to_string()).metadata().unwrap().blocks() * 512
}

#[test]
fn a_new_object_has_the_space_that_was_asked_for_and_holes_behind_it() {
    let directory = tempfile::tempdir().unwrap();
    let platform = platform(directory.path());
    let stage = Stage { length: LENGTH, reserved: RESERVED, group_readable: false };
    let staged = platform.storage().stage(&Object::Control, &stage).unwrap();
    drop(platform.storage().publish(staged).unwrap());
    let space = space(directory.path(), &Object::Control);
    assert!((RESERVED..LENGTH).contains(&space), "{space} bytes have space");
}

#[test]
fn reserving_gives_holes_space_and_keeps_every_byte() {
    let directory = tempfile::tempdir().unwrap();
    let platform = platform(directory.path());
    let stage = Stage { length: LENGTH, reserved: RESERVED, group_readable: false };
    let staged = platform.storage().stage(&Object::Control, &stage).unwrap();
    let map = platform.storage().publish(staged).unwrap();
    for at in (0..RESERVED).step_by(8) {
        map.store_words(at, &[at + 1]).unwrap();
    }
    for range in [100..RESERVED + 5, 0..LENGTH] {
        platform.storage().reserve(&map, range).unwrap();
    }
    for at in (0..LENGTH).step_by(8) {
        let expected = if at < RESERVED { at + 1 } else { 0 };
        assert_eq!(map.copy_words(at), Some([expected]), "the word at {at}");
    }
    assert!(space(directory.path(), &Object::Control) >= LENGTH);
}

#[test]
fn prefaulting_gives_no_space_and_takes_none() {
    let directory = tempfile::tempdir().unwrap();
    let platform = platform(directory.path());
    let stage = Stage { length: LENGTH, reserved: 0, group_readable: false };
    let staged = platform.storage().stage(&Object::Control, &stage).unwrap();
    let map = platform.storage().publish(staged).unwrap();
    platform.storage().prefault(&map, 0..LENGTH);
    assert!(space(directory.path(), &Object::Control) < LENGTH);
}
