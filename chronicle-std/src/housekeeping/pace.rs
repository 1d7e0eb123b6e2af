//! How fast pages are made ready.

use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

/// So many bytes are made ready between two pauses: some 20 us.
const PIECE: u64 = 64 << 10;
/// And so many where there is no time for pauses.
const PIECE_IN_A_HURRY: u64 = 128 << 20;
/// No pause is longer, whatever a piece has taken.
const LONGEST_PAUSE: Duration = Duration::from_millis(1);
/// A writer that takes so long for the first quarter of a segment leaves time for pauses while the next one is prepared.
const UNHURRIED: Duration = Duration::from_millis(150);

/// Half of the time for whoever else needs the processor: where there are no more processors than threads that spin, a
/// scheduler would take one from the writer or from a reader for milliseconds.
pub(super) struct Pace {
    /// How long this may still pause.
    time: Duration,
    /// Since when there has been work; not before the first piece.
    resumed: Option<Instant>,
}

impl Pace {
    /// For a writer that has taken so long for a quarter of a segment, and has three more to go.
    pub(super) fn new(quarter: Duration) -> Self {
        let time = if quarter >= UNHURRIED { quarter } else { Duration::ZERO };
        Self { time, resumed: None }
    }

    /// Pauses for as long as the last piece took, if there is time for it. Says how large the next one is, unless the
    /// writer closes.
    pub(super) fn next_piece(&mut self, stop: &OnceLock<()>) -> Option<u64> {
        let worked = self.resumed.map_or(Duration::ZERO, |since| since.elapsed());
        let pause = worked.min(LONGEST_PAUSE);
        let mut piece = PIECE_IN_A_HURRY;
        if let Some(left) = self.time.checked_sub(pause).filter(|left| !left.is_zero()) {
            self.time = left;
            thread::sleep(pause);
            piece = PIECE;
        }
        self.resumed = Some(Instant::now());
        stop.get().is_none().then_some(piece)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_writer_in_a_hurry_is_not_kept_waiting() {
        let mut pace = Pace::new(UNHURRIED / 2);
        let stop = OnceLock::new();
        assert_eq!(pace.next_piece(&stop), Some(PIECE_IN_A_HURRY));
        pace.resumed = pace.resumed.and_then(|since| since.checked_sub(LONGEST_PAUSE));
        assert_eq!(pace.next_piece(&stop), Some(PIECE_IN_A_HURRY));
    }

    #[test]
    fn there_are_pauses_for_a_quarter_of_the_time_and_none_is_long() {
        let mut pace = Pace::new(UNHURRIED);
        let stop = OnceLock::new();
        let mut pieces = 0;
        while pace.next_piece(&stop).unwrap() == PIECE {
            // As if a piece had taken longer than any.
            pace.resumed = pace.resumed.and_then(|since| since.checked_sub(LONGEST_PAUSE * 3));
            pieces += 1;
        }
        assert_eq!(pieces, UNHURRIED.as_millis() / LONGEST_PAUSE.as_millis());
    }

    #[test]
    fn a_writer_that_closes_waits_for_one_piece() {
        let stop = OnceLock::from(());
        assert_eq!(Pace::new(UNHURRIED).next_piece(&stop), None);
        assert_eq!(Pace::new(Duration::ZERO).next_piece(&stop), None);
    }
}
