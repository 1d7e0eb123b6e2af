//! Chronicle with its defaults: checksums, segments of 128 MiB. Durable by `flush`, which syncs in the thread
//! that appends, and by group commit, where a thread beside it does.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};
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
}
