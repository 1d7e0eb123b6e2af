//! What a medium may hold when the power is lost at some moment of a record.

use crate::disk::Event;

const SECTOR: usize = 512;

/// A generator of choices that gives the same ones for the same seed (xorshift64*, Vigna 2016).
pub(crate) struct Choices(u64);

impl Choices {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

/// The medium when the power is lost behind `cut` events: everything before the last flush, and of
/// each later write the sectors that `choices` keeps, in any order.
pub(crate) fn medium(size: usize, log: &[Event], cut: usize, choices: &mut Choices) -> Vec<u8> {
    let mut image = vec![0; size];
    let events = log.get(..cut).unwrap_or(log);
    let flushed = events.iter().rposition(|event| matches!(event, Event::Flush)).unwrap_or(0);
    for event in events.iter().take(flushed) {
        if let Event::Write { at, bytes } = event {
            store(&mut image, *at, bytes);
        }
    }
    let mut loose: Vec<(usize, &[u8])> = Vec::new();
    for event in events.iter().skip(flushed) {
        if let Event::Write { at, bytes } = event {
            let sectors = bytes.chunks(SECTOR).enumerate();
            loose.extend(sectors.map(|(i, sector)| (at + i * SECTOR, sector)));
        }
    }
    // From hardly anything to nearly everything.
    let kept = choices.below(101);
    for i in (1..loose.len()).rev() {
        loose.swap(i, choices.below(i + 1));
    }
    for (at, sector) in loose {
        if choices.below(100) < kept {
            store(&mut image, at, sector);
        }
    }
    image
}

/// The medium when everything was written.
pub(crate) fn whole(size: usize, log: &[Event]) -> Vec<u8> {
    let mut image = vec![0; size];
    for event in log {
        if let Event::Write { at, bytes } = event {
            store(&mut image, *at, bytes);
        }
    }
    image
}

fn store(image: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = image.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}
