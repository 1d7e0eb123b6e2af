//! Chronicle with its defaults: checksums, segments of 128 MiB. Durable by `flush`, which syncs in the thread
//! that appends, and by group commit, where a thread beside it does.
//!
//! Measured is a queue in its second segment, as it is from then on: the first one gets its space in steps, so that a
//! queue that is hardly used stays small, and those that follow are prepared. What the steps cost is a row of its own.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, bail};
use chronicle_core::DEFAULT_STEP;
use chronicle_format::Object;
use chronicle_std::{Queue, QueueWriter, SyncPolicy, WriterConfig};

use super::Log;

const TYPE: u16 = 0x8000;
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of what fills the first segment.
const FILLER: usize = 96 << 10;
/// Between two of these.
const PAUSE: Duration = Duration::from_millis(2);
/// For what is still to be done for the second segment when the first one is nearly full.
const PREPARED: Duration = Duration::from_secs(1);

struct Flushed(QueueWriter);
struct Grouped(QueueWriter);

pub fn open_first(directory: &Path) -> Result<Box<dyn Log>> {
    Ok(Box::new(Flushed(Queue::create(directory.join("queue"), WriterConfig::default())?)))
}

pub fn open_flushed(directory: &Path) -> Result<Box<dyn Log>> {
    let mut writer = Queue::create(directory.join("queue"), WriterConfig::default())?;
    leave_first_segment(&mut writer)?;
    Ok(Box::new(Flushed(writer)))
}

pub fn open_grouped(directory: &Path) -> Result<Box<dyn Log>> {
    let mut config = WriterConfig::default();
    config.sync = SyncPolicy::Group { interval: Duration::ZERO };
    let mut writer = Queue::create(directory.join("queue"), config)?;
    leave_first_segment(&mut writer)?;
    Ok(Box::new(Grouped(writer)))
}

/// Fills the first segment, at a pace that leaves time for preparing the next one.
fn leave_first_segment(writer: &mut QueueWriter) -> Result<()> {
    let filler = vec![7; FILLER];
    let first = writer.position().segment;
    let almost = WriterConfig::default().segment_size - 2 * FILLER as u64;
    // Zeros are written ahead of who flushes.
    writer.append(TYPE, &filler)?;
    writer.flush()?;
    while writer.position().offset < almost {
        writer.append(TYPE, &filler)?;
        sleep(PAUSE);
    }
    sleep(PREPARED);
    while writer.position().segment == first {
        writer.append(TYPE, &filler)?;
    }
    writer.flush()?;
    if space(writer)? < WriterConfig::default().segment_size {
        bail!("the second segment was not prepared in time");
    }
    Ok(())
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

/// Space of the segment that is written to.
fn space(writer: &QueueWriter) -> Result<u64> {
    let segment = writer.path().join(Object::Segment(writer.position().segment).to_string());
    Ok(fs::metadata(segment)?.blocks() * 512)
}

/// A queue's first segment gets its space in steps, of which all but the first are made ready as a whole.
fn ready(writer: &QueueWriter) -> Result<u64> {
    let space = space(writer)?;
    Ok(if space > DEFAULT_STEP { space.saturating_sub(writer.position().offset) } else { 0 })
}
