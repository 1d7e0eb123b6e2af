//! How `tail` prints a message.

use std::io::Write;

use chronicle_std::MessageView;
use jiff::Timestamp;
use serde::Serialize;

use crate::args::MessageFormat;

/// Characters of a printable payload that are shown.
const TEXT_CHARACTERS: usize = 200;
/// Bytes of any other payload that are shown.
const DUMP_BYTES: usize = 64;

/// Puts a message behind what is in the buffer.
pub(crate) fn write_message(
    buffer: &mut Vec<u8>,
    message: &MessageView<'_>,
    format: MessageFormat,
) {
    match format {
        MessageFormat::Raw => {
            buffer.extend_from_slice(message.payload);
            buffer.push(b'\n');
        }
        MessageFormat::Len32 => {
            // No payload is longer: its length is stored in 32 bits.
            buffer.extend_from_slice(&(message.payload.len() as u32).to_le_bytes());
            buffer.extend_from_slice(message.payload);
        }
        MessageFormat::Json => write_json(buffer, message),
        MessageFormat::Text => write_text(buffer, message),
    }
}

#[derive(Serialize)]
struct JsonMessage<'a> {
    seq: u64,
    timestamp_ns: u64,
    type_id: u16,
    len: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_hex: Option<String>,
}

fn write_json(buffer: &mut Vec<u8>, message: &MessageView<'_>) {
    let payload = std::str::from_utf8(message.payload).ok();
    let json = JsonMessage {
        seq: message.seq,
        timestamp_ns: message.timestamp_ns,
        type_id: message.type_id,
        len: message.payload.len(),
        payload,
        payload_hex: payload.is_none().then(|| hex(message.payload, "")),
    };
    // Neither the value nor a vector gives a reason to fail.
    let _ = serde_json::to_writer(&mut *buffer, &json);
    buffer.push(b'\n');
}

fn write_text(buffer: &mut Vec<u8>, message: &MessageView<'_>) {
    let MessageView { seq, timestamp_ns, type_id, payload } = message;
    let time = rfc3339(*timestamp_ns);
    let length = payload.len();
    // Writing to a vector cannot fail.
    let _ = writeln!(buffer, "{seq:>9}  {time}  {type_id:#06x}  {length:>6}  {}", shown(payload));
}

/// A payload as a person can read it, on one line.
fn shown(payload: &[u8]) -> String {
    let printable = |text: &&str| !text.chars().any(|c| c.is_control() && c != '\t');
    match std::str::from_utf8(payload).ok().filter(printable) {
        Some(text) => match text.char_indices().nth(TEXT_CHARACTERS) {
            Some((end, _)) => format!("{}…", text.get(..end).unwrap_or(text)),
            None => text.to_owned(),
        },
        None => {
            let head = payload.get(..DUMP_BYTES).unwrap_or(payload);
            let more = if head.len() < payload.len() { " …" } else { "" };
            format!("hex {}{more}", hex(head, " "))
        }
    }
}

fn hex(bytes: &[u8], separator: &str) -> String {
    let mut text = String::with_capacity(bytes.len() * (2 + separator.len()));
    for (index, byte) in bytes.iter().enumerate() {
        if index > 0 {
            text += separator;
        }
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('?'));
        }
    }
    text
}

/// Nanoseconds since 1970 as a date and a time in UTC, with all nine digits.
pub(crate) fn rfc3339(nanoseconds: u64) -> String {
    match Timestamp::from_nanosecond(i128::from(nanoseconds)) {
        Ok(time) => format!("{time:.9}"),
        Err(_) => format!("{nanoseconds} ns"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(payload: &[u8], format: MessageFormat) -> Vec<u8> {
        let message = MessageView {
            seq: 7,
            timestamp_ns: 1_723_075_200_000_000_001,
            type_id: 0x8000,
            payload,
        };
        let mut buffer = Vec::new();
        write_message(&mut buffer, &message, format);
        buffer
    }

    fn text(payload: &[u8], format: MessageFormat) -> String {
        String::from_utf8(printed(payload, format)).unwrap()
    }

    #[test]
    fn times_are_utc_with_nanoseconds() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(rfc3339(951_782_400_000_000_000), "2000-02-29T00:00:00.000000000Z");
        assert_eq!(rfc3339(1_723_075_199_999_999_999), "2024-08-07T23:59:59.999999999Z");
        assert_eq!(rfc3339(u64::MAX), "2554-07-21T23:34:33.709551615Z");
    }

    #[test]
    fn text_is_one_line_whatever_the_payload() {
        assert_eq!(
            text("grüße".as_bytes(), MessageFormat::Text),
            "        7  2024-08-08T00:00:00.000000001Z  0x8000       7  grüße\n"
        );
        assert!(text(b"a\x1b[2J\n", MessageFormat::Text).ends_with("  hex 61 1b 5b 32 4a 0a\n"));
        assert!(
            text(&[0xff; 64], MessageFormat::Text)
                .ends_with(&format!("hex {}ff\n", "ff ".repeat(63)))
        );
        assert!(text(&[0xff; 65], MessageFormat::Text).ends_with("ff …\n"));
        let long = "ä".repeat(201);
        assert!(
            text(long.as_bytes(), MessageFormat::Text)
                .ends_with(&format!(" {}…\n", "ä".repeat(200)))
        );
    }

    #[test]
    fn raw_and_len32_give_the_bytes() {
        assert_eq!(printed(b"a\0\xff", MessageFormat::Raw), b"a\0\xff\n");
        assert_eq!(printed(b"ab", MessageFormat::Len32), b"\x02\0\0\0ab");
        assert_eq!(printed(b"", MessageFormat::Len32), b"\0\0\0\0");
    }

    #[test]
    fn json_is_one_line_with_text_or_hexadecimal() {
        assert_eq!(
            text(b"a\"\n", MessageFormat::Json),
            "{\"seq\":7,\"timestamp_ns\":1723075200000000001,\"type_id\":32768,\"len\":3,\"payload\":\"a\\\"\\n\"}\n"
        );
        assert!(
            text(b"\xff\x00", MessageFormat::Json)
                .ends_with("\"len\":2,\"payload_hex\":\"ff00\"}\n")
        );
    }
}
