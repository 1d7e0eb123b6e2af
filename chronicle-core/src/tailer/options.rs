use chronicle_format::{ReaderName, ReaderPolicy};

use crate::start::Start;

/// How a reader is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TailOptions {
    /// The name under which the position is kept. `None` is a passive reader: it registers nothing,
    /// holds nothing back and writes nothing but the flag that asks to be woken.
    pub name: Option<ReaderName>,
    /// How long the queue keeps records for this reader, when the name is registered.
    pub policy: ReaderPolicy,
    /// Where to begin, if the name has no position yet or there is none.
    pub start: Start,
    /// Whether the checksum of every record is verified; on by default.
    pub verify: bool,
    /// Which records are given out.
    pub visibility: Visibility,
}

/// Which records a reader gives out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Visibility {
    /// Every record as soon as it is appended. A power loss may take the newest ones, though they
    /// were read.
    #[default]
    Visible,
    /// Only records that survive a power loss: those below the durable watermark, which moves when
    /// the writer flushes. For readers that act outside of the queue on what they read.
    Durable,
}

impl Default for TailOptions {
    fn default() -> Self {
        Self {
            name: None,
            policy: ReaderPolicy::Durable,
            start: Start::Earliest,
            verify: true,
            visibility: Visibility::Visible,
        }
    }
}
