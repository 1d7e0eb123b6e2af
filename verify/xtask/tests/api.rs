//! The public interface of each crate is as its list in `docs/api` says.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn lists() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/api"))
}

fn check(lists: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(["api", "--lists"]).arg(lists).output().unwrap()
}

#[test]
fn the_public_interface_is_as_it_was_written_down() {
    let output = check(&lists());
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_public_name_that_has_changed_is_told() {
    let home = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(lists()).unwrap() {
        let path = entry.unwrap().path();
        let list = fs::read_to_string(&path).unwrap();
        // As if the function had been called so when the list was written.
        let list =
            list.replace("chronicle_core::Tailer<P>::arm(", "chronicle_core::Tailer<P>::prime(");
        fs::write(home.path().join(path.file_name().unwrap()), list).unwrap();
    }
    let output = check(home.path());
    let said = String::from_utf8_lossy(&output.stdout);
    if said.contains("SKIPPED api") {
        return println!("{said}");
    }
    assert!(!output.status.success(), "{said}");
    for line in
        ["-pub fn chronicle_core::Tailer<P>::prime(", "+pub fn chronicle_core::Tailer<P>::arm("]
    {
        assert!(said.contains(line), "{line} is not in\n{said}");
    }
}
