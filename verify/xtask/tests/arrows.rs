//! Which crate may depend on which, held against what cargo says.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::{Value, json};

/// Each crate and what lies directly below it.
const BELOW: &[(&str, &[&str])] = &[
    ("chronicle-format", &[]),
    ("chronicle-sync", &["chronicle-format"]),
    ("chronicle-core", &["chronicle-sync"]),
    ("chronicle-platform-linux", &["chronicle-sync"]),
    ("chronicle-platform-macos", &["chronicle-sync"]),
    ("chronicle-platform-static", &["chronicle-sync"]),
    ("chronicle-std", &["chronicle-core", "chronicle-platform-linux", "chronicle-platform-macos"]),
    ("chronicle-protocol", &["chronicle-format"]),
    ("chronicle-bus", &["chronicle-std"]),
    ("chronicle-replay", &["chronicle-std", "chronicle-protocol"]),
    ("chronicle-archive", &["chronicle-replay"]),
    ("chronicle-raft", &["chronicle-std"]),
    ("chronicle-cli", &["chronicle-archive", "chronicle-bus", "chronicle-raft"]),
    ("chronicle-examples", &["chronicle-std"]),
];

/// The crates that depend on what lies directly below them only: a backend reaches the format
/// through the seam that it implements.
const DIRECT_ONLY: &[&str] =
    &["chronicle-platform-linux", "chronicle-platform-macos", "chronicle-platform-static"];

/// The crates that stand on their own even in their tests.
const NO_DEV_DEPENDENCY: &[&str] = &["chronicle-format", "chronicle-sync"];

/// A dependency of one workspace crate on another.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Arrow {
    from: String,
    to: String,
    dev: bool,
}

struct Graph {
    /// Workspace crates, and whether each lies in `verify/`.
    crates: BTreeMap<String, bool>,
    arrows: BTreeSet<Arrow>,
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn graph(metadata: &Value) -> Graph {
    let verify = format!("{}/verify/", text(metadata, "workspace_root"));
    let packages = list(metadata, "packages");
    let crates: BTreeMap<_, _> = packages
        .iter()
        .map(|package| {
            let in_verify = text(package, "manifest_path").starts_with(&verify);
            (text(package, "name").to_owned(), in_verify)
        })
        .collect();
    let mut arrows = BTreeSet::new();
    for package in packages {
        for dependency in list(package, "dependencies") {
            // What is built for a build script is as much a dependency as any other. What is there
            // only under the flag of a test is none of what is shipped.
            let dev = text(dependency, "kind") == "dev"
                || text(dependency, "target") == "cfg(chronicle_darwin_shim)";
            let to = text(dependency, "name").to_owned();
            if crates.contains_key(&to) {
                arrows.insert(Arrow { from: text(package, "name").to_owned(), to, dev });
            }
        }
    }
    Graph { crates, arrows }
}

fn directly_below(name: &str) -> Option<&'static [&'static str]> {
    BELOW.iter().find(|(above, _)| *above == name).map(|(_, below)| *below)
}

fn may_depend(from: &str, to: &str) -> bool {
    let below = directly_below(from).unwrap_or_default();
    below.contains(&to)
        || !DIRECT_ONLY.contains(&from) && below.iter().any(|next| lies_below(next, to))
}

/// Whether `to` lies anywhere below `from`, by way of whatever crates.
fn lies_below(from: &str, to: &str) -> bool {
    let below = directly_below(from).unwrap_or_default();
    below.contains(&to) || below.iter().any(|next| lies_below(next, to))
}

fn violations(graph: &Graph) -> Vec<String> {
    let mut violations = Vec::new();
    for (name, in_verify) in &graph.crates {
        if !in_verify && directly_below(name).is_none() {
            violations.push(format!("{name} has no place among the crates: give it one in BELOW"));
        }
    }
    for Arrow { from, to, dev } in &graph.arrows {
        if graph.crates.get(from) == Some(&true) {
            continue;
        }
        if *dev {
            if NO_DEV_DEPENDENCY.contains(&from.as_str()) {
                violations.push(format!("{from} must not depend on {to} in its tests"));
            }
        } else if !may_depend(from, to) {
            violations.push(format!("{from} must not depend on {to}"));
        }
    }
    violations
}

#[test]
fn crates_depend_on_what_lies_below_them() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let graph = graph(&serde_json::from_slice(&output.stdout).unwrap());
    assert!(
        graph.crates.contains_key("chronicle-format"),
        "cargo names no crate of this workspace"
    );
    for Arrow { from, to, dev } in &graph.arrows {
        println!("{}{from} -> {to}", if *dev { "in tests: " } else { "" });
    }
    assert_eq!(violations(&graph), [""; 0]);
}

/// Cargo's answer for a workspace with one dependency.
fn one_arrow(from: &str, to: &str, kind: Option<&str>) -> Value {
    let package = |name: &str, dependencies: Value| {
        json!({
            "name": name,
            "manifest_path": format!("/w/{name}/Cargo.toml"),
            "dependencies": dependencies,
        })
    };
    json!({
        "workspace_root": "/w",
        "packages": [package(from, json!([{ "name": to, "kind": kind }])), package(to, json!([]))],
    })
}

#[test]
fn arrows_that_point_up_or_sideways_are_found() {
    for (from, to) in [
        ("chronicle-format", "chronicle-sync"),
        ("chronicle-core", "chronicle-platform-linux"),
        ("chronicle-platform-linux", "chronicle-core"),
        ("chronicle-platform-linux", "chronicle-format"),
        ("chronicle-platform-macos", "chronicle-format"),
        ("chronicle-platform-macos", "chronicle-platform-linux"),
        ("chronicle-platform-static", "chronicle-core"),
        ("chronicle-protocol", "chronicle-sync"),
        ("chronicle-bus", "chronicle-protocol"),
        ("chronicle-std", "chronicle-cli"),
        ("chronicle-core", "verify/loom"),
    ] {
        let found = violations(&graph(&one_arrow(from, to, None)));
        assert!(found.contains(&format!("{from} must not depend on {to}")), "{found:?}");
    }
}

#[test]
fn arrows_that_point_down_are_allowed_over_any_distance() {
    for (from, to) in [
        ("chronicle-sync", "chronicle-format"),
        ("chronicle-core", "chronicle-format"),
        ("chronicle-std", "chronicle-format"),
        ("chronicle-archive", "chronicle-protocol"),
        ("chronicle-cli", "chronicle-raft"),
        ("chronicle-cli", "chronicle-format"),
        ("chronicle-cli", "chronicle-protocol"),
    ] {
        assert_eq!(violations(&graph(&one_arrow(from, to, None))), [""; 0], "{from} -> {to}");
    }
}

#[test]
fn tests_may_reach_further_except_at_the_bottom() {
    let up = one_arrow("chronicle-core", "chronicle-platform-linux", Some("dev"));
    assert_eq!(violations(&graph(&up)), [""; 0]);
    let bottom = one_arrow("chronicle-format", "chronicle-sync", Some("dev"));
    assert_eq!(violations(&graph(&bottom)).len(), 1);
}

#[test]
fn a_crate_that_nobody_placed_is_found() {
    let found = violations(&graph(&one_arrow("chronicle-new", "chronicle-format", None)));
    assert_eq!(found.len(), 2, "{found:?}");
}

#[test]
fn what_verifies_may_depend_on_anything() {
    let mut metadata = one_arrow("chronicle-loom", "chronicle-core", None);
    *metadata.pointer_mut("/packages/0/manifest_path").unwrap() =
        json!("/w/verify/loom/Cargo.toml");
    assert_eq!(violations(&graph(&metadata)), [""; 0]);
}
