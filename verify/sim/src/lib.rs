//! A deterministic simulator under the engine of a queue, and an explorer of what crashes leave.
//!
//! The shipping engine runs on a machine of heap memory, [`SimPlatform`], in one thread. Everything
//! that it stores is recorded; then the machine is stopped at every moment, in every way that a medium
//! allows, and what is left is recovered by the same engine and held against what is known from
//! outside. `docs/simulator.md` says how storage is modelled and what is promised.
#![allow(clippy::indexing_slicing, reason = "indexes what it made itself, and should fail loudly")]

mod check;
mod crash;
mod explore;
mod facts;
mod failure;
mod history;
mod lies;
mod memory;
mod plan;
mod platform;
mod power;
mod select;
mod workload;
mod world;

pub use check::{Stop, Tally};
pub use crash::NameOrder;
pub use explore::{Seen, Totals, Worker};
pub use failure::Failure;
pub use history::Space;
pub use memory::{SimMap, SimStaged, SimView};
pub use plan::{Plan, Planned, SETUPS};
pub use platform::{SimClock, SimGuard, SimPark, SimPlatform, SimProbe, SimStorage, SimWatch};
pub use power::Kept;
pub use workload::{Op, Run, Setup, Workload, run};
pub use world::{Faults, SimError};
