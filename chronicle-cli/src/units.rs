//! Numbers as people read them.

/// A number of bytes in decimal units: `12.3 MB`.
pub(crate) fn bytes(count: u64) -> String {
    if count < 1000 { format!("{count} B") } else { format!("{}B", scaled(count as f64)) }
}

/// A size in binary units where it is a whole number of them: `4 MiB`.
pub(crate) fn binary_size(count: u64) -> String {
    for (shift, unit) in [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")] {
        if count != 0 && count.is_multiple_of(1 << shift) {
            return format!("{} {unit}", count >> shift);
        }
    }
    format!("{count} B")
}

/// Something per second: `100 k`, `3.21 M`.
pub(crate) fn scaled(value: f64) -> String {
    let (value, unit) = match value {
        value if value >= 1e9 => (value / 1e9, "G"),
        value if value >= 1e6 => (value / 1e6, "M"),
        value if value >= 1e3 => (value / 1e3, "k"),
        value => (value, ""),
    };
    format!("{} {unit}", three_digits(value)).trim_end().to_owned()
}

/// A time in nanoseconds: `830 ns`, `1.24 us`.
pub(crate) fn nanoseconds(count: u64) -> String {
    let value = count as f64;
    match value {
        value if value >= 1e9 => format!("{} s", three_digits(value / 1e9)),
        value if value >= 1e6 => format!("{} ms", three_digits(value / 1e6)),
        value if value >= 1e3 => format!("{} us", three_digits(value / 1e3)),
        _ => format!("{count} ns"),
    }
}

fn three_digits(value: f64) -> String {
    match value {
        value if value >= 99.95 => format!("{value:.0}"),
        value if value >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// `singular` for one, else with an s.
pub(crate) fn plural(count: u64, singular: &str) -> String {
    if count == 1 { format!("1 {singular}") } else { format!("{count} {singular}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_a_unit() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(12_345_678), "12.3 MB");
        assert_eq!(format!("{}/s", scaled(100_400.0)), "100 k/s");
        assert_eq!(scaled(3_214_000.0), "3.21 M");
        assert_eq!(nanoseconds(830), "830 ns");
        assert_eq!(nanoseconds(1240), "1.24 us");
        assert_eq!(nanoseconds(100_000_000), "100 ms");
        assert_eq!(binary_size(4 << 20), "4 MiB");
        assert_eq!(binary_size(12288), "12 KiB");
        assert_eq!(binary_size(1), "1 B");
        assert_eq!(plural(1, "segment"), "1 segment");
        assert_eq!(plural(0, "segment"), "0 segments");
    }
}
