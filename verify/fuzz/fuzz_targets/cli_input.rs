//! Messages out of a stream, by lines and by lengths, however the stream comes in pieces.
#![no_main]
#![allow(dead_code, reason = "modules of the program, of which the target uses a part")]

#[path = "../../../chronicle-cli/src/failure.rs"]
mod failure;
#[path = "../../../chronicle-cli/src/input.rs"]
mod input;
#[path = "../../../chronicle-cli/src/output.rs"]
mod output;

mod args {
    /// How messages lie in an input.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum Framing {
        Lines,
        Len32,
    }
}

use std::io::Read;

use args::Framing;
use input::{Input, Step};
use libfuzzer_sys::fuzz_target;

/// Gives its bytes in pieces.
struct Pieces<'a>(&'a [u8], usize);

impl Read for Pieces<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let count = self.1.min(self.0.len()).min(into.len());
        let (now, later) = self.0.split_at(count);
        into[..count].copy_from_slice(now);
        self.0 = later;
        Ok(count)
    }
}

fn messages(bytes: &[u8], piece: usize, framing: Framing, largest: u64) -> Option<Vec<Vec<u8>>> {
    let mut input = Input::new(Pieces(bytes, piece), "input".to_owned(), framing, largest);
    let mut messages = Vec::new();
    loop {
        match input.next() {
            Ok(Step::Message(message)) => {
                assert!(message.len() as u64 <= largest);
                messages.push(message.to_vec());
            }
            Ok(Step::Drained) => {}
            Ok(Step::End) => {
                assert_eq!(input.offset(), bytes.len() as u64, "bytes are missing");
                return Some(messages);
            }
            Err(_) => return None,
        }
        assert!(messages.len() <= bytes.len() + 1);
    }
}

fuzz_target!(|input: (u8, u16, &[u8])| {
    let (piece, largest, bytes) = input;
    for framing in [Framing::Lines, Framing::Len32] {
        let whole = messages(bytes, usize::MAX, framing, largest.into());
        let pieces = messages(bytes, piece as usize + 1, framing, largest.into());
        assert_eq!(whole, pieces, "it depends on how the stream comes in");
    }
    if let Some(lines) = messages(bytes, usize::MAX, Framing::Lines, u64::MAX) {
        let mut expected: Vec<_> = bytes.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        if bytes.is_empty() || bytes.ends_with(b"\n") {
            expected.pop();
        }
        assert_eq!(lines, expected);
    }
});
