//! Holds `docs/seed-map.md` against the code: every place that it names is there.

use std::fs;
use std::path::{Path, PathBuf};

/// A row of one of the page's tables.
#[derive(Debug)]
struct Row {
    line: usize,
    name: String,
    place: Place,
}

#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// An item that occurs in a file, or in some file below a directory.
    There { path: String, item: String },
    /// Not there yet.
    Planned,
    /// Without a place here, for the reason that the remark gives.
    Nowhere,
}

fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// The text between the first backticks of a cell.
fn quoted(cell: &str) -> Option<&str> {
    let (_, rest) = cell.split_once('`')?;
    rest.split_once('`').map(|(text, _)| text).filter(|text| !text.is_empty())
}

/// The rows of all tables with the page's five columns, or what is wrong with one.
fn rows(page: &str) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    let mut in_table = false;
    for (index, text) in page.lines().enumerate() {
        let line = index + 1;
        let Some(inner) = text.strip_prefix('|').and_then(|text| text.strip_suffix('|')) else {
            in_table = false;
            continue;
        };
        let cells: Vec<&str> = inner.split('|').map(str::trim).collect();
        let [name, _, file, item, remark] = cells[..] else {
            return Err(format!("line {line}: {} cells instead of 5", cells.len()));
        };
        if file == "file" {
            in_table = true;
            continue;
        }
        if !in_table {
            return Err(format!("line {line}: a row of a table without the usual header"));
        }
        if file.starts_with("---") {
            continue;
        }
        let place = match (quoted(file), quoted(item)) {
            (Some("planned"), None) => Place::Planned,
            (Some("none"), None) => Place::Nowhere,
            (Some(path), Some(item)) => {
                Place::There { path: path.to_owned(), item: item.to_owned() }
            }
            _ => return Err(format!("line {line}: neither a place nor `planned` nor `none`")),
        };
        if !matches!(place, Place::There { .. }) && remark.is_empty() {
            return Err(format!("line {line}: no place and no reason"));
        }
        rows.push(Row { line, name: name.to_owned(), place });
    }
    Ok(rows)
}

/// Whether `item` occurs in the text and is not a part of a longer name.
fn has_word(text: &str, item: &str) -> bool {
    let in_name = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(item).any(|(at, _)| {
        let before = text.get(..at).and_then(|text| text.chars().next_back());
        let behind = text.get(at + item.len()..).and_then(|text| text.chars().next());
        !before.is_some_and(in_name) && !behind.is_some_and(in_name)
    })
}

/// Whether `item` occurs in a file, or in some file below a directory.
fn occurs(path: &Path, item: &str) -> bool {
    if path.is_dir() {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        return entries.into_iter().any(|entry| occurs(&entry.path(), item));
    }
    fs::read_to_string(path).is_ok_and(|text| has_word(&text, item))
}

#[test]
fn every_place_in_the_map_is_there() {
    let root = root();
    let rows = rows(&fs::read_to_string(root.join("docs/seed-map.md")).unwrap()).unwrap();
    let (mut there, mut planned, mut nowhere) = (0, 0, 0);
    let mut wrong = Vec::new();
    for Row { line, name, place } in &rows {
        match place {
            Place::Planned => planned += 1,
            Place::Nowhere => nowhere += 1,
            Place::There { path, item } => {
                there += 1;
                let file = root.join(path);
                if !file.exists() {
                    wrong.push(format!("line {line}, {name}: there is no {path}"));
                } else if !occurs(&file, item) {
                    wrong.push(format!("line {line}, {name}: {path} has no {item}"));
                }
            }
        }
    }
    println!("{there} rows have a place, {planned} are planned, {nowhere} have none");
    assert!(there > 100, "the page's tables were not found");
    assert!(wrong.is_empty(), "docs/seed-map.md:\n{}", wrong.join("\n"));
}

#[test]
fn a_row_that_says_nothing_is_found() {
    let table = |row: &str| {
        format!(
            "| name in the seed | kind | file | item | remark |\n|---|---|---|---|---|\n{row}\n"
        )
    };
    for row in [
        "| `a` | type | | | |",
        "| `a` | type | `planned` | | |",
        "| `a` | type | `none` | | |",
        "| `a` | type | `src/a.rs` | | |",
        "| `a` | type | `src/a.rs` | `A` |",
    ] {
        assert!(rows(&table(row)).is_err(), "{row}");
    }
    let good = rows(&table("| `a` | type | `src/a.rs` | `A` | |")).unwrap();
    let place = Place::There { path: "src/a.rs".to_owned(), item: "A".to_owned() };
    assert_eq!(good[0].place, place);
}

#[test]
fn an_item_is_a_whole_word() {
    assert!(has_word("pub fn seal_at(end)", "seal_at"));
    assert!(has_word("`control.meta`,", "control.meta"));
    assert!(!has_word("pub fn reseal_at(end)", "seal_at"));
    assert!(!has_word("pub struct Sealing", "Seal"));
    assert!(has_word("Sealing a Seal", "Seal"), "a later one counts");
}
