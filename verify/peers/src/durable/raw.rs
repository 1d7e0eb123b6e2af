//! The limit: one write into a file that has its space already, and one `fdatasync`. Space that was
//! allocated and never written is marked so in the file system's own records, which the first sync of each
//! page has to change; space that holds zeros is not.
//!
//! In front of each record are as many bytes as Chronicle's header has: without them batches would begin and
//! end at the edges of pages, which those of no log do, and no page would be written twice.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::Result;
use chronicle_format::HEADER_SIZE;
use rustix::fs::{FallocateFlags, fallocate};

use super::Log;

/// More than one run writes.
const BYTES: u64 = 32 << 20;

struct Raw {
    file: File,
    end: u64,
    bytes: Vec<u8>,
}

pub fn open_allocated(directory: &Path) -> Result<Box<dyn Log>> {
    let file = File::create_new(directory.join("log"))?;
    fallocate(&file, FallocateFlags::empty(), 0, BYTES)?;
    file.sync_all()?;
    Ok(Box::new(Raw { file, end: 0, bytes: Vec::new() }))
}

pub fn open_zeroed(directory: &Path) -> Result<Box<dyn Log>> {
    let mut file = File::create_new(directory.join("log"))?;
    io::copy(&mut io::repeat(0).take(BYTES), &mut file)?;
    file.sync_all()?;
    Ok(Box::new(Raw { file, end: 0, bytes: Vec::new() }))
}

impl Log for Raw {
    fn append(&mut self, records: &[&[u8]]) -> Result<()> {
        self.bytes.clear();
        for record in records {
            self.bytes.extend_from_slice(&[1; HEADER_SIZE as usize]);
            self.bytes.extend_from_slice(record);
        }
        self.file.write_all_at(&self.bytes, self.end)?;
        self.end += self.bytes.len() as u64;
        self.file.sync_data()?;
        Ok(())
    }
}
