//! The freestanding program is built, as it stands, in both profiles, runs, and has nothing of the
//! standard library or an allocator in it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use object::{Object as _, ObjectSymbol as _};
use support::{cargo, root, run, target_directory};

const EXAMPLE: &str = "examples/freestanding";

/// Builds the program by its own workspace; `None` where its machine is not this one.
fn build(profile: &str) -> Option<PathBuf> {
    if cfg!(not(all(target_os = "linux", target_arch = "x86_64"))) {
        println!("SKIPPED: the freestanding program is for Linux on x86-64");
        return None;
    }
    let target = target_directory().join("freestanding");
    let mut command = cargo();
    command.args(["build", "--quiet", "--locked", "--profile", profile, "--manifest-path"]);
    command.arg(format!("{EXAMPLE}/Cargo.toml")).arg("--target-dir").arg(&target);
    // What the tests are built with may need a standard library: sanitizers, coverage.
    command.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    let built = run(command);
    assert!(built.success, "{}", built.errors);
    let directory = if profile == "dev" { "debug" } else { profile };
    Some(target.join(directory).join("freestanding"))
}

/// The names of everything that a program defines or wants, as people write them.
fn symbols(program: &Path) -> Vec<String> {
    let bytes = fs::read(program).unwrap();
    let file = object::File::parse(&*bytes).unwrap();
    file.symbols()
        .chain(file.dynamic_symbols())
        .filter_map(|symbol| symbol.name().ok())
        .map(|name| format!("{:#}", rustc_demangle::demangle(name)))
        .collect()
}

/// Whether a name has a path in it that begins with the standard library or `alloc`, or is one of
/// the functions through which Rust allocates. `core::alloc` is not `alloc`.
fn is_hosted(name: &str) -> bool {
    let begins_path = |root: &str| {
        name.match_indices(root).any(|(at, _)| {
            let before = name.get(..at).and_then(|before| before.chars().next_back());
            !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
        })
    };
    begins_path("std::")
        || begins_path("alloc::")
        || ["__rust_alloc", "__rust_realloc", "__rust_dealloc", "__rdl_", "__rg_"]
            .iter()
            .any(|function| name.contains(function))
}

fn check(profile: &str) {
    let Some(program) = build(profile) else { return };
    run(Command::new(&program)).assert_printed(
        "0: no files\n\
         1: no threads\n\
         2: no allocator\n\
         then: TimedOut\n\
         read 1000, and go on with 1003\n",
    );
    let symbols = symbols(&program);
    assert!(
        symbols.iter().any(|name| name.contains("chronicle_core::")),
        "a program without names shows nothing"
    );
    let hosted: Vec<_> = symbols.iter().filter(|name| is_hosted(name)).collect();
    assert!(hosted.is_empty(), "{hosted:#?}");
    let bytes = fs::read(&program).unwrap();
    let file = object::File::parse(&*bytes).unwrap();
    let mut wanted = file.symbols().chain(file.dynamic_symbols()).filter(|one| one.is_undefined());
    let unnamed = |name: &str| name.is_empty();
    assert!(wanted.all(|one| one.name().is_ok_and(unnamed)), "it wants something of a library");
}

#[test]
fn a_debug_build_runs_and_has_nothing_of_std_or_alloc() {
    check("dev");
}

#[test]
fn a_release_build_runs_and_has_nothing_of_std_or_alloc() {
    check("release");
}

#[test]
fn a_program_with_std_is_seen_to_have_it() {
    let symbols = symbols(&std::env::current_exe().unwrap());
    for part in ["std::", "alloc::", "__rust_alloc"] {
        let found = symbols.iter().any(|name| name.contains(part) && is_hosted(name));
        assert!(found, "this very test has {part} and it was not seen");
    }
}

#[test]
fn names_of_both_kinds_of_mangling_are_read() {
    let hosted = |name: &str| is_hosted(&format!("{:#}", rustc_demangle::demangle(name)));
    for name in [
        "_ZN3std2io5stdio6_print17h0123456789abcdefE",
        "_ZN5alloc7raw_vec11finish_grow17h0123456789abcdefE",
        "_ZN4core3ptr42drop_in_place$LT$alloc..string..String$GT$17h0123456789abcdefE",
        "_RNvNtNtCs1234_3std2io5stdio6__print",
        "_RNvCs1234_7___rustc12___rust_alloc",
        "__rust_alloc",
        "__rg_oom",
    ] {
        assert!(hosted(name), "{name}");
    }
    for name in [
        "_ZN4core5alloc6layout6Layout7is_size17h0123456789abcdefE",
        "_ZN13chronicle_std5queue3new17h0123456789abcdefE",
        "memcpy",
        "_start",
    ] {
        assert!(!hosted(name), "{name}");
    }
}

#[test]
fn the_backend_has_less_than_forty_lines() {
    let source = fs::read_to_string(root().join(EXAMPLE).join("src/main.rs")).unwrap();
    let (_, behind) = source.split_once("// The backend.\n").unwrap();
    let (backend, _) = behind.split_once("// The program.\n").unwrap();
    for part in ["impl Park for Board", "impl Clock for Board", "static MEMORY: Slots<"] {
        assert!(backend.contains(part), "{part} is not where it is counted");
    }
    let lines = backend.trim().lines().count();
    assert!(lines < 40, "{lines} lines");
}
