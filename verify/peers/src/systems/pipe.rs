//! A Unix pipe (`fifo(7)`): one `write` for each message, and one `read` for as many as are there.

use std::fs::File;
use std::io::{Read, Write};

use anyhow::{Result, bail};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::io::Errno;

use crate::system::{Place, Processes, Receiver, Sender};

const BYTES: usize = 1 << 20;

pub struct Pipe;

pub struct Reading {
    file: File,
    size: usize,
    buffer: Vec<u8>,
    /// What of the buffer was read and not handed out.
    start: usize,
    end: usize,
}

impl Processes for Pipe {
    type Sender = File;
    type Receiver = Reading;

    fn sender(place: &Place) -> Result<File> {
        make(place)?;
        let file = File::options().write(true).open(place.directory.join("pipe"))?;
        // A wish: an unprivileged user may have less (pipe(7)).
        let _ = rustix::pipe::fcntl_setpipe_size(&file, BYTES);
        Ok(file)
    }

    fn receiver(place: &Place) -> Result<Reading> {
        make(place)?;
        let file = File::open(place.directory.join("pipe"))?;
        Ok(Reading { file, size: place.size, buffer: vec![0; BYTES], start: 0, end: 0 })
    }

    fn capacity(size: usize) -> Option<u64> {
        // A write takes pages of its own where it does not fit the last one.
        Some((BYTES / size.next_multiple_of(4096).min(size * 2)) as u64)
    }
}

/// Whoever comes first makes it.
fn make(place: &Place) -> Result<()> {
    let path = place.directory.join("pipe");
    match mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl Sender for File {
    fn send(&mut self, message: &[u8]) -> Result<()> {
        self.write_all(message)?;
        Ok(())
    }
}

impl Receiver for Reading {
    fn poll(&mut self, most: u64, mut each: impl FnMut(&[u8])) -> Result<u64> {
        if self.end - self.start < self.size {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            let room = self.buffer.get_mut(self.end..).unwrap_or_default();
            let read = self.file.read(room)?;
            if read == 0 {
                bail!("the pipe was closed");
            }
            self.end += read;
        }
        let mut count = 0;
        while count < most && self.end - self.start >= self.size {
            let next = self.start + self.size;
            each(self.buffer.get(self.start..next).unwrap_or_default());
            self.start = next;
            count += 1;
        }
        Ok(count)
    }
}
