//! L8: a prepared segment changes hands, or is given back, and is never lost, doubled or taken for
//! another one.

use chronicle_sync::handoff::Handoff;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

use super::Model;
use crate::explore::{Exploration, claim};

pub(super) const MODELS: &[Model] = &[
    Model {
        name: "L8 taken",
        shows: "what is taken is whole and has the tag that was asked for",
        search: "exhaustive",
        run: taken,
    },
    Model {
        name: "L8 changed mind",
        shows: "what was made for a tag that is not wanted any more is given back to one of the two, once",
        search: "exhaustive",
        run: changed_mind,
    },
    Model {
        name: "L8 moved on",
        shows: "a taker that went on without the thing does not take it for the next one",
        search: "exhaustive",
        run: moved_on,
    },
    Model {
        name: "L8 two makers",
        shows: "of two makers each hands over its own thing or has it back",
        search: "exhaustive",
        run: two_makers,
    },
    Model {
        name: "L8 two takers",
        shows: "of two takers one gets the thing",
        search: "exhaustive",
        run: two_takers,
    },
];

const FIRST: u32 = 4;
const SECOND: u32 = 5;

/// What is handed over: plain data, so that a race shows.
struct Thing(UnsafeCell<u32>);

impl Thing {
    fn new(tag: u32) -> Self {
        let thing = Self(UnsafeCell::new(0));
        // SAFETY: nobody else has it yet; loom checks that.
        thing.0.with_mut(|content| unsafe { *content = tag });
        thing
    }

    fn tag(&self) -> u32 {
        // SAFETY: whoever has it has it alone; loom checks that.
        self.0.with(|content| unsafe { *content })
    }
}

/// Looks for something wanted a few times; returns what it made in vain.
fn make(handoff: &Handoff<Thing>, looks: usize) -> (usize, usize) {
    let (mut made, mut in_vain) = (0, 0);
    for _ in 0..looks {
        if let Some(tag) = handoff.wanted() {
            made += 1;
            if let Err(thing) = handoff.put(tag, Thing::new(tag)) {
                claim!(thing.tag() == tag, "another thing came back");
                in_vain += 1;
            }
        }
        thread::yield_now();
    }
    (made, in_vain)
}

fn taken(exploration: &mut Exploration) {
    exploration.exhaustive(|| {
        let handoff = Arc::new(Handoff::new());
        let maker = {
            let handoff = Arc::clone(&handoff);
            thread::spawn(move || make(&handoff, 2))
        };
        claim!(handoff.want(FIRST).is_none(), "something before anything was made");
        let mut taken = 0;
        for _ in 0..2 {
            if let Some(thing) = handoff.take(FIRST) {
                claim!(thing.tag() == FIRST, "the thing has tag {}", thing.tag());
                taken += 1;
            }
            thread::yield_now();
        }
        let (made, in_vain) = maker.join().unwrap();
        let left = usize::from(handoff.withdraw().is_some());
        claim!(in_vain == 0 && made == taken + left, "{made} made, {taken} taken, {left} left");
    });
}

fn changed_mind(exploration: &mut Exploration) {
    exploration.exhaustive(|| {
        let handoff = Arc::new(Handoff::new());
        let maker = {
            let handoff = Arc::clone(&handoff);
            thread::spawn(move || make(&handoff, 2))
        };
        let mut had = 0;
        had += usize::from(handoff.want(FIRST).is_some());
        if let Some(stale) = handoff.want(SECOND) {
            claim!(stale.tag() == FIRST, "stale, with tag {}", stale.tag());
            had += 1;
        }
        if let Some(thing) = handoff.take(SECOND) {
            claim!(thing.tag() == SECOND, "the thing has tag {}", thing.tag());
            had += 1;
        }
        let (made, in_vain) = maker.join().unwrap();
        if let Some(thing) = handoff.take(SECOND) {
            claim!(thing.tag() == SECOND, "the thing has tag {}", thing.tag());
            had += 1;
        }
        had += usize::from(handoff.withdraw().is_some());
        claim!(made == in_vain + had, "{made} made, {in_vain} in vain, {had} had");
    });
}

fn moved_on(exploration: &mut Exploration) {
    exploration.exhaustive(|| {
        let handoff = Arc::new(Handoff::new());
        let maker = {
            let handoff = Arc::clone(&handoff);
            thread::spawn(move || make(&handoff, 2))
        };
        claim!(handoff.want(FIRST).is_none(), "something before anything was made");
        thread::yield_now();
        claim!(handoff.take(SECOND).is_none(), "a stale thing was taken");
        let (made, in_vain) = maker.join().unwrap();
        claim!(handoff.take(SECOND).is_none(), "a stale thing was taken");
        let stale = handoff.want(SECOND);
        claim!(stale.iter().all(|thing| thing.tag() == FIRST), "another thing came back");
        claim!(made == in_vain + usize::from(stale.is_some()), "a thing was lost");
    });
}

fn two_makers(exploration: &mut Exploration) {
    exploration.exhaustive(|| {
        let handoff = Arc::new(Handoff::new());
        claim!(handoff.want(FIRST).is_none(), "something before anything was made");
        let makers = [(); 2].map(|()| {
            let handoff = Arc::clone(&handoff);
            thread::spawn(move || make(&handoff, 1))
        });
        let mut had = usize::from(handoff.take(FIRST).is_some());
        let (mut made, mut in_vain) = (0, 0);
        for maker in makers {
            let (more, more_in_vain) = maker.join().unwrap();
            (made, in_vain) = (made + more, in_vain + more_in_vain);
        }
        had += usize::from(handoff.withdraw().is_some());
        claim!(made == in_vain + had, "{made} made, {in_vain} in vain, {had} had");
        claim!(had == 1, "{had} had");
    });
}

fn two_takers(exploration: &mut Exploration) {
    exploration.exhaustive(|| {
        let handoff = Arc::new(Handoff::new());
        claim!(handoff.want(FIRST).is_none(), "something before anything was made");
        claim!(handoff.put(FIRST, Thing::new(FIRST)).is_ok(), "it was wanted");
        let other = {
            let handoff = Arc::clone(&handoff);
            thread::spawn(move || handoff.take(FIRST).map(|thing| thing.tag()))
        };
        let mine = handoff.want(SECOND).map(|thing| thing.tag());
        let other = other.join().unwrap();
        claim!(
            mine.or(other) == Some(FIRST) && mine.and(other).is_none(),
            "{mine:?} and {other:?}"
        );
        claim!(handoff.wanted() == Some(SECOND), "what is wanted was forgotten");
    });
}
