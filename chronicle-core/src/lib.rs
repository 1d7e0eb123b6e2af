//! The queue engine of Chronicle: append, tail, roll, recover. One writer, many readers.
//!
//! Generic over [`Platform`], without `std` and without an allocator. Programs that have both use
//! `chronicle-std`, which puts this together with the operating system's backend.
//!
//! - [`create`] makes a queue, [`Appender`] writes to it, [`Tailer`] reads from it.
//! - [`Watermarks`] says how far the queue is visible, durable and replicated, and waits for it.
//! - [`FanIn`] reads several queues as one, [`ParkAny`] sleeps on several.
//! - [`Inspection`] looks at a queue from outside and changes nothing.
//!
//! `docs/protocol.md` says which steps are taken in which order, and what is found after a crash
//! between any two of them.
#![no_std]
#![forbid(unsafe_code)]

mod age;
mod appender;
mod checkpoint;
mod control;
mod create;
mod durable;
mod error;
mod fan_in;
mod index;
mod inspect;
mod readers;
mod recover;
mod remove;
mod retention;
mod reverse;
mod salvage;
mod seek;
mod seek_cache;
mod segment;
mod stamp;
mod start;
mod supply;
mod tailer;
mod verify;
mod wait;
mod walk;
mod watermarks;
mod writable;

pub use appender::{Appender, AppenderStats, Claim, DEFAULT_STEP, Fast, Now, Time, WriteOptions};
pub use chronicle_format::{
    DEFAULT_SEGMENT_SIZE, FormatError, Holder, Position, ReaderName, ReaderPolicy, RetentionPolicy,
    SegmentId, SegmentSize, TypeId,
};
pub use chronicle_sync::{NoProbe, Object, Platform, Probe, Site};
pub use control::Hint;
pub use create::{CreateOptions, create};
pub use durable::Syncer;
pub use error::{Damage, Error, Fault, Operation};
pub use fan_in::{
    FanIn, FanInError, FromSource, Hold, MergeKey, Merged, Patience, Rejection, SourceId,
};
pub use index::repair_index;
pub use inspect::{Head, Inspection, ReaderReport};
pub use readers::{Registration, remove_reader};
pub use recover::{Cut, RecoveryReport};
pub use remove::{Leftovers, Remover, apply_retention};
pub use retention::{Fate, HoldingReader, RetentionPlan, RetentionReport, plan_retention};
pub use reverse::Reversed;
pub use salvage::{SalvageBounds, SalvageGap, Salvaged, guess_start, salvage};
pub use seek::Sought;
pub use seek_cache::SeekCache;
pub use start::Start;
pub use supply::{
    NoSupply, PreparedSegment, RetiredSegment, Space, Supply, prepare_segment, prepare_segment_with,
};
pub use tailer::{
    Armed, MessageView, NotifyView, ParkAny, Sleeper, TailOptions, Tailer, Visibility,
};
pub use verify::{Verification, verify};
pub use wait::{WaitOutcome, WaitStrategy, WriterStatus, lock_writer};
pub use watermarks::{ReplicaReporter, Watermark, Watermarks};

/// What the calls of this crate return.
pub type Result<T, P> = core::result::Result<T, Error<<P as Platform>::Error>>;
