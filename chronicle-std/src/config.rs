use std::time::Duration;

use chronicle_core::{
    CreateOptions, DEFAULT_SEGMENT_SIZE, ReaderPolicy, RetentionPolicy, Start, Visibility,
    WaitStrategy, WriteOptions,
};
use chronicle_core::{FormatError, SegmentSize};

/// What an append does where the queue has reached the capacity that it was made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum WhenFull {
    /// Fails at once with [`QueueError::Full`](crate::QueueError::Full).
    #[default]
    Fail,
    /// Waits so long for readers to commit, and fails then. Each call has its own deadline.
    Wait(Duration),
}

/// How a queue is made, and how its writer works.
///
/// What a queue fixes when it is made (segment size, checksums, access) is ignored for a queue that
/// exists: [`QueueWriter`](crate::QueueWriter) says what is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WriterConfig {
    /// Size of every segment file in bytes: a multiple of 4096 from 4 KiB to 1 TiB, 128 MiB by
    /// default. The largest message is a segment less 96 bytes.
    pub segment_size: u64,
    /// Whether messages carry a CRC-32C; on by default. A queue without promises nothing after a
    /// power loss.
    pub checksums: bool,
    /// Whether the creator's group may read the queue and keep readers in it; off by default, files
    /// then have mode 0600.
    pub group_readable: bool,
    /// How much the queue keeps; by default what readers have passed is removed once there is more
    /// than 1 GiB.
    pub retention: RetentionPolicy,
    /// Space is allocated ahead of the writer in steps of this many bytes; 1 MiB by default.
    ///
    /// In `/dev/shm` and any other tmpfs steps of 4 MiB and more are made of large pages. That takes less time for each
    /// byte, but Linux waits meanwhile until every processor has done some work of its own: for milliseconds where a
    /// reader spins, and for as long as it spins where that has a real-time priority without a limit. Take such
    /// steps before readers come, for example one of a whole segment.
    pub allocation_step: u64,
    /// Whether a thread works beside the writer: prepares the next segment, and removes old ones; on
    /// by default. Without it the append at a segment's edge makes the segment, which takes a
    /// millisecond or so, and old segments go only when
    /// [`apply_retention`](crate::QueueWriter::apply_retention) is called.
    pub background: bool,
    /// Whether that thread writes the next segment's zeros to the disk ahead of a writer that flushes, as far as it gets while
    /// the writer fills half a segment, and not for one that fills a quarter in less than 150 ms. On by default. A flush of a
    /// few pages or more then takes half to two thirds of the time, and the disk writes twice as much. Does nothing for
    /// queues in memory, and on macOS.
    pub zeros_ahead: bool,
    /// What an append does in a queue that is full; it fails by default.
    pub when_full: WhenFull,
    /// When what was appended becomes durable.
    pub sync: SyncPolicy,
    /// Whether the queue may be on a file system that other hosts may share, such as NFS, SMB, 9p, FUSE
    /// or virtiofs; off by default, and refused then. Nothing is promised there: it is for file systems
    /// that are known to map and to lock as local ones do, and to be used by one host.
    pub any_file_system: bool,
}

/// When what was appended becomes durable: survives a power loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SyncPolicy {
    /// When [`flush`](crate::QueueWriter::flush) is called, and not before.
    #[default]
    OnFlush,
    /// By itself, with one sync for all messages of about this time: group commit. A thread beside
    /// the writer syncs while the writer goes on appending.
    ///
    /// A message is durable after at most this time and the duration of two syncs; sooner where
    /// [`request_flush`](crate::QueueWriter::request_flush) or `flush` is called. With zero the next
    /// sync begins when one has ended. While nothing is appended nothing is done.
    Group {
        /// How long the thread waits for others to join a message before it syncs.
        interval: Duration,
    },
}

impl Default for WriterConfig {
    fn default() -> Self {
        Self {
            segment_size: DEFAULT_SEGMENT_SIZE,
            checksums: true,
            group_readable: false,
            retention: RetentionPolicy::default(),
            allocation_step: WriteOptions::default().step,
            background: true,
            zeros_ahead: true,
            sync: SyncPolicy::OnFlush,
            when_full: WhenFull::Fail,
            any_file_system: false,
        }
    }
}

impl WriterConfig {
    pub(crate) fn create_options(&self) -> Result<CreateOptions, FormatError> {
        let mut options = CreateOptions::default();
        options.segment_size = SegmentSize::new(self.segment_size)?;
        options.checksums = self.checksums;
        options.group_readable = self.group_readable;
        options.retention = self.retention;
        Ok(options)
    }

    pub(crate) fn write_options(&self) -> WriteOptions {
        let mut options = WriteOptions::default();
        options.step = self.allocation_step;
        options
    }
}

/// How a reader is opened and how it waits.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReaderConfig {
    /// Name under which the position is kept: 1 to 64 characters out of `A-Z a-z 0-9 _ -`. `None`
    /// is a passive reader, which registers nothing and holds nothing back.
    pub name: Option<String>,
    /// How long the queue keeps messages for this reader; fixed when the name is first used.
    pub policy: ReaderPolicy,
    /// Where to begin, if the name has no position yet or there is none.
    pub start: Start,
    /// How [`wait`](crate::QueueReader::wait) waits.
    pub wait_strategy: WaitStrategy,
    /// After so long without a message `wait` looks at the writer and returns
    /// [`WaitOutcome::Writer`](crate::WaitOutcome::Writer) if it is dead or stalled; 5 s by default,
    /// `None` never.
    pub writer_timeout: Option<Duration>,
    /// Whether the checksum of every message is verified; on by default.
    pub verify_checksums: bool,
    /// When a committed position survives a power loss. The death of the reader it always survives.
    pub sync_commits: CommitSync,
    /// Which messages are given out: all, or only those that survive a power loss.
    pub visibility: Visibility,
    /// As in [`WriterConfig::any_file_system`].
    pub any_file_system: bool,
}

impl Default for ReaderConfig {
    fn default() -> Self {
        Self {
            name: None,
            policy: ReaderPolicy::Durable,
            start: Start::Earliest,
            wait_strategy: WaitStrategy::default(),
            writer_timeout: Some(Duration::from_secs(5)),
            verify_checksums: true,
            sync_commits: CommitSync::WhenNeeded,
            visibility: Visibility::Visible,
            any_file_system: false,
        }
    }
}

/// When a reader's committed position survives a power loss. An earlier one that comes back means that
/// the reader gets some messages again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommitSync {
    /// Before anything is removed that an earlier position would need; when the system writes it back
    /// by itself; and when [`sync_position`](crate::QueueReader::sync_position) is called.
    #[default]
    WhenNeeded,
    /// With the first commit that comes at least this long after the last sync, which then takes as
    /// long as a sync does: with zero, every commit.
    Every(Duration),
}
