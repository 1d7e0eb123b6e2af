//! The rules about files that no lint knows.
//!
//! Each rule is a function from a file's path and text to what it finds, so that its tests need no
//! files.

use std::fmt;
use std::fs;
use std::path::Path;

/// The files that may name atomics: the module that everybody else takes them from, and the switch
/// for seeded faults, which is no part of any algorithm.
const ATOMICS: &[&str] = &["chronicle-sync/src/primitive.rs", "chronicle-sync/src/mutation.rs"];

/// The files that contain unsafe code. Each says at its head why.
const UNSAFE: &[&str] = &[
    "chronicle-platform-linux/src/clock.rs",
    "chronicle-platform-linux/src/lock.rs",
    "chronicle-platform-linux/src/region.rs",
    "chronicle-platform-linux/src/storage.rs",
    "chronicle-platform-macos/src/darwin.rs",
    "chronicle-platform-macos/src/region.rs",
    "chronicle-platform-macos/src/storage.rs",
    "chronicle-platform-static/src/slots.rs",
    "chronicle-sync/src/checksum.rs",
    "chronicle-sync/src/checksum/x86.rs",
    "chronicle-sync/src/cursor.rs",
    "chronicle-sync/src/exactly.rs",
    "chronicle-sync/src/handoff.rs",
    "chronicle-sync/src/prefetch.rs",
    "chronicle-sync/src/record.rs",
    "chronicle-sync/src/words.rs",
    "examples/custom_backend.rs",
    "examples/freestanding/src/machine.rs",
];

/// The files that may be longer than [`LINES`], and why.
const LONG: &[(&str, &str)] = &[];

/// The most lines that a file has.
const LINES: usize = 600;

/// The crates that do without the standard library.
const NO_STD: &[&str] = &[
    "chronicle-core",
    "chronicle-format",
    "chronicle-platform-linux",
    "chronicle-platform-macos",
    "chronicle-protocol",
    "chronicle-platform-static",
    "chronicle-sync",
];

/// The crates that have no unsafe code at all.
const FORBID_UNSAFE: &[&str] =
    &["chronicle-bus", "chronicle-core", "chronicle-format", "chronicle-protocol"];

/// A rule that a file breaks.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    path: String,
    line: Option<usize>,
    what: String,
}

impl Violation {
    fn of_file(path: &str, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line: None, what: what.into() }
    }

    fn at(path: &str, index: usize, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line: Some(index + 1), what: what.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.path, self.what),
            None => write!(f, "{}: {}", self.path, self.what),
        }
    }
}

/// Checks every Rust file below `root`.
pub(crate) fn check(root: &Path) -> Result<Vec<Violation>, String> {
    let mut files = Vec::new();
    collect(root, "", &mut files)?;
    files.sort();
    let mut violations = Vec::new();
    for (path, text) in &files {
        violations.extend(check_file(path, text));
    }
    violations.extend(stale_entries(&files));
    Ok(violations)
}

/// Finds Rust files, as path relative to the workspace and text. What is generated or hidden is
/// left out.
fn collect(
    directory: &Path,
    prefix: &str,
    files: &mut Vec<(String, String)>,
) -> Result<(), String> {
    let failed = |error| format!("{}: {error}", directory.display());
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let kind = entry.file_type().map_err(failed)?;
        let path = format!("{prefix}{name}");
        if kind.is_dir() {
            let generated = prefix.is_empty() && name.starts_with("target");
            if !generated && !name.starts_with('.') {
                collect(&entry.path(), &format!("{path}/"), files)?;
            }
        } else if kind.is_file() && name.ends_with(".rs") {
            let text = fs::read_to_string(entry.path()).map_err(failed)?;
            files.push((path, text));
        }
    }
    Ok(())
}

fn check_file(path: &str, text: &str) -> Vec<Violation> {
    let mut violations = Vec::new();
    if !is_exempt(path) {
        violations.extend(atomics(path, text));
        violations.extend(unsafe_code(path, text));
    }
    violations.extend(length(path, text));
    violations.extend(ignored_tests(path, text));
    violations.extend(crate_attributes(path, text));
    violations
}

/// Whether a file is no part of what is shipped.
fn is_exempt(path: &str) -> bool {
    path.starts_with("verify/") || path.contains("/tests/") || path.contains("/benches/")
}

fn atomics(path: &str, text: &str) -> Vec<Violation> {
    if ATOMICS.contains(&path) {
        return Vec::new();
    }
    lines(text)
        .filter(|(_, line)| line.contains("sync::atomic"))
        .map(|(i, _)| Violation::at(path, i, format!("names atomics: take them from {ATOMICS:?}")))
        .collect()
}

fn unsafe_code(path: &str, text: &str) -> Option<Violation> {
    let (i, _) = first_unsafe(text)?;
    if !UNSAFE.contains(&path) {
        return Some(Violation::at(path, i, "unsafe code in a file that is not listed for it"));
    }
    let head = text.lines().filter(|line| line.starts_with("//!"));
    let explained = head.flat_map(|line| line.split(|c: char| !c.is_alphanumeric()));
    if explained.into_iter().any(|word| word == "unsafe" || word == "Unsafe") {
        return None;
    }
    Some(Violation::of_file(path, "its head does not say why there is unsafe code"))
}

/// The first line with unsafe code. An `unsafe trait` is only a promise to be made elsewhere.
fn first_unsafe(text: &str) -> Option<(usize, &str)> {
    let unsafe_code = ["unsafe {", "unsafe impl", "unsafe fn"];
    lines(text).find(|(_, line)| unsafe_code.iter().any(|code| line.contains(code)))
}

fn length(path: &str, text: &str) -> Option<Violation> {
    let lines = text.lines().count();
    let allowed = lines <= LINES || LONG.iter().any(|(long, _)| *long == path);
    (!allowed).then(|| Violation::of_file(path, format!("{lines} lines, more than {LINES}")))
}

fn ignored_tests(path: &str, text: &str) -> Vec<Violation> {
    lines(text)
        .filter(|(_, line)| line.starts_with("#[ignore]"))
        .map(|(i, _)| Violation::at(path, i, "a test is ignored without a reason"))
        .collect()
}

fn crate_attributes(path: &str, text: &str) -> Vec<Violation> {
    let Some(name) = path.strip_suffix("/src/lib.rs") else {
        return Vec::new();
    };
    let attributes = || lines(text).filter(|(_, line)| line.starts_with("#!["));
    let mut violations = Vec::new();
    if NO_STD.contains(&name) && !attributes().any(|(_, line)| line.contains("no_std")) {
        violations.push(Violation::of_file(path, "must be no_std"));
    }
    if FORBID_UNSAFE.contains(&name)
        && !attributes().any(|(_, line)| line.contains("forbid(unsafe_code)"))
    {
        violations.push(Violation::of_file(path, "must forbid unsafe code"));
    }
    violations
}

/// Entries of the lists that no file needs any more: left there, they would excuse a new one.
fn stale_entries(files: &[(String, String)]) -> Vec<Violation> {
    let text = |listed: &str| files.iter().find(|(path, _)| path == listed).map(|(_, text)| text);
    let mut violations = Vec::new();
    for path in UNSAFE {
        if text(path).and_then(|text| first_unsafe(text)).is_none() {
            violations.push(Violation::of_file(path, "is listed for unsafe code and has none"));
        }
    }
    for (path, reason) in LONG {
        if text(path).is_none_or(|text| text.lines().count() <= LINES) {
            let what = format!("is listed as long ({reason}) and is not");
            violations.push(Violation::of_file(path, what));
        }
    }
    violations
}

/// The lines that are no comments, trimmed, with their index.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().map(str::trim).enumerate().filter(|(_, line)| !line.starts_with("//"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(path: &str, text: &str) -> Vec<String> {
        check_file(path, text).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn atomics_are_named_in_their_module_only() {
        let text = "use core::sync::atomic::AtomicU64;\n";
        assert_eq!(messages("chronicle-core/src/wait.rs", text).len(), 1);
        for path in [
            "chronicle-sync/src/primitive.rs",
            "verify/loom/src/park.rs",
            "chronicle-std/tests/a.rs",
        ] {
            assert_eq!(messages(path, text), [""; 0]);
        }
        assert_eq!(messages("chronicle-core/src/wait.rs", "// not sync::atomic\n"), [""; 0]);
    }

    #[test]
    fn unsafe_code_needs_a_listed_file() {
        for code in ["    unsafe { f() }", "unsafe impl Send for A {}", "pub unsafe fn f() {}"] {
            let text = format!("//! Unsafe for a reason.\n\n{code}\n");
            let found = messages("chronicle-core/src/wait.rs", &text);
            assert_eq!(
                found,
                ["chronicle-core/src/wait.rs:3: unsafe code in a file that is not listed for it"]
            );
            assert_eq!(messages("chronicle-sync/src/words.rs", &text), [""; 0]);
            assert_eq!(messages("verify/loom/src/words.rs", &text), [""; 0]);
        }
    }

    #[test]
    fn unsafe_code_needs_an_explanation() {
        let text = "//! Words, not unsafely.\n\nfn f() {\n    unsafe { g() }\n}\n";
        assert_eq!(
            messages("chronicle-sync/src/words.rs", text),
            ["chronicle-sync/src/words.rs: its head does not say why there is unsafe code"]
        );
    }

    #[test]
    fn a_file_has_at_most_so_many_lines() {
        let path = "chronicle-std/src/a.rs";
        assert_eq!(messages(path, &"\n".repeat(LINES)), [""; 0]);
        assert_eq!(
            messages(path, &"\n".repeat(LINES + 1)),
            ["chronicle-std/src/a.rs: 601 lines, more than 600"]
        );
    }

    #[test]
    fn an_ignored_test_has_a_reason() {
        let path = "chronicle-std/tests/a.rs";
        assert_eq!(
            messages(path, "#[test]\n#[ignore]\n"),
            ["chronicle-std/tests/a.rs:2: a test is ignored without a reason"]
        );
        assert_eq!(messages(path, "#[test]\n#[ignore = \"takes an hour\"]\n"), [""; 0]);
    }

    #[test]
    fn crates_without_std_and_without_unsafe_say_so() {
        let path = "chronicle-core/src/lib.rs";
        assert_eq!(messages(path, "#![no_std]\n#![forbid(unsafe_code)]\n"), [""; 0]);
        assert_eq!(
            messages(path, "// #![no_std]\n"),
            [
                "chronicle-core/src/lib.rs: must be no_std",
                "chronicle-core/src/lib.rs: must forbid unsafe code"
            ]
        );
        let conditional = "#![cfg_attr(not(chronicle_loom), no_std)]\n";
        assert_eq!(messages("chronicle-sync/src/lib.rs", conditional), [""; 0]);
        assert_eq!(messages("chronicle-std/src/lib.rs", ""), [""; 0]);
    }

    #[test]
    fn a_list_has_no_entry_that_nobody_needs() {
        let files: Vec<_> =
            UNSAFE.iter().map(|path| ((*path).to_owned(), "unsafe { f() }".to_owned())).collect();
        assert_eq!(stale_entries(&files), []);
        assert_eq!(stale_entries(files.get(1..).unwrap()).len(), 1);
    }
}
