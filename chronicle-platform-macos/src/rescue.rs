//! Making good a sync that failed, which is not possible here.
//!
//! What is believed after a failed sync is only what was read from the medium and compared. macOS has
//! no way to read past the page cache that can be relied on: `F_NOCACHE` (fcntl(2)) keeps what is read
//! from being cached, and takes what is cached from the cache all the same ("First look for pages
//! already in the cache", `cluster_read_direct` in bsd/vfs/vfs_cluster.c of XNU). Every page of a
//! mapped segment may be cached, so a comparison would compare the cache with itself. The queue stays
//! poisoned until the next boot, which reads from the medium because nothing else is left.

use core::ops::Range;

use crate::error::MacosError;
use crate::region::MacosMap;

/// See [`chronicle_sync::Storage::rescue`].
pub(crate) fn rescue(_map: &MacosMap, _range: Range<u64>) -> Result<bool, MacosError> {
    Ok(false)
}
