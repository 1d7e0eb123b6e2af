//! Holds `docs/defects.md` against the code: every defect of the list is in it, every test that it
//! names is a function of that name in that file.

mod places;

use std::fs;

use places::{Place, Row, root, rows};

/// How many defects the list has.
const DEFECTS: u32 = 35;

/// Whether a file has a function of this name.
fn has_function(text: &str, name: &str) -> bool {
    text.contains(&format!("fn {name}("))
}

#[test]
fn every_defect_has_a_test_or_a_reason() {
    let root = root();
    let page = fs::read_to_string(root.join("docs/defects.md")).unwrap();
    let rows = rows(&page).unwrap();
    let (mut tests, mut reasons) = (0, 0);
    let mut wrong = Vec::new();
    for Row { line, name, place } in &rows {
        match place {
            Place::Planned | Place::Nowhere => reasons += 1,
            Place::There { path, item } => {
                tests += 1;
                match fs::read_to_string(root.join(path)) {
                    Err(_) => wrong.push(format!("line {line}, {name}: there is no {path}")),
                    Ok(text) if !has_function(&text, item) => {
                        wrong.push(format!("line {line}, {name}: {path} has no test {item}"));
                    }
                    Ok(_) => {}
                }
            }
        }
    }
    for number in 1..=DEFECTS {
        if !rows.iter().any(|row| row.name.starts_with(&format!("{number}. "))) {
            wrong.push(format!("defect {number} has no row"));
        }
    }
    println!("{tests} tests and {reasons} reasons for {DEFECTS} defects");
    assert!(wrong.is_empty(), "docs/defects.md:\n{}", wrong.join("\n"));
}

#[test]
fn a_test_is_a_function_of_just_that_name() {
    assert!(has_function("#[test]\nfn nothing_is_lost() {", "nothing_is_lost"));
    assert!(!has_function("// as nothing_is_lost shows", "nothing_is_lost"));
    assert!(!has_function("fn nothing_is_lost_twice() {", "nothing_is_lost"));
}
