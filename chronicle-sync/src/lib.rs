//! The seam between a Chronicle queue and its operating system, and the queue's lock-free
//! algorithms.
//!
//! The algorithms ([`commit`], [`seqlock`], [`notify`], [`notify_any`], [`lease`], [`seal`],
//! [`slots`], [`watermark`]) work on references to shared words and never see a mapping, so that loom
//! can supply the words: build with `--cfg chronicle_loom` and the word types are loom's. The models
//! are in `verify/loom`.
//!
//! The seam ([`Region`], [`Storage`], [`Park`], [`Clock`], bundled as [`Platform`]) is what a new
//! operating system or runtime implements. Nothing in it is a path, allocates, or is `dyn`.
#![cfg_attr(not(chronicle_loom), no_std)]
#![allow(clippy::disallowed_types, reason = "the words that the ban keeps out of other crates")]

pub mod commit;
pub mod handoff;
pub mod lease;
pub mod mutation;
pub mod notify;
pub mod notify_any;
mod platform;
mod primitive;
pub mod retention;
pub mod seal;
pub mod seqlock;
pub mod slots;
pub mod watermark;

#[cfg(not(chronicle_loom))]
mod checksum;
#[cfg(not(chronicle_loom))]
mod cursor;
#[cfg(not(chronicle_loom))]
mod exactly;
#[cfg(not(chronicle_loom))]
mod prefetch;
#[cfg(not(chronicle_loom))]
pub mod record;
#[cfg(not(chronicle_loom))]
mod words;

#[cfg(not(chronicle_loom))]
pub use checksum::Checksum;
pub use chronicle_format as format;
#[cfg(not(chronicle_loom))]
pub use cursor::WriteCursor;
#[cfg(not(chronicle_loom))]
pub use exactly::Exactly;
pub use platform::{
    Clock, Durability, Error, ErrorKind, Instant, LockState, NoProbe, Object, ObjectKind, Park,
    Platform, Probe, Region, RegionMut, Site, Stage, Storage, Wake, Watch,
};
pub use primitive::{AtomicU32, AtomicU64, ReadU32, ReadU64};
#[cfg(not(chronicle_loom))]
pub use words::{RegionExt, RegionMutExt};

#[cfg(not(target_has_atomic = "64"))]
compile_error!("chronicle-sync needs 64-bit atomics: the commit word is stored in one piece");
