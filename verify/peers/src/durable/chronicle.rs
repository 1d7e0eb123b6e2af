//! Chronicle with its defaults: checksums, segments of 128 MiB. Durable by `flush`, which syncs in the thread
//! that appends, and by group commit, where a thread beside it does.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};
use chronicle_core::DEFAULT_STEP;
use chronicle_format::Object;
use chronicle_std::{Queue, QueueWriter, SyncPolicy, WriterConfig};

use super::Log;

const TYPE: u16 = 0x8000;
const PATIENCE: Duration = Duration::from_secs(10);

struct Flushed(QueueWriter);
struct Grouped(QueueWriter);

pub fn open_flushed(directory: &Path) -> Result<Box<dyn Log>> {
    Ok(Box::new(Flushed(Queue::create(directory.join("queue"), WriterConfig::default())?)))
}

pub fn open_grouped(directory: &Path) -> Result<Box<dyn Log>> {
    let mut config = WriterConfig::default();
    config.sync = SyncPolicy::Group { interval: Duration::ZERO };
    Ok(Box::new(Grouped(Queue::create(directory.join("queue"), config)?)))
}

impl Log for Flushed {
    fn append(&mut self, records: &[&[u8]]) -> Result<()> {
        self.0.append_all(TYPE, records.iter().copied())?;
        self.0.flush()?;
        Ok(())
    }

    fn ready(&self) -> Result<u64> {
        ready(&self.0)
    }
}

impl Log for Grouped {
    fn append(&mut self, records: &[&[u8]]) -> Result<()> {
        let next = self.0.append_all(TYPE, records.iter().copied())?;
        self.0.request_flush()?;
        if !self.0.wait_durable(next - 1, PATIENCE)? {
            bail!("nothing became durable");
        }
        Ok(())
    }

    fn ready(&self) -> Result<u64> {
        ready(&self.0)
    }
}

/// A queue's first segment gets its space in steps, of which all but the first are made ready as a whole.
fn ready(writer: &QueueWriter) -> Result<u64> {
    let end = writer.position();
    let segment = writer.path().join(Object::Segment(end.segment).to_string());
    let space = fs::metadata(segment)?.blocks() * 512;
    Ok(if space > DEFAULT_STEP { space.saturating_sub(end.offset) } else { 0 })
}
