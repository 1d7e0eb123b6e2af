//! Which states of a crash are looked at: all, or those that have found most faults elsewhere.

use crate::crash::{Choice, Crash};

/// How far the states of one crash are enumerated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Up to so many states, all of them.
    pub(crate) exhaustive: u64,
    /// Beyond, so many at random besides the systematic ones.
    pub(crate) random: u32,
    /// Beyond, pairs of nodes are lost together where there are up to so many nodes.
    pub(crate) pairs: usize,
}

impl Limits {
    pub(crate) const FULL: Self = Self { exhaustive: 1 << 14, random: 400, pairs: 24 };
    pub(crate) const BRIEF: Self = Self { exhaustive: 1 << 10, random: 120, pairs: 16 };
    pub(crate) const QUICK: Self = Self { exhaustive: 64, random: 16, pairs: 0 };
    pub(crate) const NESTED: Self = Self { exhaustive: 64, random: 24, pairs: 0 };
}

/// Shows choices until `visit` says to stop.
pub(crate) fn each_choice(
    crash: &mut Crash<'_>,
    limits: Limits,
    random: &mut fastrand::Rng,
    mut visit: impl FnMut(&mut Crash<'_>, &Choice) -> bool,
) -> bool {
    let counts = crash.counts.clone();
    let total = counts.iter().try_fold(1u64, |total, count| total.checked_mul(u64::from(*count)));
    if total.is_some_and(|total| total <= limits.exhaustive) {
        let mut choice = vec![0; counts.len()];
        loop {
            if !visit(crash, &choice) {
                return false;
            }
            let Some(next) = (0..counts.len()).find(|node| choice[*node] + 1 < counts[*node])
            else {
                return true;
            };
            choice[next] += 1;
            choice[..next].fill(0);
        }
    }
    let newest = crash.newest();
    let oldest = vec![0; counts.len()];
    let mut go = |choice: &Choice| visit(crash, choice);
    if !go(&newest) || !go(&oldest) {
        return false;
    }
    for node in 0..counts.len() {
        for form in 0..counts[node] {
            // Everything but this, and this alone, in each of its forms.
            for base in [&newest, &oldest] {
                let mut choice = base.clone();
                choice[node] = form;
                if choice != *base && !go(&choice) {
                    return false;
                }
            }
        }
    }
    if counts.len() <= limits.pairs {
        for first in 0..counts.len() {
            for second in 0..first {
                for (base, other) in [(&newest, &oldest), (&oldest, &newest)] {
                    let mut choice = base.clone();
                    choice[first] = other[first];
                    choice[second] = other[second];
                    if !go(&choice) {
                        return false;
                    }
                }
            }
        }
    }
    for round in 0..limits.random {
        // Mostly there, half there, mostly lost; and forms in between.
        let lost = [1, 4, 7][round as usize % 3];
        let form = |count: &u16| match random.u8(..8) {
            draw if draw < lost => 0,
            draw if draw == lost => random.u16(..*count),
            _ => count - 1,
        };
        let choice = counts.iter().map(form).collect();
        if !go(&choice) {
            return false;
        }
    }
    let moments = crash.moments();
    for moment in moments {
        let choice = crash.until(moment);
        if !visit(crash, &choice) {
            return false;
        }
    }
    true
}
