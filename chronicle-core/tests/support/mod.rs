//! Queues on real files for the tests of this crate.
#![allow(dead_code, reason = "each test file uses a part of it")]

pub mod child;
pub mod clock;
pub mod counting;
pub mod faulty;
pub mod probes;
pub mod stream;

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use chronicle_core::{
    Appender, CreateOptions, Error, ReaderName, SegmentSize, Start, TailOptions, Tailer,
    WriteOptions, create,
};
use chronicle_platform_linux::{LinuxError, LinuxPlatform};
use tempfile::TempDir;

pub const TYPE: u16 = 0x8000;
pub type QueueError = Error<LinuxError>;

/// A directory for one queue, gone when dropped.
pub struct Home {
    directory: TempDir,
}

impl Home {
    pub fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    /// A home in a directory of the test's choosing.
    pub fn at(directory: TempDir) -> Self {
        Self { directory }
    }

    /// A home in memory, or where temporary files are if that is not to be had.
    pub fn in_memory() -> Self {
        let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        Self { directory: directory.unwrap() }
    }

    /// A home with a queue of this segment size.
    pub fn with_queue(segment_size: u64) -> Self {
        let home = Self::new();
        home.create(segment_size);
        home
    }

    pub fn create(&self, segment_size: u64) {
        let mut options = CreateOptions::default();
        options.segment_size = SegmentSize::new(segment_size).unwrap();
        create(&self.platform(), &options).unwrap();
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub fn platform(&self) -> LinuxPlatform {
        platform(self.path())
    }

    pub fn appender(&self) -> Appender<LinuxPlatform> {
        self.try_appender().unwrap()
    }

    pub fn try_appender(&self) -> Result<Appender<LinuxPlatform>, QueueError> {
        Appender::open(self.platform(), WriteOptions::default())
    }

    /// A passive reader from the earliest record.
    pub fn tailer(&self) -> Tailer<LinuxPlatform> {
        Tailer::open(self.platform(), &TailOptions::default()).unwrap()
    }

    pub fn tailer_from(&self, start: Start) -> Result<Tailer<LinuxPlatform>, QueueError> {
        let mut options = TailOptions::default();
        options.start = start;
        Tailer::open(self.platform(), &options)
    }

    pub fn named(&self, name: &str) -> Result<Tailer<LinuxPlatform>, QueueError> {
        let mut options = TailOptions::default();
        options.name = Some(ReaderName::new(name).unwrap());
        Tailer::open(self.platform(), &options)
    }

    /// Everything that a fresh passive reader gets: sequence numbers and payloads.
    pub fn read_all(&self) -> Vec<(u64, Vec<u8>)> {
        drain(&mut self.tailer())
    }

    pub fn write_at(&self, name: &str, offset: u64, bytes: &[u8]) {
        let file = OpenOptions::new().write(true).open(self.file(name)).unwrap();
        file.write_all_at(bytes, offset).unwrap();
    }

    pub fn read_at(&self, name: &str, offset: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        File::open(self.file(name)).unwrap().read_exact_at(&mut bytes, offset).unwrap();
        bytes
    }

    pub fn flip_bit(&self, name: &str, offset: u64) {
        let byte = self.read_at(name, offset, 1)[0];
        self.write_at(name, offset, &[byte ^ 1]);
    }

    /// Makes the queue look as if it had last been written to in another boot.
    pub fn forget_boot(&self) {
        let at = chronicle_format::layout::control::WRITER_BOOT as u64;
        self.write_at("control.meta", at, &[0xee; 8]);
    }
}

pub fn platform(path: &Path) -> LinuxPlatform {
    LinuxPlatform::open(&CString::new(path.as_os_str().as_bytes()).unwrap()).unwrap()
}

pub fn drain(tailer: &mut Tailer<LinuxPlatform>) -> Vec<(u64, Vec<u8>)> {
    let mut messages = Vec::new();
    while let Some(message) = tailer.next().unwrap() {
        messages.push((message.seq, message.payload.to_vec()));
    }
    messages
}

/// The payload of the record with this number: its length and its bytes tell it from all others.
pub fn payload(number: u64) -> Vec<u8> {
    let length = 8 + (number * 7 % 91) as usize;
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.resize(length, number as u8);
    bytes
}

pub fn assert_holds(messages: &[(u64, Vec<u8>)], count: u64) {
    assert_eq!(messages.len() as u64, count);
    for (expected, (seq, bytes)) in messages.iter().enumerate() {
        assert_eq!(*seq, expected as u64);
        assert_eq!(*bytes, payload(expected as u64), "payload of seq {seq}");
    }
}
