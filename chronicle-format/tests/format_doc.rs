//! Holds `docs/format.md` against the code: sections, sizes, byte maps, tables and constants.
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
use support::{differences, documented, sections, table};

fn page() -> String {
    support::page("format.md")
}

#[test]
fn every_layout_has_its_section_in_order() {
    let coded: Vec<_> = layout::ALL.iter().map(|layout| layout.name).collect();
    assert_eq!(documented(&page()), coded, "sections of docs/format.md and layouts of the code");
}

#[test]
fn every_table_lists_exactly_the_fields_of_its_layout() {
    let wrong = differences(&page(), layout::ALL);
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
