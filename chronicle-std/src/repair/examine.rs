//! What is wrong with a queue, and what is to be done about it. Changes nothing.

use std::path::Path;

use chronicle_core::{Error, Object, RetentionPolicy, SegmentId};
use chronicle_format::layout::control;
use chronicle_format::{
    CHECKPOINT_FILE_SIZE, CHECKPOINT_SLOTS, CONTROL_FILE_SIZE, Checkpoint, ControlFlags,
    ControlHeader, FormatError, Frontier, NOTIFY_FILE_SIZE, NotifyHeader, Position,
    REPLICATED_FILE_SIZE, ReplicatedHeader, SegmentHeader, SegmentSize,
};
use chronicle_sync::{Clock, Platform};

use super::files::{Small, chunk, list_segments, read_small, word};
use super::log::{self, LogPlan};
use super::readers::{self, ReaderPlan};
use super::{Remedy, Repair, RepairReport};
use crate::QueueError;
use crate::backend::Backend;

/// What a repair does to a queue.
pub(super) struct Plan {
    /// Identity of the queue, as it is or as it is rebuilt.
    pub(super) header: ControlHeader,
    pub(super) retention: RetentionPolicy,
    /// The highest epoch that anything speaks of.
    pub(super) epoch: u32,
    /// The old control file, where its identity is whole.
    pub(super) old_control: Option<Vec<u8>>,
    pub(super) poisoned_boot: Option<u64>,
    pub(super) rebuild_control: bool,
    pub(super) rebuild_checkpoint: bool,
    pub(super) checkpoint_generation: u64,
    pub(super) rebuild_notify: bool,
    /// What replicas reported can be believed.
    pub(super) keeps_replicated: bool,
    pub(super) removes_replicated: bool,
    pub(super) log: LogPlan,
    pub(super) readers: Vec<ReaderPlan>,
    repairs: Vec<Repair>,
}

/// What a queue's segments have in common.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Geometry {
    pub(super) size: SegmentSize,
    pub(super) checksums: bool,
}

impl Plan {
    pub(super) fn of(path: &Path, platform: &Backend) -> Result<Self, QueueError> {
        let mut repairs = Vec::new();
        let mut segments = list_segments(path, platform)?;
        let control = read_small(path, platform, &Object::Control, CONTROL_FILE_SIZE)?;
        let identity = identity(&control);
        if let Err(source @ FormatError::UnsupportedVersion { .. }) = identity {
            // Of another version nothing is touched.
            let error = Error::Format { object: Object::Control, source };
            return Err(QueueError::from_core(path, error));
        }
        let geometry = match &identity {
            Ok(header) => Geometry {
                size: header.segment_size,
                checksums: header.flags.contains(ControlFlags::CHECKSUMS),
            },
            Err(_) => match log::common_geometry(path, platform, &segments)? {
                Some(geometry) => geometry,
                None if matches!(control, Small::Missing) && segments.is_empty() => {
                    return Err(QueueError::NotFound { path: path.to_owned() });
                }
                None => return Err(QueueError::from_core(path, Error::ControlMissing)),
            },
        };
        let checkpoints = read_small(path, platform, &Object::Checkpoint, CHECKPOINT_FILE_SIZE)?;
        let slots = checkpoint_slots(&checkpoints);
        let reader_files = readers::read_all(path, platform)?;
        let queue_id = identity.as_ref().map_or_else(
            |_| {
                let by_checkpoint = slots.iter().map(|slot| slot.queue_id).next();
                by_checkpoint
                    .or_else(|| readers::common_queue_id(&reader_files))
                    .unwrap_or_else(|| platform.entropy())
            },
            |header| header.queue_id,
        );

        let durable = slots
            .iter()
            .filter(|slot| slot.queue_id == queue_id)
            .max_by_key(|slot| slot.generation)
            .copied();
        // What is left of segments that were removed is no part of the log, whatever is in it.
        segments.retain(|id| durable.is_none_or(|slot| *id >= slot.first));
        let old_control = identity.is_ok().then(|| control.bytes().to_vec());
        let old_word = |at: usize| old_control.as_deref().map_or(0, |bytes| word(bytes, at));
        let durable_word = old_word(control::DURABLE_SEQ);
        let durable_word = Some(durable_word)
            .filter(|seq| old_word(control::DURABLE_COMPLEMENT) == !seq)
            .unwrap_or(0);
        let same_boot = old_word(control::WRITER_BOOT) == platform.clock().boot();
        let bits = old_word(control::FRONTIER);
        let frontier = Frontier::from_bits(bits, geometry.size).ok();
        let is_true = same_boot && old_word(control::FRONTIER_COMPLEMENT) == !bits;
        let wanted = log::Wanted {
            durable_seq: durable_word.max(durable.map_or(0, |slot| slot.durable.seq)),
            read: readers::positions(&reader_files, queue_id),
            frontier: frontier.filter(|_| is_true),
        };
        let log = log::plan(path, platform, &segments, geometry, &wanted, &mut repairs)?;
        let recovers = identity.is_ok() && !log.is_changed();
        let readers = readers::plan(&reader_files, queue_id, &log, recovers, &mut repairs);

        let mut plan = Self {
            header: identity.as_ref().copied().unwrap_or(ControlHeader {
                flags: flags(path, geometry, &segments),
                segment_size: geometry.size,
                queue_id,
                created_ns: platform.clock().wall_ns(),
            }),
            retention: RetentionPolicy::KEEP_ALL,
            epoch: log.end.epoch.max(durable.map_or(0, |slot| slot.durable.epoch)),
            poisoned_boot: old_control.as_deref().map(|bytes| word(bytes, control::POISONED_BOOT)),
            old_control,
            rebuild_control: log.is_changed(),
            rebuild_checkpoint: log.is_changed(),
            checkpoint_generation: slots.iter().map(|slot| slot.generation).max().unwrap_or(0),
            rebuild_notify: false,
            keeps_replicated: false,
            removes_replicated: false,
            log,
            readers,
            repairs,
        };
        plan.judge_control(identity.err());
        plan.judge_checkpoint(&checkpoints, durable.is_some());
        plan.judge_notify(&read_small(path, platform, &Object::Notify, NOTIFY_FILE_SIZE)?);
        let replicated = read_small(path, platform, &Object::Replicated, REPLICATED_FILE_SIZE)?;
        plan.judge_replicated(&replicated);
        Ok(plan)
    }

    /// Whether there is nothing to do.
    pub(super) fn is_whole(&self) -> bool {
        self.repairs.is_empty()
    }

    pub(super) fn repairs(&self) -> &[Repair] {
        &self.repairs
    }

    pub(super) fn report(&self, quarantine: Option<std::path::PathBuf>) -> RepairReport {
        let lost = |repair: &Repair| repair.lost.map_or(0, |(first, next)| next - first);
        RepairReport {
            messages_lost: self.repairs.iter().map(lost).sum(),
            repairs: self.repairs.clone(),
            next_seq: self.log.end.seq,
            quarantine,
        }
    }

    fn rebuilt(&mut self, object: Object, reason: String) {
        self.repairs.push(Repair {
            file: object.to_string(),
            bytes: None,
            lost: None,
            reason,
            remedy: Remedy::Rebuilt,
        });
    }

    fn judge_control(&mut self, fault: Option<FormatError>) {
        let Some(old) = &self.old_control else {
            let reason = fault.map_or_else(String::new, |fault| fault.to_string());
            self.rebuild_control = true;
            self.rebuild_checkpoint = true;
            let reason = format!(
                "{reason}; identity and segment size are those of the segments, no message is ever removed by itself"
            );
            return self.rebuilt(Object::Control, reason);
        };
        let epoch = word(old, control::EPOCH) as u32;
        let policy =
            chunk(old, RetentionPolicy::OFFSET).map(|bytes| RetentionPolicy::decode(&bytes));
        let mut reason = None;
        match policy {
            Some(Ok(policy)) => self.retention = policy,
            _ => reason = Some("its limits are damaged; no message is ever removed by itself"),
        }
        // No queue has so many writers: the last epoch of all ends every one of them.
        if epoch == u32::MAX {
            reason = Some("its epoch is damaged");
        } else {
            self.epoch = self.epoch.max(epoch);
        }
        if let Some(reason) = reason {
            self.rebuild_control = true;
            self.rebuild_checkpoint = true;
            self.rebuilt(Object::Control, reason.to_owned());
        }
    }

    fn judge_checkpoint(&mut self, file: &Small, has_slot: bool) {
        let reason = match file {
            Small::Missing => "it is not there",
            Small::Unreadable => "it is not a plain file",
            Small::Bytes(bytes) if bytes.len() as u64 != CHECKPOINT_FILE_SIZE => {
                "it has the wrong size"
            }
            Small::Bytes(_) if !has_slot => "neither of its slots is whole and of this queue",
            Small::Bytes(_) => return,
        };
        self.rebuild_checkpoint = true;
        self.rebuilt(Object::Checkpoint, format!("{reason}; all of the log is made durable"));
    }

    fn judge_notify(&mut self, file: &Small) {
        let fault = match file {
            Small::Missing => Some("it is not there".to_owned()),
            Small::Unreadable => Some("it is not a plain file".to_owned()),
            Small::Bytes(bytes) => match chunk(bytes, 0).map(|head| NotifyHeader::decode(&head)) {
                Some(Ok(_)) if bytes.len() as u64 == NOTIFY_FILE_SIZE => None,
                Some(Err(error)) => Some(error.to_string()),
                _ => Some("it has the wrong size".to_owned()),
            },
        };
        if let Some(reason) = fault {
            self.rebuild_notify = true;
            self.rebuilt(Object::Notify, reason);
        }
    }

    fn judge_replicated(&mut self, file: &Small) {
        if matches!(file, Small::Missing) {
            return;
        }
        let bytes = file.bytes();
        let header = chunk(bytes, 0).and_then(|head| ReplicatedHeader::decode(&head).ok());
        self.keeps_replicated = bytes.len() as u64 == REPLICATED_FILE_SIZE
            && header.is_some_and(|header| header.queue_id == self.header.queue_id);
        self.removes_replicated = !self.keeps_replicated;
        if self.removes_replicated {
            self.repairs.push(Repair {
                file: Object::Replicated.to_string(),
                bytes: None,
                lost: None,
                reason: "it is damaged, or not of this queue; replicas report again".to_owned(),
                remedy: Remedy::Removed,
            });
        }
    }

    /// The place behind the last record.
    pub(super) fn end(&self) -> Position {
        self.log.end
    }
}

fn identity(control: &Small) -> Result<ControlHeader, FormatError> {
    let bytes = control.bytes();
    let size = FormatError::WrongSize { found: bytes.len() as u64, expected: CONTROL_FILE_SIZE };
    let header = ControlHeader::decode(&chunk(bytes, 0).ok_or(size)?)?;
    if bytes.len() as u64 == CONTROL_FILE_SIZE { Ok(header) } else { Err(size) }
}

fn checkpoint_slots(file: &Small) -> Vec<Checkpoint> {
    let slot = |at: usize| Checkpoint::decode(&chunk(file.bytes(), at)?).ok();
    CHECKPOINT_SLOTS.into_iter().filter_map(slot).collect()
}

/// Flags as the segments show them: the group may read the queue if it may read its segments.
fn flags(path: &Path, geometry: Geometry, segments: &[SegmentId]) -> ControlFlags {
    let mut flags = ControlFlags::empty();
    flags.set(ControlFlags::CHECKSUMS, geometry.checksums);
    let mode = |id: &SegmentId| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::metadata(path.join(super::segment_file(*id)))
            .ok()
            .map(|it| it.permissions().mode())
    };
    let readable = segments.iter().filter_map(mode).any(|mode| mode & 0o040 != 0);
    flags.set(ControlFlags::GROUP_READABLE, readable);
    flags
}

/// A segment's header, if it is whole.
pub(super) fn whole_header(head: &[u8; SegmentHeader::SIZE]) -> Option<SegmentHeader> {
    SegmentHeader::decode(head).ok()
}
