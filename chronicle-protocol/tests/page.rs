//! Holds `docs/book-events.md` against the code.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::fs;
use std::mem::offset_of;

use chronicle_protocol::*;

/// The first cells of the rows of the table that begins with these columns.
fn rows(columns: &str) -> Vec<Vec<String>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/book-events.md");
    let page = fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let rows = page.lines().skip_while(|line| !line.starts_with(columns)).skip(2);
    let cell = |cell: &str| cell.trim().trim_matches('`').to_owned();
    let rows: Vec<Vec<_>> = rows
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(cell).collect())
        .collect();
    assert!(!rows.is_empty(), "{columns}");
    rows
}

#[test]
fn the_page_has_every_field_of_the_header_at_its_place() {
    macro_rules! fields {
        ($($field:ident: $type:ty),* $(,)?) => {
            // Names every field, so that none can be left out.
            let BookEventHeader { $($field: _),* } = BookEventHeader::new(Kind::CLEAR, SeqRule::Ordinal);
            [$((
                offset_of!(BookEventHeader, $field),
                stringify!($type),
                stringify!($field),
            )),*]
        };
    }
    let coded = {
        fields! {
            version: u8, kind: u8, elem_size8: u8, seq_rule: u8, flags: u32, venue_id: u16, channel_id: u16,
            market_id: u32, exchange_ts_ns: u64, recv_ts_ns: u64, native_seq: u64, native_prev: u64,
            count0: u32, count1: u32, price_exp: i8, size_exp: i8, source_id: u16, aux: u32,
        }
    };
    let coded =
        coded.map(|(at, kind, name)| vec![at.to_string(), kind.to_owned(), name.to_owned()]);
    let paged: Vec<_> =
        rows("| offset | type | field").into_iter().map(|row| row[..3].to_vec()).collect();
    assert_eq!(paged, coded);
}

#[test]
fn the_page_has_every_kind_with_the_size_of_its_elements() {
    let coded: Vec<_> = (0..=u8::MAX)
        .map(Kind)
        .filter_map(|kind| {
            let size = match kind.least_element() {
                0 => "-".to_owned(),
                size => size.to_string(),
            };
            Some(vec![kind.0.to_string(), kind.name()?.to_owned(), size])
        })
        .collect();
    let paged: Vec<_> =
        rows("| kind | name | element").into_iter().map(|row| row[..3].to_vec()).collect();
    assert_eq!(paged, coded);
}

#[test]
fn the_page_has_every_flag_and_every_rule() {
    let coded: Vec<_> = BookFlags::all()
        .iter_names()
        .map(|(name, flag)| vec![flag.bits().trailing_zeros().to_string(), name.to_owned()])
        .collect();
    let paged: Vec<_> = rows("| bit | flag").into_iter().map(|row| row[..2].to_vec()).collect();
    assert_eq!(paged, coded);

    let coded: Vec<_> = (0..=u8::MAX)
        .filter_map(SeqRule::from_stored)
        .map(|rule| vec![(rule as u8).to_string(), format!("{rule:?}").to_uppercase()])
        .collect();
    let paged: Vec<_> = rows("| rule | name").into_iter().map(|row| row[..2].to_vec()).collect();
    assert_eq!(paged, coded);
}
