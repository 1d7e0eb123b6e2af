//! Values of options, checked before anything is touched.

use std::time::Duration;

use chronicle_std::format::{ReaderName, SegmentSize, TypeId};
use chronicle_std::{Start, WhenFull};

/// A user's type id, decimal or with 0x.
pub(crate) fn type_id(text: &str) -> Result<u16, String> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    u16::from_str_radix(digits, radix)
        .ok()
        .filter(|id| !digits.starts_with('+') && TypeId::user(*id).is_some())
        .ok_or_else(|| "a message type is a number from 0x0100 (256) to 0xFFFE (65534)".to_owned())
}

/// A number of bytes, plain or with a suffix.
pub(crate) fn byte_count(text: &str) -> Result<u64, String> {
    bytes(text)
        .ok_or_else(|| "a size is a number of bytes, or one with K, M, G, KiB, MiB, GiB".to_owned())
}

/// A segment size in bytes, plain or with a suffix.
pub(crate) fn segment_size(text: &str) -> Result<u64, String> {
    let bytes = byte_count(text)?;
    SegmentSize::new(bytes).map(SegmentSize::bytes).map_err(|error| error.to_string())
}

/// A number of bytes: `4096`, `64K`, `4MiB`. Every suffix is a power of 1024.
fn bytes(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, suffix) = text.split_at_checked(digits)?;
    let shift = match suffix.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        "t" | "tib" => 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// What to do where a queue is full.
pub(crate) fn when_full(text: &str) -> Result<WhenFull, String> {
    match text.strip_prefix("wait:") {
        Some(time) => duration(time).map(WhenFull::Wait),
        None if text == "fail" => Ok(WhenFull::Fail),
        None => Err("fail, or wait: and a time, as in wait:30s".to_owned()),
    }
}

/// A reader's name, which becomes a file name.
/// A time span: a number and ns, us, ms, s, m, h or d; 0 needs no unit.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let nanoseconds: Option<u64> = match unit {
        "ns" => Some(1),
        "us" => Some(1_000),
        "ms" => Some(1_000_000),
        "s" => Some(1_000_000_000),
        "m" => Some(60_000_000_000),
        "h" => Some(3_600_000_000_000),
        "d" => Some(86_400_000_000_000),
        "" if number == "0" => Some(1),
        _ => None,
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(nanoseconds?))
        .map(Duration::from_nanos)
        .ok_or_else(|| {
            format!("{text:?} is no time span: write a number and ns, us, ms, s, m, h or d")
        })
}

pub(crate) fn reader_name(text: &str) -> Result<String, String> {
    ReaderName::new(text).map(|name| name.as_str().to_owned()).map_err(|error| error.to_string())
}

/// Where a reader begins.
pub(crate) fn start(text: &str) -> Result<Start, String> {
    match text {
        "earliest" => Ok(Start::Earliest),
        "latest" => Ok(Start::Latest),
        _ => {
            let seq = text.strip_prefix("seq:").and_then(|digits| digits.parse().ok());
            let time = text.strip_prefix("time:").and_then(nanoseconds);
            seq.map(Start::Seq).or(time.map(Start::Timestamp)).ok_or_else(|| {
                "a place is earliest, latest, seq:N, or time:T with T in nanoseconds since 1970 or like 2026-01-05T09:30:00Z".to_owned()
            })
        }
    }
}

/// A time as nanoseconds since 1970.
fn nanoseconds(text: &str) -> Option<u64> {
    if let Ok(nanoseconds) = text.parse() {
        return Some(nanoseconds);
    }
    let time: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(time.as_nanosecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_id_is_decimal_or_hexadecimal_and_a_users() {
        assert_eq!(type_id("256"), Ok(0x0100));
        assert_eq!(type_id("0x8000"), Ok(0x8000));
        assert_eq!(type_id("0XFFfe"), Ok(0xFFFE));
        for bad in ["0", "255", "0xFFFF", "65536", "-1", "", "0x", "8000h", "0x+100", "+256"] {
            assert!(type_id(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_size_has_a_binary_suffix_or_none() {
        for (text, expected) in [
            ("4096", 4096),
            ("64K", 64 << 10),
            ("4MiB", 4 << 20),
            ("4194304", 4 << 20),
            ("1g", 1 << 30),
            ("1TiB", 1 << 40),
        ] {
            assert_eq!(segment_size(text), Ok(expected), "{text}");
        }
        for bad in
            ["", "0", "1", "4095", "9223372036854775808", "4MB", "MiB", "-4096", "99999999999999T"]
        {
            assert!(segment_size(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_time_span_has_a_unit() {
        assert_eq!(duration("5ms"), Ok(Duration::from_millis(5)));
        assert_eq!(duration("7d"), Ok(Duration::from_secs(7 * 86_400)));
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        for bad in ["", "5", "ms", "-1s", "1.5s", "5 ms", "999999999d", "5min"] {
            duration(bad).unwrap_err();
        }
    }

    #[test]
    fn what_to_do_in_a_full_queue_is_fail_or_a_time_to_wait() {
        assert_eq!(when_full("wait:1s"), Ok(WhenFull::Wait(Duration::from_secs(1))));
        assert_eq!(when_full("fail"), Ok(WhenFull::Fail));
        assert!(when_full("wait").is_err() && when_full("wait:").is_err());
    }

    #[test]
    fn a_place_is_a_word_or_a_sequence_number() {
        assert_eq!(start("earliest"), Ok(Start::Earliest));
        assert_eq!(start("latest"), Ok(Start::Latest));
        assert_eq!(start("seq:17"), Ok(Start::Seq(17)));
        for bad in ["", "seq:", "seq:x", "17", "seq:-1"] {
            assert!(start(bad).is_err(), "{bad:?}");
        }
    }
}
