//! The models, by number.

mod commit;
mod death;
mod handoff;
mod lease;
mod notify;
mod notify_any;
mod retention;
mod roll;
mod seal;
mod seqlock;
mod slots;
mod watermark;

use crate::explore::Exploration;

/// One model.
pub(crate) struct Model {
    /// Number and short name: "L1 record". Mutants name the number.
    pub(crate) name: &'static str,
    /// What holds in every execution.
    pub(crate) shows: &'static str,
    /// How much of the space is explored.
    pub(crate) search: &'static str,
    /// Explores it, and panics if it does not hold.
    pub(crate) run: fn(&mut Exploration),
}

impl Model {
    /// The number that mutants name.
    pub(crate) fn number(&self) -> &'static str {
        self.name.split(' ').next().unwrap_or_default()
    }
}

/// All models.
pub(crate) const ALL: &[&[Model]] = &[
    commit::MODELS,
    notify::MODELS,
    notify_any::MODELS,
    seqlock::MODELS,
    seal::MODELS,
    roll::MODELS,
    retention::MODELS,
    lease::MODELS,
    handoff::MODELS,
    slots::MODELS,
    death::MODELS,
    watermark::MODELS,
];

/// All models in one row.
pub(crate) fn all() -> impl Iterator<Item = &'static Model> {
    ALL.iter().flat_map(|models| models.iter())
}
