//! SQLite with a write-ahead log and `synchronous=FULL`: one transaction for each append.

use std::path::Path;

use anyhow::Result;
use rusqlite::Connection;

use super::Log;

struct Sqlite(Connection);

pub fn open(directory: &Path) -> Result<Box<dyn Log>> {
    let connection = Connection::open(directory.join("log.db"))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.execute("CREATE TABLE log (seq INTEGER PRIMARY KEY, body BLOB NOT NULL)", ())?;
    Ok(Box::new(Sqlite(connection)))
}

impl Log for Sqlite {
    fn append(&mut self, records: &[&[u8]]) -> Result<()> {
        let transaction = self.0.transaction()?;
        {
            let mut insert = transaction.prepare_cached("INSERT INTO log (body) VALUES (?1)")?;
            for record in records {
                insert.execute([record])?;
            }
        }
        transaction.commit()?;
        Ok(())
    }
}
