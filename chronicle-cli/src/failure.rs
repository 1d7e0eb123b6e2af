//! Why a command failed, and what its process ends with.

use std::fmt::Display;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use chronicle_bus::BusError;
use chronicle_std::QueueError;

use crate::output;

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The input, the queue or the options are no good: exit code 2.
    Refused(String),
    /// The command's own output cannot be written, or something inside went wrong: exit code 1.
    Internal(String),
    /// What was looked at is not as it should be: exit code 1.
    Unhealthy(String),
    /// Whoever read the output has gone: nothing to say, exit code 0.
    BrokenPipe,
}

impl Failure {
    /// A file that cannot be used as input.
    pub(crate) fn input(file: impl Display, reason: impl Display) -> Self {
        Self::Refused(format!("{file}: {reason}"))
    }

    /// Standard output or a file of the command's own that cannot be written.
    pub(crate) fn output(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::BrokenPipe,
            _ => Self::Internal(format!("standard output: cannot write: {error}")),
        }
    }

    /// Says why, on one line, and gives the exit code.
    pub(crate) fn report(self) -> ExitCode {
        match self {
            Self::BrokenPipe => ExitCode::SUCCESS,
            Self::Refused(message) => {
                output::complain(&message);
                ExitCode::from(2)
            }
            Self::Internal(message) | Self::Unhealthy(message) => {
                output::complain(&message);
                ExitCode::from(1)
            }
        }
    }
}

impl From<BusError> for Failure {
    fn from(error: BusError) -> Self {
        Self::Refused(error.to_string())
    }
}

impl From<QueueError> for Failure {
    fn from(error: QueueError) -> Self {
        let advice = match &error {
            QueueError::NotFound { .. } => {
                "; `chron-cli create` or `append` makes one, `tail -f` waits for one"
            }
            QueueError::WriterAlreadyActive { .. } => {
                "; a queue has one writer at a time, wait for it or end it"
            }
            QueueError::ForeignFileSystem { .. } => "; that is --any-file-system here",
            QueueError::ReaderAlreadyActive { .. } => "; end it or choose another name",
            _ => "",
        };
        Self::Refused(format!("{error}{advice}"))
    }
}

/// The start of a warning: which queue it is about.
pub(crate) fn warn(path: &Path, text: impl Display) {
    output::complain(&format!("warning: {}: {text}", path.display()));
}
