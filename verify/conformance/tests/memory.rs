//! The backend on the heap does what a backend has to do.

use chronicle_conformance::memory::MemoryHarness;
use chronicle_conformance::{durable_level, memory_level, power_loss_level, thread_level};

#[test]
fn memory() {
    memory_level(&MemoryHarness).assert_passed();
}

#[test]
fn threads() {
    thread_level(&MemoryHarness).assert_passed();
}

#[test]
fn durable() {
    durable_level(&MemoryHarness).assert_passed();
    power_loss_level(&MemoryHarness).assert_passed();
}
