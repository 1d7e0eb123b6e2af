//! `checkpoint.meta`: what was durable, and where the log begins, in two slots of which one is whole on
//! the medium whatever happens.
//!
//! Whoever makes records durable stores the watermark there, and whoever removes segments the first one
//! that stays. Both may be at work at once, in threads of one process, so each takes a lock on the file
//! for the time of one store and its sync, and changes nothing but what is its own.

use chronicle_format::{
    CHECKPOINT_FILE_SIZE, CHECKPOINT_SLOTS, Checkpoint, FormatError, Object, SegmentId,
};
use chronicle_sync::mutation::{Mutant, seeded};
use chronicle_sync::{
    Durability, Error as _, ErrorKind, Platform, Region, RegionExt, RegionMutExt, Storage,
};

use crate::Result;
use crate::control::check_size;
use crate::error::{Error, Operation};

type Map<P> = <<P as Platform>::Storage as Storage>::Map;

/// The newer of the two slots that are whole.
pub(crate) fn newest_checkpoint<R: Region, E>(
    region: &R,
    queue_id: u64,
) -> core::result::Result<Checkpoint, Error<E>> {
    let slots = CHECKPOINT_SLOTS.map(|at| region.copy_bytes(at as u64));
    newest_of(slots, queue_id).map_err(Error::format(Object::Checkpoint))
}

fn newest_of(
    slots: [Option<[u8; Checkpoint::SIZE]>; 2],
    queue_id: u64,
) -> core::result::Result<Checkpoint, FormatError> {
    let slots = slots.map(|bytes| Checkpoint::decode(&bytes.unwrap_or([0; Checkpoint::SIZE])));
    let newest = match slots {
        [Ok(a), Ok(b)] => Ok(if a.generation >= b.generation { a } else { b }),
        [Ok(slot), Err(_)] | [Err(_), Ok(slot)] => Ok(slot),
        // The first slot is whole from the beginning, so this is no torn write.
        [Err(error), Err(_)] => Err(error),
    };
    newest.and_then(|slot| {
        let found = slot.queue_id;
        if found == queue_id { Ok(slot) } else { Err(FormatError::ForeignQueue { found }) }
    })
}

/// The segment that the log begins with: files of earlier ones are passed over. The first of all where
/// no whole slot says so, which is for the writer to refuse and not for a reader.
pub(crate) fn first_segment<P: Platform>(platform: &P, queue_id: u64) -> SegmentId {
    if seeded(Mutant::LeftoversRead) {
        return SegmentId::FIRST;
    }
    let slots = CHECKPOINT_SLOTS.map(|at| {
        let mut bytes = [0; Checkpoint::SIZE];
        let copied = platform.storage().copy_out(&Object::Checkpoint, at as u64, &mut bytes);
        (copied.ok() == Some(bytes.len())).then_some(bytes)
    });
    newest_of(slots, queue_id).map_or(SegmentId::FIRST, |newest| newest.first)
}

/// The file, as those who store to it have it.
pub(crate) struct CheckpointFile<M> {
    region: M,
    /// The newest slot that this value has seen.
    known: Checkpoint,
    /// Whether the newest slot is on the medium for certain: before the other one is stored, and before
    /// anything is done that rests on it.
    synced: bool,
}

impl<M: chronicle_sync::RegionMut> CheckpointFile<M> {
    /// Opens the file. `synced` says that what is in it is on the medium.
    pub(crate) fn open<P>(platform: &P, queue_id: u64, synced: bool) -> Result<Self, P>
    where
        P: Platform,
        P::Storage: Storage<Map = M>,
    {
        let region = platform.storage().open(&Object::Checkpoint);
        let region = region.map_err(Error::platform(Object::Checkpoint, Operation::Open))?;
        check_size(&region, CHECKPOINT_FILE_SIZE).map_err(Error::format(Object::Checkpoint))?;
        let known = newest_checkpoint(&region, queue_id)?;
        Ok(Self { region, known, synced })
    }

    /// What it says.
    pub(crate) fn newest(&self) -> Checkpoint {
        let newest = newest_checkpoint::<_, ()>(&self.region, self.known.queue_id);
        // What somebody else damages meanwhile is not taken over.
        newest.ok().filter(|newest| newest.generation > self.known.generation).unwrap_or(self.known)
    }

    /// Stores what it says from now on into the older slot, and brings it to the medium; whether that
    /// was done, because somebody else may be at it just now. While one slot is being written, the
    /// other one is whole on the medium.
    ///
    /// # Errors
    /// The platform's. A failed sync has to poison the queue.
    pub(crate) fn advance<P>(
        &mut self,
        platform: &P,
        change: impl FnOnce(Checkpoint) -> Checkpoint,
    ) -> Result<bool, P>
    where
        P: Platform,
        P::Storage: Storage<Map = M>,
    {
        let Some(_lock) = lock(platform)? else { return Ok(false) };
        self.sync(platform)?;
        let newest = self.newest();
        let next = Checkpoint { generation: newest.generation + 1, ..change(newest) };
        let [even, odd] = CHECKPOINT_SLOTS;
        let first = next.generation.is_multiple_of(2) || seeded(Mutant::CheckpointSingleSlot);
        let at = if first { even } else { odd };
        self.region.store_bytes(at as u64, &next.encode());
        self.known = next;
        self.synced = false;
        self.sync(platform)?;
        Ok(true)
    }

    /// Sees to it that what it says is on the medium.
    ///
    /// # Errors
    /// As [`advance`](Self::advance).
    pub(crate) fn sync<P>(&mut self, platform: &P) -> Result<(), P>
    where
        P: Platform,
        P::Storage: Storage<Map = M>,
    {
        if !self.synced && !seeded(Mutant::RetentionNotSynced) {
            sync_checkpoint(platform, &self.region)?;
        }
        self.synced = true;
        Ok(())
    }
}

/// Brings the file to the medium.
pub(crate) fn sync_checkpoint<P: Platform>(platform: &P, region: &Map<P>) -> Result<(), P> {
    let range = 0..CHECKPOINT_FILE_SIZE;
    let synced = platform.storage().sync(region, range, Durability::Durable);
    synced.map_err(Error::platform(Object::Checkpoint, Operation::Sync))
}

fn lock<P: Platform>(platform: &P) -> Result<Option<<P::Storage as Storage>::Guard>, P> {
    match platform.storage().lock(&Object::Checkpoint) {
        Ok(lock) => Ok(Some(lock)),
        Err(error) if error.kind() == ErrorKind::Locked => Ok(None),
        Err(error) => Err(Error::platform(Object::Checkpoint, Operation::Lock)(error)),
    }
}
