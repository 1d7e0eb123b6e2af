//! Inputs 40 to 58 and 62 to 65: what is wrong with the control file, with readers' files, and with
//! what lies under the name of a file.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::process::Command;

use chronicle_std::format::layout::{checkpoint, control, reader_slot};
use chronicle_std::format::{CHECKPOINT_SLOTS, crc32c};

use crate::queue::{FIRST, MIDDLE, NEWEST, Queue, READER_FILE, offset, put};
use crate::{Input, input};

/// So many readers' files are in a queue that somebody wants to choke.
const MANY: u32 = 10_000;

fn word(queue: &Queue, at: usize, value: u64) {
    queue.patch("control.meta", at, &value.to_le_bytes());
}

fn segment_size(queue: &Queue, size: u64) {
    queue.edit_identity(|bytes| put(bytes, control::SEGMENT_SIZE, &size.to_le_bytes()));
}

pub(crate) fn control() -> Vec<Input> {
    vec![
        input(40, "control file of 0 bytes", |queue: &Queue| queue.write("control.meta", b"")),
        input(40, "control file of zeros", |queue| queue.write("control.meta", &[0; 4096])),
        input(41, "control file shorter than its head", |queue| queue.resize("control.meta", 63)),
        input(41, "control file that is cut short", |queue| queue.resize("control.meta", 600)),
        input(42, "hint with an odd generation", |queue| {
            queue.patch("control.meta", control::SEGMENT_GEN, &1u32.to_le_bytes());
        }),
        input(43, "hint in a segment that is not there", |queue| {
            word(queue, control::CURRENT_SEGMENT, 500);
        }),
        input(44, "hint at the highest offset", |queue| {
            word(queue, control::WRITE_OFFSET, u64::MAX);
        }),
        input(45, "hint inside a record", |queue| {
            word(queue, control::WRITE_OFFSET, offset(20) + 32);
        }),
        input(46, "segment size of 0", |queue| segment_size(queue, 0)),
        input(46, "segment size of 1", |queue| segment_size(queue, 1)),
        input(46, "segment size of 2^63", |queue| segment_size(queue, 1 << 63)),
        input(46, "segment size that no segment has", |queue| segment_size(queue, 3 * 4096)),
        input(47, "epoch of the highest value", |queue| {
            queue.patch("control.meta", control::EPOCH, &u32::MAX.to_le_bytes());
        }),
        input(48, "two checkpoint slots of one generation", |queue| {
            queue.edit("checkpoint.meta", |bytes| {
                let [even, odd] = CHECKPOINT_SLOTS;
                let whole = if bytes[odd] == 0 { even } else { odd };
                let mut slot = bytes[whole..whole + 64].to_vec();
                put(&mut slot, checkpoint::DURABLE_SEQ, &7u64.to_le_bytes());
                let crc = crc32c(&slot[..checkpoint::CRC]);
                put(&mut slot, checkpoint::CRC, &crc.to_le_bytes());
                let other = if whole == even { odd } else { even };
                put(bytes, other, &slot);
            });
        }),
        input(48, "checkpoint without a whole slot", |queue| {
            queue.write("checkpoint.meta", &[0; 8192]);
        }),
        input(49, "control file that was never finished", |queue| {
            queue.patch("control.meta", control::INIT_STATE, &[0; 4]);
        }),
        input(50, "first segment is not there", |queue| {
            fs::remove_file(queue.file(FIRST)).unwrap();
        }),
        input(50, "middle segment is not there", |queue| {
            fs::remove_file(queue.file(MIDDLE)).unwrap();
        }),
        input(50, "newest segment is not there", |queue| {
            fs::remove_file(queue.file(NEWEST)).unwrap();
        }),
        input(50, "no segment is there", |queue| {
            for name in [FIRST, MIDDLE, NEWEST] {
                fs::remove_file(queue.file(name)).unwrap();
            }
        }),
    ]
}

pub(crate) fn readers() -> Vec<Input> {
    vec![
        input(51, "reader's file of 0 bytes", |queue: &Queue| queue.write(READER_FILE, b"")),
        input(52, "reader's file of 80 zeros", |queue| queue.write(READER_FILE, &[0; 80])),
        input(53, "position that is not aligned", |queue| {
            queue.edit_position(|slot| put(slot, reader_slot::OFFSET, &1001u64.to_le_bytes()));
        }),
        input(54, "position behind the end of its segment", |queue| {
            queue.edit_position(|slot| put(slot, reader_slot::OFFSET, &(1u64 << 62).to_le_bytes()));
        }),
        input(55, "position in a segment that is not there yet", |queue| {
            queue.edit_position(|slot| put(slot, reader_slot::SEGMENT, &900u32.to_le_bytes()));
        }),
        input(56, "position of the highest generation", |queue| {
            queue.edit_position(|slot| put(slot, reader_slot::GENERATION, &[0xff; 8]));
        }),
        input(57, "ten thousand readers' files", |queue| {
            for number in 0..MANY {
                let name = queue.file(&format!("readers/reader-{number}.meta"));
                fs::hard_link(queue.file(READER_FILE), name).unwrap();
            }
        }),
        input(58, "readers' files with names that no reader has", |queue| {
            let readers = queue.file("readers");
            File::create(readers.join("x".repeat(255))).unwrap();
            File::create(readers.join(format!("{}.meta", "x".repeat(65)))).unwrap();
            File::create(readers.join(OsStr::from_bytes(b"\xff\xfe.meta"))).unwrap();
            File::create(readers.join("a\nb.meta")).unwrap();
        }),
    ]
}

/// The files whose place something else takes.
const FILES: [&str; 6] =
    [NEWEST, "control.meta", "notify.meta", "checkpoint.meta", "writer.lock", READER_FILE];

fn aside(queue: &Queue, name: &str) -> std::path::PathBuf {
    let elsewhere = queue.root().join("elsewhere");
    fs::rename(queue.file(name), &elsewhere).unwrap();
    elsewhere
}

pub(crate) fn places() -> Vec<Input> {
    let mut inputs = Vec::new();
    for name in FILES {
        inputs.push(input(62, &format!("`{name}` is a symbolic link"), move |queue: &Queue| {
            let elsewhere = aside(queue, name);
            symlink(elsewhere, queue.file(name)).unwrap();
        }));
    }
    inputs.push(input(62, "`readers` is a symbolic link", |queue| {
        let elsewhere = aside(queue, "readers");
        symlink(elsewhere, queue.file("readers")).unwrap();
    }));
    for name in FILES {
        inputs.push(input(63, &format!("`{name}` is a FIFO"), move |queue: &Queue| {
            aside(queue, name);
            let made = Command::new("mkfifo").arg(queue.file(name)).status();
            assert!(made.unwrap().success());
        }));
    }
    for name in FILES {
        inputs.push(input(63, &format!("`{name}` is a directory"), move |queue: &Queue| {
            aside(queue, name);
            fs::create_dir(queue.file(name)).unwrap();
        }));
    }
    for name in FILES {
        inputs.push(input(63, &format!("`{name}` is a socket"), move |queue: &Queue| {
            aside(queue, name);
            drop(UnixListener::bind(queue.file(name)).unwrap());
        }));
    }
    inputs.push(input(64, "segment that is another name of a foreign file", |queue| {
        let elsewhere = aside(queue, NEWEST);
        fs::write(&elsewhere, "root:x:0:0:root:/root:/bin/sh\n".repeat(400)).unwrap();
        fs::hard_link(elsewhere, queue.file(NEWEST)).unwrap();
    }));
    inputs.push(input(65, "files that everybody may write to", |queue| {
        for name in FILES {
            fs::set_permissions(queue.file(name), Permissions::from_mode(0o666)).unwrap();
        }
    }));
    inputs.push(input(65, "files of another owner", |queue| {
        for name in FILES {
            // Only root can give files away; for others this is a queue without a fault.
            let _ = std::os::unix::fs::chown(queue.file(name), Some(65534), Some(65534));
        }
    }));
    inputs
}
