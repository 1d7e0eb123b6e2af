//! `chron-cli create`.

use chronicle_std::{Queue, WriterConfig};

use crate::args::CreateArguments;
use crate::failure::Failure;
use crate::output;
use crate::units::binary_size;

pub(crate) fn run(arguments: &CreateArguments) -> Result<(), Failure> {
    let mut config = WriterConfig::default();
    config.segment_size = arguments.segment_size.unwrap_or(config.segment_size);
    config.checksums = !arguments.no_checksums;
    config.group_readable = arguments.group_readable;
    config.any_file_system = arguments.any_file_system;
    if let Some(bytes) = arguments.retain {
        config.retention.max_bytes = Some(bytes).filter(|bytes| *bytes > 0);
    }
    let age = arguments.retain_age.map(|age| u64::try_from(age.as_nanos()).unwrap_or(u64::MAX));
    config.retention.max_age_ns = age.filter(|age| *age > 0);
    config.retention.capacity_bytes = arguments.capacity.filter(|bytes| *bytes > 0);
    let writer = Queue::create(&arguments.queue, config)?;
    output::print(&format!(
        "{}: a queue with segments of {}\n",
        arguments.queue.display(),
        binary_size(writer.segment_size())
    ))
}
