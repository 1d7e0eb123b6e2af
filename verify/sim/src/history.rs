//! What was stored when, and what a medium may therefore hold at every moment.
//!
//! A mapping is plain memory, so nobody sees a store. At each call of the seam, at each named step of
//! the engine and after each operation the page cache is compared with what it was before, sector by
//! sector; every distinct content is a *version*. A sector of the medium holds any version from the
//! last successful sync of its file on.

use std::hash::{DefaultHasher, Hasher};
use std::rc::Rc;

use chronicle_sync::Object;

use crate::facts::Mark;
use crate::memory::{File, PAGE};

/// What space holds that was allocated and not written back yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// Zeros.
    Zero,
    /// Zeros until something is stored there; from then until it reaches the medium also what another
    /// file had there once, as where a file system allocates blocks that were used before and marks
    /// them as written too early.
    Recycled,
}

/// Contents of sectors, each stored once per change.
#[derive(Default)]
pub(crate) struct Versions {
    sector: usize,
    bytes: Vec<u8>,
    hashes: Vec<u64>,
    /// The file that each one belonged to.
    files: Vec<usize>,
}

impl Versions {
    /// The last sector of a file may be cut short: zeros are behind it.
    fn add(&mut self, file: usize, content: &[u8]) -> u32 {
        let mut hasher = DefaultHasher::new();
        hasher.write(content);
        self.hashes.push(hasher.finish());
        self.bytes.extend_from_slice(content);
        self.bytes.resize(self.hashes.len() * self.sector, 0);
        self.files.push(file);
        (self.hashes.len() - 1) as u32
    }

    /// A content of another file, any of them; noise where that is not to be had.
    fn recycle(&mut self, file: usize, any: u64) -> u32 {
        let version = (any % self.hashes.len() as u64) as u32;
        let content = self.content(version);
        if self.files[version as usize] != file && content.iter().any(|byte| *byte != 0) {
            return version;
        }
        let mut noise = fastrand::Rng::with_seed(any);
        let content: Vec<u8> = (0..self.sector).map(|_| noise.u8(..)).collect();
        self.add(file, &content)
    }

    pub(crate) fn content(&self, version: u32) -> &[u8] {
        let start = version as usize * self.sector;
        &self.bytes[start..start + self.sector]
    }

    pub(crate) fn hash(&self, version: u32) -> u64 {
        self.hashes[version as usize]
    }
}

/// Every version of one sector, with the moment at which it came; the first is that of the medium.
struct Sector {
    versions: Vec<(u32, u32)>,
    /// Index of the oldest version that the medium may still hold.
    low: usize,
    /// Allocated, and nothing was ever stored there.
    is_fresh: bool,
}

struct Track {
    seen: Vec<u8>,
    sectors: Vec<Sector>,
    /// Changed since the kernel last took the page for clean.
    dirty_pages: Vec<bool>,
    size_durable: bool,
}

/// A name given or taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NameChange {
    pub(crate) object: Object,
    /// The file that got the name; `None` if the name was taken away.
    pub(crate) file: Option<usize>,
    pub(crate) time: u32,
}

/// What a sector may hold: versions by moment, the oldest first, the newest last.
#[derive(Clone, Debug)]
pub(crate) struct SectorState {
    pub(crate) versions: Vec<(u32, u32)>,
}

#[derive(Clone, Debug)]
pub(crate) struct FileState {
    pub(crate) sectors: Vec<SectorState>,
    /// Bytes.
    pub(crate) size: usize,
    pub(crate) size_durable: bool,
}

/// A moment at which a process may be killed or power lost, because something had just changed.
#[derive(Clone)]
pub struct Point {
    pub(crate) files: Vec<FileState>,
    /// Names on the medium for certain.
    pub(crate) names: Vec<(Object, usize)>,
    /// What happened to names since they were last synced.
    pub(crate) changes: Vec<NameChange>,
    pub(crate) mark: Mark,
}

/// Watches the page cache and the directory.
pub struct Recorder {
    sector: usize,
    space: Space,
    versions: Versions,
    tracks: Vec<Track>,
    names: Vec<(Object, usize)>,
    changes: Vec<NameChange>,
    time: u32,
    points: Vec<Point>,
    stale: bool,
}

/// All that was recorded.
pub struct History {
    pub(crate) versions: Versions,
    /// The moments, in their order.
    pub points: Vec<Point>,
    pub(crate) sector: usize,
}

impl Recorder {
    /// Begins with files and names that are on the medium as they are.
    pub(crate) fn new(
        sector: usize,
        space: Space,
        files: &[Rc<File>],
        names: &[(Object, Rc<File>)],
    ) -> Self {
        let mut recorder = Self {
            sector,
            space,
            versions: Versions { sector, ..Versions::default() },
            tracks: Vec::new(),
            names: names.iter().map(|(object, file)| (object.clone(), file.id)).collect(),
            changes: Vec::new(),
            time: 0,
            points: Vec::new(),
            stale: true,
        };
        for file in files {
            recorder.add(file, true);
        }
        recorder
    }

    /// A new file: what is there already counts as what the medium holds.
    pub(crate) fn add(&mut self, file: &File, size_durable: bool) {
        let bytes = file.memory.bytes();
        let sectors = bytes
            .chunks(self.sector)
            .map(|content| Sector {
                versions: vec![(self.versions.add(file.id, content), self.time)],
                low: 0,
                is_fresh: !size_durable,
            })
            .collect();
        let pages = bytes.len().div_ceil(PAGE);
        let track =
            Track { seen: bytes.to_vec(), sectors, dirty_pages: vec![false; pages], size_durable };
        self.tracks.push(track);
    }

    /// Takes note of every store since the last look.
    pub(crate) fn observe(&mut self, files: &[Rc<File>], mark: &Mark) {
        self.time += 1;
        for (file, track) in files.iter().zip(&mut self.tracks) {
            let now = file.memory.bytes();
            if now == track.seen {
                continue;
            }
            for (index, sector) in track.sectors.iter_mut().enumerate() {
                let at = index * self.sector;
                let range = at..now.len().min(at + self.sector);
                let content = &now[range.clone()];
                if content != &track.seen[range] {
                    if self.space == Space::Recycled && sector.is_fresh {
                        let any = u64::from(self.time) << 32 | (at + file.id) as u64;
                        let any = any.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16;
                        sector.versions.push((self.versions.recycle(file.id, any), self.time));
                    }
                    sector.is_fresh = false;
                    sector.versions.push((self.versions.add(file.id, content), self.time));
                    track.dirty_pages[at / PAGE] = true;
                    self.stale = true;
                }
            }
            track.seen.copy_from_slice(now);
        }
        let mark_moved = self.points.last().is_none_or(|point| point.mark != *mark);
        if self.stale || mark_moved {
            self.points.push(self.point(mark));
            self.stale = false;
        }
    }

    fn point(&self, mark: &Mark) -> Point {
        let file = |track: &Track| FileState {
            sectors: track
                .sectors
                .iter()
                .map(|sector| SectorState { versions: sector.versions[sector.low..].to_vec() })
                .collect(),
            size: track.seen.len(),
            size_durable: track.size_durable,
        };
        Point {
            files: self.tracks.iter().map(file).collect(),
            names: self.names.clone(),
            changes: self.changes.clone(),
            mark: mark.clone(),
        }
    }

    /// A sync of a file that reached the medium: what was dirty is there in its newest version.
    pub(crate) fn synced(&mut self, file: usize) {
        let per_page = PAGE / self.sector;
        let track = &mut self.tracks[file];
        for (index, sector) in track.sectors.iter_mut().enumerate() {
            if track.dirty_pages[index / per_page] && sector.low + 1 < sector.versions.len() {
                sector.low = sector.versions.len() - 1;
                self.stale = true;
            }
        }
        track.dirty_pages.fill(false);
        track.size_durable = true;
    }

    /// A sync that failed: the kernel takes the pages for clean, and the medium may hold any version.
    pub(crate) fn sync_failed(&mut self, file: usize) {
        self.tracks[file].dirty_pages.fill(false);
    }

    pub(crate) fn name_changed(&mut self, object: &Object, file: Option<usize>) {
        self.changes.push(NameChange { object: object.clone(), file, time: self.time });
        self.stale = true;
    }

    pub(crate) fn names_synced(&mut self, names: &[(Object, Rc<File>)]) {
        self.names = names.iter().map(|(object, file)| (object.clone(), file.id)).collect();
        self.changes.clear();
        self.stale = true;
    }

    /// What was there at the last look, to undo what a process that is being killed still stores.
    pub(crate) fn seen(&self, file: usize) -> &[u8] {
        &self.tracks[file].seen
    }

    pub(crate) fn points(&self) -> usize {
        self.points.len()
    }

    pub(crate) fn into_history(self) -> History {
        History { versions: self.versions, points: self.points, sector: self.sector }
    }
}
