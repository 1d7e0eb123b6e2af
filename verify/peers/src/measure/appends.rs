//! What appends ask of the kernel while nobody sleeps, over rolls into prepared segments: calls, counted by the
//! engine's own probe at every place from which it enters the kernel, and page faults as the kernel counts them.

use std::cell::Cell;
use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::rc::Rc;

use anyhow::{Context, Result, anyhow};
use chronicle_core::{
    Appender, CreateOptions, NoSupply, Probe, SegmentSize, Site, WriteOptions, create,
};
use chronicle_platform_linux::LinuxPlatform;
use serde::{Deserialize, Serialize};

use crate::job::Values;
use crate::measure::drive::values;

const TYPE: u16 = 0x8000;
const SEGMENT: u64 = 16 << 20;

#[derive(Serialize, Deserialize)]
pub struct Task {
    pub size: usize,
    pub messages: u64,
    pub directory: PathBuf,
}

/// Counts where the engine is about to enter the kernel.
#[derive(Clone, Default)]
struct Entries(Rc<Cell<u64>>);

impl Probe for Entries {
    fn at(&self, site: Site) {
        if matches!(site, Site::Waking | Site::Extending | Site::Staged) {
            self.0.set(self.0.get() + 1);
        }
    }
}

/// Minor faults of this thread so far (proc_pid_stat(5), field 10).
fn minor_faults() -> Result<u64> {
    let stat = fs::read_to_string("/proc/thread-self/stat")?;
    let (_, fields) = stat.rsplit_once(')').context("no fields")?;
    let field = fields.split_ascii_whitespace().nth(10 - 3);
    Ok(field.context("no faults")?.parse()?)
}

pub fn run(task: &Task) -> Result<Values> {
    let path = CString::new(task.directory.as_os_str().as_bytes())?;
    let failed = |error| anyhow!("{error:?}");
    let platform = || LinuxPlatform::open(&path).map_err(|error| anyhow!("{error:?}"));
    let mut options = CreateOptions::default();
    options.segment_size = SegmentSize::new(SEGMENT).map_err(|error| anyhow!("{error:?}"))?;
    create(&platform()?, &options).map_err(failed)?;
    let entries = Entries::default();
    let mut appender =
        Appender::open_with(platform()?, WriteOptions::default(), entries.clone(), NoSupply)
            .map_err(failed)?;
    let message = vec![7; task.size];
    // The first segment is allocated as it fills.
    while appender.position().segment.get() == 0 {
        appender.prepare_next().map_err(failed)?;
        appender.append(TYPE, &message).map_err(failed)?;
    }
    let (mut appended, mut rolls, mut calls, mut faults) = (0u64, 0u64, 0, 0);
    while appended < task.messages {
        appender.prepare_next().map_err(failed)?;
        let segment = appender.position().segment;
        minor_faults()?;
        let (entered, faulted) = (entries.0.get(), minor_faults()?);
        while appender.position().segment == segment && appended < task.messages {
            appender.append(TYPE, &message).map_err(failed)?;
            appended += 1;
        }
        faults += minor_faults()? - faulted;
        calls += entries.0.get() - entered;
        rolls += u64::from(appender.position().segment != segment);
    }
    let million = appended as f64 / 1e6;
    Ok(values([
        ("calls_per_million", calls as f64 / million),
        ("faults_per_million", faults as f64 / million),
        ("rolls", rolls as f64),
    ]))
}
