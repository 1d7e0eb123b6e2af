//! Holds `docs/track-record.md` against the code: every fault that escaped has a number of its own, and
//! a test that repeats it.

mod places;

use std::fs;

use places::{Place, occurs, root, rows};

#[test]
fn every_fault_that_escaped_can_be_repeated() {
    let root = root();
    let page = fs::read_to_string(root.join("docs/track-record.md")).unwrap();
    let rows = rows(&page).unwrap();
    let mut wrong = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        let number = index + 1;
        if !row.name.starts_with(&format!("{number}. ")) {
            wrong.push(format!("line {}: fault {number} should be here", row.line));
        }
        match &row.place {
            Place::There { path, item } if occurs(&root.join(path), item) => {}
            Place::There { path, item } => {
                wrong.push(format!("line {}: {path} has no {item}", row.line));
            }
            Place::Planned | Place::Nowhere => {
                wrong.push(format!("line {}: nothing repeats {}", row.line, row.name));
            }
        }
    }
    assert!(!rows.is_empty());
    assert!(wrong.is_empty(), "docs/track-record.md:\n{}", wrong.join("\n"));
}
