//! okaywal: one entry for each append, a chunk for each record. Its files are large enough for no checkpoint
//! to be made while the clock runs.

use std::io;
use std::path::Path;

use anyhow::Result;
use okaywal::{Configuration, Entry, EntryId, LogManager, SegmentReader, WriteAheadLog};

use super::Log;

const BYTES: u32 = 128 << 20;

struct Okaywal(WriteAheadLog);

/// Keeps nothing: what is recovered and what is checkpointed does not matter here.
#[derive(Debug)]
struct Forgetful;

pub fn open(directory: &Path) -> Result<Box<dyn Log>> {
    let configuration = Configuration::default_for(directory.join("wal"))
        .preallocate_bytes(BYTES)
        .checkpoint_after_bytes(u64::from(BYTES) - 1);
    Ok(Box::new(Okaywal(configuration.open(Forgetful)?)))
}

impl LogManager for Forgetful {
    fn recover(&mut self, _: &mut Entry<'_>) -> io::Result<()> {
        Ok(())
    }

    fn checkpoint_to(
        &mut self,
        _: EntryId,
        _: &mut SegmentReader,
        _: &WriteAheadLog,
    ) -> io::Result<()> {
        Ok(())
    }
}

impl Log for Okaywal {
    fn append(&mut self, records: &[&[u8]]) -> Result<()> {
        let mut entry = self.0.begin_entry()?;
        for record in records {
            entry.write_chunk(record)?;
        }
        entry.commit()?;
        Ok(())
    }
}
