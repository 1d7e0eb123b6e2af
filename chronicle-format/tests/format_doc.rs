//! Holds `docs/format.md` against the code: sections, sizes, byte maps, tables and constants.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test"
)]

use std::fmt::Write;
use std::fs;

use chronicle_format::layout::{self, Layout};
use chronicle_format::*;

const BYTES_PER_ROW: usize = 8;
const CHARS_PER_BYTE: usize = 5;

fn page() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/format.md");
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The second-level sections of the page: heading and text.
fn sections(page: &str) -> Vec<(&str, &str)> {
    page.split("\n## ").skip(1).map(|section| section.split_once('\n').unwrap()).collect()
}

/// The layout that a heading names: `## Record header (`record`)`.
fn layout_of(heading: &str) -> Option<&str> {
    heading.split_once("(`")?.1.strip_suffix("`)")
}

/// The rows of the first table with this header, cell by cell, without the header itself.
fn table<'p>(text: &'p str, header: &str) -> Vec<Vec<&'p str>> {
    let cells = |line: &'p str| -> Vec<&'p str> {
        line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`')).collect()
    };
    let rows = text.lines().skip_while(|line| *line != header).skip(2);
    rows.take_while(|line| line.starts_with('|')).map(cells).collect()
}

/// The byte map of a layout, as the page must show it.
fn byte_map(layout: &Layout) -> String {
    let border = format!("      +{}\n", "----+".repeat(BYTES_PER_ROW));
    let mut map = String::from("      ");
    for byte in 0..BYTES_PER_ROW {
        write!(map, "{byte:>3}{:width$}", "", width = CHARS_PER_BYTE - 3).unwrap();
    }
    map.truncate(map.trim_end().len());
    map += "\n";
    map += &border;

    let mut at = 0;
    while at < layout.size {
        let next = layout.fields.iter().find(|field| field.offset >= at);
        let free_until = next.map_or(layout.size, |field| field.offset);
        let (row, mut column) = (at / BYTES_PER_ROW * BYTES_PER_ROW, at % BYTES_PER_ROW);
        if column == 0 {
            write!(map, "{row:>5} |").unwrap();
        }
        let (text, bytes) = match next {
            Some(field) if field.offset == at => (field.name.to_lowercase(), field.size),
            // Rows without any field are shown as one.
            _ if column == 0 && free_until - at >= BYTES_PER_ROW => {
                let rows = (free_until - at) / BYTES_PER_ROW * BYTES_PER_ROW;
                (format!("- ({rows} bytes)"), rows)
            }
            _ => {
                let row_end = row + BYTES_PER_ROW;
                ("-".to_string(), free_until.min(row_end) - at)
            }
        };
        let shown = bytes.min(BYTES_PER_ROW);
        write!(map, " {text:width$}|", width = shown * CHARS_PER_BYTE - 2).unwrap();
        column += shown;
        at += bytes;
        if column == BYTES_PER_ROW {
            map += "\n";
        }
    }
    map + &border
}

#[test]
fn every_layout_has_its_section_in_order() {
    let page = page();
    let documented: Vec<_> =
        sections(&page).iter().filter_map(|(heading, _)| layout_of(heading)).collect();
    let coded: Vec<_> = layout::ALL.iter().map(|layout| layout.name).collect();
    assert_eq!(documented, coded, "sections of docs/format.md and layouts of the code");
}

#[test]
fn every_table_lists_exactly_the_fields_of_its_layout() {
    let page = page();
    let sections = sections(&page);
    let mut wrong = String::new();
    for layout in layout::ALL {
        let name = layout.name;
        let Some((_, text)) = sections.iter().find(|(heading, _)| layout_of(heading) == Some(name))
        else {
            writeln!(wrong, "{name}: no section").unwrap();
            continue;
        };
        let size = format!("Size: {} bytes", layout.size);
        if !text.lines().any(|line| line.starts_with(&size)) {
            writeln!(wrong, "{name}: no line that starts with {size:?}").unwrap();
        }
        let documented: Vec<(String, String, String)> =
            table(text, "| offset | size | field | meaning |")
                .iter()
                .map(|row| (row[2].to_string(), row[0].to_string(), row[1].to_string()))
                .collect();
        let coded: Vec<(String, String, String)> = layout
            .fields
            .iter()
            .map(|field| {
                (field.name.to_lowercase(), field.offset.to_string(), field.size.to_string())
            })
            .collect();
        for (field, offset, size) in &coded {
            match documented.iter().find(|row| row.0 == *field) {
                None => writeln!(wrong, "{name}.{field}: in the code, not on the page").unwrap(),
                Some((_, at, bytes)) if (at, bytes) != (offset, size) => writeln!(
                    wrong,
                    "{name}.{field}: {size} bytes at {offset} in the code, {bytes} at {at} on the page"
                )
                .unwrap(),
                Some(_) => {}
            }
        }
        for (field, ..) in &documented {
            if !coded.iter().any(|row| row.0 == *field) {
                writeln!(wrong, "{name}.{field}: on the page, not in the code").unwrap();
            }
        }
        if wrong.is_empty() && documented != coded {
            writeln!(wrong, "{name}: rows are out of order or repeated").unwrap();
        }
        let map = byte_map(layout);
        if !text.contains(&map) {
            writeln!(wrong, "{name}: the byte map is not this one:\n{map}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "docs/format.md and chronicle-format/src/layout.rs differ:\n{wrong}");
}

#[test]
fn every_constant_has_the_value_of_the_code() {
    let hex = |id: TypeId| format!("{:#06x}", id.get());
    let user_ids: Vec<u16> = (0..=u16::MAX).filter(|id| TypeId::user(*id).is_some()).collect();
    let (first_user, last_user) = (user_ids[0], user_ids[user_ids.len() - 1]);
    assert_eq!(usize::from(last_user - first_user) + 1, user_ids.len(), "users' ids have a gap");
    let highest_segment = (0..=u32::MAX.into())
        .rev()
        .step_by(1 << 20)
        .find(|id| SegmentId::new(*id).is_ok())
        .and_then(|from| (from..).take_while(|id| SegmentId::new(*id).is_ok()).last())
        .unwrap();
    let coded = [
        ("HEADER_SIZE", HEADER_SIZE.to_string()),
        ("RECORD_ALIGN", RECORD_ALIGN.to_string()),
        ("SEG_DATA_OFFSET", SEG_DATA_OFFSET.to_string()),
        ("DEFAULT_SEGMENT_SIZE", DEFAULT_SEGMENT_SIZE.to_string()),
        ("MIN_SEGMENT_SIZE", MIN_SEGMENT_SIZE.to_string()),
        ("MAX_SEGMENT_SIZE", MAX_SEGMENT_SIZE.to_string()),
        ("SEGMENT_SIZE_UNIT", SEGMENT_SIZE_UNIT.to_string()),
        ("highest segment id", highest_segment.to_string()),
        ("SEG_FLAG_SEALED", SEG_FLAG_SEALED.to_string()),
        ("CTRL_VERSION", CTRL_VERSION.to_string()),
        ("SEG_VERSION", SEG_VERSION.to_string()),
        ("NOTIFY_VERSION", NOTIFY_VERSION.to_string()),
        ("READER_VERSION", READER_VERSION.to_string()),
        ("INDEX_VERSION", INDEX_VERSION.to_string()),
        ("INDEX_STRIDE", INDEX_STRIDE.to_string()),
        ("LARGEST_WITHOUT_INDEX", LARGEST_WITHOUT_INDEX.to_string()),
        ("MAX_INDEX_ENTRIES", MAX_INDEX_ENTRIES.to_string()),
        ("CONTROL_FILE_SIZE", CONTROL_FILE_SIZE.to_string()),
        ("NOTIFY_FILE_SIZE", NOTIFY_FILE_SIZE.to_string()),
        ("CHECKPOINT_FILE_SIZE", CHECKPOINT_FILE_SIZE.to_string()),
        ("READER_FILE_SIZE", READER_FILE_SIZE.to_string()),
        ("CHECKPOINT_SLOTS", CHECKPOINT_SLOTS.map(|at| at.to_string()).join(", ")),
        ("READER_SLOTS", READER_SLOTS.map(|at| at.to_string()).join(", ")),
        ("TypeId::EPOCH", hex(TypeId::EPOCH)),
        ("TypeId::GAP", hex(TypeId::GAP)),
        ("TypeId::PADDING", hex(TypeId::PADDING)),
        ("TypeId::DEFAULT", hex(TypeId::DEFAULT)),
        ("lowest user type id", hex(TypeId::from_stored(first_user))),
        ("highest user type id", hex(TypeId::from_stored(last_user))),
        ("ControlFlags::CHECKSUMS", ControlFlags::CHECKSUMS.bits().to_string()),
        ("ControlFlags::GROUP_READABLE", ControlFlags::GROUP_READABLE.bits().to_string()),
        ("SegmentFlags::CHECKSUMS", SegmentFlags::CHECKSUMS.bits().to_string()),
    ];
    let page = page();
    let sections = sections(&page);
    let (_, text) =
        sections.iter().find(|(heading, _)| *heading == "Constants").expect("section Constants");
    let documented: Vec<_> = table(text, "| name | value |")
        .iter()
        .map(|row| (row[0].to_string(), row[1].to_string()))
        .collect();
    for (name, value) in &documented {
        let known = coded.iter().find(|row| row.0 == name);
        let known =
            known.unwrap_or_else(|| panic!("constant {name}: on the page, not in the code"));
        assert_eq!(*value, known.1, "constant {name}: page (left) and code (right)");
    }
    for (name, _) in &coded {
        assert!(documented.iter().any(|row| row.0 == *name), "constant {name}: not on the page");
    }
}

#[test]
fn magics_and_versions_are_those_that_the_code_writes() {
    let id = SegmentId::FIRST;
    let segment_size = SegmentSize::default();
    let header = SegmentHeader { id, segment_size, checksums: true, salt: 1 };
    let control =
        ControlHeader { flags: ControlFlags::empty(), segment_size, queue_id: 1, created_ns: 0 };
    let durable = Position::start_of(id, 0, 0);
    let checkpoint = Checkpoint { generation: 0, queue_id: 1, durable, first: id };
    let reader = ReaderHeader { queue_id: 1, policy: ReaderPolicy::Durable };
    let index = IndexHeader { segment: id, salt: 1, stride: INDEX_STRIDE };
    // Magic, and the version in as many bytes as it has.
    let coded = [
        ("segment", header.encode()[..10].to_vec()),
        ("control", control.encode()[..12].to_vec()),
        ("notify", NotifyHeader.encode()[..12].to_vec()),
        ("checkpoint", checkpoint.encode()[..12].to_vec()),
        ("reader", reader.encode()[..12].to_vec()),
        ("index", index.encode()[..12].to_vec()),
    ];
    let page = page();
    let documented = table(&page, "| layout | file | magic | version |");
    assert_eq!(documented.len(), coded.len(), "rows of the table of magics");
    for (row, (layout, bytes)) in documented.iter().zip(coded) {
        let (magic, version) = bytes.split_at(8);
        let version = version.iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte));
        assert_eq!(row[0], layout);
        assert_eq!(row[2].as_bytes(), magic, "magic of {layout}");
        assert_eq!(row[3], version.to_string(), "version of {layout}");
    }
}
