//! Events of version 1, held against files that were written once and must decode for ever.
//!
//! `CHRONICLE_WRITE_GOLDEN=1 cargo test -p chronicle-protocol --test golden` writes them anew, which is right
//! only for events that did not exist before.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::path::PathBuf;
use std::{env, fs};

use chronicle_protocol::*;

/// Compares bytes with a golden file and returns what the file holds.
fn golden(name: &str, bytes: &[u8]) -> Vec<u8> {
    let directory: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", "golden", "v1"].iter().collect();
    let path = directory.join(name).with_extension("bin");
    if env::var_os("CHRONICLE_WRITE_GOLDEN").is_some_and(|value| value == "1") {
        fs::create_dir_all(&directory).unwrap();
        fs::write(&path, bytes).unwrap();
    }
    let stored = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(stored, bytes, "{name}: the file and the code");
    stored
}

fn header(kind: Kind, rule: SeqRule) -> BookEventHeader {
    BookEventHeader {
        flags: (BookFlags::EVENT_END | BookFlags::DEPTH_LIMITED).bits(),
        venue_id: 0x0102,
        channel_id: 0x0304,
        market_id: 0x0506_0708,
        exchange_ts_ns: 0x1112_1314_1516_1718,
        recv_ts_ns: 0x2122_2324_2526_2728,
        native_seq: 0x3132_3334_3536_3738,
        native_prev: 0x4142_4344_4546_4748,
        price_exp: -8,
        size_exp: 3,
        source_id: 0x5152,
        aux: 0x6162_6364,
        ..BookEventHeader::new(kind, rule)
    }
}

#[test]
fn a_diff_with_negative_prices_and_a_deleted_level() {
    let bids = [Level { price: -1, size: 7 }, Level { price: i64::MIN, size: u64::MAX }];
    let asks = [Level { price: 2, size: 0 }];
    let mut bytes = [0; BookEvent::levels_size(2, 1)];
    let written = header(Kind::L2_DIFF, SeqRule::Range);
    BookEvent::encode_levels(&written, &bids, &asks, &mut bytes).unwrap();

    let stored = golden("l2_diff", &bytes);
    let event = BookEvent::decode(&stored).unwrap();
    let counts = BookEventHeader { elem_size8: 2, count0: 2, count1: 1, ..written };
    assert_eq!(*event.header(), counts);
    assert!(event.bids().unwrap().eq(bids));
    assert!(event.asks().unwrap().eq(asks));
}

#[test]
fn a_snapshot_with_numbers_of_orders_is_read_with_them_and_without() {
    let bids = [CountedLevel { price: 10, size: 5, orders: 3, reserved: 0 }];
    let asks = [CountedLevel { price: 11, size: 6, orders: 4, reserved: 0 }];
    let mut bytes = [0; BookEvent::counted_levels_size(1, 1)];
    let written = header(Kind::L2_SNAPSHOT, SeqRule::Chain);
    BookEvent::encode_counted_levels(&written, &bids, &asks, &mut bytes).unwrap();

    let stored = golden("l2_snapshot_counted", &bytes);
    let event = BookEvent::decode(&stored).unwrap();
    let (found_bids, found_asks) = event.counted_levels().unwrap();
    assert!(found_bids.eq(bids) && found_asks.eq(asks));
    assert!(event.bids().unwrap().eq([Level { price: 10, size: 5 }]));
    assert!(event.asks().unwrap().eq([Level { price: 11, size: 6 }]));
}

#[test]
fn trades_say_who_was_the_aggressor_or_that_nobody_was() {
    let trade =
        Trade { price: 100, qty: 2, trade_id: 9, aggressor: 2, attr: 7, ..Trade::default() };
    let auction = Trade { aggressor: 0, flags: TradeFlags::AUCTION.bits(), trade_id: 10, ..trade };
    let mut bytes = [0; BookEvent::trades_size(2)];
    let written = header(Kind::TRADE, SeqRule::Monotonic);
    BookEvent::encode_trades(&written, &[trade, auction], &mut bytes).unwrap();

    let stored = golden("trade", &bytes);
    let found: Vec<_> = BookEvent::decode(&stored).unwrap().trades().unwrap().collect();
    assert_eq!(found, [trade, auction]);
    let aggressors: Vec<_> = found.iter().map(Trade::aggressor).collect();
    assert_eq!(aggressors, [Some(Side::Ask), None]);
}

#[test]
fn an_event_without_elements_has_its_own_bytes() {
    let mut bytes = [0; HEADER_SIZE + 7];
    let written = header(Kind::RAW, SeqRule::Ordinal);
    BookEvent::encode_plain(&written, b"as sent", &mut bytes).unwrap();
    let stored = golden("raw", &bytes);
    assert_eq!(BookEvent::decode(&stored).unwrap().body(), b"as sent");
}

#[test]
fn elements_that_grew_at_their_end_and_kinds_of_later_are_read_as_far_as_they_are_known() {
    // A level of 40 bytes, and a kind that there is not yet.
    let mut bytes = vec![0; HEADER_SIZE + 2 * 40];
    let written = header(Kind::L2_DIFF, SeqRule::Range);
    BookEvent::encode_levels(&written, &[], &[], &mut bytes).unwrap();
    let mut put =
        |at: usize, with: &[u8]| bytes.splice(at..at + with.len(), with.iter().copied()).count();
    put(2, &[5]);
    put(0x30, &1_u32.to_le_bytes());
    put(0x34, &1_u32.to_le_bytes());
    for (at, price) in [(HEADER_SIZE, 5_i64), (HEADER_SIZE + 40, 6)] {
        put(at, &price.to_le_bytes());
        put(at + 8, &77_u64.to_le_bytes());
        put(at + 16, &[0xee; 24]);
    }
    let stored = golden("l2_diff_grown", &bytes);
    let event = BookEvent::decode(&stored).unwrap();
    assert!(event.bids().unwrap().eq([Level { price: 5, size: 77 }]));
    assert!(event.asks().unwrap().eq([Level { price: 6, size: 77 }]));

    let mut later = stored;
    later[1] = 200;
    let event = BookEvent::decode(&later).unwrap();
    assert_eq!(event.header().kind().to_string(), "200");
    assert_eq!(event.bids().unwrap_err(), ProtocolError::WrongKind { found: Kind(200) });
}
