//! The seam over a simulated machine.
#![allow(clippy::disallowed_types, reason = "the seam names the words that sleepers wait on")]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::ops::Range;
use std::rc::Rc;

use chronicle_sync::{
    AtomicU32, Clock, Durability, ErrorKind, Instant, LockState, Object, ObjectKind, Park,
    Platform, Probe, ReadU32, Region, Site, Stage, Storage, Wake, Watch,
};

use crate::memory::{SimMap, SimStaged, SimView};
use crate::world::{Outcome, SimError, World, refused};

/// A machine in one thread: its processes take their steps one after the other.
pub struct SimPlatform {
    storage: SimStorage,
    park: SimPark,
    clock: SimClock,
    pub(crate) world: Rc<World>,
}

impl SimPlatform {
    /// An empty machine whose random numbers come from a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::on(Rc::new(World::new(seed)), Others::default())
    }

    fn on(world: Rc<World>, others: Others) -> Self {
        Self {
            storage: SimStorage { world: Rc::clone(&world) },
            park: SimPark { world: Rc::clone(&world), others },
            clock: SimClock { world: Rc::clone(&world) },
            world,
        }
    }

    /// Another handle on the same machine.
    #[must_use]
    pub fn another(&self) -> Self {
        Self::on(Rc::clone(&self.world), Rc::clone(&self.park.others))
    }

    /// Watches the names of this machine from now on.
    #[must_use]
    pub fn watch(&self) -> SimWatch {
        let (world, others) = (Rc::clone(&self.world), Rc::clone(&self.park.others));
        SimWatch { seen: world.name_changes(), world, others }
    }

    /// What another process does while one sleeps; one of these is done at each sleep.
    pub fn while_asleep(&self, step: impl FnOnce() + 'static) {
        self.park.others.borrow_mut().push_back(Box::new(step));
    }

    /// A probe that takes the engine's named steps for calls of the seam.
    #[must_use]
    pub fn probe(&self) -> SimProbe {
        SimProbe { world: Rc::clone(&self.world) }
    }
}

impl Platform for SimPlatform {
    type Error = SimError;
    type Storage = SimStorage;
    type Park = SimPark;
    type Clock = SimClock;

    fn storage(&self) -> &SimStorage {
        &self.storage
    }

    fn park(&self) -> &SimPark {
        &self.park
    }

    fn clock(&self) -> &SimClock {
        &self.clock
    }

    fn entropy(&self) -> u64 {
        self.world.random()
    }
}

/// Passes the engine's named steps on.
pub struct SimProbe {
    world: Rc<World>,
}

impl Probe for SimProbe {
    fn at(&self, _: Site) {
        // A dead process learns it at its next call that can fail.
        let _ = self.world.step();
    }
}

/// A clock that moves when it is looked at, and when somebody sleeps.
pub struct SimClock {
    world: Rc<World>,
}

impl Clock for SimClock {
    fn now(&self) -> Instant {
        let _ = self.world.step();
        Instant::from_nanos(self.world.tick())
    }

    fn wall_ns(&self) -> u64 {
        let _ = self.world.step();
        self.world.tick()
    }

    fn boot(&self) -> u64 {
        self.world.boot()
    }
}

type Step = Box<dyn FnOnce()>;
/// What other processes do while one sleeps, in order.
type Others = Rc<RefCell<VecDeque<Step>>>;

/// Lets another process take its next step, if there is one.
fn step_of_another(others: &Others) {
    let other = others.borrow_mut().pop_front();
    if let Some(step) = other {
        step();
    }
}

/// Sleeping lets another process take a step, or time pass.
pub struct SimPark {
    world: Rc<World>,
    others: Others,
}

impl Park for SimPark {
    type Error = SimError;

    fn wait(&self, word: &AtomicU32, expected: u32, until: Instant) -> Outcome<Wake> {
        self.world.step()?;
        if ReadU32::from(word).load_acquire() != expected {
            return Ok(Wake::Woken);
        }
        step_of_another(&self.others);
        if ReadU32::from(word).load_acquire() != expected {
            return Ok(Wake::Woken);
        }
        self.world.advance_to(until.as_nanos());
        Ok(Wake::TimedOut)
    }

    fn wake(&self, _: &AtomicU32, _: NonZeroU32) -> Outcome<u32> {
        // Whoever sleeps compares the word when the step that woke it is over.
        self.world.step().map(|()| 0)
    }
}

/// Hints that names changed. Any number of changes between two waits are one hint.
pub struct SimWatch {
    world: Rc<World>,
    others: Others,
    /// Changes that were told of.
    seen: u64,
}

impl SimWatch {
    fn has_news(&mut self) -> bool {
        let now = self.world.name_changes();
        std::mem::replace(&mut self.seen, now) != now
    }
}

impl Watch for SimWatch {
    type Error = SimError;

    fn wait(&mut self, until: Instant) -> Outcome<Wake> {
        self.world.step()?;
        if self.has_news() {
            return Ok(Wake::Woken);
        }
        step_of_another(&self.others);
        if self.has_news() {
            return Ok(Wake::Woken);
        }
        self.world.advance_to(until.as_nanos());
        Ok(Wake::TimedOut)
    }
}

/// The files of one simulated directory.
pub struct SimStorage {
    world: Rc<World>,
}

/// A lock that ends with its holder.
pub struct SimGuard {
    object: Object,
    number: u64,
    locks: Rc<RefCell<Vec<(Object, u64)>>>,
}

impl Drop for SimGuard {
    fn drop(&mut self) {
        self.locks.borrow_mut().retain(|(_, number)| *number != self.number);
    }
}

impl Storage for SimStorage {
    type Error = SimError;
    type View = SimView;
    type Map = SimMap;
    type Staged = SimStaged;
    type Guard = SimGuard;

    fn stage(&self, object: &Object, stage: &Stage) -> Outcome<SimStaged> {
        self.world.step()?;
        let Ok(length) = usize::try_from(stage.length) else {
            return refused(ErrorKind::NoSpace);
        };
        if stage.reserved > stage.length {
            return refused(ErrorKind::Other);
        }
        Ok(SimStaged { object: object.clone(), map: self.world.new_file(length) })
    }

    fn sync_staged(&self, staged: &SimStaged) -> Outcome<()> {
        self.world.step()?;
        self.world.sync_file(staged.map.0.id)
    }

    fn publish(&self, staged: SimStaged) -> Outcome<SimMap> {
        self.world.step()?;
        self.world.give_name(&staged.object, &staged.map)?;
        Ok(staged.map)
    }

    fn open(&self, object: &Object) -> Outcome<SimMap> {
        self.world.step()?;
        self.world.find(object).map_or(refused(ErrorKind::NotFound), |file| Ok(SimMap(file)))
    }

    fn view(&self, object: &Object) -> Outcome<SimView> {
        self.world.step()?;
        self.world.find(object).map_or(refused(ErrorKind::NotFound), |file| Ok(SimView(file)))
    }

    fn copy_out(&self, object: &Object, at: u64, bytes: &mut [u8]) -> Outcome<usize> {
        self.world.step()?;
        let Some(file) = self.world.find(object) else { return refused(ErrorKind::NotFound) };
        let rest = usize::try_from(at).ok().and_then(|at| file.memory.bytes().get(at..));
        let rest = rest.unwrap_or_default();
        let count = rest.len().min(bytes.len());
        bytes[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn sync_object(&self, object: &Object) -> Outcome<()> {
        self.world.step()?;
        let Some(file) = self.world.find(object) else { return refused(ErrorKind::NotFound) };
        self.world.sync_file(file.id)
    }

    fn remove(&self, object: &Object) -> Outcome<()> {
        self.world.step()?;
        self.world.take_name(object)
    }

    fn visit(&self, kind: ObjectKind, mut visit: impl FnMut(Object)) -> Outcome<()> {
        self.world.step()?;
        self.world.each_name(|object| match (kind, object) {
            (ObjectKind::Segments, Object::Segment(_))
            | (ObjectKind::Readers, Object::Reader(_)) => {
                visit(object.clone());
            }
            _ => {}
        });
        Ok(())
    }

    fn reserve(&self, map: &SimMap, range: Range<u64>) -> Outcome<()> {
        self.world.step()?;
        if range.end > map.size() as u64 { refused(ErrorKind::Other) } else { Ok(()) }
    }

    fn sync(&self, map: &SimMap, _: Range<u64>, _: Durability) -> Outcome<()> {
        self.world.step()?;
        self.world.sync_file(map.0.id)
    }

    fn sync_names(&self) -> Outcome<()> {
        self.world.step()?;
        self.world.sync_names()
    }

    fn lock(&self, object: &Object) -> Outcome<SimGuard> {
        self.world.step()?;
        if !matches!(object, Object::WriterLock) && self.world.find(object).is_none() {
            return refused(ErrorKind::NotFound);
        }
        let mut held = self.world.locks.borrow_mut();
        if held.iter().any(|(locked, _)| locked == object) {
            return refused(ErrorKind::Locked);
        }
        let number = self.world.next_lock();
        held.push((object.clone(), number));
        Ok(SimGuard { object: object.clone(), number, locks: Rc::clone(&self.world.locks) })
    }

    fn inscribe(&self, guard: &SimGuard, _: u32) -> Outcome<()> {
        self.world.step()?;
        match guard.object {
            Object::WriterLock => Ok(()),
            _ => refused(ErrorKind::Unsupported),
        }
    }

    fn lock_state(&self, object: &Object) -> Outcome<LockState> {
        self.world.step()?;
        let held = self.world.locks.borrow().iter().any(|(locked, _)| locked == object);
        Ok(if held { LockState::Held(None) } else { LockState::Free })
    }
}
