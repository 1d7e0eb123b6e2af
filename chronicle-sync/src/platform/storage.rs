use core::ops::Range;

use chronicle_format::{Holder, Object};

use super::{Error, Region, RegionMut};

/// Which objects [`Storage::visit`] shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ObjectKind {
    /// [`Object::Segment`]
    Segments,
    /// [`Object::Reader`]
    Readers,
}

/// How strong a sync is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// Earlier syncs reach the medium before later ones.
    Ordered,
    /// The bytes are on the medium when the call returns.
    Durable,
}

/// How an object is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Size in bytes.
    pub length: u64,
    /// Bytes from the start that have real space from the beginning; the rest needs
    /// [`Storage::reserve`] before it is touched.
    pub reserved: u64,
    /// Whether the creator's group may read it.
    pub group_readable: bool,
}

/// Who holds a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockState {
    /// Nobody.
    Free,
    /// Somebody, with what was written down last, if it can be read: for a moment that may still be
    /// the holder before.
    Held(Option<Holder>),
    /// This process has no right to look.
    Unknown,
}

/// The objects of one queue. Everything here is off the path of a message.
pub trait Storage {
    /// What can go wrong.
    type Error: Error;
    /// An object mapped for reading: storing to it is not possible.
    type View: Region;
    /// An object mapped for reading and writing.
    type Map: RegionMut;
    /// An object that has no name yet: zeroed, invisible, gone when dropped.
    type Staged: RegionMut;
    /// A lock; dropping it, or the end of the process, releases it.
    type Guard;

    /// Provides what objects need beside themselves, when a queue is made.
    ///
    /// # Errors
    /// The backend's.
    fn prepare(&self, group_readable: bool) -> Result<(), Self::Error> {
        let _ = group_readable;
        Ok(())
    }

    /// Makes an object without a name.
    ///
    /// # Errors
    /// `NoSpace` if `stage.reserved` bytes cannot be had; nothing is left behind.
    fn stage(&self, object: &Object, stage: &Stage) -> Result<Self::Staged, Self::Error>;

    /// Whether [`reserve_staged`](Self::reserve_staged) is there to be called.
    const STAGES_IN_PIECES: bool = false;

    /// Provides space for a staged object that has some up to `reserved`: up to `wanted`, or further where that is
    /// cheaper. Returns up to where it has space now. Whoever asks piece by piece wants to leave the processor to others
    /// in between.
    ///
    /// # Errors
    /// `NoSpace`: the range must not be touched.
    fn reserve_staged(
        &self,
        staged: &Self::Staged,
        reserved: u64,
        wanted: u64,
    ) -> Result<u64, Self::Error> {
        let _ = (staged, wanted);
        Ok(reserved)
    }

    /// Writes a range of a staged object that has space to the medium as it is, and waits for it, where syncs of what is stored
    /// there later are faster for that. It may do nothing.
    ///
    /// Only of objects without a name: whoever waits for a write is told of its failure in the place of all who open
    /// the object later, and nobody else has stored anything there.
    ///
    /// # Errors
    /// `Io`, `NoSpace`.
    fn write_staged(&self, staged: &Self::Staged, range: Range<u64>) -> Result<(), Self::Error> {
        let _ = (staged, range);
        Ok(())
    }

    /// Brings a staged object to the medium, so that its name never leads to unwritten bytes.
    ///
    /// # Errors
    /// `Io`.
    fn sync_staged(&self, staged: &Self::Staged) -> Result<(), Self::Error>;

    /// Gives a staged object its name, in one step and without replacing anything.
    ///
    /// # Errors
    /// `AlreadyExists` if the name is taken: the staged object is discarded, the other untouched.
    fn publish(&self, staged: Self::Staged) -> Result<Self::Map, Self::Error>;

    /// Opens an object for reading and writing, with the size that it has.
    ///
    /// # Errors
    /// `NotFound`, `NotRegular`, `Denied`.
    fn open(&self, object: &Object) -> Result<Self::Map, Self::Error>;

    /// Opens an object for reading, with the size that it has.
    ///
    /// # Errors
    /// `NotFound`, `NotRegular`, `Denied`.
    fn view(&self, object: &Object) -> Result<Self::View, Self::Error>;

    /// Copies bytes out of an object without mapping it: whoever else may write to the object could
    /// truncate it, and a mapping would then be a trap. Returns how many bytes there were: none behind
    /// the object's end.
    ///
    /// # Errors
    /// `NotFound`, `NotRegular`, `Denied`.
    fn copy_out(&self, object: &Object, at: u64, bytes: &mut [u8]) -> Result<usize, Self::Error>;

    /// Brings an object that others write to to the medium.
    ///
    /// # Errors
    /// `NotFound`, `Io`.
    fn sync_object(&self, object: &Object) -> Result<(), Self::Error>;

    /// Takes an object's name away. Whoever has it open keeps it.
    ///
    /// # Errors
    /// `NotFound`, `Denied`.
    fn remove(&self, object: &Object) -> Result<(), Self::Error>;

    /// Shows all objects of a kind, in no order. Names that no object has are passed over. What is
    /// shown may be opened on the way.
    ///
    /// # Errors
    /// The backend's.
    fn visit(&self, kind: ObjectKind, visit: impl FnMut(Object)) -> Result<(), Self::Error>;

    /// Provides real, zeroed space for a range that has none yet; what has space keeps its bytes.
    ///
    /// # Errors
    /// `NoSpace`: the range must not be touched. A range past the object's end is refused.
    fn reserve(&self, map: &Self::Map, range: Range<u64>) -> Result<(), Self::Error>;

    /// Makes the first store to each page of a reserved range cheap. A hint.
    fn prefault(&self, map: &Self::Map, range: Range<u64>) {
        let _ = (map, range);
    }

    /// Brings a range to the medium.
    ///
    /// # Errors
    /// `Io`, `NoSpace`: the bytes may be lost, and a later sync that succeeds says nothing about them.
    /// `Exhausted`, `Denied`, `NotFound`, `NotRegular`: nothing was tried, so nothing was lost.
    fn sync(
        &self,
        map: &Self::Map,
        range: Range<u64>,
        level: Durability,
    ) -> Result<(), Self::Error>;

    /// Brings a range to the medium of which an earlier sync failed: stores every page of it anew, so
    /// that nothing passes for clean, syncs, and compares what the medium holds then with `map`, which
    /// is a mapping of `object`. What is stored to the range later, and synced, is on the medium too, also
    /// where the medium held nothing yet. Returns whether this backend can do that at all.
    ///
    /// # Errors
    /// `Io`: the medium does not hold the bytes.
    fn rescue(
        &self,
        object: &Object,
        map: &Self::Map,
        range: Range<u64>,
    ) -> Result<bool, Self::Error> {
        let _ = (object, map, range);
        Ok(false)
    }

    /// Brings the names of all published objects to the medium.
    ///
    /// # Errors
    /// As [`sync`](Self::sync).
    fn sync_names(&self) -> Result<(), Self::Error>;

    /// Removes staged objects that dead processes left behind. A nicety.
    fn sweep(&self) {}

    /// Locks an object without waiting; [`Object::WriterLock`] is made if it is not there.
    ///
    /// # Errors
    /// `Locked` if someone else, in this process or another, holds it; `NotFound` if any other object
    /// is not there.
    fn lock(&self, object: &Object) -> Result<Self::Guard, Self::Error>;

    /// Writes into [`Object::WriterLock`] who holds it, for people to read.
    ///
    /// # Errors
    /// `Unsupported` for the guard of any other object, whose bytes are not for this; the backend's.
    /// The lock holds all the same.
    fn inscribe(&self, guard: &Self::Guard, epoch: u32) -> Result<(), Self::Error>;

    /// Whether someone holds the lock on an object.
    ///
    /// # Errors
    /// The backend's; having no right to look is [`LockState::Unknown`].
    fn lock_state(&self, object: &Object) -> Result<LockState, Self::Error>;

    /// The process id that people know this process by; 0 where there are no processes.
    fn process_id(&self) -> u32 {
        0
    }
}
