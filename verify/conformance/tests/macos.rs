//! The macOS backend does what a backend has to do, between processes too. On Linux it is its source
//! over a shim of Darwin's calls (`cargo xtask platforms`).
#![cfg(any(target_os = "macos", chronicle_darwin_shim))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use chronicle_conformance::{
    Harness, Processes, Watches, durable_level, memory_level, process_level_tests, thread_level,
    watch_level,
};
use chronicle_platform_macos::{MacosPlatform, MacosWatch};
use tempfile::TempDir;

struct Macos;

impl Harness for Macos {
    type Platform = MacosPlatform;
    type Place = TempDir;

    fn place(&self) -> TempDir {
        tempfile::tempdir().unwrap()
    }

    fn open(&self, place: &TempDir) -> MacosPlatform {
        self.open_address(place.path().as_os_str())
    }
}

impl Processes for Macos {
    fn address(&self, place: &TempDir) -> OsString {
        place.path().as_os_str().to_owned()
    }

    fn open_address(&self, address: &OsStr) -> MacosPlatform {
        MacosPlatform::open(&CString::new(address.as_bytes()).unwrap()).unwrap()
    }
}

impl Watches for Macos {
    type Watch = MacosWatch;

    fn watch(&self, platform: &MacosPlatform) -> MacosWatch {
        platform.watch().unwrap()
    }
}

#[test]
fn memory() {
    memory_level(&Macos).assert_passed();
}

#[test]
fn threads() {
    thread_level(&Macos).assert_passed();
}

#[test]
fn durable() {
    durable_level(&Macos).assert_passed();
}

#[test]
fn watch() {
    watch_level(&Macos).assert_passed();
}

process_level_tests!(Macos);
