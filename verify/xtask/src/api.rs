//! The public interface of each crate that others depend on, as lists in `docs/api`: a change of it is
//! a change of a file, which somebody sees.
//!
//! The lists come from rustdoc's JSON, which only a nightly toolchain writes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::nightly::{nightly, succeeds};
use crate::steps::{Outcome, install_for, root, target_directory};

const TOOLCHAIN: &str = "nightly";

/// A crate, the features with which it is listed, and the target where it has something to list.
struct Listed {
    name: &'static str,
    home: &'static str,
    features: &'static [&'static str],
    target: Option<&'static str>,
}

impl Listed {
    const fn at_the_top(name: &'static str) -> Self {
        Self { name, home: name, features: &[], target: None }
    }
}

const LISTED: &[Listed] = &[
    Listed::at_the_top("chronicle-format"),
    Listed::at_the_top("chronicle-sync"),
    Listed::at_the_top("chronicle-core"),
    Listed {
        target: Some("x86_64-unknown-linux-gnu"),
        ..Listed::at_the_top("chronicle-platform-linux")
    },
    Listed {
        target: Some("aarch64-apple-darwin"),
        ..Listed::at_the_top("chronicle-platform-macos")
    },
    Listed::at_the_top("chronicle-platform-static"),
    Listed::at_the_top("chronicle-protocol"),
    Listed {
        features: &["async"],
        target: Some("x86_64-unknown-linux-gnu"),
        ..Listed::at_the_top("chronicle-std")
    },
    Listed { target: Some("x86_64-unknown-linux-gnu"), ..Listed::at_the_top("chronicle-bus") },
    Listed { home: "verify/conformance", ..Listed::at_the_top("chronicle-conformance") },
];

/// Where the lists are.
const LISTS: &str = "docs/api";

/// Holds the lists in a directory against the code, or writes them anew; those of the repository, if
/// no other directory is given.
pub(crate) fn api(write: bool, lists: Option<&Path>) -> Outcome {
    let lists = lists.map_or_else(|| root().join(LISTS), Path::to_owned);
    if let Err(why) = succeeds(nightly(&["--version"])) {
        println!("SKIPPED api: no nightly toolchain: {why}");
        return Ok("SKIPPED".to_owned());
    }
    let mut changed = Vec::new();
    let mut skipped = Vec::new();
    for listed in LISTED {
        if let Some(target) = listed.target
            && let Err(why) = install_for(TOOLCHAIN, target)
        {
            println!("SKIPPED api of {}: {target} cannot be installed: {why}", listed.name);
            skipped.push(listed.name);
            continue;
        }
        let now = match list(listed)? {
            Ok(now) => now,
            Err(why) => {
                println!(
                    "SKIPPED api of {}: this nightly's JSON cannot be read: {why}",
                    listed.name
                );
                skipped.push(listed.name);
                continue;
            }
        };
        let path = lists.join(format!("{}.txt", listed.name));
        let known = fs::read_to_string(&path).unwrap_or_default();
        if now == known {
            continue;
        }
        changed.push(listed.name);
        if write {
            put(&path, &now)?;
        } else {
            println!("{}:\n{}", listed.name, difference(&known, &now));
        }
    }
    let stale = stale(&lists)?;
    if !stale.is_empty() {
        return Err(format!("{} list no crate", stale.join(", ")));
    }
    match (changed.is_empty(), write) {
        (false, false) => Err(format!(
            "the public interface of {} has changed: look at it, and write it down by `cargo xtask api --write`",
            changed.join(", ")
        )),
        (false, true) => Ok(format!("wrote {}", changed.join(", "))),
        (true, _) if !skipped.is_empty() => Ok(format!("SKIPPED {}", skipped.join(", "))),
        (true, _) => Ok(String::new()),
    }
}

/// The public items of a crate, one on each line, without the implementations that every type has; or
/// why what rustdoc wrote cannot be read: its format changes with the toolchain.
fn list(listed: &Listed) -> Result<Result<String, String>, String> {
    let mut builder = rustdoc_json::Builder::default()
        .toolchain(TOOLCHAIN)
        .manifest_path(root().join(listed.home).join("Cargo.toml"))
        .target_dir(target_directory().join("api"))
        .features(listed.features)
        .quiet(true)
        .cap_lints(Some("allow"));
    if let Some(target) = listed.target {
        builder = builder.target(target.to_owned());
    }
    let json = builder.build().map_err(|error| format!("{}: {error}", listed.name))?;
    let items = public_api::Builder::from_rustdoc_json(json)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .build();
    Ok(items
        .map(|items| items.items().map(|item| format!("{item}\n")).collect())
        .map_err(|error| error.to_string()))
}

fn put(path: &Path, text: &str) -> Result<(), String> {
    let failed = |error| format!("{}: {error}", path.display());
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(failed)?;
    }
    fs::write(path, text).map_err(failed)
}

/// Lists of crates that are not listed any more.
fn stale(directory: &Path) -> Result<Vec<String>, String> {
    let entries = fs::read_dir(directory).map_err(|error| format!("{directory:?}: {error}"))?;
    let names = entries.filter_map(|entry| Some(PathBuf::from(entry.ok()?.file_name())));
    let is_known = |name: &Path| {
        let stem = name.file_stem().and_then(|stem| stem.to_str());
        LISTED.iter().any(|listed| Some(listed.name) == stem)
    };
    Ok(names.filter(|name| !is_known(name)).map(|name| name.display().to_string()).collect())
}

/// What is gone and what is new, line by line.
fn difference(known: &str, now: &str) -> String {
    let (known, now): (BTreeSet<_>, BTreeSet<_>) = (known.lines().collect(), now.lines().collect());
    let gone = known.difference(&now).map(|line| format!("-{line}\n"));
    let new = now.difference(&known).map(|line| format!("+{line}\n"));
    gone.chain(new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renamed_function_is_gone_and_new() {
        let known = "pub fn a::one()\npub fn a::two()\n";
        let now = "pub fn a::one()\npub fn a::three()\n";
        assert_eq!(difference(known, now), "-pub fn a::two()\n+pub fn a::three()\n");
        assert_eq!(difference(now, now), "");
    }
}
