//! What pages about bytes are held against.
#![allow(dead_code, reason = "not every test file uses all of it")]

use std::fmt::Write;
use std::fs;

use chronicle_format::layout::Layout;

const BYTES_PER_ROW: usize = 8;
const CHARS_PER_BYTE: usize = 5;

/// A page of `docs`.
pub fn page(name: &str) -> String {
    let path = format!("{}/../docs/{name}", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The second-level sections of the page: heading and text.
pub fn sections(page: &str) -> Vec<(&str, &str)> {
    page.split("\n## ").skip(1).map(|section| section.split_once('\n').unwrap()).collect()
}

/// The layout that a heading names: `## Record header (`record`)`.
pub fn layout_of(heading: &str) -> Option<&str> {
    heading.split_once("(`")?.1.strip_suffix("`)")
}

/// The rows of the first table with this header, cell by cell, without the header itself.
pub fn table<'p>(text: &'p str, header: &str) -> Vec<Vec<&'p str>> {
    let cells = |line: &'p str| -> Vec<&'p str> {
        line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`')).collect()
    };
    let rows = text.lines().skip_while(|line| *line != header).skip(2);
    rows.take_while(|line| line.starts_with('|')).map(cells).collect()
}

/// The byte map of a layout, as the page must show it.
pub fn byte_map(layout: &Layout) -> String {
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

/// The layouts that have a section of the page, in its order.
pub fn documented(page: &str) -> Vec<String> {
    let headings = sections(page).into_iter();
    headings.filter_map(|(heading, _)| layout_of(heading).map(str::to_owned)).collect()
}

/// Where sizes, tables and byte maps of a page are not those of the code; empty if they are.
pub fn differences(page: &str, layouts: &[Layout]) -> String {
    let sections = sections(page);
    let mut wrong = String::new();
    for layout in layouts {
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
    wrong
}
