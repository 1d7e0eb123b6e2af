//! Holds the tables of "Seeded bugs" in `docs/verification.md` against the code: every bug of the
//! catalogue is there once, every fault that can be seeded is there once, and what sees it exists.

#[path = "../src/catalogue.rs"]
mod catalogue;
mod places;

use std::collections::BTreeSet;
use std::fs;

use catalogue::CATALOGUE;
use chronicle_sync::mutation::{Killer, Mutant};
use places::root;

/// The cell that says who sees a fault.
fn seen_by(mutant: Mutant) -> String {
    match mutant.killer() {
        Killer::Model(number) => format!("model {number}"),
        Killer::Simulator => "simulator".to_owned(),
        Killer::Test { file, name } => format!("`chronicle-core/tests/{file}.rs` `{name}`"),
        _ => String::new(),
    }
}

/// The row of a fault that stands for no bug of the catalogue, and the end of the others.
fn row(mutant: Mutant) -> String {
    let about = mutant.about().trim_end_matches('.');
    format!("| `{}` | {about} | {} |", mutant.name(), seen_by(mutant))
}

/// All rows, as they must be.
fn rows() -> Vec<String> {
    let bugs = CATALOGUE.iter();
    let numbered: BTreeSet<_> = bugs.clone().map(|bug| bug.mutant.name()).collect();
    let others = Mutant::ALL
        .iter()
        .copied()
        .filter(|mutant| mutant.killer() != Killer::Nobody && !numbered.contains(mutant.name()));
    let bugs = bugs.map(|bug| format!("| {} | {} {}", bug.number, bug.bug, row(bug.mutant)));
    bugs.chain(others.map(row)).collect()
}

#[test]
fn every_seeded_fault_is_on_the_page_with_what_sees_it() {
    let page = fs::read_to_string(root().join("docs/verification.md")).unwrap();
    let (_, section) = page.split_once("\n## Seeded bugs\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let found: Vec<_> = section
        .lines()
        .filter(|line| line.starts_with('|') && line.contains('`'))
        .map(str::to_owned)
        .collect();
    let expected = rows();
    let missing: Vec<_> = expected.iter().filter(|row| !found.contains(row)).collect();
    let surplus: Vec<_> = found.iter().filter(|row| !expected.contains(row)).collect();
    assert!(
        missing.is_empty() && surplus.is_empty(),
        "docs/verification.md\nlacks {missing:#?}\nhas {surplus:#?}"
    );
    assert_eq!(found, expected, "in another order, or twice");
}

#[test]
fn the_catalogue_has_every_number_once_and_every_fault_at_most_once() {
    let numbers: Vec<_> = CATALOGUE.iter().map(|bug| bug.number).collect();
    assert_eq!(numbers, (1..=40).collect::<Vec<_>>());
    let faults: BTreeSet<_> = CATALOGUE.iter().map(|bug| bug.mutant.name()).collect();
    assert_eq!(faults.len(), CATALOGUE.len());
    assert!(CATALOGUE.iter().all(|bug| bug.mutant.killer() != Killer::Nobody));
}

#[test]
fn what_sees_a_fault_exists() {
    let models: String = fs::read_dir(root().join("verify/loom/src/models"))
        .unwrap()
        .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    for mutant in Mutant::ALL {
        match mutant.killer() {
            Killer::Model(number) => {
                assert!(models.contains(&format!("name: \"{number} ")), "{number}");
            }
            Killer::Test { file, name } => {
                let path = root().join(format!("chronicle-core/tests/{file}.rs"));
                let text = fs::read_to_string(&path).unwrap_or_default();
                assert!(text.contains(&format!("#[test]\nfn {name}() {{")), "{path:?} {name}");
            }
            Killer::Simulator => {}
            _ => assert_eq!(mutant.name(), Mutant::Nothing.name()),
        }
    }
}
