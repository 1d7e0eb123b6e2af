//! The state of one simulated machine: files, names, locks, time, and what goes wrong.

use std::cell::{Cell, RefCell};
use std::panic;
use std::rc::Rc;

use chronicle_sync::{Error, ErrorKind, Object};

use crate::facts::Mark;
use crate::history::{History, Recorder, Space};
use crate::memory::{File, Memory, SimMap};

/// What a simulated call failed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SimError {
    /// An answer that every backend gives.
    Kind(ErrorKind),
    /// The process is being killed: whatever it still asks for is refused.
    Dead,
}

impl std::fmt::Display for SimError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Kind(kind) => write!(f, "simulated {kind:?}"),
            Self::Dead => f.write_str("the simulated process is dead"),
        }
    }
}

impl Error for SimError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Kind(kind) => *kind,
            Self::Dead => ErrorKind::Other,
        }
    }
}

/// What ends the steps of a process that is killed.
pub(crate) struct Death;

/// How a storage misbehaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// The sync with this number, counted from 0, fails, and leaves its pages clean.
    pub fail_sync: Option<u32>,
    /// Once the queue is made, so many syncs are honest; all later ones, of files and names, say that
    /// they are done and do nothing.
    pub lies_after: Option<u32>,
    /// Syncs of files say that they are done and do nothing. As the others nothing is promised of it:
    /// for showing that the explorer finds it.
    pub lying_sync: bool,
    /// Syncs of names do so.
    pub lying_names: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Life {
    Alive,
    /// Dies at the call of the seam behind so many others.
    Doomed(u32),
    Dead,
}

pub(crate) struct World {
    files: RefCell<Vec<Rc<File>>>,
    names: RefCell<Vec<(Object, Rc<File>)>>,
    /// What is locked, each by the lock with this number.
    pub(crate) locks: Rc<RefCell<Vec<(Object, u64)>>>,
    locked: Cell<u64>,
    /// Names given and taken so far.
    name_changes: Cell<u64>,
    now_ns: Cell<u64>,
    boot: Cell<u64>,
    random: RefCell<fastrand::Rng>,
    recorder: RefCell<Option<Recorder>>,
    mark: RefCell<Mark>,
    faults: Cell<Faults>,
    syncs: Cell<u32>,
    /// The first sync that lies.
    first_lie: Cell<Option<u32>>,
    steps: Cell<u32>,
    life: Cell<Life>,
}

pub(crate) type Outcome<T> = Result<T, SimError>;

pub(crate) const fn refused<T>(kind: ErrorKind) -> Outcome<T> {
    Err(SimError::Kind(kind))
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            files: RefCell::default(),
            names: RefCell::default(),
            locks: Rc::default(),
            locked: Cell::default(),
            name_changes: Cell::default(),
            now_ns: Cell::new(1),
            boot: Cell::new(1),
            random: RefCell::new(fastrand::Rng::with_seed(seed)),
            recorder: RefCell::default(),
            mark: RefCell::default(),
            faults: Cell::default(),
            syncs: Cell::default(),
            first_lie: Cell::default(),
            steps: Cell::default(),
            life: Cell::new(Life::Alive),
        }
    }

    /// Every call of the seam passes here: the page cache is looked at, and a doomed process dies.
    pub(crate) fn step(&self) -> Outcome<()> {
        if self.life.get() == Life::Dead {
            return Err(SimError::Dead);
        }
        self.observe();
        self.steps.set(self.steps.get().wrapping_add(1));
        match self.life.get() {
            Life::Doomed(0) => {
                self.life.set(Life::Dead);
                panic::resume_unwind(Box::new(Death))
            }
            Life::Doomed(left) => self.life.set(Life::Doomed(left - 1)),
            _ => {}
        }
        Ok(())
    }

    pub(crate) fn observe(&self) {
        if let Some(recorder) = &mut *self.recorder.borrow_mut() {
            recorder.observe(&self.files.borrow(), &self.mark.borrow());
        }
    }

    /// Calls of the seam so far.
    pub(crate) fn steps(&self) -> u32 {
        self.steps.get()
    }

    /// Syncs so far.
    pub(crate) fn syncs(&self) -> u32 {
        self.syncs.get()
    }

    pub(crate) fn record(&self, sector: usize, space: Space) {
        let recorder = Recorder::new(sector, space, &self.files.borrow(), &self.names.borrow());
        self.recorder.replace(Some(recorder));
    }

    /// Points so far.
    pub(crate) fn points(&self) -> usize {
        self.recorder.borrow().as_ref().map_or(0, Recorder::points)
    }

    pub(crate) fn take_history(&self) -> Option<History> {
        self.observe();
        self.recorder.take().map(Recorder::into_history)
    }

    /// Notes what is known from outside, for the points that follow.
    pub(crate) fn mark(&self, change: impl FnOnce(&mut Mark)) {
        change(&mut self.mark.borrow_mut());
    }

    /// Takes note that a flush begins that may lie.
    pub(crate) fn claim_durable(&self, seq: u64) {
        if self.first_lie.get().is_some() {
            self.mark(|mark| mark.claimed_seq = seq);
        }
    }

    pub(crate) fn set_mark(&self, mark: Mark) {
        self.mark.replace(mark);
    }

    pub(crate) fn set_faults(&self, faults: Faults) {
        self.faults.set(faults);
        self.syncs.set(0);
        self.first_lie.set(None);
    }

    /// From here on syncs lie as the faults say.
    pub(crate) fn begin_lying(&self) {
        let honest = self.faults.get().lies_after;
        self.first_lie.set(honest.map(|honest| self.syncs.get() + honest));
    }

    /// Kills the running process at the call of the seam behind so many others.
    pub(crate) fn doom(&self, calls: u32) {
        self.life.set(Life::Doomed(calls));
    }

    pub(crate) fn spare(&self) {
        self.life.set(Life::Alive);
    }

    /// Kills whatever `process` is, at this moment: its destructors change nothing.
    pub(crate) fn kill<T>(&self, process: T) {
        if self.life.get() != Life::Dead {
            self.observe();
            self.life.set(Life::Dead);
        }
        drop(process);
        if let Some(recorder) = &*self.recorder.borrow() {
            for file in &*self.files.borrow() {
                file.memory.write(0, recorder.seen(file.id));
            }
        }
        self.life.set(Life::Alive);
    }

    /// Starts anew with these files, in a boot of this identity.
    pub(crate) fn load<'a>(&self, boot: u64, files: impl Iterator<Item = (&'a Object, &'a [u8])>) {
        let mut all = self.files.borrow_mut();
        let mut names = self.names.borrow_mut();
        names.clear();
        let mut used = 0;
        for (object, bytes) in files {
            let kept = all.get_mut(used).filter(|file| {
                // Memory is used again where nobody holds it any more.
                Rc::strong_count(file) == 1 && file.memory.size() == bytes.len()
            });
            let file = match kept {
                Some(file) => Rc::clone(file),
                None => {
                    let memory = Memory::zeroed(bytes.len());
                    let file = Rc::new(File { id: used, memory });
                    all.truncate(used);
                    all.push(Rc::clone(&file));
                    file
                }
            };
            file.memory.write(0, bytes);
            names.push((object.clone(), file));
            used += 1;
        }
        all.truncate(used);
        self.locks.borrow_mut().clear();
        self.boot.set(boot);
        self.life.set(Life::Alive);
        self.recorder.replace(None);
        self.now_ns.set(1 + (boot << 40));
    }

    /// Puts bytes into the file that was loaded at this index.
    pub(crate) fn patch(&self, index: usize, at: usize, bytes: &[u8]) {
        if let Some(file) = self.files.borrow().get(index) {
            // Of the last sector of a file only what lies inside of it.
            let room = file.memory.size().saturating_sub(at).min(bytes.len());
            file.memory.write(at, &bytes[..room]);
        }
    }

    /// What each name leads to now, in the order of the directory.
    pub(crate) fn contents(&self) -> Vec<(Object, Vec<u8>)> {
        let names = self.names.borrow();
        names.iter().map(|(object, file)| (object.clone(), file.memory.bytes().to_vec())).collect()
    }

    pub(crate) fn boot(&self) -> u64 {
        self.boot.get()
    }

    pub(crate) fn tick(&self) -> u64 {
        self.now_ns.set(self.now_ns.get() + 1000);
        self.now_ns.get()
    }

    pub(crate) fn advance_to(&self, ns: u64) {
        self.now_ns.set(self.now_ns.get().max(ns));
    }

    pub(crate) fn random(&self) -> u64 {
        self.random.borrow_mut().u64(..)
    }

    pub(crate) fn seed(&self, seed: u64) {
        self.random.replace(fastrand::Rng::with_seed(seed));
    }

    pub(crate) fn new_file(&self, size: usize) -> SimMap {
        let mut files = self.files.borrow_mut();
        let file = Rc::new(File { id: files.len(), memory: Memory::zeroed(size) });
        if let Some(recorder) = &mut *self.recorder.borrow_mut() {
            recorder.add(&file, false);
        }
        files.push(Rc::clone(&file));
        SimMap(file)
    }

    pub(crate) fn find(&self, object: &Object) -> Option<Rc<File>> {
        let names = self.names.borrow();
        names.iter().find(|(name, _)| name == object).map(|(_, file)| Rc::clone(file))
    }

    pub(crate) fn give_name(&self, object: &Object, map: &SimMap) -> Outcome<()> {
        if self.find(object).is_some() {
            return refused(ErrorKind::AlreadyExists);
        }
        self.names.borrow_mut().push((object.clone(), Rc::clone(&map.0)));
        self.name_changes.set(self.name_changes.get() + 1);
        if let Some(recorder) = &mut *self.recorder.borrow_mut() {
            recorder.name_changed(object, Some(map.0.id));
        }
        Ok(())
    }

    pub(crate) fn take_name(&self, object: &Object) -> Outcome<()> {
        let mut names = self.names.borrow_mut();
        let Some(at) = names.iter().position(|(name, _)| name == object) else {
            return refused(ErrorKind::NotFound);
        };
        names.remove(at);
        self.name_changes.set(self.name_changes.get() + 1);
        if let Some(recorder) = &mut *self.recorder.borrow_mut() {
            recorder.name_changed(object, None);
        }
        Ok(())
    }

    /// Names given and taken so far.
    pub(crate) fn name_changes(&self) -> u64 {
        self.name_changes.get()
    }

    /// The number of a lock, which no other one has, in no boot.
    pub(crate) fn next_lock(&self) -> u64 {
        self.locked.set(self.locked.get() + 1);
        self.locked.get()
    }

    pub(crate) fn each_name(&self, mut visit: impl FnMut(&Object)) {
        // A copy, since whoever looks may come back to the directory.
        let names: Vec<Object> = self.names.borrow().iter().map(|(name, _)| name.clone()).collect();
        names.iter().for_each(&mut visit);
    }

    /// Whether this sync reaches the medium. If it does not, it is an error or a lie.
    fn next_sync(&self) -> Outcome<bool> {
        let number = self.syncs.get();
        self.syncs.set(number + 1);
        if self.faults.get().fail_sync == Some(number) {
            return refused(ErrorKind::Io);
        }
        let lies = self.first_lie.get().is_some_and(|first| number >= first);
        if lies {
            self.mark(|mark| mark.lied = true);
        }
        Ok(!lies)
    }

    pub(crate) fn sync_file(&self, file: usize) -> Outcome<()> {
        let outcome = self.next_sync();
        if let Some(recorder) = &mut *self.recorder.borrow_mut() {
            match outcome {
                Ok(honest) if !honest || self.faults.get().lying_sync => {}
                Ok(_) => recorder.synced(file),
                Err(_) => recorder.sync_failed(file),
            }
        }
        outcome.map(drop)
    }

    pub(crate) fn sync_names(&self) -> Outcome<()> {
        let honest = self.next_sync()?;
        if let Some(recorder) = &mut *self.recorder.borrow_mut()
            && honest
            && !self.faults.get().lying_names
        {
            recorder.names_synced(&self.names.borrow());
        }
        Ok(())
    }
}
