use crc::{CRC_32_ISCSI, Crc, Table};

const CRC: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

/// CRC-32C of `bytes` (Castagnoli polynomial, RFC 3720 appendix B.4).
///
/// Portable and table-driven: for headers and cold paths. The message path uses the processor's
/// instruction through `chronicle-sync`.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    CRC.checksum(bytes)
}

/// The register of a CRC-32C that has not been finished, so that a computation can be cut in two and
/// its second half be done by other means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrcState(u32);

impl CrcState {
    /// The register before the first byte.
    pub const NEW: Self = Self(u32::MAX);

    /// Goes on from a raw register, such as the operand of the processor's CRC instruction.
    #[must_use]
    pub const fn from_register(register: u32) -> Self {
        Self(register)
    }

    /// The raw register.
    #[must_use]
    pub const fn register(self) -> u32 {
        self.0
    }

    /// The register after `bytes`, by table.
    #[must_use]
    pub fn update(self, bytes: &[u8]) -> Self {
        // The library takes the initial value in polynomial order and gives the finished checksum.
        let mut digest = CRC.digest_with_initial(self.0.reverse_bits());
        digest.update(bytes);
        Self(!digest.finalize())
    }

    /// The checksum of everything so far.
    #[must_use]
    pub const fn finish(self) -> u32 {
        !self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_one_of_rfc_3720() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
    }

    #[test]
    fn a_computation_cut_anywhere_gives_the_same_checksum() {
        let bytes: [u8; 61] = core::array::from_fn(|i| (i * 37) as u8);
        for cut in 0..bytes.len() {
            let state = CrcState::NEW.update(&bytes[..cut]).update(&bytes[cut..]);
            assert_eq!(state.finish(), crc32c(&bytes), "cut at {cut}");
        }
    }
}
