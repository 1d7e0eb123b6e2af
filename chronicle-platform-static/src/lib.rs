//! A backend of Chronicle's seam for machines without an operating system: a queue in memory that is
//! there from the start.
//!
//! [`Slots`] is room for so many objects of up to so many bytes each; put it into a `static`. What a
//! machine has to bring along is a clock and a way to sleep, or to spin:
//! [`Clock`](chronicle_sync::Clock) and [`Park`](chronicle_sync::Park). [`Slots::platform`] makes a
//! [`Platform`](chronicle_sync::Platform) of the three. `examples/freestanding` is such a machine.
//!
//! Nothing allocates, and nothing survives the loss of power: syncs have nothing to do, and a
//! queue that was flushed is as gone as one that was not.
//!
//! Objects may be opened from several threads or processors; whoever opens, publishes or removes one
//! holds a spin lock for a few loads. Appending and reading take no lock. Code that interrupts others
//! must not open or remove objects, nor append where that can roll to another segment, unless the
//! interrupted code never does: it would spin for a lock whose holder does not run.
#![no_std]

mod error;
mod platform;
mod slots;

pub use error::StaticError;
pub use platform::StaticPlatform;
pub use slots::{Slots, StaticGuard, StaticRegion, StaticStaged, StaticStorage};
