//! What a medium may hold when power is lost at one moment.
//!
//! A state is a choice for each *node*: for a sector, one of its versions; for the names, how many of
//! the changes since they were last synced are there, or which, where they are free; for a file whose
//! size was never synced, whether it has it.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use chronicle_sync::Object;

use crate::history::{History, Point};
use crate::world::World;

/// How a file system keeps changes of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameOrder {
    /// In order, as a journal does; a file with a name has its size.
    Ordered,
    /// Each by itself, and sizes too.
    Free,
}

/// One thing that is on the medium in one of several forms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    /// How many changes of names are there.
    Names,
    /// Whether this change of a name is there.
    Name(usize),
    /// Whether a file has its size.
    Size(usize),
    Sector {
        file: usize,
        sector: usize,
    },
}

/// For each node, which of its forms: 0 is the oldest, the last one what the page cache holds.
pub(crate) type Choice = Vec<u16>;

/// The files that can be reached.
struct Visible {
    files: Vec<(Object, usize, bool)>,
    /// What a sector's contribution to the hash begins with, by file.
    salts: Vec<Option<u64>>,
    hash: u64,
}

pub(crate) struct Crash<'h> {
    history: &'h History,
    pub(crate) point: &'h Point,
    order: NameOrder,
    pub(crate) nodes: Vec<Node>,
    /// How many forms each node has.
    pub(crate) counts: Vec<u16>,
    /// Nodes from here on are sectors.
    first_sector: usize,
    /// Each file as it is where every sector has its oldest version.
    oldest: Vec<Vec<u8>>,
    visible: HashMap<u64, Visible>,
}

fn mix(value: u64) -> u64 {
    // The finalizer of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

fn contribution(salt: u64, sector: usize, version: u64) -> u64 {
    mix(salt.wrapping_add(mix(sector as u64 + 1)) ^ version)
}

fn code(names: &[u16]) -> u64 {
    names.iter().fold(0, |code, form| mix(code ^ (u64::from(*form) + 1)))
}

impl<'h> Crash<'h> {
    pub(crate) fn new(history: &'h History, point: &'h Point, order: NameOrder) -> Self {
        let mut nodes = Vec::new();
        let mut counts = Vec::new();
        let changes = point.changes.len();
        match order {
            NameOrder::Ordered if changes > 0 => {
                nodes.push(Node::Names);
                counts.push(changes as u16 + 1);
            }
            NameOrder::Ordered => {}
            NameOrder::Free => {
                nodes.extend((0..changes).map(Node::Name));
                counts.resize(changes, 2);
            }
        }
        // A file that no name leads to, whatever survives, is on the medium for nobody.
        let named = |file: usize| {
            point.names.iter().any(|(_, named)| *named == file)
                || point.changes.iter().any(|change| change.file == Some(file))
        };
        if order == NameOrder::Free {
            for (file, state) in point.files.iter().enumerate() {
                if named(file) && !state.size_durable {
                    nodes.push(Node::Size(file));
                    counts.push(2);
                }
            }
        }
        let first_sector = nodes.len();
        let mut oldest = Vec::new();
        for (file, state) in point.files.iter().enumerate() {
            let mut bytes = Vec::with_capacity(state.sectors.len() * history.sector);
            for (sector, state) in state.sectors.iter().enumerate() {
                let Some((version, _)) = state.versions.first() else { continue };
                bytes.extend_from_slice(history.versions.content(*version));
                if state.versions.len() > 1 && named(file) {
                    nodes.push(Node::Sector { file, sector });
                    counts.push(state.versions.len() as u16);
                }
            }
            bytes.truncate(state.size);
            oldest.push(bytes);
        }
        let visible = HashMap::new();
        Self { history, point, order, nodes, counts, first_sector, oldest, visible }
    }

    /// What the page cache holds.
    pub(crate) fn newest(&self) -> Choice {
        self.counts.iter().map(|count| count - 1).collect()
    }

    /// Everything up to a moment.
    pub(crate) fn until(&self, time: u32) -> Choice {
        let node = |node: &Node| match node {
            Node::Names => {
                self.point.changes.iter().filter(|change| change.time <= time).count() as u16
            }
            Node::Name(index) => u16::from(self.point.changes[*index].time <= time),
            // A size is there as soon as anything of the file is.
            Node::Size(_) => 1,
            Node::Sector { file, sector } => {
                let versions = &self.point.files[*file].sectors[*sector].versions;
                versions.iter().skip(1).filter(|(_, at)| *at <= time).count() as u16
            }
        };
        self.nodes.iter().map(node).collect()
    }

    /// The moments at which something came that the medium need not hold.
    pub(crate) fn moments(&self) -> Vec<u32> {
        let mut moments: Vec<u32> = self.point.changes.iter().map(|change| change.time).collect();
        for state in self.point.files.iter().flat_map(|file| &file.sectors) {
            moments.extend(state.versions.iter().skip(1).map(|(_, time)| *time));
        }
        moments.sort_unstable();
        moments.dedup();
        moments
    }

    fn resolve(&self, choice: &[u16]) -> Visible {
        let mut names: Vec<(Object, usize)> = self.point.names.clone();
        for (index, change) in self.point.changes.iter().enumerate() {
            let there = match self.order {
                NameOrder::Ordered => index < usize::from(choice[0]),
                NameOrder::Free => choice[index] == 1,
            };
            if !there {
                continue;
            }
            names.retain(|(name, _)| *name != change.object);
            if let Some(file) = change.file {
                names.push((change.object.clone(), file));
            }
        }
        let lost_size = |file: usize| {
            let size = self.nodes.iter().position(|node| *node == Node::Size(file));
            size.is_some_and(|node| choice[node] == 0)
        };
        let mut salts = vec![None; self.point.files.len()];
        let mut hash = 0u64;
        let mut files = Vec::new();
        for (object, file) in names {
            let whole = !lost_size(file);
            let mut hasher = DefaultHasher::new();
            object.name().directory.hash(&mut hasher);
            object.name().file.as_str().hash(&mut hasher);
            whole.hash(&mut hasher);
            let salt = hasher.finish();
            hash = hash.wrapping_add(mix(salt));
            if whole {
                salts[file] = Some(salt);
                for (sector, state) in self.point.files[file].sectors.iter().enumerate() {
                    if let [(version, _)] = state.versions[..] {
                        let version = self.history.versions.hash(version);
                        hash = hash.wrapping_add(contribution(salt, sector, version));
                    }
                }
            }
            files.push((object, file, whole));
        }
        Visible { files, salts, hash }
    }

    /// Under which code the files that this choice leaves are kept.
    fn visible(&mut self, choice: &[u16]) -> u64 {
        let code = code(&choice[..self.first_sector]);
        if !self.visible.contains_key(&code) {
            let resolved = self.resolve(choice);
            self.visible.insert(code, resolved);
        }
        code
    }

    fn version(&self, file: usize, sector: usize, form: u16) -> u32 {
        self.point.files[file].sectors[sector].versions[usize::from(form)].0
    }

    /// Equal for choices that leave the same bytes under the same names.
    pub(crate) fn hash(&mut self, choice: &[u16]) -> u64 {
        let code = self.visible(choice);
        let first = self.first_sector;
        let visible = &self.visible[&code];
        let mut hash = visible.hash;
        for (node, form) in self.nodes[first..].iter().zip(&choice[first..]) {
            if let Node::Sector { file, sector } = node
                && let Some(salt) = visible.salts[*file]
            {
                let version = self.version(*file, *sector, *form);
                let version = self.history.versions.hash(version);
                hash = hash.wrapping_add(contribution(salt, *sector, version));
            }
        }
        hash
    }

    /// Boots a machine from what this choice leaves.
    pub(crate) fn load(&mut self, world: &World, boot: u64, choice: &[u16]) {
        let code = self.visible(choice);
        let first = self.first_sector;
        let visible = &self.visible[&code];
        let bytes = |file: usize, whole: bool| if whole { &self.oldest[file][..] } else { &[] };
        let files = visible.files.iter();
        world.load(boot, files.map(|(object, file, whole)| (object, bytes(*file, *whole))));
        for (node, form) in self.nodes[first..].iter().zip(&choice[first..]) {
            if let Node::Sector { file, sector } = node
                && *form > 0
                && let Some(index) =
                    visible.files.iter().position(|(_, named, whole)| named == file && *whole)
            {
                let content = self.history.versions.content(self.version(*file, *sector, *form));
                world.patch(index, sector * self.history.sector, content);
            }
        }
    }

    /// A choice in words: what is not on the medium.
    pub(crate) fn describe(&self, choice: &[u16]) -> Vec<String> {
        let name_of = |file: usize| {
            let object = self.point.changes.iter().find(|change| change.file == Some(file));
            let named = self.point.names.iter().find(|(_, named)| *named == file);
            let object = object.map(|change| &change.object).or(named.map(|(object, _)| object));
            object.map_or_else(|| format!("file {file}"), ToString::to_string)
        };
        let nodes = self.nodes.iter().zip(choice.iter().zip(&self.counts));
        nodes
            .filter(|(_, (form, count))| **form + 1 < **count)
            .map(|(node, (form, count))| match node {
                Node::Names => format!("names: only {form} of {} changes", count - 1),
                Node::Name(index) => format!("no change of {}", self.point.changes[*index].object),
                Node::Size(file) => format!("no size of {}", name_of(*file)),
                Node::Sector { file, sector } => format!(
                    "{} at {}: version {form} of {}",
                    name_of(*file),
                    sector * self.history.sector,
                    count - 1
                ),
            })
            .collect()
    }
}
