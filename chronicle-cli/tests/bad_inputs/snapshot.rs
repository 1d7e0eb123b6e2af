//! What lies in a directory, down to the bytes, whatever kind of file it is and however long.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Bytes of a file that are compared; what is longer than that is a hole.
const COMPARED: u64 = 64 << 10;

pub(crate) type Snapshot = BTreeMap<PathBuf, (u32, u64, Vec<u8>)>;

/// Every name below a directory, with mode, length and contents.
pub(crate) fn snapshot(directory: &Path) -> Snapshot {
    let mut found = BTreeMap::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(path) = pending.pop() {
        let data = fs::symlink_metadata(&path).unwrap();
        let mut bytes = Vec::new();
        if data.is_dir() {
            let entries: Vec<_> = fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()).collect();
            if entries.len() < 1000 {
                pending.extend(entries);
            } else {
                // As many as that are all alike: their number says enough.
                bytes = entries.len().to_le_bytes().to_vec();
            }
        } else if data.is_symlink() {
            bytes = fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes();
        } else if data.is_file() {
            File::open(&path).unwrap().take(COMPARED).read_to_end(&mut bytes).unwrap();
        }
        let length = if data.is_dir() { 0 } else { data.len() };
        found.insert(path, (data.permissions().mode(), length, bytes));
    }
    found
}

/// The names of what differs.
pub(crate) fn changed(before: &Snapshot, after: &Snapshot) -> String {
    let names = before.keys().chain(after.keys());
    let mut changed: Vec<_> = names
        .filter(|path| before.get(*path) != after.get(*path))
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    changed.sort();
    changed.dedup();
    changed.join(" ")
}
