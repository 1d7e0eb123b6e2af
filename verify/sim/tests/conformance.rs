//! The simulated machine does what a backend has to do. It lives in one thread, so the levels that need
//! several are not for it.

use std::cell::Cell;

use chronicle_conformance::{
    Harness, PowerLoss, Watches, durable_level, memory_level, power_loss_level, watch_level,
};
use chronicle_sim::{Kept, NameOrder, SimPlatform, SimWatch};

struct Machine {
    sector: usize,
    names: NameOrder,
    kept: Kept,
    /// Seed of the next machine.
    seed: Cell<u64>,
}

impl Machine {
    fn new(sector: usize, names: NameOrder, kept: Kept) -> Self {
        Self { sector, names, kept, seed: Cell::new(1) }
    }
}

impl Harness for Machine {
    type Platform = SimPlatform;
    type Place = SimPlatform;

    fn place(&self) -> SimPlatform {
        SimPlatform::with_medium(self.seed.replace(self.seed.get() + 1), self.sector)
    }

    fn open(&self, place: &SimPlatform) -> SimPlatform {
        place.another()
    }
}

impl PowerLoss for Machine {
    fn lose_power(&self, place: &SimPlatform) {
        place.lose_power(self.names, self.kept);
    }
}

impl Watches for Machine {
    type Watch = SimWatch;

    fn watch(&self, platform: &SimPlatform) -> SimWatch {
        platform.watch()
    }
}

fn machine() -> Machine {
    Machine::new(512, NameOrder::Ordered, Kept::Nothing)
}

#[test]
fn memory() {
    memory_level(&machine()).assert_passed();
}

#[test]
fn durable() {
    durable_level(&machine()).assert_passed();
}

#[test]
fn power_loss() {
    for sector in [64, 512, 4096] {
        for names in [NameOrder::Ordered, NameOrder::Free] {
            for kept in [Kept::Nothing, Kept::Everything] {
                power_loss_level(&Machine::new(sector, names, kept)).assert_passed();
            }
            let random = Machine::new(sector, names, Kept::Random);
            for _ in 0..20 {
                power_loss_level(&random).assert_passed();
            }
        }
    }
}

#[test]
fn watch() {
    watch_level(&machine()).assert_passed();
}
