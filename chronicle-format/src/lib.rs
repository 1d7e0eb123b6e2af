//! The bytes of a Chronicle queue on disk.
//!
//! Every layout is little-endian with fixed offsets. `docs/format.md` is the normative page; a test
//! holds its tables against the [`layout`] constants of this crate. Nothing here reads a file or
//! touches shared memory: bytes come in as arrays that somebody copied out, and are checked once.
//!
//! ```
//! use chronicle_format::{SegmentHeader, SegmentId, SegmentSize};
//!
//! let header = SegmentHeader {
//!     id: SegmentId::new(7)?,
//!     segment_size: SegmentSize::new(1 << 20)?,
//!     checksums: true,
//!     salt: 0x5eed,
//! };
//! assert_eq!(SegmentHeader::decode(&header.encode())?, header);
//! # Ok::<(), chronicle_format::FormatError>(())
//! ```
#![no_std]
#![forbid(unsafe_code)]

#[cfg(target_endian = "big")]
compile_error!(
    "Chronicle's files are little-endian and are mapped as they are: big-endian hosts are not supported"
);

mod age;
mod bytes;
mod checkpoint;
mod control;
mod counters;
mod crc32c;
mod error;
mod holder;
mod index;
pub mod layout;
mod names;
mod notify;
mod position;
mod reader;
mod record;
mod replicated;
mod retention;
mod segment;
mod size;

pub use age::{AGE_SAMPLES, AGE_SAMPLES_OFFSET, AgeClock, AgeSample};
pub use checkpoint::{CHECKPOINT_FILE_SIZE, CHECKPOINT_SLOTS, Checkpoint};
pub use control::{
    CONTROL_FILE_SIZE, CTRL_VERSION, ControlFlags, ControlHeader, Frontier, InitState,
};
pub use counters::{
    COUNTERS_FILE_SIZE, COUNTERS_VALUES, COUNTERS_VERSION, CountersHeader, CountersKind,
    KEEPER_COUNTERS_VALUES, KeeperCounters, ReaderCounters, WriterCounters,
};
pub use crc32c::{CrcState, crc32c};
pub use error::FormatError;
pub use holder::{Holder, HolderText};
pub use index::{
    INDEX_STRIDE, INDEX_VERSION, IndexEntry, IndexHeader, LARGEST_WITHOUT_INDEX, MAX_INDEX_ENTRIES,
};
pub use names::{
    FileName, Object, ObjectName, QUARANTINE_DIRECTORY, READERS_DIRECTORY, ReaderName, SegmentId,
};
pub use notify::{NOTIFY_FILE_SIZE, NOTIFY_VERSION, NotifyHeader};
pub use position::Position;
pub use reader::{
    READER_FILE_SIZE, READER_SLOTS, READER_VERSION, ReaderHeader, ReaderPolicy, ReaderSlot,
};
pub use record::{
    CommitWord, EpochRecord, HEADER_SIZE, RECORD_ALIGN, RecordFlags, RecordHeader, TypeId,
    WatermarkRecord, record_seed, record_size,
};
pub use replicated::{REPLICATED_FILE_SIZE, REPLICATED_VERSION, ReplicatedHeader};
pub use retention::RetentionPolicy;
pub use segment::{
    SEG_DATA_OFFSET, SEG_FLAG_SEALED, SEG_VERSION, Seal, SegmentFlags, SegmentHeader, SegmentStart,
};
pub use size::{
    DEFAULT_SEGMENT_SIZE, MAX_SEGMENT_SIZE, MIN_SEGMENT_SIZE, SEGMENT_SIZE_UNIT, SegmentSize,
};
