use core::ptr::NonNull;

/// Shared bytes at a fixed address.
///
/// Other processes may change any byte at any time, so nobody makes a slice of a region; its words
/// are reached through `RegionExt`.
///
/// # Safety
/// For as long as the value lives, whether it is moved or not: `base` and `size` stay the same, `base` is aligned
/// to at least 64 bytes, and the `size` bytes from it on are mapped and may be read, though not all of
/// them need to be backed: a queue touches only what was reserved.
pub unsafe trait Region {
    /// Address of the first byte.
    fn base(&self) -> NonNull<u8>;
    /// Number of bytes; 0 for an empty object.
    fn size(&self) -> usize;
}

/// A region that may also be stored to.
///
/// # Safety
/// As [`Region`], and the bytes may be written.
pub unsafe trait RegionMut: Region {}
