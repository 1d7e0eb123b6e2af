//! The Linux backend does what a backend has to do, between processes too.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use chronicle_conformance::{
    Harness, Processes, Watches, durable_level, memory_level, process_level_tests, thread_level,
    watch_level,
};
use chronicle_platform_linux::{LinuxPlatform, LinuxWatch};
use tempfile::TempDir;

struct Linux;

impl Harness for Linux {
    type Platform = LinuxPlatform;
    type Place = TempDir;

    fn place(&self) -> TempDir {
        tempfile::tempdir().unwrap()
    }

    fn open(&self, place: &TempDir) -> LinuxPlatform {
        self.open_address(place.path().as_os_str())
    }
}

impl Processes for Linux {
    fn address(&self, place: &TempDir) -> OsString {
        place.path().as_os_str().to_owned()
    }

    fn open_address(&self, address: &OsStr) -> LinuxPlatform {
        LinuxPlatform::open(&CString::new(address.as_bytes()).unwrap()).unwrap()
    }
}

impl Watches for Linux {
    type Watch = LinuxWatch;

    fn watch(&self, platform: &LinuxPlatform) -> LinuxWatch {
        platform.watch().unwrap()
    }
}

#[test]
fn memory() {
    memory_level(&Linux).assert_passed();
}

#[test]
fn threads() {
    thread_level(&Linux).assert_passed();
}

#[test]
fn durable() {
    durable_level(&Linux).assert_passed();
}

#[test]
fn watch() {
    watch_level(&Linux).assert_passed();
}

process_level_tests!(Linux);
