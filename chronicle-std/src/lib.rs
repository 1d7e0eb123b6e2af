//! Chronicle queues for programs with `std`: one writer and any number of readers per queue, in
//! processes of one host, over memory-mapped files.
//!
//! ```
//! use chronicle_std::Queue;
//!
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("orders");
//! let mut writer = Queue::open_publisher(&path)?;
//! writer.append(0x8000, b"buy 100")?;
//!
//! let mut reader = Queue::open_subscriber(&path, "risk")?;
//! while let Some(message) = reader.next()? {
//!     assert_eq!((message.seq, message.payload), (0, &b"buy 100"[..]));
//!     reader.commit()?;
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Several queues: [`WaitSet`] sleeps on many with one call, [`EventSet`] announces their messages by
//! a descriptor for `epoll(7)`, [`FanIn`] reads them as one in the order of time. With the feature
//! `async` there are `AsyncReader`, `AsyncSet` and `MessageStream` for executors.
#![forbid(unsafe_code)]

mod backend;
mod config;
mod counters;
mod error;
#[cfg_attr(any(target_os = "macos", chronicle_darwin_shim), path = "event_pipe.rs")]
mod event_fd;
mod event_set;
mod fan_in;
mod file_lock;
mod full;
mod group_commit;
mod housekeeping;
mod members;
mod queue;
mod reader;
mod relay;
mod relayed_set;
mod repair;
mod report;
#[cfg(feature = "async")]
mod stream;
mod untrusted;
mod wait_set;
mod watch;
mod watermarks;
mod writer;

pub use chronicle_core::{
    Cut, DEFAULT_SEGMENT_SIZE, Damage, Fate, Fault, FromSource, Hold, Holder, MergeKey, Merged,
    MessageView, Patience, Position, ReaderPolicy, RecoveryReport, Rejection, RetentionPlan,
    RetentionPolicy, RetentionReport, Reversed, Sought, SourceId, Start, Verification, Visibility,
    WaitOutcome, WaitStrategy, Watermark, WriterStatus,
};
pub use chronicle_format as format;
pub use chronicle_sync::LockState;
pub use config::{CommitSync, ReaderConfig, SyncPolicy, WhenFull, WriterConfig};
pub use counters::{CountersFile, CountersReport, CountersValues};
pub use error::{QueueError, Reason};
pub use event_set::EventSet;
pub use fan_in::{FanIn, FanInWait};
pub use file_lock::FileLock;
pub use members::{MemberId, WaitEvent};
pub use queue::Queue;
pub use reader::{QueueReader, ReverseReader};
pub use repair::{Remedy, Repair, RepairOptions, RepairReport};
pub use report::{QueueReport, ReaderState};
#[cfg(feature = "async")]
pub use stream::{AsyncReader, AsyncSet, Message, MessageStream};
pub use untrusted::UntrustedReader;
pub use wait_set::{Interrupter, WaitSet};
pub use watch::DirectoryWatch;
pub use watermarks::{QueueWatermarks, ReplicaReporter};
pub use writer::{QueueWriter, WriteClaim};
