//! Little-endian fields at fixed offsets of fixed arrays.
//!
//! Offsets come from [`crate::layout`], whose constants are asserted at compile time to lie inside
//! their layout, so the indexing here cannot fail for them.
#![allow(clippy::indexing_slicing, reason = "offsets are layout constants, asserted to lie inside")]

pub(crate) fn u32_at<const N: usize>(bytes: &[u8; N], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

pub(crate) fn u16_at<const N: usize>(bytes: &[u8; N], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

pub(crate) fn u64_at<const N: usize>(bytes: &[u8; N], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

pub(crate) fn put<const N: usize, const M: usize>(bytes: &mut [u8; N], at: usize, value: [u8; M]) {
    bytes[at..at + M].copy_from_slice(&value);
}

/// The bytes before `end`: what a checksum stored at `end` covers.
pub(crate) fn before<const N: usize>(bytes: &[u8; N], end: usize) -> &[u8] {
    &bytes[..end]
}
