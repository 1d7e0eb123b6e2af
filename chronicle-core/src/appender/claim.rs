//! A record that is filled where it will lie.

use core::ops::{Deref, DerefMut};

use chronicle_format::TypeId;
use chronicle_sync::{NoProbe, Platform, Probe};

use super::Appender;
use super::store::Stored;
use crate::Result;
use crate::error::Error;
use crate::supply::{NoSupply, Supply};

/// A record that is being filled in place: [`commit`](Self::commit) publishes it, dropping it leaves
/// nothing.
pub struct Claim<'a, P: Platform, H: Probe = NoProbe, S: Supply<P> = NoSupply> {
    pub(super) appender: &'a mut Appender<P, H, S>,
    pub(super) length: u32,
}

impl<P: Platform, H: Probe, S: Supply<P>> Claim<'_, P, H, S> {
    /// Publishes the record and returns its sequence number.
    ///
    /// # Errors
    /// [`Error::InvalidTypeId`]: nothing was published. [`Error::Fenced`], [`Error::Poisoned`]: this appender
    /// is of no more use.
    pub fn commit(self, type_id: u16) -> Result<u64, P> {
        let type_id = TypeId::user(type_id).ok_or(Error::InvalidTypeId { found: type_id })?;
        let appender = &mut *self.appender;
        if !appender.control.holds(appender.epoch) {
            return Err(appender.fenced());
        }
        let header = appender.header(type_id, None);
        let offset = appender.offset();
        let cursor = &mut appender.segment.region;
        // The claim was given for this place, so the record fits.
        if cursor.commit(&header, self.length, appender.sealing).is_none() {
            return Err(appender.too_large(self.length as usize));
        }
        let stored = Stored { offset, seq: header.seq, time_floor_ns: appender.time_max_ns };
        appender.published(&header)?;
        appender.announce_published();
        appender.enter(&stored);
        Ok(header.seq)
    }

    /// Gives the claim up; the same as dropping it.
    pub fn abort(self) {}
}

impl<P: Platform, H: Probe, S: Supply<P>> Deref for Claim<'_, P, H, S> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.appender.segment.region.claimed(self.length).unwrap_or(&[])
    }
}

impl<P: Platform, H: Probe, S: Supply<P>> DerefMut for Claim<'_, P, H, S> {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.appender.segment.region.claim(self.length).unwrap_or(&mut [])
    }
}

impl<P: Platform, H: Probe, S: Supply<P>> Drop for Claim<'_, P, H, S> {
    fn drop(&mut self) {
        self.appender.control.set_busy(None);
    }
}
