//! A stream of payloads of which each vouches for all before it: its number, a keyed hash over the
//! hash before it and its own bytes, and bytes that nothing else of the stream has.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::hash::{DefaultHasher, Hasher};

const HEAD: usize = 16;

/// Where one is in a stream: whoever writes and whoever verifies go along it in the same way.
#[derive(Clone)]
pub struct Stream {
    key: u64,
    number: u64,
    chain: u64,
    longest: u64,
}

impl Stream {
    /// The stream under a key, with payloads of up to so many bytes.
    pub fn new(key: u64, longest: u64) -> Self {
        Self { key, number: 0, chain: key, longest: longest.max(HEAD as u64) }
    }

    /// The same stream behind `number` payloads, of which `last` is the last one.
    pub fn behind(self, number: u64, last: &[u8]) -> Self {
        let chain = u64::from_le_bytes(last[8..HEAD].try_into().unwrap());
        Self { number, chain, ..self }
    }

    /// How many payloads have gone by.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Puts the next payload in place of what `bytes` holds.
    pub fn next_into(&mut self, bytes: &mut Vec<u8>) {
        let number = self.number;
        let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let length = HEAD as u64 + (mixed >> 32) % (self.longest - HEAD as u64 + 1);
        bytes.clear();
        bytes.extend_from_slice(&number.to_le_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.resize(length as usize, mixed as u8);
        self.chain = self.hash(number, &bytes[HEAD..]);
        bytes[8..HEAD].copy_from_slice(&self.chain.to_le_bytes());
        self.number += 1;
    }

    /// Fails unless this is the stream's next payload, under its own number.
    #[track_caller]
    pub fn verify(&mut self, seq: u64, payload: &[u8]) {
        assert_eq!(seq, self.number, "a record is missing or doubled");
        assert_eq!(payload[..8], seq.to_le_bytes(), "the payload of another record at {seq}");
        let found = u64::from_le_bytes(payload[8..HEAD].try_into().unwrap());
        self.chain = self.hash(seq, &payload[HEAD..]);
        assert_eq!(found, self.chain, "the chain is broken at {seq}");
        self.number += 1;
    }

    fn hash(&self, number: u64, rest: &[u8]) -> u64 {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.key);
        hasher.write_u64(self.chain);
        hasher.write_u64(number);
        hasher.write(rest);
        hasher.finish()
    }
}
