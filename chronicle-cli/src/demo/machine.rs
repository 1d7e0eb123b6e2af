//! What the figures were measured on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::available_parallelism;

use serde::Serialize;
use tempfile::TempDir;

use crate::failure::Failure;

/// Where queues live that need no disk.
const SHARED_MEMORY: &str = "/dev/shm";
/// What the largest queue of the demo needs, and some.
const ROOM: u64 = 1 << 30;

/// The machine and the place of the queues.
#[derive(Serialize)]
pub(crate) struct Machine {
    pub(crate) cpus: usize,
    pub(crate) model: Option<String>,
    pub(crate) kernel: String,
    /// How many processes wanted a CPU in the last minute.
    pub(crate) load: Option<f64>,
    pub(crate) directory: PathBuf,
    pub(crate) file_system: Option<String>,
}

impl Machine {
    pub(crate) fn look(directory: &Path) -> Self {
        Self {
            cpus: available_parallelism().map_or(1, usize::from),
            model: field_of("/proc/cpuinfo", "model name")
                .or_else(|| said("sysctl", &["-n", "machdep.cpu.brand_string"])),
            kernel: kernel(),
            load: load(),
            directory: directory.to_owned(),
            file_system: file_system(directory),
        }
    }

    pub(crate) fn text(&self) -> String {
        let model = self.model.as_deref().unwrap_or("model unknown");
        let mut text = format!(
            "machine   {} CPUs ({model}), {}\nqueues    in {} ({})\n",
            self.cpus,
            self.kernel,
            self.directory.display(),
            self.file_system.as_deref().unwrap_or("file system unknown")
        );
        if let Some(load) = self.load.filter(|load| *load > 0.3) {
            text +=
                &format!("          busy: load {load}, which the tails of the latencies show\n");
        }
        if self.cpus < 2 {
            text += "          one CPU only: writer and reader take turns, latencies say little\n";
        }
        text
    }
}

/// A directory for the demo's queues that is removed with it.
pub(crate) fn directory(wanted: Option<&Path>) -> Result<TempDir, Failure> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("chron-cli-demo-");
    let failed = |place: &Path, error: std::io::Error| {
        Failure::input(place.display(), format!("cannot make a directory here: {error}"))
    };
    if let Some(wanted) = wanted {
        return builder.tempdir_in(wanted).map_err(|error| failed(wanted, error));
    }
    let shared_memory = Path::new(SHARED_MEMORY);
    if available_bytes(shared_memory).is_none_or(|bytes| bytes >= ROOM)
        && let Ok(directory) = builder.tempdir_in(shared_memory)
    {
        return Ok(directory);
    }
    builder.tempdir().map_err(|error| failed(&std::env::temp_dir(), error))
}

/// Free space as `df` knows it, which every Unix has.
fn available_bytes(directory: &Path) -> Option<u64> {
    let output = Command::new("df").arg("-Pk").arg(directory).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let kibibytes: u64 = text.lines().nth(1)?.split_whitespace().nth(3)?.parse().ok()?;
    Some(kibibytes * 1024)
}

fn kernel() -> String {
    match fs::read_to_string("/proc/version") {
        Ok(text) => text.split(' ').take(3).collect::<Vec<_>>().join(" ").replace(" version", ""),
        Err(_) => said("uname", &["-sr"]).unwrap_or_else(|| std::env::consts::OS.to_owned()),
    }
}

/// The load of the last minute: the first number of what the system says.
fn load() -> Option<f64> {
    let text = fs::read_to_string("/proc/loadavg")
        .ok()
        .or_else(|| said("sysctl", &["-n", "vm.loadavg"]))?;
    text.split([' ', '{']).find(|word| !word.is_empty())?.parse().ok()
}

/// What a program of the system says, where the system has no `/proc`.
fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let text = text.trim();
    (output.status.success() && !text.is_empty()).then(|| text.to_owned())
}

fn field_of(file: &str, field: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(field))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The type of the file system with the longest mount point above the directory.
fn file_system(directory: &Path) -> Option<String> {
    let directory = directory.canonicalize().ok()?;
    let mounts = fs::read_to_string("/proc/self/mounts").ok().or_else(|| said("mount", &[]))?;
    mounts
        .lines()
        .filter_map(|line| match line.split_once(" on ") {
            // mount(8) of macOS: device on path (kind, options)
            Some((_, mounted)) => {
                let (path, kind) = mounted.split_once(" (")?;
                Some((Path::new(path), kind.split([',', ')']).next()?))
            }
            None => {
                let mut fields = line.split(' ').skip(1);
                Some((Path::new(fields.next()?), fields.next()?))
            }
        })
        .filter(|(mounted_at, _)| directory.starts_with(mounted_at))
        .max_by_key(|(mounted_at, _)| mounted_at.components().count())
        .map(|(_, kind)| kind.to_owned())
}
