//! The files of a queue, seen while the one process that stores to them is stopped.
//!
//! Unsafe lives here to map them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use crate::writer::told;

/// The one file that its owner makes shorter: it is read and never mapped.
const LOCK: &str = "writer.lock";

struct Content {
    inode: u64,
    /// The file as it is; `None` if it is empty, or the lock file.
    map: Option<Mmap>,
    /// The file as it was when it was last looked at.
    bytes: Vec<u8>,
    hash: u64,
}

impl Content {
    /// Takes note of what the file is now; whether it was something else before.
    fn update(&mut self) -> bool {
        let Some(map) = self.map.as_deref().filter(|map| *map != self.bytes.as_slice()) else {
            return false;
        };
        self.bytes.clear();
        self.bytes.extend_from_slice(map);
        self.hash = hash(&self.bytes);
        true
    }
}

/// All files below a directory, by their names in it.
pub(crate) struct Files {
    root: PathBuf,
    contents: BTreeMap<String, Content>,
    directories: BTreeSet<String>,
}

impl Files {
    pub(crate) fn new(root: &Path) -> Self {
        let (contents, directories) = (BTreeMap::new(), BTreeSet::new());
        Self { root: root.to_owned(), contents, directories }
    }

    /// Looks at the bytes of all files; whether any has changed. Enough behind an instruction that did
    /// not enter the kernel, because files come, go and grow in the kernel only.
    pub(crate) fn compare(&mut self) -> bool {
        let mut changed = false;
        for content in self.contents.values_mut() {
            changed |= content.update();
        }
        changed
    }

    /// Looks at names, sizes and bytes; whether anything has changed.
    pub(crate) fn refresh(&mut self) -> Result<bool, String> {
        let mut found = BTreeMap::new();
        let mut directories = BTreeSet::new();
        let mut changed = false;
        let mut open = vec![String::new()];
        while let Some(prefix) = open.pop() {
            let entries = match fs::read_dir(self.root.join(&prefix)) {
                Err(error) if prefix.is_empty() && error.kind() == std::io::ErrorKind::NotFound => {
                    continue;
                }
                entries => entries.map_err(told)?,
            };
            for entry in entries {
                let entry = entry.map_err(told)?;
                let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
                let metadata = entry.metadata().map_err(told)?;
                if metadata.is_dir() {
                    directories.insert(name.clone());
                    open.push(format!("{name}/"));
                    continue;
                }
                let known = self.contents.remove(&name);
                let known = known.filter(|content| {
                    let length = content.bytes.len() as u64;
                    (content.inode, length) == (metadata.ino(), metadata.len())
                });
                let content = match known {
                    Some(mut content) if name != LOCK => {
                        changed |= content.update();
                        content
                    }
                    known => {
                        let content = self.load(&name, metadata.ino())?;
                        changed |= known.is_none_or(|known| known.hash != content.hash);
                        content
                    }
                };
                found.insert(name, content);
            }
        }
        // What is left has gone.
        changed |= !self.contents.is_empty() || directories != self.directories;
        self.contents = found;
        self.directories = directories;
        Ok(changed)
    }

    fn load(&self, name: &str, inode: u64) -> Result<Content, String> {
        let path = self.root.join(name);
        if name == LOCK {
            let bytes = fs::read(path).map_err(told)?;
            return Ok(Content { inode, map: None, hash: hash(&bytes), bytes });
        }
        let file = File::open(path).map_err(told)?;
        if file.metadata().map_err(told)?.len() == 0 {
            return Ok(Content { inode, map: None, bytes: Vec::new(), hash: hash(&[]) });
        }
        // SAFETY: the one process that stores to the file or changes its size is traced by this thread
        // and stopped whenever this type's methods run, so the bytes do not change while a slice of them
        // lives. It makes no file shorter but the lock file.
        let map = unsafe { Mmap::map(&file) }.map_err(told)?;
        let bytes = map.to_vec();
        Ok(Content { inode, map: Some(map), hash: hash(&bytes), bytes })
    }

    /// A number that tells this state of the files from others.
    pub(crate) fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.directories.hash(&mut hasher);
        for (name, content) in &self.contents {
            (name, content.hash).hash(&mut hasher);
        }
        hasher.finish()
    }

    /// Writes a copy of everything to a directory, which is made for it.
    pub(crate) fn copy_to(&self, target: &Path) -> Result<(), String> {
        fs::create_dir(target).map_err(told)?;
        for name in &self.directories {
            fs::create_dir(target.join(name)).map_err(told)?;
        }
        for (name, content) in &self.contents {
            fs::write(target.join(name), &content.bytes).map_err(told)?;
        }
        Ok(())
    }
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}
