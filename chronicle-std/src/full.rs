//! Waiting for room in a queue that has reached its capacity.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use chronicle_core::{Error, apply_retention};

use crate::QueueError;
use crate::backend::PlatformError;
use crate::config::WhenFull;
use crate::counters::SharedCounters;
use crate::writer::WriterAppender;

/// The first sleep between two looks, in case a reader is just about to commit.
const FIRST_SLICE: Duration = Duration::from_millis(1);
/// The longest: a reader that commits is noticed after this time at the latest.
const LONGEST_SLICE: Duration = Duration::from_millis(20);

/// Makes an append again and again, as the policy says, until there is room for it.
///
/// Readers store their positions without a word to anybody, so there is nothing to be woken by: the
/// writer sleeps in slices of 1 to 20 ms, and between them removes what has been passed. Any other
/// outcome than a full queue ends the wait.
#[cold]
pub(crate) fn with_room<T>(
    appender: &mut WriterAppender,
    path: &Path,
    policy: WhenFull,
    counters: Option<&SharedCounters>,
    refused: Error<PlatformError>,
    mut again: impl FnMut(&mut WriterAppender) -> Result<T, Error<PlatformError>>,
) -> Result<T, QueueError> {
    let (Error::QueueFull { capacity }, WhenFull::Wait(limit)) = (&refused, policy) else {
        return Err(QueueError::from_core(path, refused));
    };
    let capacity = *capacity;
    // Readers that sleep must see what was appended quietly, or they would have nothing to commit.
    appender.announce();
    let started = Instant::now();
    let mut slice = FIRST_SLICE;
    loop {
        let left = limit.saturating_sub(started.elapsed());
        if left.is_zero() {
            let path = path.to_owned();
            return Err(QueueError::Full { path, capacity, waited: started.elapsed() });
        }
        thread::sleep(slice.min(left));
        slice = (2 * slice).min(LONGEST_SLICE);
        // Where it fails, the thread beside the writer or the next turn may have better luck; a
        // reader whose lease is over is for that thread, which keeps the time.
        let report = apply_retention(appender.platform(), |_| false);
        if let Some(counters) = counters {
            counters.looked(report.as_ref().ok());
        }
        match again(appender) {
            Err(Error::QueueFull { .. }) => {}
            other => return other.map_err(|error| QueueError::from_core(path, error)),
        }
    }
}
