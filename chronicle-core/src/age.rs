//! How old segments are, by a clock that nobody can set back.
//!
//! Time stamps of records come from the wall clock, which may jump, and one stamp from the future
//! would make everything behind it look young for as long. So age is not read off them. Whoever
//! looks after retention notes from time to time in which segment the log ends: everything before it
//! is older than that note.

use chronicle_format::{AGE_SAMPLES, AgeClock, AgeSample, SegmentId};
use chronicle_sync::mutation::{Mutant, seeded};
use chronicle_sync::{Clock, Platform, Region, RegionMut};

use crate::control::Control;

/// Samples are this part of the age limit apart: a segment is removed so much later at the most.
const PARTS: u64 = 64;

/// What the age clock shows. It runs with the monotonic clock; in another boot than that of the last
/// reading it goes on where it stood, or at the wall clock if that is later.
fn now<P: Platform, R: Region>(platform: &P, control: &Control<R>) -> AgeClock {
    let clock = platform.clock();
    let (monotonic_ns, boot) = (clock.now().as_nanos(), clock.boot());
    let clock_ns = match control.age_clock() {
        _ if seeded(Mutant::AgeByWallClock) => clock.wall_ns(),
        Some(last) if last.boot == boot => {
            last.clock_ns.saturating_add(monotonic_ns.saturating_sub(last.monotonic_ns))
        }
        Some(last) => last.clock_ns.max(clock.wall_ns()),
        // Never read, or damaged: not before anything that was noted.
        None => newest(control).map_or(0, |(_, sample)| sample.age_ns).max(clock.wall_ns()),
    };
    AgeClock { clock_ns, monotonic_ns, boot }
}

/// The newest sample and its slot.
fn newest<R: Region>(control: &Control<R>) -> Option<(usize, AgeSample)> {
    samples(control).max_by_key(|(_, sample)| (sample.age_ns, sample.segment))
}

fn samples<R: Region>(control: &Control<R>) -> impl Iterator<Item = (usize, AgeSample)> {
    (0..AGE_SAMPLES).filter_map(|slot| Some((slot, control.age_sample(slot)?)))
}

/// Moves the clock on, and notes where the log ends if that is due. Only for the process that holds
/// the writer's lock.
pub(crate) fn take_sample<P: Platform, R: RegionMut>(
    platform: &P,
    control: &Control<R>,
    max_age_ns: u64,
) {
    let now = now(platform, control);
    control.set_age_clock(&now);
    // At or before the head, which makes things look younger rather than older.
    let Some(head) = control.segment_index() else { return };
    let sample = AgeSample { age_ns: now.clock_ns, segment: head.segment };
    match newest(control) {
        // An earlier note of the same segment says more.
        Some((_, last)) if last.segment >= sample.segment => {}
        Some((_, last)) if now.clock_ns < last.age_ns.saturating_add(max_age_ns / PARTS) => {}
        Some((slot, _)) => control.set_age_sample((slot + 1) % AGE_SAMPLES, Some(&sample)),
        None => control.set_age_sample(0, Some(&sample)),
    }
}

/// The segment before which everything is older than so much; `None` if nothing is known to be.
pub(crate) fn expired_before<P: Platform, R: Region>(
    platform: &P,
    control: &Control<R>,
    max_age_ns: u64,
) -> Option<SegmentId> {
    let limit = now(platform, control).clock_ns.checked_sub(max_age_ns)?;
    let old = samples(control).filter(|(_, sample)| sample.age_ns <= limit);
    old.map(|(_, sample)| sample.segment).max()
}

/// Forgets notes about segments behind the end of the log: they were lost, and what gets their ids
/// now is younger.
pub(crate) fn forget_after<R: RegionMut>(control: &Control<R>, end: SegmentId) {
    for (slot, sample) in samples(control) {
        if sample.segment > end {
            control.set_age_sample(slot, None);
        }
    }
}
