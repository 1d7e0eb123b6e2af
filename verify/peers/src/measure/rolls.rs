//! What an append costs that goes on in a new segment, beside one that does not.

use std::fs::File;
use std::hint::spin_loop;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result, anyhow, bail};
use chronicle_std::{Queue, QueueWriter, WriterConfig};
use hdrhistogram::Histogram;
use memmap2::MmapMut;
use serde::{Deserialize, Serialize};

use crate::clock::ticks;
use crate::job::Values;
use crate::process::pin;

pub const CHRONICLE: &str = "chronicle";
/// The limit: the lines that a roll has to store to.
pub const LINES: &str = "three lines";

const TYPE: u16 = 0x8000;
/// Small, so that there are many rolls in a short time.
const SEGMENT: u64 = 256 << 10;
/// The end of a segment, in which appends are looked at by themselves.
const LAST_PAGE: u64 = SEGMENT - 4096;
const SIZE: usize = 64;
/// Appends behind a roll that are looked at by themselves: what a roll leaves to be done is done at these.
const BEHIND: u64 = 16;

#[derive(Serialize, Deserialize)]
pub struct Task {
    pub system: String,
    /// Messages a second.
    pub rate: u64,
    pub messages: u64,
    pub directory: PathBuf,
    pub ticks_per_ns: f64,
    pub cpu: usize,
}

/// What is appended to, segment after segment.
trait Rolling {
    fn append(&mut self, message: &[u8; SIZE]) -> Result<()>;

    /// The segment in which it is, and the offset there.
    fn place(&self) -> (u64, u64);
}

impl Rolling for QueueWriter {
    fn append(&mut self, message: &[u8; SIZE]) -> Result<()> {
        QueueWriter::append(self, TYPE, message)?;
        Ok(())
    }

    fn place(&self) -> (u64, u64) {
        let position = self.position();
        (position.segment.get().into(), position.offset)
    }
}

/// A place of its own in each of three pages: where the next segment begins, where the one before says that it has
/// ended, and where both are stated. Nothing else is done at a roll, and memory that is there already is rolled into.
struct Lines {
    map: MmapMut,
    hint: MmapMut,
    segment: usize,
    offset: usize,
}

impl Lines {
    const RECORD: usize = 96;

    fn open(directory: &Path, messages: u64) -> Result<Self> {
        let segments = messages * Self::RECORD as u64 / SEGMENT + 2;
        let open = |name, bytes| -> Result<MmapMut> {
            let mut options = File::options();
            let file =
                options.read(true).write(true).create_new(true).open(directory.join(name))?;
            file.set_len(bytes)?;
            // SAFETY: a new file in a directory of this process's own, which nobody else opens.
            Ok(unsafe { MmapMut::map_mut(&file) }?)
        };
        let (mut map, mut hint) = (open("segments", segments * SEGMENT)?, open("hint", 4096)?);
        // By somebody else, as segments are prepared.
        let prepare = thread::spawn(move || {
            map.fill(0);
            hint.fill(0);
            (map, hint)
        });
        let (map, hint) =
            prepare.join().map_err(|_| anyhow!("the thread that prepares has panicked"))?;
        Ok(Self { map, hint, segment: 0, offset: 64 })
    }

    fn store<const N: usize>(map: &mut MmapMut, at: usize, bytes: [u8; N]) -> Result<()> {
        let place =
            map.get_mut(at..).and_then(<[u8]>::first_chunk_mut).context("too many messages")?;
        *place = bytes;
        Ok(())
    }
}

impl Rolling for Lines {
    #[inline(never)]
    fn append(&mut self, message: &[u8; SIZE]) -> Result<()> {
        if (self.offset + Self::RECORD) as u64 > SEGMENT {
            let old = self.segment * SEGMENT as usize;
            self.segment += 1;
            Self::store(&mut self.map, old + SEGMENT as usize + 32, [1; 24])?;
            Self::store(&mut self.hint, 128, [2; 40])?;
            Self::store(&mut self.map, old + 56, [3; 8])?;
            self.offset = 64;
        }
        let at = self.segment * SEGMENT as usize + self.offset;
        Self::store(&mut self.map, at + 32, *message)?;
        Self::store(&mut self.map, at, [4; 32])?;
        self.offset += Self::RECORD;
        Ok(())
    }

    fn place(&self) -> (u64, u64) {
        (self.segment as u64, self.offset as u64)
    }
}

pub fn run(task: &Task) -> Result<Values> {
    if task.system == LINES {
        return append_to(&mut Lines::open(&task.directory, task.messages)?, task);
    }
    let mut config = WriterConfig::default();
    config.segment_size = SEGMENT;
    config.checksums = false;
    append_to(&mut Queue::create(task.directory.join("queue"), config)?, task)
}

fn append_to(writer: &mut impl Rolling, task: &Task) -> Result<Values> {
    pin(task.cpu)?;
    let message = [7; SIZE];
    let mut rolling = Histogram::<u64>::new(3)?;
    let mut before = Histogram::<u64>::new(3)?;
    let mut behind = Histogram::<u64>::new(3)?;
    let mut others = Histogram::<u64>::new(3)?;
    let gap = task.ticks_per_ns * 1e9 / task.rate as f64;
    let start = ticks();
    let mut worst_before = 0;
    let (mut since, mut worst_behind) = (BEHIND, 0);
    for seq in 0..task.messages {
        let due = start + (seq as f64 * gap) as u64;
        while ticks() < due {
            spin_loop();
        }
        let (segment, _) = writer.place();
        let began = ticks();
        writer.append(&message)?;
        let took = ((ticks() - began) as f64 / task.ticks_per_ns) as u64;
        // The first segment has space that it grows into; the others were prepared.
        let (segment_behind, end) = writer.place();
        if segment_behind != segment {
            rolling.record(took)?;
            before.record(std::mem::take(&mut worst_before))?;
            (since, worst_behind) = (0, 0);
        } else if end > LAST_PAGE {
            worst_before = worst_before.max(took);
        } else if since < BEHIND {
            since += 1;
            worst_behind = worst_behind.max(took);
            if since == BEHIND {
                behind.record(std::mem::take(&mut worst_behind))?;
            }
        } else if segment > 0 {
            others.record(took)?;
        }
    }
    if rolling.is_empty() {
        bail!("there was no roll");
    }
    let mut found = Values::new();
    let histograms =
        [("roll", &rolling), ("page_before", &before), ("behind", &behind), ("append", &others)];
    for (name, histogram) in histograms {
        for (quantile, at) in [("p50", 0.5), ("p99", 0.99)] {
            let value = histogram.value_at_quantile(at) as f64;
            found.insert(format!("{name}_{quantile}"), value);
        }
        found.insert(format!("{name}_max"), histogram.max() as f64);
    }
    found.insert("rolls".to_owned(), rolling.len() as f64);
    Ok(found)
}
