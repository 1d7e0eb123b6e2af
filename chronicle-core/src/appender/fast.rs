//! The fast path: a record that takes stores and no call.

use chronicle_format::{RecordFlags, RecordHeader, TypeId};
use chronicle_sync::notify::Waiters;
use chronicle_sync::record::is_short;
use chronicle_sync::{Platform, Probe, Site};

use super::Appender;
use crate::Result;
use crate::control::{News, waiters};
use crate::error::Error;
use crate::supply::Supply;

/// What became of a record on the fast path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fast {
    /// It is appended, with this sequence number.
    Appended(u64),
    /// It is appended, with this sequence number, and a reader sleeps: [`announce`](Appender::announce) wakes it.
    Awaited(u64),
    /// It is published, but the queue was lost meanwhile: [`lost`](Appender::lost) says why.
    Lost,
    /// Nothing was stored: the record takes more than this path does, or cannot be appended.
    Refused,
}

/// In the place of a record's time: that of the clock.
#[derive(Clone, Copy, Debug)]
pub struct Now;

impl From<Now> for Option<u64> {
    fn from(_: Now) -> Self {
        None
    }
}

/// A record's time: [`Now`], or nanoseconds. What is known when the code is compiled takes no register.
pub trait Time: Into<Option<u64>> + Copy {}

impl<T: Into<Option<u64>> + Copy> Time for T {}

impl<P: Platform, H: Probe, S: Supply<P>> Appender<P, H, S> {
    /// Appends a record if that takes nothing but stores: a short payload where there is room, the queue has
    /// checksums or not as `SEALED` says, and nothing else is due. Short are 32 to 256 bytes, and with checksums
    /// 32 to 128.
    ///
    /// This is the first part of [`append`](Self::append), for a caller that has its own way of going on: it calls no
    /// function, so that one that calls others as its last act only needs no stack.
    #[inline(always)]
    #[must_use = "there may be something left to do"]
    pub fn append_fast<const SEALED: bool>(
        &mut self,
        type_id: u16,
        time: impl Time,
        payload: &[u8],
    ) -> Fast {
        let Some(seq) = self.publish_fast::<SEALED>(type_id, time, payload) else {
            return Fast::Refused;
        };
        let is_held = self.control.still_holds(self.epoch, self.barrier);
        let waiters = waiters(&self.notify, News::Visible);
        if !is_held {
            Fast::Lost
        } else if waiters.is_some_and(Waiters::someone_waits_behind_barrier) {
            Fast::Awaited(seq)
        } else {
            Fast::Appended(seq)
        }
    }

    /// Whether [`append_fast`](Self::append_fast) is worth a try with checksums.
    #[inline(always)]
    #[must_use]
    pub fn seals_fast(&self, payload: &[u8]) -> bool {
        self.sealing.is_some() && is_short(payload, self.sealing)
    }

    /// Stores and publishes a record if that takes nothing but stores; its sequence number. Whether the epoch still
    /// holds is for the caller to look.
    #[inline(always)]
    pub(super) fn publish_fast<const SEALED: bool>(
        &mut self,
        type_id: u16,
        time: impl Time,
        payload: &[u8],
    ) -> Option<u64> {
        if self.sealing.is_some() != SEALED || self.offset() >= self.due {
            return None;
        }
        self.segment.region.prefetch();
        let type_id = TypeId::user(type_id)?;
        let (epoch, seq) = (self.epoch, self.next_seq);
        // A writer that lost the queue long ago must not store over what its successor has appended. In front of the
        // counter, because behind it five instructions more are needed, and what it takes is no time in which that matters.
        if !self.control.holds(epoch) {
            return None;
        }
        let Self { stamps, platform, segment, sealing, .. } = self;
        let sealing = if SEALED { *sealing } else { None };
        let header = segment.region.append_short(payload, sealing, || {
            let flags = RecordFlags::empty();
            let timestamp_ns = time.into().or_else(|| stamps.by_counter(platform.clock()))?;
            Some(RecordHeader { type_id, flags, epoch, seq, timestamp_ns })
        })?;
        self.time_max_ns = self.time_max_ns.max(header.timestamp_ns);
        self.next_seq += 1;
        self.probe.at(Site::Published);
        Some(header.seq)
    }

    /// Appends a record of any kind: what is left where [`append_fast`](Self::append_fast) refuses.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    #[inline(always)]
    pub fn append_any(&mut self, type_id: u16, time: impl Time, payload: &[u8]) -> Result<u64, P> {
        let stored = self.append_stamped(type_id, payload, time.into())?;
        self.announce_published();
        self.enter(&stored);
        Ok(stored.seq)
    }

    /// All of the ways, each apart.
    #[inline(always)]
    pub(super) fn append_by_any_way(
        &mut self,
        type_id: u16,
        time: impl Time,
        payload: &[u8],
    ) -> Result<u64, P> {
        match self.append_fast::<false>(type_id, time, payload) {
            Fast::Appended(seq) => Ok(seq),
            Fast::Awaited(seq) => self.awaited(seq),
            Fast::Lost => Err(self.lost()),
            Fast::Refused if self.seals_fast(payload) => self.append_sealed(type_id, time, payload),
            Fast::Refused => self.append_slow(type_id, time, payload),
        }
    }

    #[inline(never)]
    fn append_sealed(&mut self, type_id: u16, time: impl Time, payload: &[u8]) -> Result<u64, P> {
        match self.append_fast::<true>(type_id, time, payload) {
            Fast::Appended(seq) => Ok(seq),
            Fast::Awaited(seq) => self.awaited(seq),
            Fast::Lost => Err(self.lost()),
            Fast::Refused => self.append_slow(type_id, time, payload),
        }
    }

    #[inline(never)]
    fn append_slow(&mut self, type_id: u16, time: impl Time, payload: &[u8]) -> Result<u64, P> {
        self.append_any(type_id, time, payload)
    }

    #[cold]
    #[inline(never)]
    fn awaited(&mut self, seq: u64) -> Result<u64, P> {
        self.wake();
        Ok(seq)
    }

    /// Why the queue was lost, behind [`Fast::Lost`]: [`Error::Fenced`] or [`Error::Poisoned`]. This appender is of no
    /// more use.
    #[cold]
    pub fn lost(&mut self) -> Error<P::Error> {
        self.fenced()
    }
}
