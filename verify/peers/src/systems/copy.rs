//! The limit of everything that copies into a mapped file: copies of messages, one behind the other, into a
//! mapping whose pages are present. Nobody reads them.
//!
//! Unsafe lives here because the mapping is stored to.

use std::fs::File;
use std::time::Duration;

use anyhow::Result;
use memmap2::{Advice, MmapRaw};

use crate::clock::ticks;
use crate::job::{Job, Side, Values};
use crate::measure::drive::values;
use crate::message::Writer;
use crate::process::pin;

/// Copies until the mapping is full or the time is up.
pub fn run(_: Side, job: &Job) -> Result<Values> {
    let bytes = (job.messages as usize * job.size).next_multiple_of(4096);
    let path = job.directory.join("there/mapping");
    let file = File::options().read(true).write(true).create_new(true).open(path)?;
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes as u64)?;
    let map = MmapRaw::map_raw(&file)?;
    map.advise(Advice::PopulateWrite)?;
    pin(job.cpus[0])?;
    let mut writer = Writer::new(job.size)?;
    let limit = job.ticks(Duration::from_millis(job.limit_ms).as_nanos() as f64);
    let begin = ticks();
    let mut copied = 0;
    for seq in 0..job.messages {
        let message = writer.message(seq);
        let target = map.as_mut_ptr().wrapping_add(seq as usize * job.size);
        // SAFETY: the mapping has room for all messages, each is written to a place of its own, and no
        // reference into the mapping exists.
        unsafe { target.copy_from_nonoverlapping(message.as_ptr(), message.len()) };
        copied = seq + 1;
        if copied % 64 == 0 && ticks() - begin > limit {
            break;
        }
    }
    let end = ticks();
    Ok(values([("begin", begin as f64), ("end", end as f64), ("messages", copied as f64)]))
}
