//! Holds `docs/counters.md` against the code: sections, sizes, byte maps, tables and constants.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test"
)]

mod support;

use chronicle_format::layout;
use chronicle_format::*;
use support::{differences, documented, page, table};

#[test]
fn every_layout_has_its_section_in_order() {
    let coded: Vec<_> = layout::COUNTERS.iter().map(|layout| layout.name).collect();
    assert_eq!(documented(&page("counters.md")), coded);
}

#[test]
fn every_table_lists_exactly_the_fields_of_its_layout() {
    let wrong = differences(&page("counters.md"), layout::COUNTERS);
    assert!(
        wrong.is_empty(),
        "docs/counters.md and chronicle-format/src/layout.rs differ:\n{wrong}"
    );
}

#[test]
fn every_constant_has_the_value_of_the_code() {
    let coded = [
        ("COUNTERS_VERSION", COUNTERS_VERSION.to_string()),
        ("COUNTERS_FILE_SIZE", COUNTERS_FILE_SIZE.to_string()),
        ("COUNTERS_VALUES", COUNTERS_VALUES.to_string()),
        ("KEEPER_COUNTERS_VALUES", KEEPER_COUNTERS_VALUES.to_string()),
    ];
    let page = page("counters.md");
    let documented = table(&page, "| name | value |");
    let coded: Vec<_> = coded.iter().map(|(name, value)| vec![*name, value]).collect();
    assert_eq!(documented, coded);
}
