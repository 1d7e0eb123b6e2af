//! Messages whose every byte follows from their sequence number, so that a reader can check them.

const OF_SEQ: u64 = 0x9e37_79b9_7f4a_7c15;
const OF_WORD: u64 = 0xbf58_476d_1ce4_e5b9;
const WORD: usize = 8;

/// A word of a message, `index` being its place.
fn word(seq: u64, index: usize) -> [u8; WORD] {
    seq.wrapping_mul(OF_SEQ).wrapping_add((index as u64).wrapping_mul(OF_WORD)).to_le_bytes()
}

/// Fills a message of a multiple of eight bytes.
pub(crate) fn fill(message: &mut [u8], seq: u64) {
    for (index, chunk) in message.chunks_exact_mut(WORD).enumerate() {
        chunk.copy_from_slice(&word(seq, index));
    }
}

/// Whether a message is what [`fill`] made, every byte of it.
pub(crate) fn is_right(message: &[u8], seq: u64) -> bool {
    let (words, rest) = message.as_chunks::<WORD>();
    let difference = words.iter().enumerate().fold(0, |difference, (index, found)| {
        difference | (u64::from_le_bytes(*found) ^ u64::from_le_bytes(word(seq, index)))
    });
    difference == 0 && rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wrong_bit_or_the_wrong_sequence_number_is_noticed() {
        let mut message = [0; 64];
        fill(&mut message, 5);
        assert!(is_right(&message, 5));
        assert!(!is_right(&message, 6));
        for bit in 0..64 * 8 {
            message[bit / 8] ^= 1 << (bit % 8);
            assert!(!is_right(&message, 5), "bit {bit}");
            message[bit / 8] ^= 1 << (bit % 8);
        }
        assert!(!is_right(&message[..63], 5));
    }
}
