//! Arbitrary bytes, and arbitrary events.
#![allow(clippy::unwrap_used, reason = "a test")]

use chronicle_protocol::*;
use proptest::collection::vec;
use proptest::prelude::*;

fn level() -> impl Strategy<Value = Level> {
    (any::<i64>(), any::<u64>()).prop_map(|(price, size)| Level { price, size })
}

proptest! {
    #[test]
    fn bytes_are_an_event_that_fits_them_or_an_error(mut bytes in vec(any::<u8>(), 0..300), version in 0..3_u8, count in 0..4_u32) {
        if let Some(first) = bytes.first_mut() {
            *first = version;
        }
        if let Some(field) = bytes.get_mut(0x30..0x38) {
            field.copy_from_slice(&u64::from(count).to_le_bytes());
        }
        match BookEvent::decode(&bytes) {
            Ok(event) => {
                prop_assert!(event.header().version == 1 && bytes.len() >= HEADER_SIZE);
                let count = event.header().count0 as usize;
                for elements in [event.bids().map(Iterator::count), event.trades().map(Iterator::count)] {
                    prop_assert!(elements.is_err() || elements == Ok(count));
                }
            }
            Err(ProtocolError::TooShort { found, needed }) => {
                prop_assert!(found == bytes.len() && needed > found as u64);
            }
            Err(ProtocolError::UnsupportedVersion { found }) => prop_assert_eq!(found, version),
            Err(other) => prop_assert!(false, "{}", other),
        }
    }

    #[test]
    fn what_was_encoded_is_decoded(bids in vec(level(), 0..40), asks in vec(level(), 0..40), extra in 0..50_usize) {
        let header = BookEventHeader { market_id: 5, ..BookEventHeader::new(Kind::L2_SNAPSHOT, SeqRule::Chain) };
        let size = BookEvent::levels_size(bids.len(), asks.len());
        let mut bytes = vec![0xee; size + extra];
        prop_assert_eq!(BookEvent::encode_levels(&header, &bids, &asks, &mut bytes), Ok(size));
        let event = BookEvent::decode(&bytes).unwrap();
        prop_assert!(event.bids().unwrap().eq(bids) && event.asks().unwrap().eq(asks));
        prop_assert!(bytes[size..].iter().all(|byte| *byte == 0xee));

        bytes.truncate(size - 1);
        let needed = size as u64;
        let too_short = ProtocolError::TooShort { found: size - 1, needed };
        prop_assert_eq!(BookEvent::decode(&bytes).unwrap_err(), too_short);
    }
}

#[test]
fn what_does_not_fit_or_belong_is_refused_and_nothing_is_written() {
    let mut room = [0; HEADER_SIZE + 15];
    let diff = BookEventHeader::new(Kind::L2_DIFF, SeqRule::Range);
    let one = [Level::default()];
    let short =
        ProtocolError::TooShort { found: HEADER_SIZE + 15, needed: HEADER_SIZE as u64 + 16 };
    assert_eq!(BookEvent::encode_levels(&diff, &one, &[], &mut room), Err(short));
    let wrong = ProtocolError::WrongKind { found: Kind::L2_DIFF };
    assert_eq!(BookEvent::encode_trades(&diff, &[], &mut room), Err(wrong));
    assert_eq!(BookEvent::encode_plain(&diff, &[], &mut room), Err(wrong));
    assert_eq!(room, [0; HEADER_SIZE + 15]);
}
