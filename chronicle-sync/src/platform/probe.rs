/// A named step of the protocol, where a test may stop, count or kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Site {
    /// A claim was handed out: its bytes may be written from here on.
    Claimed,
    /// A record was published and sleepers not yet looked for.
    Published,
    /// Sleepers are about to be woken: the only system call of an append without a roll.
    Waking,
    /// Space ahead of the writer is about to be allocated.
    Extending,
    /// A roll begins.
    Rolling,
    /// The next segment has its name.
    NextPublished,
    /// The hint points to the next segment.
    HintMoved,
    /// The old segment is sealed.
    Sealed,
    /// Recovery is about to clear what lies behind the last record, in its new epoch.
    Clearing,
    /// Recovery has found the end of the log and is about to begin a new epoch there.
    TakingOver,
    /// A segment that is prepared ahead has a temporary name and all of its space.
    Staged,
    /// A segment that is prepared ahead has its name; its pages are not ready yet.
    Named,
    /// A segment that is prepared ahead is complete, its index included, and not handed over yet.
    Prepared,
}

/// Watches an appender, or whoever prepares its segments, pass [`Site`]s. [`NoProbe`] compiles to nothing.
pub trait Probe {
    /// Called at each site.
    #[inline(always)]
    fn at(&self, site: Site) {
        let _ = site;
    }
}

/// Watches nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoProbe;

impl Probe for NoProbe {}
