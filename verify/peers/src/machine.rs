//! What it was measured on.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use rustix::fs::statfs;

use crate::bench::Bench;

/// The processor, the system, its load, and the files' systems.
pub fn describe(bench: &Bench) -> BTreeMap<String, String> {
    let uname = rustix::system::uname();
    let kernel =
        format!("{} {}", uname.sysname().to_string_lossy(), uname.release().to_string_lossy());
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: Vec<&str> = load.split(' ').take(3).collect();
    let runs = bench.scale.runs.to_string();
    let described = [
        ("processor", processor()),
        ("processors used", format!("{:?}", bench.cpus)),
        ("counter, GHz", format!("{:.3}", bench.ticks_per_ns)),
        ("system", kernel),
        ("load before", load.join(" ")),
        ("memory files", file_system(&bench.memory)),
        ("disk files", file_system(&bench.disk)),
        ("runs", runs),
    ];
    described.map(|(what, value)| (what.to_owned(), value)).into()
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find(|line| line.split(':').next().map(str::trim) == Some(name))?;
        line.split_once(':').map(|(_, value)| value.trim().to_owned())
    };
    let number = |name| field(name).unwrap_or_else(|| "?".to_owned());
    let name = field("model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    format!("{name}, family {}, model {}", number("cpu family"), number("model"))
}

/// A directory's file system, by its name where it is a common one.
fn file_system(directory: &Path) -> String {
    const KNOWN: [(u64, &str); 5] = [
        (0x0102_1994, "tmpfs"),
        (0xef53, "ext4"),
        (0x5846_5342, "xfs"),
        (0x9123_683e, "btrfs"),
        (0x794c_7630, "overlayfs"),
    ];
    let kind = statfs(directory).map(|found| found.f_type as u64);
    let known = kind.ok().and_then(|kind| KNOWN.iter().find(|(magic, _)| *magic == kind));
    known.map_or_else(|| format!("{kind:x?}"), |(_, name)| (*name).to_owned())
}
