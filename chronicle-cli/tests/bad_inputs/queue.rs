//! A queue that is about to be damaged: three small segments with records of one size, so that every
//! byte is where the inputs say.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use chronicle_std::format::{crc32c, layout};
use chronicle_std::{Queue as Chronicle, WriterConfig};

pub(crate) const TYPE: u16 = 0x8000;
pub(crate) const SEGMENT: u64 = 8192;
/// Records in the whole queue.
pub(crate) const RECORDS: u64 = 160;
/// Payload of a record, and what it takes in the segment.
const PAYLOAD: usize = 96;
const RECORD: u64 = 128;
/// The first and the last segment. The first one begins with a record of the queue's own of 64 bytes.
pub(crate) const FIRST: &str = "000000000.q";
pub(crate) const MIDDLE: &str = "000000001.q";
pub(crate) const NEWEST: &str = "000000002.q";
/// Records in the newest segment; the first of them is that with this number.
pub(crate) const IN_NEWEST: u64 = 34;
pub(crate) const FIRST_IN_NEWEST: u64 = RECORDS - IN_NEWEST;
/// The reader that is registered, and how many records it has read.
pub(crate) const READER: &str = "r";
pub(crate) const READ: u64 = 10;
pub(crate) const READER_FILE: &str = "readers/r.meta";

pub(crate) struct Queue {
    directory: tempfile::TempDir,
}

impl Queue {
    /// In memory where the system has that: hundreds of these are made, and some hold huge files.
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let queue = Self { directory };
        let mut config = WriterConfig::default();
        config.segment_size = SEGMENT;
        config.background = false;
        let mut writer = Chronicle::create(queue.path(), config).unwrap();
        for number in 0..RECORDS {
            writer.append(TYPE, &[number as u8; PAYLOAD]).unwrap();
        }
        writer.flush().unwrap();
        assert_eq!(writer.position().offset, offset(IN_NEWEST));
        let mut reader = Chronicle::open_subscriber(queue.path(), READER).unwrap();
        for _ in 0..READ {
            reader.next().unwrap().unwrap();
        }
        reader.commit().unwrap();
        queue
    }

    pub(crate) fn root(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.root().join("queue")
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.file(name)).unwrap()
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.file(name), bytes).unwrap();
    }

    pub(crate) fn patch(&self, name: &str, at: usize, bytes: &[u8]) {
        let file = OpenOptions::new().write(true).open(self.file(name)).unwrap();
        file.write_all_at(bytes, at as u64).unwrap();
    }

    pub(crate) fn resize(&self, name: &str, length: u64) {
        OpenOptions::new().write(true).open(self.file(name)).unwrap().set_len(length).unwrap();
    }

    pub(crate) fn edit(&self, name: &str, edit: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = self.bytes(name);
        edit(&mut bytes);
        self.write(name, &bytes);
    }

    /// Changes the head of the newest segment and makes its checksum right again.
    pub(crate) fn edit_head(&self, edit: impl FnOnce(&mut Vec<u8>)) {
        self.edit(NEWEST, |bytes| {
            edit(bytes);
            let crc = crc32c(&bytes[..layout::segment::HEADER_CRC]);
            put(bytes, layout::segment::HEADER_CRC, &crc.to_le_bytes());
        });
    }

    /// Changes a record of the newest segment and makes its checksum right again.
    pub(crate) fn edit_record(&self, index: u64, edit: impl FnOnce(&mut [u8])) {
        self.edit(NEWEST, |bytes| {
            let at = offset(index) as usize;
            edit(&mut bytes[at..at + RECORD as usize]);
            seal_record(bytes, at);
        });
    }

    /// Puts whole records of a type, without payload, over all of the newest segment.
    pub(crate) fn fill_with_empty(&self, type_id: u16) {
        self.edit(NEWEST, |bytes| {
            let header = bytes[64..96].to_vec();
            let mut seq = FIRST_IN_NEWEST;
            for at in (64..bytes.len()).step_by(32) {
                bytes[at..at + 32].copy_from_slice(&header);
                put(bytes, at, &1u32.to_le_bytes());
                put(bytes, at + layout::record::TYPE_ID, &type_id.to_le_bytes());
                put(bytes, at + layout::record::SEQ, &seq.to_le_bytes());
                seal_record(bytes, at);
                seq += u64::from(type_id == TYPE);
            }
        });
    }

    /// Changes the identity of `control.meta` and makes its checksum right again.
    pub(crate) fn edit_identity(&self, edit: impl FnOnce(&mut Vec<u8>)) {
        self.edit("control.meta", |bytes| {
            edit(bytes);
            let crc = crc32c(&bytes[..layout::control::CRC]);
            put(bytes, layout::control::CRC, &crc.to_le_bytes());
        });
    }

    /// Changes the newest position of the reader and makes its checksum right again.
    pub(crate) fn edit_position(&self, edit: impl Fn(&mut [u8])) {
        self.edit(READER_FILE, |bytes| {
            for at in chronicle_std::format::READER_SLOTS {
                let slot = &mut bytes[at..at + 64];
                if slot.iter().all(|byte| *byte == 0) {
                    continue;
                }
                edit(slot);
                let crc = crc32c(&slot[..layout::reader_slot::CRC]);
                put(slot, layout::reader_slot::CRC, &crc.to_le_bytes());
            }
        });
    }

    /// Has the queue look as if it had last been written to in another boot.
    pub(crate) fn forget_boot(&self) {
        let control = self.file("control.meta");
        // Where the control file is no file there is nothing to forget.
        if fs::symlink_metadata(&control).is_ok_and(|data| data.is_file() && data.len() == 4096) {
            self.patch("control.meta", layout::control::WRITER_BOOT, &[0xee; 8]);
        }
    }

    /// As large a file as the file system takes, almost all of it a hole.
    pub(crate) fn huge(&self, name: &str) {
        let file = File::options().write(true).open(self.file(name)).unwrap();
        let mut length = i64::MAX as u64;
        while file.set_len(length).is_err() {
            length /= 2;
        }
    }
}

/// Where a record of the newest segment begins.
pub(crate) const fn offset(index: u64) -> u64 {
    64 + index * RECORD
}

pub(crate) fn put(bytes: &mut [u8], at: usize, new: &[u8]) {
    bytes[at..at + new.len()].copy_from_slice(new);
}

/// Makes the checksum of a record right.
fn seal_record(bytes: &mut [u8], at: usize) {
    let length = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize - 1;
    put(bytes, at + layout::record::CRC, &[0; 4]);
    let mut sealed = bytes[layout::segment::SALT..layout::segment::SALT + 4].to_vec();
    sealed.extend_from_slice(&bytes[at..at + 32 + length]);
    put(bytes, at + layout::record::CRC, &crc32c(&sealed).to_le_bytes());
}
