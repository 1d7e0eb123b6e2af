//! Holds `docs/seed-map.md` against the code: every place that it names is there.

mod places;

use std::fs;

use places::{Place, Row, has_word, occurs, root, rows};

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
