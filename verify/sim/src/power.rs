//! A machine from which power is taken once, outside of an exploration.

use crate::crash::{Crash, NameOrder};
use crate::history::Space;
use crate::platform::SimPlatform;

/// What a medium keeps of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Nothing: each sector as it was synced last, or as it was when its file was made.
    Nothing,
    /// Everything, as if all of it had just been written back.
    Everything,
    /// Any part, by the machine's random numbers.
    Random,
}

impl SimPlatform {
    /// An empty machine with a medium of sectors of so many bytes, which can lose power.
    #[must_use]
    pub fn with_medium(seed: u64, sector: usize) -> Self {
        let platform = Self::new(seed);
        platform.world.record(sector, Space::Zero);
        platform
    }

    /// Loses power and boots anew. Handles stay good, regions and locks of before are those of dead
    /// processes. Does nothing to a machine without a medium.
    pub fn lose_power(&self, names: NameOrder, kept: Kept) {
        let Some(history) = self.world.take_history() else { return };
        let Some(last) = history.points.last() else { return };
        let mut crash = Crash::new(&history, last, names);
        let form = |count: &u16| match kept {
            Kept::Nothing => 0,
            Kept::Everything => count - 1,
            Kept::Random => (self.world.random() % u64::from(*count)) as u16,
        };
        let choice: Vec<u16> = crash.counts.iter().map(form).collect();
        crash.load(&self.world, self.world.boot() + 1, &choice);
        self.world.record(history.sector, Space::Zero);
    }
}
