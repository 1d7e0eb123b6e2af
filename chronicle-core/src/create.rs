//! Making a queue: everything is there before `control.meta` gets its name, and only then is there
//! a queue.

use chronicle_format::{
    CHECKPOINT_FILE_SIZE, CHECKPOINT_SLOTS, CONTROL_FILE_SIZE, Checkpoint, ControlFlags,
    ControlHeader, Frontier, NOTIFY_FILE_SIZE, NotifyHeader, Object, Position, RetentionPolicy,
    SegmentId, SegmentSize,
};
use chronicle_sync::{
    Checksum, Clock, Error as _, ErrorKind, Platform, RegionMutExt, Stage, Storage,
};

use crate::Result;
use crate::appender::first_reservation;
use crate::control::{Control, absent};
use crate::error::{Error, Operation};
use crate::segment::{Geometry, create_first_segment};
use crate::wait::lock_writer;

/// What is fixed when a queue is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CreateOptions {
    /// Size of every segment file; 128 MiB by default.
    pub segment_size: SegmentSize,
    /// Whether records carry a CRC-32C; on by default. A queue without promises nothing after a
    /// power loss.
    pub checksums: bool,
    /// Whether the creator's group may read the queue and keep readers in it; off by default.
    pub group_readable: bool,
    /// How much the queue keeps; by default what readers have passed goes once there is more than
    /// 1 GiB.
    pub retention: RetentionPolicy,
}

impl Default for CreateOptions {
    fn default() -> Self {
        Self {
            segment_size: SegmentSize::default(),
            checksums: true,
            group_readable: false,
            retention: RetentionPolicy::default(),
        }
    }
}

/// Makes a queue in the platform's storage. It has no writer when this returns.
///
/// # Errors
/// [`Error::AlreadyExists`] if there is one; [`Error::WriterAlreadyActive`] if someone else is just
/// making one; [`Error::ControlMissing`] if there are records without a `control.meta`; the
/// platform's, after which the same call may be made again.
pub fn create<P: Platform>(platform: &P, options: &CreateOptions) -> Result<(), P> {
    let storage = platform.storage();
    let _lock = lock_writer(platform)?;
    match storage.view(&Object::Control) {
        Ok(region) => {
            Control::check::<P::Error>(region)?;
            return Err(Error::AlreadyExists);
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(Error::platform(Object::Control, Operation::Open)(error)),
    }
    match absent(platform) {
        Error::NoQueue => {}
        damaged => return Err(damaged),
    }
    // Leftovers of a creation that was cut off: they hold nothing, and the lock keeps others out.
    storage.sweep();
    for object in [Object::Notify, Object::Checkpoint, Object::Segment(SegmentId::FIRST)] {
        match storage.remove(&object) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(Error::platform(object, Operation::Remove)(error)),
        }
    }

    storage
        .prepare(options.group_readable)
        .map_err(Error::platform(Object::Control, Operation::Create))?;
    let queue_id = platform.entropy();
    let geometry = Geometry {
        size: options.segment_size,
        checksums: options.checksums,
        crc: Checksum::detect(),
        group_readable: options.group_readable,
        queue_id,
    };
    publish(platform, &Object::Notify, NOTIFY_FILE_SIZE, &geometry, |region| {
        region.store_bytes(0, &NotifyHeader.encode());
    })?;
    let durable = Position::start_of(SegmentId::FIRST, 0, 0);
    publish(platform, &Object::Checkpoint, CHECKPOINT_FILE_SIZE, &geometry, |region| {
        let [first, _] = CHECKPOINT_SLOTS;
        let checkpoint = Checkpoint { generation: 0, queue_id, durable, first: SegmentId::FIRST };
        region.store_bytes(first as u64, &checkpoint.encode());
    })?;
    let reserved = first_reservation(geometry.size);
    create_first_segment(platform, &geometry, reserved)?;
    sync_names(platform)?;

    let mut flags = ControlFlags::empty();
    flags.set(ControlFlags::CHECKSUMS, options.checksums);
    flags.set(ControlFlags::GROUP_READABLE, options.group_readable);
    let header = ControlHeader {
        flags,
        segment_size: options.segment_size,
        queue_id,
        created_ns: platform.clock().wall_ns(),
    };
    let object = Object::Control;
    let created = || Error::platform(Object::Control, Operation::Create);
    let staged = storage.stage(&object, &stage(CONTROL_FILE_SIZE, &geometry)).map_err(created())?;
    staged.store_bytes(0, &header.encode());
    let control = Control::check(staged)?;
    control.set_segment_index(&durable);
    control.set_frontier(Frontier { segment: SegmentId::FIRST, bytes: reserved });
    control.set_writer_boot(platform.clock().boot());
    control.set_durable_seq(durable.seq);
    control.set_retention(&options.retention);
    // Synced before it has its name: the name must never lead to an unwritten file.
    let staged = control.into_region();
    storage.sync_staged(&staged).map_err(Error::platform(object.clone(), Operation::Sync))?;
    storage.publish(staged).map_err(created())?;
    sync_names(platform)
}

fn stage(length: u64, geometry: &Geometry) -> Stage {
    Stage { length, reserved: length, group_readable: geometry.group_readable }
}

fn publish<P: Platform>(
    platform: &P,
    object: &Object,
    length: u64,
    geometry: &Geometry,
    fill: impl FnOnce(&<P::Storage as Storage>::Staged),
) -> Result<(), P> {
    let created = || Error::platform(object.clone(), Operation::Create);
    let staged = platform.storage().stage(object, &stage(length, geometry)).map_err(created())?;
    fill(&staged);
    let synced = platform.storage().sync_staged(&staged);
    synced.map_err(Error::platform(object.clone(), Operation::Sync))?;
    platform.storage().publish(staged).map(drop).map_err(created())
}

fn sync_names<P: Platform>(platform: &P) -> Result<(), P> {
    platform.storage().sync_names().map_err(Error::platform(Object::Control, Operation::Sync))
}
