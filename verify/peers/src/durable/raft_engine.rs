//! raft-engine: one log batch of key-value items for each append, synced. Compression is off, because the
//! records are a pattern that would compress well.

use std::path::Path;

use anyhow::{Context, Result};
use raft_engine::{Config, Engine, LogBatch, ReadableSize};

use super::Log;

const REGION: u64 = 1;

struct RaftEngine {
    engine: Engine,
    next: u64,
}

pub fn open(directory: &Path) -> Result<Box<dyn Log>> {
    let config = Config {
        dir: directory.join("raft").to_str().context("a path in UTF-8")?.to_owned(),
        batch_compression_threshold: ReadableSize(0),
        ..Config::default()
    };
    Ok(Box::new(RaftEngine { engine: Engine::open(config)?, next: 0 }))
}

impl Log for RaftEngine {
    fn append(&mut self, records: &[&[u8]]) -> Result<()> {
        let mut batch = LogBatch::with_capacity(records.len());
        for record in records {
            batch.put(REGION, self.next.to_be_bytes().to_vec(), record.to_vec())?;
            self.next += 1;
        }
        self.engine.write(&mut batch, true)?;
        Ok(())
    }
}
