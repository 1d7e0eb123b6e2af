use crate::FormatError;
use crate::bytes::{put, u32_at, u64_at};
use crate::crc32c::crc32c;
use crate::layout::control;

/// How much a queue keeps, fixed when it is made. Limits count whole segment files.
///
/// A segment is removed once a limit asks for it and no reader holds it. Without a limit nothing is
/// ever removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionPolicy {
    /// Remove what is behind while segments take more than so many bytes; 1 GiB by default.
    pub max_bytes: Option<u64>,
    /// Remove what is behind while there are more than so many segments.
    pub max_segments: Option<u64>,
    /// Remove segments of which every record is older than so many nanoseconds.
    pub max_age_ns: Option<u64>,
    /// Refuse to roll when segments would take more than so many bytes.
    pub capacity_bytes: Option<u64>,
}

impl Default for RetentionPolicy {
    fn default() -> Self {
        Self { max_bytes: Some(1 << 30), ..Self::KEEP_ALL }
    }
}

const START: usize = control::RETAIN_BYTES;
const CRC: usize = control::POLICY_CRC - START;

impl RetentionPolicy {
    /// Keeps everything.
    pub const KEEP_ALL: Self =
        Self { max_bytes: None, max_segments: None, max_age_ns: None, capacity_bytes: None };

    /// Offset in `control.meta` in bytes.
    pub const OFFSET: usize = START;
    /// Bytes that [`encode`](Self::encode) gives and [`decode`](Self::decode) takes.
    pub const SIZE: usize = 40;

    /// The policy as it is stored. A limit of 0 means that there is none.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        let limits = [
            (control::RETAIN_BYTES, self.max_bytes),
            (control::RETAIN_SEGMENTS, self.max_segments),
            (control::CAPACITY_BYTES, self.capacity_bytes),
            (control::RETAIN_AGE_NS, self.max_age_ns),
        ];
        for (at, limit) in limits {
            put(&mut bytes, at - START, limit.unwrap_or(0).to_le_bytes());
        }
        let crc = crc32c(crate::bytes::before(&bytes, CRC));
        put(&mut bytes, CRC, crc.to_le_bytes());
        bytes
    }

    /// Reads a stored policy.
    ///
    /// # Errors
    /// [`FormatError::BadChecksum`]
    pub fn decode(bytes: &[u8; Self::SIZE]) -> Result<Self, FormatError> {
        if u32_at(bytes, CRC) != crc32c(crate::bytes::before(bytes, CRC)) {
            return Err(FormatError::BadChecksum { at: control::POLICY_CRC });
        }
        let limit = |at: usize| Some(u64_at(bytes, at - START)).filter(|limit| *limit != 0);
        Ok(Self {
            max_bytes: limit(control::RETAIN_BYTES),
            max_segments: limit(control::RETAIN_SEGMENTS),
            max_age_ns: limit(control::RETAIN_AGE_NS),
            capacity_bytes: limit(control::CAPACITY_BYTES),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_survives_a_round_trip_and_a_flipped_bit_is_refused() {
        let policy = RetentionPolicy {
            max_bytes: Some(5),
            max_age_ns: Some(6),
            capacity_bytes: Some(7),
            ..RetentionPolicy::KEEP_ALL
        };
        let good = policy.encode();
        assert_eq!(RetentionPolicy::decode(&good), Ok(policy));
        for bit in 0..(CRC + 4) * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            RetentionPolicy::decode(&bad).unwrap_err();
        }
    }
}
