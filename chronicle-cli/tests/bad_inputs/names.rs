//! Inputs 59 to 61: names and paths that lead elsewhere.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use chronicle_std::{Queue as Chronicle, QueueError, ReaderConfig};

use crate::limited;
use crate::queue::Queue;
use crate::snapshot::{changed, snapshot};

/// Names of readers, by their number in the catalogue.
const NAMES: &[(u32, &str, &[u8])] = &[
    (59, "reader's name `../x`", b"../x"),
    (59, "reader's name `a/b`", b"a/b"),
    (60, "reader's name `/abs`", b"/abs"),
    (61, "reader's name that is empty", b""),
    (61, "reader's name `.`", b"."),
    (61, "reader's name with a NUL", b"a\0b"),
    (61, "reader's name with a newline", b"a\nb"),
    (61, "reader's name of 65 characters", &[b'x'; 65]),
];

/// The row of a name: refused by everybody who takes one.
fn row(number: u32, what: &str, name: &[u8]) -> String {
    let queue = Queue::new();
    let path = queue.path();
    let before = snapshot(queue.root());
    let text = std::str::from_utf8(name).unwrap();
    let refused = |error: Option<QueueError>| match error {
        Some(QueueError::InvalidArgument { .. }) => {}
        other => panic!("{what}: {other:?}"),
    };
    refused(Chronicle::open_subscriber(&path, text).err());
    let mut config = ReaderConfig::default();
    config.name = Some(text.to_owned());
    refused(Chronicle::open_reader(&path, config).err());
    refused(Chronicle::remove_reader(&path, text).err());
    // No command line holds a NUL.
    if !name.contains(&0) {
        let (queue_path, name) = (path.as_os_str(), OsStr::from_bytes(name));
        command(what, &queue, &["tail".as_ref(), queue_path, "--reader".as_ref(), name]);
        command(what, &queue, &["readers".as_ref(), "rm".as_ref(), queue_path, name]);
    }
    assert_eq!(changed(&before, &snapshot(queue.root())), "", "{what}");
    format!("| {number} | {what} | InvalidArgument | - | - | - |")
}

fn command(what: &str, queue: &Queue, arguments: &[&OsStr]) {
    let program = env!("CARGO_BIN_EXE_chron-cli");
    let ended = limited::run(what, 1, program, arguments, queue.root());
    assert_eq!(ended.status.code(), Some(2), "{what}: {}", ended.errors);
    assert!(!ended.errors.is_empty());
}

#[test]
fn readers_names_that_lead_elsewhere() {
    let rows: Vec<_> = NAMES.iter().map(|(number, what, name)| row(*number, what, name)).collect();
    let expected = crate::documented(59..=61);
    let differs = rows != expected;
    assert!(!differs, "docs/verification.md should say\n{}", rows.join("\n"));
    println!("counts: {{\"bad_inputs\": {}}}", rows.len());
}

#[test]
fn paths_that_no_queue_has_are_refused_by_everybody() {
    let queue = Queue::new();
    let before = snapshot(queue.root());
    let mut long = OsString::from(queue.root());
    long.push("/");
    long.push("x".repeat(300));
    let paths = [OsStr::new(""), OsStr::new("a\0b"), &long, OsStr::new("/dev/null/queue")];
    for path in paths.map(Path::new) {
        let errors = [
            Chronicle::open_publisher(path).err(),
            Chronicle::open_subscriber(path, "r").err(),
            Chronicle::open_reader(path, ReaderConfig::default()).err(),
            Chronicle::inspect(path).err(),
            Chronicle::verify(path).err(),
            Chronicle::retention_plan(path).err(),
            Chronicle::apply_retention(path).err(),
            Chronicle::open_watermarks(path).err(),
            Chronicle::remove_reader(path, "r").err(),
        ];
        for error in errors {
            assert!(!error.unwrap().to_string().is_empty(), "{path:?}");
        }
        if !path.as_os_str().as_bytes().contains(&0) {
            for name in ["append", "tail", "inspect", "verify", "create"] {
                command(name, &queue, &[name.as_ref(), path.as_os_str()]);
            }
        }
    }
    assert_eq!(changed(&before, &snapshot(queue.root())), "");
}
