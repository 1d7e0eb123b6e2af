//! fjall: one batch for each append, with `fdatasync` of its journal.

use std::path::Path;

use anyhow::Result;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::Log;

struct Fjall {
    database: Database,
    keyspace: Keyspace,
    next: u64,
}

pub fn open(directory: &Path) -> Result<Box<dyn Log>> {
    let database = Database::builder(directory.join("fjall")).open()?;
    let keyspace = database.keyspace("log", KeyspaceCreateOptions::default)?;
    Ok(Box::new(Fjall { database, keyspace, next: 0 }))
}

impl Log for Fjall {
    fn append(&mut self, records: &[&[u8]]) -> Result<()> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        for record in records {
            batch.insert(&self.keyspace, self.next.to_be_bytes(), *record);
            self.next += 1;
        }
        batch.commit()?;
        Ok(())
    }
}
