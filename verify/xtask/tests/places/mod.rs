//! Tables of places in this repository, and whether what they name is there.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::fs;
use std::path::{Path, PathBuf};

/// A row of one of the page's tables.
#[derive(Debug)]
pub struct Row {
    pub line: usize,
    pub name: String,
    pub place: Place,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Place {
    /// An item that occurs in a file, or in some file below a directory.
    There { path: String, item: String },
    /// Not there yet.
    Planned,
    /// Without a place here, for the reason that the remark gives.
    Nowhere,
}

pub fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// The text between the first backticks of a cell.
fn quoted(cell: &str) -> Option<&str> {
    let (_, rest) = cell.split_once('`')?;
    rest.split_once('`').map(|(text, _)| text).filter(|text| !text.is_empty())
}

/// The rows of all tables with the page's five columns, or what is wrong with one.
pub fn rows(page: &str) -> Result<Vec<Row>, String> {
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
pub fn has_word(text: &str, item: &str) -> bool {
    let in_name = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(item).any(|(at, _)| {
        let before = text.get(..at).and_then(|text| text.chars().next_back());
        let behind = text.get(at + item.len()..).and_then(|text| text.chars().next());
        !before.is_some_and(in_name) && !behind.is_some_and(in_name)
    })
}

/// Whether `item` occurs in a file, or in some file below a directory.
pub fn occurs(path: &Path, item: &str) -> bool {
    if path.is_dir() {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        return entries.into_iter().any(|entry| occurs(&entry.path(), item));
    }
    fs::read_to_string(path).is_ok_and(|text| has_word(&text, item))
}
