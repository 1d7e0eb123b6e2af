//! What the writer does, and what is wrong with its disk.

use std::time::Duration;

use clap::ValueEnum;

use crate::disk::Trouble;
use crate::replay::Choices;

/// What the writer does, and what is wrong with its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// `flush` after each batch
    Flush,
    /// Group commit, and waiting for the watermark
    Group,
    /// Not at all: it must be found out
    Never,
    /// `flush`, over a write that fails in between
    Failing,
    /// `flush`, over several writes that fail, some in a row, the file system's own among them
    FailingOften,
    /// `flush`, over a flush of the disk that fails
    FailingFlush,
    /// `flush`, on a disk of which everything fails from some moment on
    Dying,
    /// `flush`, on a disk that hangs for a while again and again
    Stuck,
    /// `flush`, on a disk that from some moment on says that it has flushed and has not
    Lying,
    /// `flush`, and bits of what is at rest change
    Rotting,
    /// `flush`, in segments whose space was written with zeros, so that torn records show
    Zeroed,
    /// As `zeroed`, and nothing is flushed: it must be found out
    ZeroedNever,
}

/// How a writer on a troubled disk has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Course {
    /// It makes all batches durable.
    Goes,
    /// One sync fails at least; it opens the queue again and goes on.
    Reopens,
    /// It may find that the queue cannot be opened again, and says so.
    MayGiveUp,
    /// Nothing becomes durable any more, and it says so.
    GivesUp,
}

/// Trouble that begins behind so many promises.
pub(crate) type Plan = Vec<(u64, Trouble)>;

impl Mode {
    /// Whether the writer keeps nothing of what it says: a control.
    pub(crate) fn is_control(self) -> bool {
        matches!(self, Self::Never | Self::ZeroedNever)
    }

    /// Whether what was promised may be gone. What is there must be right all the same.
    pub(crate) fn may_lose(self) -> bool {
        self.is_control() || self == Self::Lying
    }

    pub(crate) fn is_zeroed(self) -> bool {
        matches!(self, Self::Zeroed | Self::ZeroedNever)
    }

    /// Whether the writer has to reckon with errors.
    pub(crate) fn has_trouble(self) -> bool {
        matches!(self.course(), Course::Reopens | Course::MayGiveUp | Course::GivesUp)
    }

    /// How the writer has to end.
    pub(crate) fn course(self) -> Course {
        match self {
            Self::Failing => Course::Reopens,
            Self::FailingOften | Self::FailingFlush => Course::MayGiveUp,
            Self::Dying => Course::GivesUp,
            _ => Course::Goes,
        }
    }

    /// When the disk gets into which trouble, in a run of so many batches.
    pub(crate) fn plan(self, batches: u64, choices: &mut Choices) -> Plan {
        let mut moment = |from: u64, to: u64| from + choices.below((to - from) as usize) as u64;
        let writes = |failing_writes| Trouble { failing_writes, ..Trouble::default() };
        let (third, last) = (batches / 3, batches - 5);
        match self {
            // One write of data: the journal comes behind it.
            Self::Failing => vec![(moment(1, last), writes(1))],
            Self::FailingOften => vec![
                (moment(1, third), writes(1)),
                (moment(third, 2 * third), writes(2)),
                (moment(2 * third, last), writes(5)),
            ],
            Self::FailingFlush => {
                vec![(moment(1, last), Trouble { failing_flushes: 1, ..Trouble::default() })]
            }
            Self::Dying => vec![(moment(1, last), Trouble { dead: true, ..Trouble::default() })],
            Self::Stuck => (0..4)
                .map(|number| {
                    let time = Duration::from_millis(100 + 100 * moment(0, 8));
                    let at = 1 + number * (batches / 5) + moment(0, 5);
                    (at, Trouble { stuck: Some(time), ..Trouble::default() })
                })
                .collect(),
            Self::Lying => vec![(moment(1, last), Trouble { lies: true, ..Trouble::default() })],
            _ => Vec::new(),
        }
    }
}
