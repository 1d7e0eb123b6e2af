use std::path::Path;

use chronicle_core::{Inspection, ReaderReport};

use crate::QueueError;
use crate::backend::Backend;

/// A queue and its readers as they were at one moment.
#[derive(Debug)]
pub struct QueueReport {
    /// The queue.
    pub queue: Inspection,
    /// Its registered readers by name.
    pub readers: Vec<ReaderState>,
}

/// A registered reader, or why it cannot be read.
#[derive(Debug)]
pub enum ReaderState {
    /// Its position and lag.
    Known(ReaderReport),
    /// Its file is damaged.
    Damaged(QueueError),
}

impl QueueReport {
    pub(crate) fn of(path: &Path, platform: &Backend) -> Result<Self, QueueError> {
        let failed = |error| QueueError::from_core(path, error);
        let queue = Inspection::of(&platform).map_err(failed)?;
        let mut readers = Vec::new();
        let visit = |reader: Result<ReaderReport, _>| {
            readers.push(match reader {
                Ok(report) => ReaderState::Known(report),
                Err(error) => ReaderState::Damaged(failed(error)),
            });
        };
        queue.readers(&platform, visit).map_err(failed)?;
        readers.sort_by(|a, b| a.name().cmp(b.name()));
        Ok(Self { queue, readers })
    }
}

impl ReaderState {
    fn name(&self) -> &str {
        match self {
            Self::Known(report) => report.name.as_str(),
            Self::Damaged(_) => "",
        }
    }
}
