//! The backends of Linux and macOS are twins: the same files, so that they can be read side by side, and
//! the same public names, so that `chronicle-std` can take either.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Files that one of the two has alone, and why.
const ALONE: &[(&str, &str)] = &[
    ("macos: darwin.rs", "functions that no library has"),
    ("macos: darwin/abi.rs", "their declarations, held against libc's"),
];

/// Functions that one of the two has alone, and why.
const NAMED_ALONE: &[(&str, &str)] = &[
    ("linux: Clock::ticks", "the processor's counter, where the kernel's own clock follows it"),
    ("linux: Park::enlist", "membarrier"),
    ("linux: Park::heavy_barrier", "membarrier"),
    ("linux: Park::wait_any", "futex_waitv"),
    ("linux: Park::words_at_once", "futex_waitv"),
    ("linux: Storage::reserve_staged", "large pages"),
    (
        "linux: Storage::write_staged",
        "sync_file_range; on APFS a page that is written anew goes to new space all the same",
    ),
];

fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// The files below a directory.
fn files(directory: &Path, prefix: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path(), &format!("{name}/")));
        } else {
            found.insert(name);
        }
    }
    found
}

/// The types and functions of a backend's list in `docs/api`, without the name of the system. Which
/// calls there are is the system's own affair.
fn names(system: &str, prefix: &str) -> BTreeSet<String> {
    let krate = format!("chronicle_platform_{system}::");
    let list = root().join(format!("docs/api/chronicle-platform-{system}.txt"));
    let list = fs::read_to_string(list).unwrap();
    let items = list.lines().filter_map(|line| {
        let item = line.strip_prefix("pub ")?.replace("const ", "");
        let (kind, rest) = item.split_once(' ')?;
        let path = rest.strip_prefix(&krate)?;
        let end = path.find(|c: char| !c.is_alphanumeric() && c != ':' && c != '_');
        let path = path.get(..end.unwrap_or(path.len()))?.replace(prefix, "");
        let is_name = matches!(kind, "struct" | "enum" | "fn" | "type" | "use");
        (is_name && !path.starts_with("Call::")).then_some(path)
    });
    items.collect()
}

/// What only one of two sets has, each with the name of its system.
fn alone(linux: &BTreeSet<String>, macos: &BTreeSet<String>) -> Vec<String> {
    let of_linux = linux.difference(macos).map(|one| format!("linux: {one}"));
    let of_macos = macos.difference(linux).map(|one| format!("macos: {one}"));
    of_linux.chain(of_macos).collect()
}

fn expected(list: &[(&str, &str)]) -> Vec<String> {
    list.iter().map(|(what, _)| (*what).to_owned()).collect()
}

#[test]
fn both_backends_have_the_same_files() {
    let sources =
        |system: &str| files(&root().join(format!("chronicle-platform-{system}/src")), "");
    let (linux, macos) = (sources("linux"), sources("macos"));
    assert!(linux.contains("storage.rs"), "{linux:?}");
    assert_eq!(alone(&linux, &macos), expected(ALONE));
}

#[test]
fn both_backends_have_the_same_public_names() {
    let (linux, macos) = (names("linux", "Linux"), names("macos", "Macos"));
    assert!(linux.contains("Platform::open") && linux.len() > 30, "{linux:?}");
    assert_eq!(alone(&linux, &macos), expected(NAMED_ALONE));
}
