//! Makes the checksums of a damaged object right again, by `docs/format.md`.

use chronicle_sync::Object;

use crate::crc::crc32c;

/// Stores the checksum that the bytes have now wherever the object's layout has one.
pub fn reseal(object: &Object, bytes: &mut [u8]) {
    match object {
        Object::Control => {
            seal(bytes, 0..40, 40);
            seal(bytes, 512..536, 536);
            complement(bytes, 272, 296);
            complement(bytes, 384, 392);
        }
        Object::Notify => seal(bytes, 0..12, 12),
        Object::Checkpoint => {
            seal(bytes, 0..52, 52);
            seal(bytes, 4096..4148, 4148);
            for slot in [0, 4096] {
                let (Some(head), Some(first)) =
                    (bytes.get(slot..slot + 52), bytes.get(slot + 56..slot + 60))
                else {
                    return;
                };
                let crc = if first == [0; 4] { 0 } else { crc32c(&[head, first]) };
                put(bytes, slot + 60, crc);
            }
        }
        Object::Reader(_) => {
            seal(bytes, 0..32, 32);
            seal(bytes, 512..564, 564);
            seal(bytes, 1024..1076, 1076);
        }
        Object::Segment(_) => segment(bytes),
        Object::Index(_) => index(bytes),
        _ => {}
    }
}

fn put(bytes: &mut [u8], at: usize, value: u32) {
    if let Some(field) = bytes.get_mut(at..at + 4) {
        field.copy_from_slice(&value.to_le_bytes());
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

fn seal(bytes: &mut [u8], range: std::ops::Range<usize>, at: usize) {
    if let Some(covered) = bytes.get(range) {
        let crc = crc32c(&[covered]);
        put(bytes, at, crc);
    }
}

fn complement(bytes: &mut [u8], from: usize, at: usize) {
    let Some(word) = bytes.get(from..from + 8).map(|word| word.to_vec()) else { return };
    if let Some(field) = bytes.get_mut(at..at + 8) {
        for (to, byte) in field.iter_mut().zip(word) {
            *to = !byte;
        }
    }
}

fn segment(bytes: &mut [u8]) {
    seal(bytes, 0..28, 28);
    let (Some(head), Some(start)) = (bytes.get(0..28), bytes.get(32..52)) else { return };
    if start.iter().any(|byte| *byte != 0) || bytes.get(52..56) != Some(&[0; 4]) {
        let crc = crc32c(&[head, start]);
        put(bytes, 52, crc);
    }
    let checked = bytes.get(10).is_some_and(|flags| flags & 1 == 1);
    let Some(salt) = bytes.get(24..28).map(<[u8]>::to_vec) else { return };
    let mut at = 64;
    // To the first slot that holds nothing: what lies behind may be anything.
    while let Some(length) = u32_at(bytes, at).and_then(|length| length.checked_sub(1)) {
        let end = at + 32 + length as usize;
        let (Some(header), Some(payload)) = (bytes.get(at + 8..at + 32), bytes.get(at + 32..end))
        else {
            return;
        };
        let first = (length + 1).to_le_bytes();
        let crc = crc32c(&[&salt, &first, &[0; 4], header, payload]);
        put(bytes, at + 4, if checked { crc } else { 0 });
        at = end.next_multiple_of(32);
    }
}

fn index(bytes: &mut [u8]) {
    seal(bytes, 0..28, 28);
    let Some(salt) = bytes.get(24..28).map(<[u8]>::to_vec) else { return };
    for at in (32..bytes.len()).step_by(32) {
        let Some(entry) = bytes.get(at..at + 28) else { return };
        if entry.iter().any(|byte| *byte != 0) {
            let crc = crc32c(&[&salt, entry]);
            put(bytes, at + 28, crc);
        }
    }
}
