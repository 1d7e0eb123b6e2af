//! Records whose time is given by the program.

use chronicle_sync::{Platform, Probe};

use super::Appender;
use crate::Result;
use crate::supply::Supply;

impl<P: Platform, H: Probe, S: Supply<P>> Appender<P, H, S> {
    /// As [`append`](Self::append), with a time of the program's own in place of the clock's: that of an
    /// event, or of a record that is copied from another queue. No clock is read.
    ///
    /// `timestamp_ns` is in nanoseconds since 1970 for whoever reads it; the queue does not act on it. Times
    /// may go back, but
    /// [`seek_timestamp`](crate::Tailer::seek_timestamp) goes by the highest one so far: behind one that is far
    /// in the future, none of those that follow is found.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    #[inline(always)]
    pub fn append_at(&mut self, type_id: u16, timestamp_ns: u64, payload: &[u8]) -> Result<u64, P> {
        self.append_by_any_way(type_id, timestamp_ns, payload)
    }
}
