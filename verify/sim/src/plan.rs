//! Which workloads are explored, in which order: all short ones, then random ones without end.

use crate::crash::NameOrder;
use crate::history::Space;
use crate::workload::{Op, Setup, Workload};
use crate::world::Faults;

/// The machines and queues that are explored in turn.
pub const SETUPS: &[Setup] = &[
    setup(8192, 512, NameOrder::Ordered, Space::Zero),
    setup(4096, 512, NameOrder::Free, Space::Recycled),
    setup(4096, 64, NameOrder::Ordered, Space::Zero),
    setup(8192, 4096, NameOrder::Free, Space::Zero),
    setup(16384, 512, NameOrder::Free, Space::Recycled),
];

const fn setup(segment_size: u64, sector: usize, names: NameOrder, space: Space) -> Setup {
    Setup { segment_size, sector, names, space }
}

/// All workloads of up to so many operations come before any other.
const FIRST_LENGTHS: u32 = 2;
/// The most operations of a workload.
const LONGEST: usize = 6;
/// Calls of the seam after which a process dies, at most.
const LATEST_DEATH: u32 = 60;
/// Syncs after which one fails, at most.
const LATEST_FAULT: u32 = 24;
/// Honest syncs before the first that lies, at most.
const LATEST_LIE: u32 = 8;

/// A workload, and whether only its last operation is to be explored, since a shorter one covers the
/// others.
#[derive(Clone, Debug)]
pub struct Planned {
    /// The workload.
    pub workload: Workload,
    /// Whether the moments before its last operation are those of a shorter workload.
    pub last_only: bool,
}

/// Workloads in an order of their own: all of up to two operations first, on every setup. Then longer
/// ones in turn with random ones, and when there are no longer ones any more, random ones without end.
#[derive(Clone, Debug)]
pub struct Plan {
    exhaustive: u32,
    seed: u64,
}

impl Plan {
    /// A plan that contains all workloads of up to `exhaustive` operations; equal seeds give equal plans.
    #[must_use]
    pub fn new(exhaustive: u32, seed: u64) -> Self {
        Self { exhaustive, seed }
    }

    /// How many workloads are exhaustive.
    #[must_use]
    pub fn exhaustive(&self) -> u64 {
        workloads_of_up_to(self.exhaustive)
    }

    /// How many of the first so many workloads are exhaustive ones.
    #[must_use]
    pub fn exhaustive_among(&self, first: u64) -> u64 {
        let before = self.before_random();
        let beyond = first.saturating_sub(before).div_ceil(2);
        first.min(before) + beyond.min(self.exhaustive() - before)
    }

    /// How many workloads come before the first random one.
    fn before_random(&self) -> u64 {
        workloads_of_up_to(self.exhaustive.min(FIRST_LENGTHS))
    }

    /// The workload with this number.
    #[must_use]
    pub fn get(&self, number: u64) -> Planned {
        let before = self.before_random();
        if number < before {
            return nth_exhaustive(number);
        }
        let beyond = number - before;
        let exhaustive = before + beyond / 2;
        if beyond.is_multiple_of(2) && exhaustive < self.exhaustive() {
            nth_exhaustive(exhaustive)
        } else {
            self.random(SETUPS[(number % SETUPS.len() as u64) as usize], number)
        }
    }

    fn random(&self, setup: Setup, number: u64) -> Planned {
        let seed = self.seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut random = fastrand::Rng::with_seed(seed);
        let length = random.usize(3..=LONGEST);
        let ops: Vec<Op> = (0..length).map(|_| Op::ALL[random.usize(..Op::ALL.len())]).collect();
        let die =
            (random.u8(..3) == 0).then(|| (random.usize(..length), random.u32(..LATEST_DEATH)));
        let fail_sync = (random.u8(..6) == 0).then(|| random.u32(..LATEST_FAULT));
        let lies_after = (random.u8(..8) == 0).then(|| random.u32(..LATEST_LIE));
        let faults = Faults { fail_sync, lies_after, ..Faults::default() };
        Planned { workload: Workload { setup, ops, die, faults }, last_only: false }
    }
}

/// How many workloads of up to so many operations there are, on all setups.
fn workloads_of_up_to(length: u32) -> u64 {
    let ops = Op::ALL.len() as u64;
    (0..=length).map(|length| ops.pow(length)).sum::<u64>() * SETUPS.len() as u64
}

/// The workload with this number among those without faults, the short ones first.
fn nth_exhaustive(number: u64) -> Planned {
    let setup = SETUPS[(number % SETUPS.len() as u64) as usize];
    let base = Op::ALL.len() as u64;
    let mut left = number / SETUPS.len() as u64;
    let mut length = 0;
    while left >= base.pow(length) {
        left -= base.pow(length);
        length += 1;
    }
    let digit = |at: u32| Op::ALL[(left / base.pow(at) % base) as usize];
    let ops: Vec<Op> = (0..length).map(digit).collect();
    Planned { workload: Workload::new(setup, &ops), last_only: length > 0 }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_short_workload_is_planned_once_and_random_ones_do_not_wait_for_the_long_ones() {
        let plan = Plan::new(3, 1);
        let short = workloads_of_up_to(2);
        let mut seen = HashSet::new();
        let mut exhaustive = 0;
        for number in 0..2 * plan.exhaustive() {
            let Planned { workload, last_only } = plan.get(number);
            let is_exhaustive = last_only || workload.ops.is_empty();
            assert!(is_exhaustive || number > short, "{number}");
            assert_eq!(plan.exhaustive_among(number), exhaustive, "{number}");
            if is_exhaustive {
                exhaustive += 1;
                assert!(seen.insert(workload.to_string()), "{workload} is planned twice");
            }
        }
        assert_eq!(seen.len() as u64, plan.exhaustive());
        assert_eq!(plan.exhaustive(), (1 + 16 + 256 + 4096) * SETUPS.len() as u64);
    }
}
