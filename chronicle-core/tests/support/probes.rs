//! Probes that count steps, one that dies at a step, and one that does there what a test says.

use std::cell::Cell;

use chronicle_core::{Probe, Site};

/// All steps.
pub const SITES: [Site; 13] = [
    Site::Claimed,
    Site::Published,
    Site::Waking,
    Site::Extending,
    Site::Rolling,
    Site::NextPublished,
    Site::HintMoved,
    Site::Sealed,
    Site::Clearing,
    Site::TakingOver,
    Site::Staged,
    Site::Named,
    Site::Prepared,
];

/// Dies at a site, without running a destructor, once it has been passed so many times.
pub struct DieAt {
    site: Option<Site>,
    passes_left: Cell<u32>,
}

impl DieAt {
    /// At the site with this name, or never where there is none.
    pub fn new(site: &str, passes: u32) -> Self {
        let site = SITES.into_iter().find(|candidate| format!("{candidate:?}") == site);
        Self { site, passes_left: Cell::new(passes) }
    }
}

impl Probe for DieAt {
    fn at(&self, site: Site) {
        if Some(site) == self.site {
            match self.passes_left.get() {
                0 => std::process::abort(),
                left => self.passes_left.set(left - 1),
            }
        }
    }
}

/// Does something whenever a site is passed. What panics there leaves the queue as a death would, but
/// for what destructors do.
pub struct At<F: Fn()>(pub Site, pub F);

impl<F: Fn()> Probe for At<F> {
    fn at(&self, site: Site) {
        if site == self.0 {
            (self.1)();
        }
    }
}

/// Counts what an appender passes.
#[derive(Default)]
pub struct Counts {
    pub waking: Cell<u32>,
    pub extending: Cell<u32>,
    pub rolling: Cell<u32>,
}

impl Probe for &Counts {
    fn at(&self, site: Site) {
        let count = match site {
            Site::Waking => &self.waking,
            Site::Extending => &self.extending,
            Site::Rolling => &self.rolling,
            _ => return,
        };
        count.set(count.get() + 1);
    }
}
