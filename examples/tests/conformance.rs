//! The backend of the example does what a backend of one process has to do. A backend of one's own is
//! tested like this.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(dead_code, reason = "the example's own program is not run here")]

#[path = "../custom_backend.rs"]
mod custom_backend;

use chronicle_conformance::{Harness, durable_level, memory_level, thread_level};
use custom_backend::Partition;
use tempfile::TempDir;

struct Custom;

/// A directory with a partition, and the partition, opened: handles are clones.
struct Place {
    partition: Partition,
    _home: TempDir,
}

impl Harness for Custom {
    type Platform = Partition;
    type Place = Place;

    fn place(&self) -> Place {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("partition");
        Partition::format(&path).unwrap();
        Place { partition: Partition::open(&path).unwrap(), _home: home }
    }

    fn open(&self, place: &Place) -> Partition {
        place.partition.clone()
    }
}

#[test]
fn memory() {
    memory_level(&Custom).assert_passed();
}

#[test]
fn threads() {
    thread_level(&Custom).assert_passed();
}

#[test]
fn durable() {
    durable_level(&Custom).assert_passed();
}
