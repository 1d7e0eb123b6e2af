//! Regions whose size the compiler knows.
//!
//! Unsafe lives here because a region vouches for its own size.

use core::ptr::NonNull;

use crate::platform::{Region, RegionMut};

/// A region of exactly `SIZE` bytes, as was seen once: words at places that are known when the program is
/// compiled are then found without a look at the size.
#[derive(Debug)]
pub struct Exactly<R, const SIZE: usize>(R);

impl<R: Region, const SIZE: usize> Exactly<R, SIZE> {
    /// Takes a region of that size.
    ///
    /// # Errors
    /// The region's size in bytes, if it is another one.
    pub fn new(region: R) -> Result<Self, usize> {
        let size = region.size();
        if size == SIZE { Ok(Self(region)) } else { Err(size) }
    }

    /// The region itself, for those who have to know what it is.
    pub fn get(&self) -> &R {
        &self.0
    }

    /// Gives the region back.
    pub fn into_inner(self) -> R {
        self.0
    }
}

// SAFETY: `base` is that of the region inside, and so is the size, which was compared with `SIZE` and, by the
// contract of `Region`, does not change.
unsafe impl<R: Region, const SIZE: usize> Region for Exactly<R, SIZE> {
    #[inline(always)]
    fn base(&self) -> NonNull<u8> {
        self.0.base()
    }

    #[inline(always)]
    fn size(&self) -> usize {
        SIZE
    }
}

// SAFETY: the bytes are those of the region inside, which may be written.
unsafe impl<R: RegionMut, const SIZE: usize> RegionMut for Exactly<R, SIZE> {}
