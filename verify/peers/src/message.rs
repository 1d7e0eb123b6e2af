//! What is sent, and how it is checked: every word of a message counts on the other side.

use anyhow::{Result, bail};

/// The smallest message in bytes: number, time, and a word that depends on the number.
pub const SMALLEST: usize = 24;
/// Buffers that messages are written in by turns, while they are small: the stores of a message have then
/// left the processor's store buffer by the time it is copied, as they would in a program that does
/// something else in between. Without, every system would pay the same few nanoseconds more.
const TURNS: usize = 4;
const TURNS_UP_TO: usize = 1024;
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

/// Writes messages: word 0 is the number, word 1 a time or zero, the last one follows from both, and the
/// rest is a fixed pattern.
pub struct Writer {
    buffers: Vec<Box<[u8]>>,
}

/// Checks messages: length, number, and the sum of all words.
pub struct Checker {
    size: usize,
    pattern_sum: u64,
    next: u64,
    wrong: u64,
}

fn pattern(size: usize) -> Vec<u8> {
    let words = (0..size.div_ceil(8) as u64).map(|i| (i + 1).wrapping_mul(MIX).rotate_left(17));
    let mut bytes: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
    bytes.truncate(size);
    bytes
}

fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let sum = words.iter().fold(0u64, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)));
    rest.iter().fold(sum, |sum, byte| sum.wrapping_add(u64::from(*byte)))
}

fn put(bytes: &mut [u8], word: usize, value: u64) {
    if let Some(target) = bytes.as_chunks_mut::<8>().0.get_mut(word) {
        *target = value.to_le_bytes();
    }
}

fn get(bytes: &[u8], word: usize) -> u64 {
    bytes.as_chunks::<8>().0.get(word).map_or(0, |word| u64::from_le_bytes(*word))
}

fn last_word(size: usize) -> usize {
    size / 8 - 1
}

fn seal(seq: u64, time: u64) -> u64 {
    (seq ^ time).wrapping_mul(MIX)
}

impl Writer {
    pub fn new(size: usize) -> Result<Self> {
        if size < SMALLEST {
            bail!("messages have at least {SMALLEST} bytes");
        }
        let turns = if size <= TURNS_UP_TO { TURNS } else { 1 };
        let buffers = (0..turns).map(|_| pattern(size).into_boxed_slice()).collect();
        let mut writer = Self { buffers };
        for seq in 0..turns as u64 {
            writer.prepare(seq);
        }
        Ok(writer)
    }

    fn prepare(&mut self, seq: u64) {
        let turn = seq as usize % self.buffers.len();
        if let Some(buffer) = self.buffers.get_mut(turn) {
            write(buffer, seq, 0);
        }
    }

    /// The message with this number, which follows the one before.
    #[inline(always)]
    pub fn message(&mut self, seq: u64) -> &[u8] {
        let turns = self.buffers.len();
        if turns == 1 {
            self.prepare(seq);
        } else {
            // The buffer of the message before is free; it is for the one that comes `turns - 1` later.
            self.prepare((seq + turns as u64).wrapping_sub(1));
        }
        self.buffers.get(seq as usize % turns).map_or(&[], |buffer| buffer)
    }

    /// The same with a time in it.
    #[inline(always)]
    pub fn timed(&mut self, seq: u64, time: u64) -> &[u8] {
        let turn = seq as usize % self.buffers.len();
        match self.buffers.get_mut(turn) {
            Some(buffer) => {
                write(buffer, seq, time);
                buffer
            }
            None => &[],
        }
    }
}

#[inline(always)]
fn write(buffer: &mut [u8], seq: u64, time: u64) {
    let last = last_word(buffer.len());
    put(buffer, 0, seq);
    put(buffer, 1, time);
    put(buffer, last, seal(seq, time));
}

/// The time in a message.
#[inline(always)]
pub fn time_of(message: &[u8]) -> u64 {
    get(message, 1)
}

impl Checker {
    pub fn new(size: usize) -> Self {
        let mut bytes = pattern(size);
        put(&mut bytes, 0, 0);
        put(&mut bytes, 1, 0);
        put(&mut bytes, last_word(size), 0);
        Self { size, pattern_sum: sum(&bytes), next: 0, wrong: 0 }
    }

    /// Reads every byte of a message.
    #[inline(always)]
    pub fn check(&mut self, message: &[u8]) {
        let (seq, time) = (get(message, 0), get(message, 1));
        let expected =
            self.pattern_sum.wrapping_add(seq).wrapping_add(time).wrapping_add(seal(seq, time));
        let right = message.len() == self.size && seq == self.next && sum(message) == expected;
        self.wrong += u64::from(!right);
        self.next += 1;
    }

    /// Messages checked so far.
    #[inline(always)]
    pub fn count(&self) -> u64 {
        self.next
    }

    /// # Errors
    /// If any message was not what was sent.
    pub fn finish(&self) -> Result<()> {
        if self.wrong > 0 {
            bail!("{} of {} messages are not what was sent", self.wrong, self.next);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_passes_and_any_other_byte_in_it_does_not() {
        for size in [24, 64, 100, 256, 2048] {
            let mut writer = Writer::new(size).unwrap();
            let mut checker = Checker::new(size);
            for seq in 0..20 {
                checker.check(writer.message(seq));
            }
            checker.check(writer.timed(20, 77));
            checker.finish().unwrap();
            for at in 0..size {
                let mut bad = writer.timed(21, 78).to_vec();
                bad[at] ^= 0x10;
                let mut checker = Checker { next: 21, ..Checker::new(size) };
                checker.check(&bad);
                assert!(checker.finish().is_err(), "byte {at} of {size}");
            }
        }
    }

    #[test]
    fn a_message_that_is_missing_or_short_is_noticed() {
        let mut writer = Writer::new(64).unwrap();
        let mut checker = Checker::new(64);
        checker.check(writer.message(0));
        checker.check(writer.message(2));
        assert!(checker.finish().is_err());
        let mut checker = Checker::new(64);
        checker.check(&writer.timed(0, 0)[..56]);
        assert!(checker.finish().is_err());
    }
}
