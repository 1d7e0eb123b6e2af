//! Which workloads are explored, in which order: all short ones, then random ones without end.

use crate::crash::NameOrder;
use crate::workload::{Op, Setup, Workload};
use crate::world::Faults;

/// The machines and queues that are explored in turn.
pub const SETUPS: &[Setup] = &[
    Setup { segment_size: 8192, sector: 512, names: NameOrder::Ordered },
    Setup { segment_size: 4096, sector: 512, names: NameOrder::Free },
    Setup { segment_size: 4096, sector: 64, names: NameOrder::Ordered },
    Setup { segment_size: 8192, sector: 4096, names: NameOrder::Free },
    Setup { segment_size: 16384, sector: 512, names: NameOrder::Free },
];

/// The most operations of a workload.
const LONGEST: usize = 6;
/// Calls of the seam after which a process dies, at most.
const LATEST_DEATH: u32 = 60;
/// Syncs after which one fails, at most.
const LATEST_FAULT: u32 = 24;

/// A workload, and whether only its last operation is to be explored, since a shorter one covers the
/// others.
#[derive(Clone, Debug)]
pub struct Planned {
    /// The workload.
    pub workload: Workload,
    /// Whether the moments before its last operation are those of a shorter workload.
    pub last_only: bool,
}

/// All workloads in an order of their own: those of up to `exhaustive` operations first, on every
/// setup.
#[derive(Clone, Debug)]
pub struct Plan {
    exhaustive: u32,
    seed: u64,
}

impl Plan {
    /// A plan; equal seeds give equal plans.
    #[must_use]
    pub fn new(exhaustive: u32, seed: u64) -> Self {
        Self { exhaustive, seed }
    }

    /// How many workloads are exhaustive.
    #[must_use]
    pub fn exhaustive(&self) -> u64 {
        let ops = Op::ALL.len() as u64;
        (0..=self.exhaustive).map(|length| ops.pow(length)).sum::<u64>() * SETUPS.len() as u64
    }

    /// The workload with this number.
    #[must_use]
    pub fn get(&self, number: u64) -> Planned {
        let setup = SETUPS[(number % SETUPS.len() as u64) as usize];
        let base = Op::ALL.len() as u64;
        let mut left = number / SETUPS.len() as u64;
        for length in 0..=self.exhaustive {
            let of_this_length = base.pow(length);
            if left >= of_this_length {
                left -= of_this_length;
                continue;
            }
            let digit = |at: u32| Op::ALL[(left / base.pow(at) % base) as usize];
            let ops: Vec<Op> = (0..length).map(digit).collect();
            return Planned { workload: Workload::new(setup, &ops), last_only: length > 0 };
        }
        self.random(setup, number)
    }

    fn random(&self, setup: Setup, number: u64) -> Planned {
        let seed = self.seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut random = fastrand::Rng::with_seed(seed);
        let length = random.usize(3..=LONGEST);
        let ops: Vec<Op> = (0..length).map(|_| Op::ALL[random.usize(..Op::ALL.len())]).collect();
        let die =
            (random.u8(..3) == 0).then(|| (random.usize(..length), random.u32(..LATEST_DEATH)));
        let fail_sync = (random.u8(..6) == 0).then(|| random.u32(..LATEST_FAULT));
        let faults = Faults { fail_sync, ..Faults::default() };
        Planned { workload: Workload { setup, ops, die, faults }, last_only: false }
    }
}
