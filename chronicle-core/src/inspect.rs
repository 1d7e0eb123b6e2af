//! Looking at a queue from outside. Registers nothing, writes nothing, holds nothing back.

use core::time::Duration;

use chronicle_format::layout::reader;
use chronicle_format::{
    CHECKPOINT_FILE_SIZE, CTRL_VERSION, Holder, Object, Position, ReaderName, ReaderPolicy,
    SEG_DATA_OFFSET, Seal, SegmentSize,
};
use chronicle_sync::{Checksum, Clock, LockState, ObjectKind, Platform, RegionExt, Storage};

use crate::Result;
use crate::checkpoint::newest_checkpoint;
use crate::control::{check_size, view_control};
use crate::error::{Error, Operation};
use crate::readers;
use crate::segment::{Geometry, view_segment};
use crate::start::Start;
use crate::tailer::{TailOptions, Tailer};
use crate::wait::{WriterStatus, holder, writer_status};
use crate::watermarks::Watermarks;

/// A writer that has not appended for this long counts as idle.
const IDLE_AFTER: Duration = Duration::from_secs(1);

/// The end of a queue's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Where the next record goes.
    pub position: Position,
    /// Time stamp of the last record, if one was found behind the writer's hint.
    pub last_timestamp_ns: Option<u64>,
}

/// A queue as it was at one moment.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Inspection {
    /// Version of the queue.
    pub version: u32,
    /// Identity of the queue.
    pub queue_id: u64,
    /// When it was made, nanoseconds since 1970.
    pub created_ns: u64,
    /// Size of every segment file.
    pub segment_size: SegmentSize,
    /// Whether records carry a CRC-32C.
    pub checksums: bool,
    /// The oldest record that is still there.
    pub oldest: Position,
    /// The end of the log.
    pub head: Head,
    /// Segments with records, from the oldest to the head; one that is prepared does not count.
    pub segments: u32,
    /// Records below this survive a power loss.
    pub durable_seq: u64,
    /// Records below this were acknowledged by a quorum, where a replica reports.
    pub replicated_seq: Option<u64>,
    /// Epoch of the last writer to open the queue.
    pub epoch: u32,
    /// What the writer is doing.
    pub writer: WriterStatus,
    /// Who holds the writer's lock, if that can be found out.
    pub holder: Option<Holder>,
}

/// A registered reader as it was at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ReaderReport {
    /// The reader's name.
    pub name: ReaderName,
    /// Its committed position.
    pub committed: Position,
    /// How long the queue keeps records for it.
    pub policy: ReaderPolicy,
    /// Whether a process holds the name.
    pub active: bool,
    /// That process; 0 if none was ever noted.
    pub pid: u32,
    /// Records between its committed position and the head.
    pub lag_messages: u64,
    /// Bytes of segments between its committed position and the head, headers and padding included.
    pub lag_bytes: u64,
}

impl Inspection {
    /// Looks at a queue.
    ///
    /// # Errors
    /// As [`Tailer::open`].
    pub fn of<P: Platform>(platform: &P) -> Result<Self, P> {
        let control = view_control(platform)?;
        let oldest = Tailer::open(platform, &TailOptions::default())?.position();
        let options = TailOptions { start: Start::Latest, ..TailOptions::default() };
        let tailer = Tailer::open(platform, &options)?;
        let last_timestamp_ns = tailer.last_timestamp_ns();
        let head = Head { position: tailer.position(), last_timestamp_ns };
        let checkpoint = platform
            .storage()
            .view(&Object::Checkpoint)
            .map_err(Error::platform(Object::Checkpoint, Operation::Open))?;
        check_size(&checkpoint, CHECKPOINT_FILE_SIZE).map_err(Error::format(Object::Checkpoint))?;
        newest_checkpoint(&checkpoint, control.queue_id())?;

        let writer = match writer_status(platform, &control, IDLE_AFTER)? {
            WriterStatus::Alive => {
                let idle_before =
                    platform.clock().wall_ns().saturating_sub(IDLE_AFTER.as_nanos() as u64);
                match last_timestamp_ns {
                    Some(last) if last >= idle_before => WriterStatus::Alive,
                    _ => WriterStatus::Idle,
                }
            }
            other => other,
        };
        Ok(Self {
            version: CTRL_VERSION,
            queue_id: control.queue_id(),
            created_ns: control.created_ns(),
            segment_size: control.segment_size(),
            checksums: control.checksums(),
            oldest,
            head,
            segments: head.position.segment.get().saturating_sub(oldest.segment.get()) + 1,
            durable_seq: control.known_durable_seq(),
            replicated_seq: Watermarks::open(platform)?.replicated()?,
            epoch: control.epoch(),
            writer,
            holder: holder(platform),
        })
    }

    /// Shows every registered reader, in no order; one whose file is damaged is an error value of
    /// its own.
    ///
    /// # Errors
    /// The platform's, where readers cannot be listed.
    pub fn readers<P: Platform>(
        &self,
        platform: &P,
        mut visit: impl FnMut(Result<ReaderReport, P>),
    ) -> Result<(), P> {
        let mut names = |object| {
            if let Object::Reader(name) = object {
                visit(self.reader(platform, name));
            }
        };
        let listed = platform.storage().visit(ObjectKind::Readers, &mut names);
        listed.map_err(Error::platform(Object::Control, Operation::List))
    }

    fn reader<P: Platform>(&self, platform: &P, name: ReaderName) -> Result<ReaderReport, P> {
        let object = Object::Reader(name.clone());
        let region = platform
            .storage()
            .view(&object)
            .map_err(Error::platform(object.clone(), Operation::Open))?;
        let header = readers::check(&region, self.queue_id, &object)?;
        let committed = readers::load(&region, &object)?.next;
        let state = platform.storage().lock_state(&object);
        let state = state.map_err(Error::platform(object, Operation::Lock))?;
        let pid = region.read_u32(reader::HOLDER_PID as u64);
        Ok(ReaderReport {
            name,
            committed,
            policy: header.policy,
            active: matches!(state, LockState::Held(_)),
            pid: pid.map_or(0, |pid| pid.load_relaxed()),
            lag_messages: self.head.position.seq.saturating_sub(committed.seq),
            lag_bytes: self.bytes_from(platform, &committed)?,
        })
    }

    /// Bytes of records between a position and the head.
    fn bytes_from<P: Platform>(&self, platform: &P, from: &Position) -> Result<u64, P> {
        let geometry = Geometry {
            size: self.segment_size,
            checksums: self.checksums,
            crc: Checksum::detect(),
            group_readable: false,
            queue_id: self.queue_id,
        };
        let head = &self.head.position;
        let mut bytes = 0u64;
        let mut begin = from.offset;
        let mut id = from.segment;
        while id < head.segment {
            if id >= self.oldest.segment
                && let Ok(segment) = view_segment(platform, id, &geometry)
                && let Ok(Seal::At(end)) = segment.seal::<P::Error>()
            {
                bytes += end.saturating_sub(begin);
            }
            begin = SEG_DATA_OFFSET;
            id = id.next().map_err(Error::format(Object::Segment(id)))?;
        }
        if id == head.segment {
            bytes += head.offset.saturating_sub(begin);
        }
        Ok(bytes)
    }
}
