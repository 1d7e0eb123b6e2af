//! When to look at a directory again.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use chronicle_std::DirectoryWatch;

use crate::BusError;
use crate::directory::Identity;

/// The shortest time between a look and the next one.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
/// After a look that took long there is none for so many times as long: a thousand processes that
/// start in a second are hints without end, and each look is at all of them.
const PAUSES_PER_LOOK: u32 = 3;

/// Says when something below a directory may have changed: by a watch, and by the time since the last
/// look, because hints may get lost and because there is none for the death of a process.
#[derive(Debug)]
pub(crate) struct Hints {
    target: PathBuf,
    rescan: Duration,
    watch: Option<DirectoryWatch>,
    /// The directory that is watched, if it is the target.
    watched: Option<Identity>,
    hinted: bool,
    next_rescan: Instant,
    earliest: Instant,
}

impl Hints {
    pub(crate) fn new(target: PathBuf, rescan: Duration) -> Self {
        let now = Instant::now();
        Self {
            target,
            rescan,
            watch: None,
            watched: None,
            hinted: false,
            next_rescan: now,
            earliest: now,
        }
    }

    pub(crate) fn is_watching(&self) -> bool {
        self.watch.is_some()
    }

    /// Looks whenever there is reason to, until a look finds something or the time is up.
    pub(crate) fn until_found<T>(
        &mut self,
        timeout: Option<Duration>,
        mut look: impl FnMut() -> Result<Option<T>, BusError>,
    ) -> Result<Option<T>, BusError> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        self.listen(Duration::ZERO);
        loop {
            let now = Instant::now();
            if now >= self.next_rescan || self.hinted && now >= self.earliest {
                let found = self.look_once(&mut look)?;
                if found.is_some() {
                    return Ok(found);
                }
            }
            let now = Instant::now();
            if deadline.is_some_and(|deadline| now >= deadline) {
                return Ok(None);
            }
            let until = if self.hinted { self.earliest } else { self.next_rescan };
            let until = deadline.map_or(until, |deadline| until.min(deadline));
            self.listen(until.saturating_duration_since(now));
        }
    }

    fn look_once<T>(
        &mut self,
        look: &mut impl FnMut() -> Result<Option<T>, BusError>,
    ) -> Result<Option<T>, BusError> {
        let begun = Instant::now();
        self.hinted = false;
        self.renew();
        let found = look();
        let ended = Instant::now();
        let pause = SHORTEST_PAUSE.max((ended - begun) * PAUSES_PER_LOOK);
        self.next_rescan = ended + self.rescan.max(pause);
        self.earliest = ended + pause;
        found
    }

    /// Watches the target if it is not watched: it may be new, or another one of the same name.
    fn renew(&mut self) {
        let target = Identity::of_directory(&self.target);
        if self.watch.is_some() && target.is_some() && self.watched == target {
            return;
        }
        // Without a watch, as where the system has no more of them, there are still the rescans.
        self.watch = DirectoryWatch::nearest(&self.target).ok();
        let is_target = self.watch.as_ref().is_some_and(|watch| watch.path() == self.target);
        // What was put in its place meanwhile is found by the next look.
        let unchanged = Identity::of_directory(&self.target) == target;
        self.watched = target.filter(|_| is_target && unchanged);
    }

    /// Waits for a hint. One that there is already is not made more by others.
    fn listen(&mut self, timeout: Duration) {
        if self.hinted {
            thread::sleep(timeout);
            return;
        }
        match self.watch.as_mut().map(|watch| watch.wait(timeout)) {
            Some(Ok(hinted)) => self.hinted = hinted,
            // The next look makes another one.
            Some(Err(_)) => self.watch = None,
            None => thread::sleep(timeout),
        }
    }
}
